-- An `Idempotency-Key` of an ask that makes no project and is no intent of one: a token, a command, a commit. Of what was asked
-- (`run` and the project's id, for example), so that the same key of another ask is another.
CREATE TABLE asked_keys (
    user_id    uuid        NOT NULL,
    ask        text        NOT NULL,
    key        text        NOT NULL,
    -- What it made, where that has an id.
    made       uuid,
    created_at timestamptz NOT NULL,
    -- Nothing while it is carried out, or where that broke off.
    done_at    timestamptz,
    CONSTRAINT asked_keys_pkey PRIMARY KEY (user_id, ask, key),
    CONSTRAINT asked_keys_user_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX asked_keys_created_idx ON asked_keys (created_at);
