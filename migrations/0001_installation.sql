-- One row: this deployment of the control plane.
CREATE TABLE installation (
    sole       boolean     NOT NULL DEFAULT true,
    id         uuid        NOT NULL,
    created_at timestamptz NOT NULL,
    -- A known text, sealed: opens with the right encryption key alone.
    key_check  bytea       NOT NULL,
    CONSTRAINT installation_pkey PRIMARY KEY (sole),
    CONSTRAINT installation_sole_check CHECK (sole)
);
