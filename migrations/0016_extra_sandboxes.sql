-- An extra sandbox of a project has a row here as the project has, so that sandbox, volume, database,
-- repository and shares are its own by the same rules. `main_id` says of which project; its variables are
-- that project's. The main row goes last: hence no cascade.
ALTER TABLE projects
    ADD COLUMN main_id uuid,
    ADD COLUMN branch  text COLLATE "C",
    ADD CONSTRAINT projects_main_check CHECK ((main_id IS NULL) = (branch IS NULL) AND main_id <> id),
    ADD CONSTRAINT projects_branch_key UNIQUE (main_id, branch),
    ADD CONSTRAINT projects_main_fkey FOREIGN KEY (main_id) REFERENCES projects (id);

-- The branch that is checked out after the clone, made from `branch` where the repository has none of that name.
ALTER TABLE repositories ADD COLUMN checkout text;
