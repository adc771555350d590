-- Signing in at GitHub, or connecting it: what was asked for, until the browser comes back with it. Works
-- once, and in the browser that asked alone.
CREATE TABLE oauth_states (
    hash       bytea       NOT NULL,
    -- Of the browser's own cookie.
    browser    bytea       NOT NULL,
    -- Of PKCE, sealed.
    verifier   bytea       NOT NULL,
    -- Who connects; nobody's, where it is a sign-in.
    user_id    uuid,
    next       text        NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz,
    CONSTRAINT oauth_states_pkey PRIMARY KEY (hash),
    CONSTRAINT oauth_states_user_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX oauth_states_user_idx ON oauth_states (user_id);
CREATE INDEX oauth_states_expires_idx ON oauth_states (expires_at);

-- One account of a provider a user. The provider is named by its host: numbers of GitHub Enterprise's
-- users are not those of github.com.
ALTER TABLE linked_accounts
    -- Since when the provider does not take the token any more.
    ADD COLUMN revoked_at timestamptz,
    ADD CONSTRAINT linked_accounts_user_provider_key UNIQUE (user_id, provider);
DROP INDEX linked_accounts_user_idx;
