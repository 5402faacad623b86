"""Functions and triggers that keep the sums of sessions by the day on which they began (conversations.md 8.3).

They run with the rights of whoever writes, behind the tenant wall. A row is one user's sessions of a chat and source on
a day, live ones only. Sessions without a user are many: their row comes in up to 16 slots that are added up, so that
turns which end at once do not wait for each other. Sessions that were deleted all at once are in the sums until their
rows are removed; whoever reads leaves them out (`repositories/stats.py`).
"""

_KEYS = "tenant_id, chat_id, day, source, user_id, slot"  # in the order of `_key_of`
_SUMS = ("sessions", "tokens", "duration_s", "rounds", "thumb_up")


def _key_of(row: str) -> str:
    return f"""{row}.tenant_id, COALESCE({row}.chat_id, ''), ({row}.created_at AT TIME ZONE 'UTC')::date,
        COALESCE({row}.source, ''), {row}.user_id"""


def _sums_of(row: str) -> str:
    return f"sum({row}.tokens), sum({row}.duration_s), sum({row}.round), sum({row}.thumb_up)"


_OWN_SLOT = "CASE WHEN {row}.user_id = '' THEN pg_backend_pid() % 16 ELSE 0 END"
_ADDED = ", ".join(f"{name} = d.{name} + excluded.{name}" for name in _SUMS)
_INSERT = f"INSERT INTO session_days AS d ({_KEYS}, {', '.join(_SUMS)})"
_CONFLICT = f"ON CONFLICT ({_KEYS}) DO UPDATE SET {_ADDED}"

# Takes sums away where there are any; a user's row goes with the last session.
TAKE_FROM_DAY = """
CREATE FUNCTION take_from_day(
    p_tenant text, p_chat text, p_day date, p_source text, p_user text,
    p_sessions bigint, p_tokens numeric, p_duration_s float8, p_rounds bigint, p_thumb_up bigint
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE session_days d SET sessions = d.sessions - p_sessions, tokens = d.tokens - p_tokens,
        duration_s = d.duration_s - p_duration_s, rounds = d.rounds - p_rounds, thumb_up = d.thumb_up - p_thumb_up
    WHERE d.tenant_id = p_tenant AND d.chat_id = p_chat AND d.day = p_day AND d.source = p_source
      AND d.user_id = p_user AND d.slot = (
        SELECT one.slot FROM session_days one
        WHERE one.tenant_id = p_tenant AND one.chat_id = p_chat AND one.day = p_day AND one.source = p_source
          AND one.user_id = p_user
        ORDER BY one.slot <> pg_backend_pid() % 16, one.slot LIMIT 1);
    DELETE FROM session_days d
    WHERE d.tenant_id = p_tenant AND d.chat_id = p_chat AND d.day = p_day AND d.source = p_source
      AND d.user_id = p_user AND d.user_id <> '' AND d.sessions <= 0;
END $$
"""

SUM_ADDED_SESSIONS = f"""
CREATE FUNCTION sum_added_sessions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {_INSERT}
    SELECT {_key_of("a")}, {_OWN_SLOT.format(row="a")}, count(*), {_sums_of("a")}
    FROM added a WHERE a.deleted_at IS NULL
    GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6
    {_CONFLICT};
    RETURN NULL;
END $$
"""  # noqa: S608 (constants)

SUM_REMOVED_SESSIONS = f"""
CREATE FUNCTION sum_removed_sessions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM take_from_day(g.tenant, g.chat, g.day, g.source, g.user_id,
        g.sessions, g.tokens, g.duration_s, g.rounds, g.thumb_up)
    FROM (
        SELECT {_key_of("r")}, count(*), {_sums_of("r")}
        FROM removed r WHERE r.deleted_at IS NULL
        GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
    ) AS g(tenant, chat, day, source, user_id, sessions, tokens, duration_s, rounds, thumb_up);
    RETURN NULL;
END $$
"""  # noqa: S608 (constants)

# What a turn or a vote adds goes into the writer's own slot; a session that ends, or is given to another user, moves.
SUM_CHANGED_SESSION = f"""
CREATE FUNCTION sum_changed_session() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    is_moved boolean := ({_key_of("OLD")}, OLD.deleted_at IS NULL) IS DISTINCT FROM
        ({_key_of("NEW")}, NEW.deleted_at IS NULL);
BEGIN
    IF is_moved AND OLD.deleted_at IS NULL THEN
        PERFORM take_from_day({_key_of("OLD")}, 1, OLD.tokens, OLD.duration_s, OLD.round, OLD.thumb_up);
    END IF;
    IF NEW.deleted_at IS NULL THEN
        {_INSERT}
        VALUES ({_key_of("NEW")}, {_OWN_SLOT.format(row="NEW")}, is_moved::int,
            NEW.tokens - CASE WHEN is_moved THEN 0 ELSE OLD.tokens END,
            NEW.duration_s - CASE WHEN is_moved THEN 0 ELSE OLD.duration_s END,
            NEW.round - CASE WHEN is_moved THEN 0 ELSE OLD.round END,
            NEW.thumb_up - CASE WHEN is_moved THEN 0 ELSE OLD.thumb_up END)
        {_CONFLICT};
    END IF;
    RETURN NULL;
END $$
"""

_SUMMED = ("tokens", "duration_s", "round", "thumb_up", "deleted_at", "user_id", "created_at", "source", "chat_id")

TRIGGERS = (
    """CREATE TRIGGER sum_added_sessions AFTER INSERT ON sessions
        REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION sum_added_sessions()""",
    """CREATE TRIGGER sum_removed_sessions AFTER DELETE ON sessions
        REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION sum_removed_sessions()""",
    f"""CREATE TRIGGER sum_changed_session AFTER UPDATE OF {", ".join(_SUMMED)} ON sessions
        FOR EACH ROW WHEN (({", ".join(f"OLD.{name}" for name in _SUMMED)})
            IS DISTINCT FROM ({", ".join(f"NEW.{name}" for name in _SUMMED)}))
        EXECUTE FUNCTION sum_changed_session()""",
)

# Sessions that were there before: the owner of the tables is stopped by the wall too, and is let through here.
FILL = (
    "ALTER TABLE sessions NO FORCE ROW LEVEL SECURITY",
    "ALTER TABLE session_days NO FORCE ROW LEVEL SECURITY",
    f"""{_INSERT}
        SELECT {_key_of("s")}, 0, count(*), {_sums_of("s")}
        FROM sessions s WHERE s.deleted_at IS NULL GROUP BY 1, 2, 3, 4, 5""",  # noqa: S608 (constants)
    "ALTER TABLE session_days FORCE ROW LEVEL SECURITY",
    "ALTER TABLE sessions FORCE ROW LEVEL SECURITY",
)

STATS_FUNCTIONS = (
    TAKE_FROM_DAY,
    SUM_ADDED_SESSIONS,
    SUM_REMOVED_SESSIONS,
    SUM_CHANGED_SESSION,
    *TRIGGERS,
    *FILL,
)
DROP_STATS_FUNCTIONS = (
    *(
        f"DROP FUNCTION {name}() CASCADE"
        for name in ("sum_changed_session", "sum_removed_sessions", "sum_added_sessions")
    ),
    "DROP FUNCTION take_from_day",
)
