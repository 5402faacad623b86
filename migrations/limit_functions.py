"""Functions of the schema that count: calls of a window, streams that are open, tokens of a day.

They run with the rights of their caller. The first two cross the tenant wall as the dispatch role, for their own
transaction only, and touch nothing but counters.
"""

# Each key's calls are added to its window in one order, so that no two callers deadlock. What is counted may be lost
# with the machine (the table is not logged): nobody waits for the disk.
TAKE_REQUESTS = """
CREATE FUNCTION take_requests(p_tenants text[], p_keys text[], p_wanted int[], p_window_s float8)
RETURNS TABLE (tenant text, key text, used int, ends_at float8, left_s float8) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    moment float8 := extract(epoch FROM clock_timestamp());
    begun float8 := floor(moment / p_window_s) * p_window_s;
BEGIN
    PERFORM set_config('role', 'parley_dispatch', true), set_config('synchronous_commit', 'off', true);
    RETURN QUERY
    INSERT INTO rate_windows AS w (tenant_id, api_key_id, window_start, used)
    SELECT a.tenant_id, a.api_key_id, to_timestamp(begun), a.wanted
    FROM unnest(p_tenants, p_keys, p_wanted) AS a(tenant_id, api_key_id, wanted)
    ORDER BY 1, 2
    ON CONFLICT (tenant_id, api_key_id, window_start) DO UPDATE SET used = w.used + excluded.used
    RETURNING w.tenant_id, w.api_key_id, w.used, begun + p_window_s, begun + p_window_s - moment;
END $$
"""

# A process tells how many streams it has, not how many came or went: a word of it that is lost does no harm.
# Processes that ask about the same key at once wait for each other; keys come sorted, so that none waits in a circle.
HOLD_STREAMS = """
CREATE FUNCTION hold_streams(
    p_process text, p_tenants text[], p_keys text[], p_held int[], p_wanted int[], p_most int
) RETURNS int[] LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    granted int[] := '{}';
    given int;
    others int;
BEGIN
    PERFORM set_config('role', 'parley_dispatch', true), set_config('synchronous_commit', 'off', true);
    FOR i IN 1 .. cardinality(p_keys) LOOP
        given := 0;
        IF p_wanted[i] > 0 THEN
            PERFORM pg_advisory_xact_lock(hashtextextended(p_tenants[i] || ' ' || p_keys[i], 20261121));
            SELECT COALESCE(sum(s.streams), 0) INTO others
            FROM open_streams s JOIN processes p ON p.id = s.process_id
            WHERE s.tenant_id = p_tenants[i] AND s.api_key_id = p_keys[i] AND s.process_id <> p_process
              AND p.lease_until > clock_timestamp();
            given := GREATEST(0, LEAST(p_wanted[i], p_most - others - p_held[i]));
        END IF;
        IF p_held[i] + given > 0 THEN
            INSERT INTO open_streams (tenant_id, api_key_id, process_id, streams)
            VALUES (p_tenants[i], p_keys[i], p_process, p_held[i] + given)
            ON CONFLICT (tenant_id, api_key_id, process_id) DO UPDATE SET streams = excluded.streams;
        ELSE
            DELETE FROM open_streams
            WHERE tenant_id = p_tenants[i] AND api_key_id = p_keys[i] AND process_id = p_process;
        END IF;
        granted := granted || given;
    END LOOP;
    RETURN granted;
END $$
"""

# Null when the tokens are reserved under p_id, else what is used up: 'key' or 'tenant'; 'key reserved' or 'tenant
# reserved' when something is left and calls under way may need it. A quota lets a call through while anything of it is
# left, and counts what others have reserved, so that calls at once cannot all take the rest.
# What a day's first call finds in the ledger is counted in; from then on `count_tokens` adds what is spent. Whoever
# writes to the ledger holds the day's lock, shared: the first call waits for them, and those who come later find its
# row. Rows are locked the tenant's first, everywhere, and after the day's lock.
RESERVE_TOKENS = """
CREATE FUNCTION reserve_tokens(
    p_tenant text, p_id text, p_process text, p_key text, p_of_key bigint, p_of_tenant bigint, p_tokens bigint
) RETURNS text LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    today date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
    quota record;
    spent bigint;
    held bigint;
BEGIN
    PERFORM set_config('parley.tenant', p_tenant, true);
    IF EXISTS (
        SELECT FROM (VALUES ('', p_of_tenant), (p_key, p_of_key)) AS q(subject, most)
        WHERE q.most IS NOT NULL AND NOT EXISTS (
            SELECT FROM quota_days d WHERE d.tenant_id = p_tenant AND d.day = today AND d.subject = q.subject)
    ) THEN
        PERFORM pg_advisory_xact_lock(hashtextextended(p_tenant, today - DATE '1000-01-01'));
        INSERT INTO quota_days (tenant_id, day, subject, used)
        SELECT p_tenant, today, q.subject, (
            SELECT COALESCE(sum(u.prompt_tokens + u.completion_tokens), 0) FROM usage_daily u
            WHERE u.tenant_id = p_tenant AND u.day = today AND (
                q.subject = '' OR u.api_key_id = p_key OR u.api_key_id IN (
                    SELECT k.id FROM api_keys k WHERE k.tenant_id = p_tenant AND k.parent_id = p_key))
        )
        FROM (VALUES ('', p_of_tenant), (p_key, p_of_key)) AS q(subject, most)
        WHERE q.most IS NOT NULL
        ON CONFLICT DO NOTHING;
    END IF;
    FOR quota IN
        SELECT q.subject, q.most, q.name FROM (VALUES ('', p_of_tenant, 'tenant'), (p_key, p_of_key, 'key'))
            AS q(subject, most, name)
        WHERE q.most IS NOT NULL
    LOOP
        SELECT used INTO spent FROM quota_days
        WHERE tenant_id = p_tenant AND day = today AND subject = quota.subject FOR UPDATE;
        SELECT COALESCE(sum(r.tokens), 0) INTO held
        FROM quota_reservations r JOIN processes p ON p.id = r.process_id
        WHERE r.tenant_id = p_tenant AND r.subject = quota.subject AND r.day = today
          AND p.lease_until > clock_timestamp();
        IF spent + held >= quota.most THEN
            DELETE FROM quota_reservations WHERE tenant_id = p_tenant AND id = p_id;
            RETURN quota.name || CASE WHEN spent < quota.most THEN ' reserved' ELSE '' END;
        END IF;
        INSERT INTO quota_reservations (tenant_id, id, subject, day, tokens, process_id)
        VALUES (p_tenant, p_id, quota.subject, today, p_tokens, p_process);
    END LOOP;
    RETURN NULL;
END $$
"""

RELEASE_TOKENS = """
CREATE FUNCTION release_tokens(p_tenant text, p_id text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('parley.tenant', p_tenant, true);
    DELETE FROM quota_reservations WHERE tenant_id = p_tenant AND id = p_id;
END $$
"""

# What goes on the ledger counts for the key, the key it hangs on, and the tenant: where somebody keeps count that day.
COUNT_TOKENS = """
CREATE FUNCTION count_tokens() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    spent record;
BEGIN
    FOR spent IN
        SELECT a.tenant_id, a.api_key_id, (a.created_at AT TIME ZONE 'UTC')::date AS day,
            sum(a.prompt_tokens + a.completion_tokens) AS tokens
        FROM added a GROUP BY 1, 2, 3
    LOOP
        PERFORM pg_advisory_xact_lock_shared(hashtextextended(spent.tenant_id, spent.day - DATE '1000-01-01'));
        CONTINUE WHEN NOT EXISTS (SELECT FROM quota_days q WHERE q.tenant_id = spent.tenant_id AND q.day = spent.day);
        UPDATE quota_days SET used = used + spent.tokens
        WHERE tenant_id = spent.tenant_id AND day = spent.day AND subject = '';
        UPDATE quota_days SET used = used + spent.tokens
        WHERE tenant_id = spent.tenant_id AND day = spent.day AND subject = COALESCE(
            (SELECT k.parent_id FROM api_keys k WHERE k.tenant_id = spent.tenant_id AND k.id = spent.api_key_id),
            spent.api_key_id);
    END LOOP;
    RETURN NULL;
END $$
"""

COUNTING = """
CREATE TRIGGER count_tokens AFTER INSERT ON usage_ledger
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION count_tokens()
"""

# Whether question and answer of a turn that has just opened fit into its session with p_most messages in all; when
# trimming they do, or nothing older is left. The opener stays. Whoever opens a turn has locked its session.
MAKE_ROOM = """
CREATE FUNCTION make_room(p_tenant text, p_session text, p_turn text, p_most int, p_is_trimming boolean)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    excess int;
    old text[];
BEGIN
    -- A session never holds more messages than it has given places: most calls count nothing.
    IF (SELECT s.next_position < p_most FROM sessions s WHERE s.tenant_id = p_tenant AND s.id = p_session) THEN
        RETURN true;
    END IF;
    SELECT count(*) + 1 - p_most INTO excess FROM messages WHERE tenant_id = p_tenant AND session_id = p_session;
    IF excess <= 0 THEN
        RETURN true;
    ELSIF NOT p_is_trimming THEN
        RETURN false;
    END IF;
    SELECT array_agg(DISTINCT t.turn_id) INTO old FROM (
        SELECT m.turn_id FROM messages m
        WHERE m.tenant_id = p_tenant AND m.session_id = p_session AND m.turn_id <> p_turn
          AND NOT (m.position = 0 AND m.role = 'assistant')
        ORDER BY m.position LIMIT excess
    ) t;
    DELETE FROM messages WHERE tenant_id = p_tenant AND session_id = p_session AND turn_id = ANY(old);
    DELETE FROM turns WHERE tenant_id = p_tenant AND session_id = p_session AND id = ANY(old);
    RETURN true;
END $$
"""

LIMIT_FUNCTIONS = (TAKE_REQUESTS, HOLD_STREAMS, RESERVE_TOKENS, RELEASE_TOKENS, COUNT_TOKENS, COUNTING, MAKE_ROOM)
DROP_LIMIT_FUNCTIONS = (
    "DROP FUNCTION make_room",
    "DROP FUNCTION count_tokens CASCADE",
    "DROP FUNCTION release_tokens",
    "DROP FUNCTION reserve_tokens",
    "DROP FUNCTION hold_streams",
    "DROP FUNCTION take_requests",
)
