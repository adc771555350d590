-- A user's own Claude credentials: what kind, the secret and a base URL, sealed as one.
CREATE TABLE claude_credentials (
    user_id uuid        NOT NULL,
    sealed  bytea       NOT NULL,
    set_at  timestamptz NOT NULL,
    CONSTRAINT claude_credentials_pkey PRIMARY KEY (user_id),
    CONSTRAINT claude_credentials_user_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
);

-- Those of the sandbox's owner, frozen with its variables at the ask that started it.
ALTER TABLE sandboxes ADD COLUMN claude bytea; -- sealed
