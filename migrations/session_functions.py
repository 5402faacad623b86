"""Functions and triggers that keep beside the sessions of a chat how many they are and how they are called.

They run with the rights of whoever writes, behind the tenant wall. A chat whose sessions were all deleted at once
(`chats.sessions_since`) counts only those that were made later: what is older is gone for everybody, and a job
removes its rows.
"""

from app.db.walls import DISPATCH_ROLE
from migrations.functions import CLOSE_TURN

# A session that begins after all were deleted is younger than that, whatever the clock of its process says.
DATE_SESSION = """
CREATE FUNCTION date_session() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    since timestamptz;
BEGIN
    SELECT c.sessions_since INTO since FROM chats c WHERE c.tenant_id = NEW.tenant_id AND c.id = NEW.chat_id;
    IF NEW.created_at <= since THEN
        NEW.created_at := since + interval '1 microsecond';
    END IF;
    RETURN NEW;
END $$
"""

# The foreign key has locked the chat by now: whoever deletes all sessions waits, or was first and is seen here.
ADD_SESSIONS = """
CREATE FUNCTION add_sessions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO session_labels (tenant_id, session_id, chat_id, label)
    SELECT a.tenant_id, a.id, a.chat_id, a.name || chr(1) || a.id FROM added a
    WHERE a.chat_id IS NOT NULL AND a.deleted_at IS NULL;
    INSERT INTO session_counts AS c (tenant_id, chat_id, slot, sessions)
    SELECT a.tenant_id, a.chat_id, pg_backend_pid() % 16, count(*)
    FROM added a JOIN chats ON chats.tenant_id = a.tenant_id AND chats.id = a.chat_id
    WHERE a.deleted_at IS NULL AND (chats.sessions_since IS NULL OR a.created_at > chats.sessions_since)
    GROUP BY a.tenant_id, a.chat_id ORDER BY a.tenant_id, a.chat_id
    ON CONFLICT (tenant_id, chat_id, slot) DO UPDATE SET sessions = c.sessions + excluded.sessions;
    RETURN NULL;
END $$
"""

# A chat that is gone itself, with all its sessions, has no counts any more.
REMOVE_SESSIONS = """
CREATE FUNCTION remove_sessions() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    chat record;
BEGIN
    FOR chat IN
        SELECT c.tenant_id, c.id, c.sessions_since FROM chats c
        WHERE EXISTS (SELECT FROM removed r WHERE r.tenant_id = c.tenant_id AND r.chat_id = c.id)
        ORDER BY c.tenant_id, c.id FOR KEY SHARE
    LOOP
        UPDATE session_counts c SET sessions = c.sessions - gone.sessions
        FROM (
            SELECT count(*) AS sessions FROM removed r
            WHERE r.tenant_id = chat.tenant_id AND r.chat_id = chat.id AND r.deleted_at IS NULL
              AND (chat.sessions_since IS NULL OR r.created_at > chat.sessions_since)
        ) gone
        WHERE gone.sessions > 0 AND c.tenant_id = chat.tenant_id AND c.chat_id = chat.id AND c.slot = (
            SELECT one.slot FROM session_counts one
            WHERE one.tenant_id = chat.tenant_id AND one.chat_id = chat.id
            ORDER BY one.slot <> pg_backend_pid() % 16, one.slot LIMIT 1
        );
    END LOOP;
    RETURN NULL;
END $$
"""

HIDE_SESSION = """
CREATE FUNCTION hide_session() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    since timestamptz;
BEGIN
    SELECT c.sessions_since INTO since FROM chats c
    WHERE c.tenant_id = NEW.tenant_id AND c.id = NEW.chat_id FOR KEY SHARE;
    IF FOUND AND (since IS NULL OR NEW.created_at > since) THEN
        INSERT INTO session_counts AS c (tenant_id, chat_id, slot, sessions)
        VALUES (NEW.tenant_id, NEW.chat_id, pg_backend_pid() % 16,
            (NEW.deleted_at IS NULL)::int - (OLD.deleted_at IS NULL)::int)
        ON CONFLICT (tenant_id, chat_id, slot) DO UPDATE SET sessions = c.sessions + excluded.sessions;
    END IF;
    RETURN NULL;
END $$
"""

LABEL_SESSION = """
CREATE FUNCTION label_session() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE session_labels SET label = NEW.name || chr(1) || NEW.id
    WHERE tenant_id = NEW.tenant_id AND session_id = NEW.id;
    RETURN NULL;
END $$
"""

# With the rights of the owner, who alone may do it to an index.
TIDY_SESSION_INDEXES = """
CREATE FUNCTION tidy_session_indexes() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF pg_try_advisory_xact_lock(20261121, 2) THEN
        PERFORM gin_clean_pending_list('ix_messages_content'), gin_clean_pending_list('ix_session_labels_label');
    END IF;
END $$
"""

_REPLACED = CLOSE_TURN.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")

# A session has all the tokens of its turns' calls, those of search and reranking too: it is the sum of its ledger.
CLOSE_TURN_SUMMING = _REPLACED.replace(
    "tokens = tokens + p_prompt_tokens + p_completion_tokens",
    """tokens = tokens + COALESCE((
                SELECT sum(c.prompt_tokens + c.completion_tokens)
                FROM jsonb_to_recordset(p_calls) AS c(prompt_tokens int, completion_tokens int)
            ), 0)""",
)

TRIGGERS = """
CREATE TRIGGER date_session BEFORE INSERT ON sessions
    FOR EACH ROW WHEN (NEW.chat_id IS NOT NULL) EXECUTE FUNCTION date_session();
CREATE TRIGGER add_sessions AFTER INSERT ON sessions
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION add_sessions();
CREATE TRIGGER remove_sessions AFTER DELETE ON sessions
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION remove_sessions();
CREATE TRIGGER hide_session AFTER UPDATE OF deleted_at ON sessions
    FOR EACH ROW WHEN ((OLD.deleted_at IS NULL) <> (NEW.deleted_at IS NULL)) EXECUTE FUNCTION hide_session();
CREATE TRIGGER label_session AFTER UPDATE OF name ON sessions
    FOR EACH ROW WHEN (OLD.name <> NEW.name) EXECUTE FUNCTION label_session()
"""

# Sessions that were there before: the owner of the tables is stopped by the wall too, and is let through here.
FILL = """
ALTER TABLE sessions NO FORCE ROW LEVEL SECURITY;
ALTER TABLE session_labels NO FORCE ROW LEVEL SECURITY;
ALTER TABLE session_counts NO FORCE ROW LEVEL SECURITY;
INSERT INTO session_labels (tenant_id, session_id, chat_id, label)
    SELECT tenant_id, id, chat_id, name || chr(1) || id FROM sessions
    WHERE chat_id IS NOT NULL AND deleted_at IS NULL;
INSERT INTO session_counts (tenant_id, chat_id, slot, sessions)
    SELECT tenant_id, chat_id, 0, count(*) FROM sessions
    WHERE chat_id IS NOT NULL AND deleted_at IS NULL GROUP BY tenant_id, chat_id;
ALTER TABLE session_counts FORCE ROW LEVEL SECURITY;
ALTER TABLE session_labels FORCE ROW LEVEL SECURITY;
ALTER TABLE sessions FORCE ROW LEVEL SECURITY
"""

SESSION_FUNCTIONS = (
    DATE_SESSION,
    ADD_SESSIONS,
    REMOVE_SESSIONS,
    HIDE_SESSION,
    LABEL_SESSION,
    CLOSE_TURN_SUMMING,
    TIDY_SESSION_INDEXES,
    "REVOKE ALL ON FUNCTION tidy_session_indexes() FROM PUBLIC",
    f"GRANT EXECUTE ON FUNCTION tidy_session_indexes() TO {DISPATCH_ROLE}",
    *TRIGGERS.split(";\n"),
    *FILL.split(";\n"),
)
DROP_SESSION_FUNCTIONS = (
    _REPLACED,
    *(
        f"DROP FUNCTION {name}() CASCADE"
        for name in (
            "tidy_session_indexes",
            "label_session",
            "hide_session",
            "remove_sessions",
            "add_sessions",
            "date_session",
        )
    ),
)
