-- A project is shown with its repository: that it has one, or another one, is told as a change of its sandbox is. What is to be
-- cloned is written before the project, when there is nobody yet to tell of.
CREATE FUNCTION tell_of_repository() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('sandbox', concat_ws(',', p.owner_id, p.id, s.id))
    FROM projects p JOIN sandboxes s ON s.project_id = p.id WHERE p.id = NEW.project_id;
    RETURN NULL;
END $$;

CREATE TRIGGER repositories_tell_insert AFTER INSERT ON repositories
    FOR EACH ROW EXECUTE FUNCTION tell_of_repository();
CREATE TRIGGER repositories_tell_other AFTER UPDATE ON repositories
    FOR EACH ROW WHEN ((OLD.url, OLD.branch, OLD.checkout, OLD.state = 'skipped')
        IS DISTINCT FROM (NEW.url, NEW.branch, NEW.checkout, NEW.state = 'skipped'))
    EXECUTE FUNCTION tell_of_repository();
