-- Whether the last ask changed the size of a sandbox that ran, and nothing else: it is Updating then.
ALTER TABLE sandboxes ADD COLUMN resizes boolean NOT NULL DEFAULT false;
