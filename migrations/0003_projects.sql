-- Intent and observed, side by side.
CREATE TABLE projects (
    id             uuid        NOT NULL,
    owner_id       uuid        NOT NULL,
    name           text        NOT NULL,
    slug           text        COLLATE "C" NOT NULL,
    preset         text        NOT NULL,
    env_revision   bigint      NOT NULL,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    deleting_since timestamptz,
    CONSTRAINT projects_pkey PRIMARY KEY (id),
    CONSTRAINT projects_slug_key UNIQUE (slug),
    CONSTRAINT projects_preset_check CHECK (preset IN ('small', 'medium', 'large')),
    CONSTRAINT projects_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id)
);
CREATE INDEX projects_owner_idx ON projects (owner_id, created_at DESC, id DESC);

CREATE TABLE project_env (
    project_id uuid        NOT NULL,
    key        text        COLLATE "C" NOT NULL,
    value      bytea       NOT NULL, -- sealed
    updated_at timestamptz NOT NULL,
    CONSTRAINT project_env_pkey PRIMARY KEY (project_id, key),
    CONSTRAINT project_env_project_fkey FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE
);

-- The names are those on the PostgreSQL server, chosen before anything is made there.
CREATE TABLE databases (
    project_id uuid  NOT NULL,
    role       text  NOT NULL,
    name       text  NOT NULL,
    password   bytea NOT NULL, -- sealed
    CONSTRAINT databases_pkey PRIMARY KEY (project_id),
    CONSTRAINT databases_role_key UNIQUE (role),
    CONSTRAINT databases_name_key UNIQUE (name),
    CONSTRAINT databases_project_fkey FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE
);

CREATE TABLE sandboxes (
    id                  uuid        NOT NULL,
    project_id          uuid        NOT NULL,
    main                boolean     NOT NULL DEFAULT true,
    name                text        COLLATE "C" NOT NULL,
    -- What was asked for.
    desired             text        NOT NULL,
    generation          bigint      NOT NULL,
    asked_at            timestamptz NOT NULL,
    restart_count       bigint      NOT NULL,
    preset              text        NOT NULL,
    env                 bytea       NOT NULL, -- sealed
    env_revision        bigint      NOT NULL,
    agent_token         bytea       NOT NULL, -- sealed
    -- What is really there.
    observed            jsonb       NOT NULL,
    observed_generation bigint      NOT NULL GENERATED ALWAYS AS ((observed ->> 'generation')::bigint) STORED,
    cause               jsonb,
    last_error          text,
    failures            integer     NOT NULL DEFAULT 0,
    -- Whose turn it is, and when.
    version             bigint      NOT NULL,
    wake_at             timestamptz,
    lease_holder        text,
    lease_until         timestamptz,
    changed_at          timestamptz NOT NULL,
    created_at          timestamptz NOT NULL,
    CONSTRAINT sandboxes_pkey PRIMARY KEY (id),
    CONSTRAINT sandboxes_name_key UNIQUE (name),
    CONSTRAINT sandboxes_desired_check CHECK (desired IN ('running', 'stopped', 'terminated')),
    CONSTRAINT sandboxes_preset_check CHECK (preset IN ('small', 'medium', 'large')),
    CONSTRAINT sandboxes_lease_check CHECK ((lease_holder IS NULL) = (lease_until IS NULL)),
    CONSTRAINT sandboxes_project_fkey FOREIGN KEY (project_id) REFERENCES projects (id)
);
CREATE UNIQUE INDEX sandboxes_main_key ON sandboxes (project_id) WHERE main;
CREATE INDEX sandboxes_project_idx ON sandboxes (project_id);
CREATE INDEX sandboxes_wake_idx ON sandboxes (wake_at) WHERE wake_at IS NOT NULL;

-- What became of sandboxes whose project was deleted: what still carries their id is an orphan.
CREATE TABLE tombstones (
    sandbox_id uuid        NOT NULL,
    project_id uuid        NOT NULL,
    owner_id   uuid        NOT NULL,
    name       text        NOT NULL,
    database   text,
    buried_at  timestamptz NOT NULL,
    CONSTRAINT tombstones_pkey PRIMARY KEY (sandbox_id)
);

-- Keys of asks that were carried out. The scope is the owner (of a create) or the project (of an ask).
CREATE TABLE idempotency_keys (
    scope      uuid        NOT NULL,
    key        text        NOT NULL,
    project_id uuid        NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (scope, key),
    -- Deferred: the key is taken before the project is made.
    CONSTRAINT idempotency_keys_project_fkey FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE
        DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX idempotency_keys_project_idx ON idempotency_keys (project_id);

-- Changes that a viewer can see: `owner,project,sandbox` on the channel `sandbox`. By triggers, so that
-- no statement can forget to tell.
CREATE FUNCTION tell_of_sandbox() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed sandboxes := CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
BEGIN
    PERFORM pg_notify('sandbox', concat_ws(',', owner_id, id, changed.id)) FROM projects WHERE id = changed.project_id;
    RETURN NULL;
END $$;

CREATE TRIGGER sandboxes_tell AFTER INSERT OR DELETE ON sandboxes
    FOR EACH ROW EXECUTE FUNCTION tell_of_sandbox();
CREATE TRIGGER sandboxes_tell_update AFTER UPDATE ON sandboxes
    FOR EACH ROW WHEN (
        (OLD.desired, OLD.generation, OLD.preset, OLD.env_revision, OLD.observed, OLD.cause, OLD.changed_at)
        IS DISTINCT FROM
        (NEW.desired, NEW.generation, NEW.preset, NEW.env_revision, NEW.observed, NEW.cause, NEW.changed_at)
    ) EXECUTE FUNCTION tell_of_sandbox();

CREATE FUNCTION tell_of_project() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('sandbox', concat_ws(',', NEW.owner_id, NEW.id, id)) FROM sandboxes WHERE project_id = NEW.id;
    RETURN NULL;
END $$;

CREATE TRIGGER projects_tell_update AFTER UPDATE ON projects
    FOR EACH ROW WHEN (
        (OLD.name, OLD.slug, OLD.preset, OLD.env_revision, OLD.deleting_since)
        IS DISTINCT FROM
        (NEW.name, NEW.slug, NEW.preset, NEW.env_revision, NEW.deleting_since)
    ) EXECUTE FUNCTION tell_of_project();
