-- Ways into one preview: a code that works once becomes a cookie of the preview's own host. Both end
-- with the session that asked for them.
CREATE TABLE preview_codes (
    hash       bytea       NOT NULL,
    sandbox_id uuid        NOT NULL,
    port       integer     NOT NULL,
    user_id    uuid        NOT NULL,
    session    bytea,
    expires_at timestamptz NOT NULL,
    CONSTRAINT preview_codes_pkey PRIMARY KEY (hash),
    CONSTRAINT preview_codes_port_check CHECK (port BETWEEN 1 AND 65535),
    CONSTRAINT preview_codes_sandbox_fkey FOREIGN KEY (sandbox_id) REFERENCES sandboxes (id) ON DELETE CASCADE,
    CONSTRAINT preview_codes_user_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT preview_codes_session_fkey FOREIGN KEY (session) REFERENCES sessions (hash) ON DELETE CASCADE
);
CREATE INDEX preview_codes_sandbox_idx ON preview_codes (sandbox_id);
CREATE INDEX preview_codes_user_idx ON preview_codes (user_id);
CREATE INDEX preview_codes_session_idx ON preview_codes (session);

CREATE TABLE preview_sessions (
    hash       bytea       NOT NULL,
    sandbox_id uuid        NOT NULL,
    port       integer     NOT NULL,
    user_id    uuid        NOT NULL,
    session    bytea,
    expires_at timestamptz NOT NULL,
    CONSTRAINT preview_sessions_pkey PRIMARY KEY (hash),
    CONSTRAINT preview_sessions_port_check CHECK (port BETWEEN 1 AND 65535),
    CONSTRAINT preview_sessions_sandbox_fkey FOREIGN KEY (sandbox_id) REFERENCES sandboxes (id) ON DELETE CASCADE,
    CONSTRAINT preview_sessions_user_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT preview_sessions_session_fkey FOREIGN KEY (session) REFERENCES sessions (hash) ON DELETE CASCADE
);
CREATE INDEX preview_sessions_sandbox_idx ON preview_sessions (sandbox_id);
CREATE INDEX preview_sessions_user_idx ON preview_sessions (user_id);
CREATE INDEX preview_sessions_session_idx ON preview_sessions (session);
