"""Functions and triggers that keep beside what is said, and beside names, the hour in which the session began.

Words are looked up hour by hour (repositories/session_hours.py), so every message of a session and its label carry it.
Turns pass it along, since they hold the session anyway; a trigger looks it up for whoever does not.
"""

from migrations.functions import OPEN_TURN_BEGINNING
from migrations.session_functions import CLOSE_TURN_SUMMING

HOUR_OF = """
CREATE FUNCTION hour_of(moment timestamptz) RETURNS int LANGUAGE sql STABLE PARALLEL SAFE
RETURN floor(extract(epoch FROM moment) / 3600)::int
"""

SET_SESSION_HOUR = """
CREATE FUNCTION set_session_hour() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    SELECT hour_of(s.created_at) INTO NEW.session_hour FROM sessions s
    WHERE s.tenant_id = NEW.tenant_id AND s.id = NEW.session_id;
    RETURN NEW;
END $$
"""

# A session that is dated anew: a copy, when it is complete.
MOVE_SESSION_HOUR = """
CREATE FUNCTION move_session_hour() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE messages SET session_hour = hour_of(NEW.created_at)
    WHERE tenant_id = NEW.tenant_id AND session_id = NEW.id;
    UPDATE session_labels SET session_hour = hour_of(NEW.created_at)
    WHERE tenant_id = NEW.tenant_id AND session_id = NEW.id;
    RETURN NULL;
END $$
"""

TRIGGERS = """
CREATE TRIGGER set_session_hour BEFORE INSERT ON messages
    FOR EACH ROW WHEN (NEW.session_id IS NOT NULL AND NEW.session_hour IS NULL) EXECUTE FUNCTION set_session_hour();
CREATE TRIGGER set_session_hour BEFORE INSERT ON session_labels
    FOR EACH ROW WHEN (NEW.session_hour IS NULL) EXECUTE FUNCTION set_session_hour();
CREATE TRIGGER move_session_hour AFTER UPDATE OF created_at ON sessions
    FOR EACH ROW WHEN (hour_of(OLD.created_at) <> hour_of(NEW.created_at)) EXECUTE FUNCTION move_session_hour()
"""

TABLES = ("messages", "session_labels")

# Longer stretches of time too, as columns: row-level security keeps an index over an expression from being asked.
_LONGER = ", ".join(
    f"ADD COLUMN session_{1 << shift}h INTEGER GENERATED ALWAYS AS (session_hour >> {shift}) STORED"
    for shift in (3, 6, 9)
)

# What was there before. The tables are written anew; the owner is stopped by the wall too, and is let through here.
FILL = (
    "CREATE FUNCTION hour_of_session(tenant text, session text) RETURNS int LANGUAGE sql STABLE "
    "RETURN (SELECT hour_of(s.created_at) FROM sessions s WHERE s.tenant_id = tenant AND s.id = session)",
    "ALTER TABLE sessions NO FORCE ROW LEVEL SECURITY",
    *(
        f"ALTER TABLE {table} ALTER COLUMN session_hour TYPE INTEGER USING hour_of_session(tenant_id, session_id)"
        for table in TABLES
    ),
    "ALTER TABLE sessions FORCE ROW LEVEL SECURITY",
    "DROP FUNCTION hour_of_session",
    *(f"ALTER TABLE {table} {_LONGER}" for table in TABLES),
)


def _changed(source: str, *changes: tuple[str, str]) -> str:
    """Return `source` with each change made in the one place it means."""
    for old, new in changes:
        if source.count(old) != 1:
            raise RuntimeError(f"not once in the function: {old}")
        source = source.replace(old, new)
    return source


_OPEN_TURN = OPEN_TURN_BEGINNING.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
_DECLARED = ("DECLARE\n", "DECLARE\n    began timestamptz;\n")

OPEN_TURN_DATED = _changed(
    _OPEN_TURN,
    _DECLARED,
    ("p_created_at, p_created_at, p_created_at);", "p_created_at, p_created_at, p_created_at)\n"
        "        RETURNING created_at INTO began;"),
    ("role, session_id, position, content, created_at)", "role, session_id, position, content, created_at,\n"
        "            session_hour)"),
    ("p_session->>'opener', p_created_at);", "p_session->>'opener', p_created_at,\n            hour_of(began));"),
    ("SELECT next_position FROM sessions", "SELECT next_position, created_at FROM sessions"),
    ("FOR UPDATE INTO place;", "FOR UPDATE INTO place, began;"),
    ("position, content, extras, created_at)", "position, content, extras, created_at,\n        session_hour)"),
    ("place, p_question, p_extras, p_created_at);", "place, p_question, p_extras, p_created_at,\n"
        "        hour_of(began));"),
)  # fmt: skip
CLOSE_TURN_DATED = _changed(
    CLOSE_TURN_SUMMING,
    _DECLARED,
    ("RETURNING next_position - 1 INTO place;", "RETURNING next_position - 1, created_at INTO place, began;"),
    ("session_id, position, content, reasoning)", "session_id, position, content, reasoning,\n        session_hour)"),
    ("place, p_content, p_reasoning);", "place, p_content, p_reasoning,\n        hour_of(began));"),
)

HOUR_FUNCTIONS = (
    SET_SESSION_HOUR,
    MOVE_SESSION_HOUR,
    *TRIGGERS.split(";\n"),
    OPEN_TURN_DATED,
    CLOSE_TURN_DATED,
)
DROP_HOUR_FUNCTIONS = (
    CLOSE_TURN_SUMMING,
    _OPEN_TURN,
    "DROP FUNCTION move_session_hour() CASCADE",
    "DROP FUNCTION set_session_hour() CASCADE",
    "DROP FUNCTION hour_of(timestamptz)",
)
