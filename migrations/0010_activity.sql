-- What happened, for its owner to read: kept for as long as the operator says, also when the project is gone.
-- Nothing was ever written into the table before.
DROP INDEX activity_project_idx;
ALTER TABLE activity RENAME COLUMN message TO title;
ALTER TABLE activity
    DROP CONSTRAINT activity_project_fkey,
    ALTER COLUMN data SET NOT NULL,
    ADD COLUMN owner_id uuid        NOT NULL,
    ADD COLUMN project  text        NOT NULL, -- its name then
    ADD COLUMN last_at  timestamptz NOT NULL,
    ADD COLUMN times    bigint      NOT NULL DEFAULT 1,
    ADD COLUMN via      text        NOT NULL,
    ADD COLUMN token    text,
    ADD COLUMN detail   text,
    -- What happens again and again is one row: the same bucket, the same row.
    ADD COLUMN bucket   text        COLLATE "C",
    ADD CONSTRAINT activity_kind_check CHECK (kind IN ('ask', 'phase', 'cause', 'run', 'network')),
    ADD CONSTRAINT activity_via_check CHECK (via IN ('browser', 'token', 'system')),
    ADD CONSTRAINT activity_bucket_key UNIQUE (project_id, bucket),
    ADD CONSTRAINT activity_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE;
CREATE INDEX activity_owner_idx ON activity (owner_id, id DESC);
CREATE INDEX activity_project_idx ON activity (project_id, id DESC);
CREATE INDEX activity_at_idx ON activity (last_at);
