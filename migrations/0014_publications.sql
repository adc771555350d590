-- A folder of a project that is made a new repository at GitHub: one a project, the last one asked for.
CREATE TABLE publications (
    project_id  uuid        NOT NULL,
    owner       text,
    name        text        NOT NULL,
    private     boolean     NOT NULL,
    description text,
    message     text        NOT NULL,
    folder      text        NOT NULL,
    -- Who asked, for what is told when it is there.
    actor       jsonb       NOT NULL,
    state       text        NOT NULL,
    -- What the repository is cloned by, as soon as GitHub has it.
    url         text,
    progress    text,
    failure     jsonb,
    -- Who works on it, until when, unless they say more: then another may.
    holder      text,
    held_until  timestamptz,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    CONSTRAINT publications_pkey PRIMARY KEY (project_id),
    CONSTRAINT publications_project_fkey FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE,
    CONSTRAINT publications_state_check CHECK (state IN ('waiting', 'working', 'done', 'failed'))
);
CREATE INDEX publications_pending_idx ON publications (project_id) WHERE state IN ('waiting', 'working');
