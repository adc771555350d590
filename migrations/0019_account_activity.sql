-- What happened to a user's account and to no project of theirs: tokens, sign-ins, sign-outs.
ALTER TABLE activity
    ALTER COLUMN project_id DROP NOT NULL,
    ALTER COLUMN project DROP NOT NULL,
    DROP CONSTRAINT activity_kind_check,
    ADD CONSTRAINT activity_kind_check CHECK (kind IN ('ask', 'phase', 'cause', 'run', 'network', 'account')),
    ADD CONSTRAINT activity_project_check CHECK ((project_id IS NULL) = (project IS NULL) AND (kind = 'account') = (project_id IS NULL));
