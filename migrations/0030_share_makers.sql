-- By which API token a port was shared, if by one: the share is revoked with that token, and lasts no longer than it. Of
-- those that were made before, it is not known.
ALTER TABLE preview_shares
    ADD COLUMN maker_id uuid,
    ADD CONSTRAINT preview_shares_maker_fkey FOREIGN KEY (maker_id) REFERENCES api_tokens (id) ON DELETE CASCADE;
CREATE INDEX preview_shares_maker_idx ON preview_shares (maker_id) WHERE maker_id IS NOT NULL;
