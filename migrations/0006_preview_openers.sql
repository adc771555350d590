-- A way into a preview ends with what opened it: a session, or an API token. Exactly one of the two, so
-- that none outlives both. Those from before that do not say which are over.
DELETE FROM preview_codes WHERE session IS NULL;
DELETE FROM preview_sessions WHERE session IS NULL;

ALTER TABLE preview_codes
    ADD COLUMN token_id uuid,
    ADD CONSTRAINT preview_codes_token_fkey FOREIGN KEY (token_id) REFERENCES api_tokens (id) ON DELETE CASCADE,
    ADD CONSTRAINT preview_codes_opener_check CHECK (num_nonnulls(session, token_id) = 1);
CREATE INDEX preview_codes_token_idx ON preview_codes (token_id);

ALTER TABLE preview_sessions
    ADD COLUMN token_id uuid,
    ADD CONSTRAINT preview_sessions_token_fkey FOREIGN KEY (token_id) REFERENCES api_tokens (id) ON DELETE CASCADE,
    ADD CONSTRAINT preview_sessions_opener_check CHECK (num_nonnulls(session, token_id) = 1);
CREATE INDEX preview_sessions_token_idx ON preview_sessions (token_id);
