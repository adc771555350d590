-- What happened to a project, for its owner to read.
CREATE TABLE activity (
    id         bigint      GENERATED ALWAYS AS IDENTITY,
    project_id uuid        NOT NULL,
    at         timestamptz NOT NULL,
    kind       text        NOT NULL,
    actor      text        NOT NULL,
    message    text        NOT NULL,
    data       jsonb,
    CONSTRAINT activity_pkey PRIMARY KEY (id),
    CONSTRAINT activity_project_fkey FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE
);
CREATE INDEX activity_project_idx ON activity (project_id, at DESC, id DESC);
