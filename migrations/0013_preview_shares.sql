-- Who besides the owner may open the preview of one port of a project. Without a row that holds: nobody.
-- A row that was revoked or is over stays for a while, so that a link says why it opens nothing.
CREATE TABLE preview_shares (
    id         uuid        NOT NULL,
    project_id uuid        NOT NULL,
    port       integer     NOT NULL,
    -- users: everybody who is signed in; link: whoever has the link, whose secret this is the hash of.
    audience   text        NOT NULL,
    hash       bytea,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    CONSTRAINT preview_shares_pkey PRIMARY KEY (id),
    CONSTRAINT preview_shares_port_check CHECK (port BETWEEN 1 AND 65535),
    CONSTRAINT preview_shares_audience_check CHECK (audience IN ('users', 'link')),
    CONSTRAINT preview_shares_link_check CHECK ((audience = 'link') = (hash IS NOT NULL AND expires_at IS NOT NULL)),
    CONSTRAINT preview_shares_project_fkey FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX preview_shares_one_idx ON preview_shares (project_id, port) WHERE revoked_at IS NULL;
CREATE UNIQUE INDEX preview_shares_hash_idx ON preview_shares (hash);
