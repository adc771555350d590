-- Who came to an application's own host, on a cluster, by a public link: a code that works once becomes a cookie of that
-- host. Both end with the link.
CREATE TABLE preview_guests (
    -- Of the code, and of the cookie once it was used.
    hash       bytea       NOT NULL,
    share_id   uuid        NOT NULL,
    sandbox_id uuid        NOT NULL,
    entered    boolean     NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT preview_guests_pkey PRIMARY KEY (hash),
    CONSTRAINT preview_guests_share_fkey FOREIGN KEY (share_id) REFERENCES preview_shares (id) ON DELETE CASCADE,
    CONSTRAINT preview_guests_sandbox_fkey FOREIGN KEY (sandbox_id) REFERENCES sandboxes (id) ON DELETE CASCADE
);
CREATE INDEX preview_guests_share_idx ON preview_guests (share_id);
CREATE INDEX preview_guests_sandbox_idx ON preview_guests (sandbox_id);
