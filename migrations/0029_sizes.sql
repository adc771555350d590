-- How much a sandbox may use, frozen with its size by the ask that started it: what the operator makes of a size afterwards holds
-- from its next start. Nothing: what the size stood for before that was kept.
ALTER TABLE sandboxes ADD COLUMN resources jsonb;
