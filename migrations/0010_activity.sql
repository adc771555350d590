-- What happened, for its owner to read: kept for as long as the operator says, also when the project is gone.
-- Nothing was ever written into the table of 0005.
DROP TABLE activity;
CREATE TABLE activity (
    id         bigint      GENERATED ALWAYS AS IDENTITY,
    owner_id   uuid        NOT NULL,
    project_id uuid        NOT NULL,
    project    text        NOT NULL, -- its name then
    at         timestamptz NOT NULL,
    last_at    timestamptz NOT NULL,
    times      bigint      NOT NULL DEFAULT 1,
    kind       text        NOT NULL,
    actor      text        NOT NULL,
    via        text        NOT NULL,
    token      text,
    title      text        NOT NULL,
    detail     text,
    data       jsonb       NOT NULL,
    -- What happens again and again is one row: the same bucket, the same row.
    bucket     text        COLLATE "C",
    CONSTRAINT activity_pkey PRIMARY KEY (id),
    CONSTRAINT activity_kind_check CHECK (kind IN ('ask', 'phase', 'cause', 'run', 'network')),
    CONSTRAINT activity_via_check CHECK (via IN ('browser', 'token', 'system')),
    CONSTRAINT activity_bucket_key UNIQUE (project_id, bucket),
    CONSTRAINT activity_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX activity_owner_idx ON activity (owner_id, id DESC);
CREATE INDEX activity_project_idx ON activity (project_id, id DESC);
CREATE INDEX activity_at_idx ON activity (last_at);
