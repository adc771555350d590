-- Who may sign in, and how. What is only ever compared is kept as its SHA-256.
CREATE TABLE users (
    id            uuid        NOT NULL,
    name          text        NOT NULL,
    -- The one owner of a single machine, who signs in by link.
    machine_owner boolean     NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL,
    CONSTRAINT users_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX users_machine_owner_key ON users (machine_owner) WHERE machine_owner;

-- Accounts elsewhere (GitHub) that a user signs in with. Tokens are sealed.
CREATE TABLE linked_accounts (
    id            uuid        NOT NULL,
    user_id       uuid        NOT NULL,
    provider      text        NOT NULL,
    provider_id   text        NOT NULL,
    login         text        NOT NULL,
    scopes        text        NOT NULL DEFAULT '',
    token         bytea,
    refresh_token bytea,
    expires_at    timestamptz,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    CONSTRAINT linked_accounts_pkey PRIMARY KEY (id),
    CONSTRAINT linked_accounts_provider_key UNIQUE (provider, provider_id),
    CONSTRAINT linked_accounts_user_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX linked_accounts_user_idx ON linked_accounts (user_id);

CREATE TABLE sign_in_codes (
    hash       bytea       NOT NULL,
    user_id    uuid        NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz,
    CONSTRAINT sign_in_codes_pkey PRIMARY KEY (hash),
    CONSTRAINT sign_in_codes_user_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
);

CREATE TABLE sessions (
    hash       bytea       NOT NULL,
    -- Nobody's until somebody signs in.
    user_id    uuid,
    data       bytea       NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT sessions_pkey PRIMARY KEY (hash),
    CONSTRAINT sessions_user_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX sessions_user_idx ON sessions (user_id);
CREATE INDEX sessions_expires_idx ON sessions (expires_at);

CREATE TABLE api_tokens (
    id           uuid        NOT NULL,
    user_id      uuid        NOT NULL,
    name         text        NOT NULL,
    hash         bytea       NOT NULL,
    scope        text        NOT NULL,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz,
    last_used_at timestamptz,
    revoked_at   timestamptz,
    CONSTRAINT api_tokens_pkey PRIMARY KEY (id),
    CONSTRAINT api_tokens_hash_key UNIQUE (hash),
    CONSTRAINT api_tokens_scope_check CHECK (scope IN ('read', 'write')),
    CONSTRAINT api_tokens_user_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX api_tokens_user_idx ON api_tokens (user_id);
