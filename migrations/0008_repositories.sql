-- What is cloned into a project's new sandbox. Written before the project, so that no project is made
-- without what it was asked for with; hence no foreign key, and what has no project is swept.
CREATE TABLE repositories (
    project_id  uuid        NOT NULL,
    url         text        NOT NULL,
    branch      text,
    depth       integer,
    folder      text        NOT NULL,
    state       text        NOT NULL,
    progress    text,
    cause       jsonb,
    -- Who clones, until when, unless they say more: then another may.
    holder      text,
    held_until  timestamptz,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    CONSTRAINT repositories_pkey PRIMARY KEY (project_id),
    CONSTRAINT repositories_state_check CHECK (state IN ('waiting', 'cloning', 'done', 'failed', 'skipped'))
);
CREATE INDEX repositories_pending_idx ON repositories (project_id) WHERE state IN ('waiting', 'cloning', 'failed');
