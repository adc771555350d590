-- A clone that is there to be made, that begins, ends, or is decided on: `owner,project,sandbox,clone`, on the channel of
-- sandboxes. How far it is in between is not told: who looks at that asks.
CREATE FUNCTION tell_of_clone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('sandbox', concat_ws(',', p.owner_id, p.id, s.id, 'clone'))
    FROM repositories r JOIN projects p ON p.id = r.project_id JOIN sandboxes s ON s.project_id = p.id
    WHERE r.project_id = NEW.project_id;
    RETURN NULL;
END $$;

-- What is to be cloned is written before the project, when there is nobody yet to tell of.
CREATE TRIGGER sandboxes_tell_clone AFTER INSERT ON sandboxes
    FOR EACH ROW EXECUTE FUNCTION tell_of_clone();
CREATE TRIGGER repositories_tell_update AFTER UPDATE ON repositories
    FOR EACH ROW WHEN ((OLD.state, OLD.cause) IS DISTINCT FROM (NEW.state, NEW.cause))
    EXECUTE FUNCTION tell_of_clone();
