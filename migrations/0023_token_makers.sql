-- By which token a token was made, if by one. It lasts no longer than that, and goes with it.
ALTER TABLE api_tokens
    ADD COLUMN maker_id uuid,
    ADD CONSTRAINT api_tokens_maker_fkey FOREIGN KEY (maker_id) REFERENCES api_tokens (id) ON DELETE CASCADE;
CREATE INDEX api_tokens_maker_idx ON api_tokens (maker_id) WHERE maker_id IS NOT NULL;
