-- Where previews have no host names of their own: which port of the server is the preview of which port of which
-- sandbox. It stays while the sandbox is there, so that an address does too.
CREATE TABLE preview_ports (
    -- The server's port.
    address    integer     NOT NULL,
    sandbox_id uuid        NOT NULL,
    port       integer     NOT NULL,
    -- When somebody was last let in by a code.
    used_at    timestamptz NOT NULL,
    CONSTRAINT preview_ports_pkey PRIMARY KEY (address),
    CONSTRAINT preview_ports_address_check CHECK (address BETWEEN 1 AND 65535),
    CONSTRAINT preview_ports_port_check CHECK (port BETWEEN 1 AND 65535),
    CONSTRAINT preview_ports_preview_key UNIQUE (sandbox_id, port),
    CONSTRAINT preview_ports_sandbox_fkey FOREIGN KEY (sandbox_id) REFERENCES sandboxes (id) ON DELETE CASCADE
);
