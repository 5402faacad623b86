"""Functions of the schema: a turn is opened, and closed, in one round trip and one transaction of its own.

They run with the rights of their caller, behind the tenant wall like any statement: each sets the tenant for its
transaction first, as a unit of work does.
"""

# 'opened'; 'stale' when the chat is not as the caller knows it (p_chat_updated_at null: not asked);
# 'busy' when the session has a running turn; 'gone' when there is no such session.
OPEN_TURN = """
CREATE FUNCTION open_turn(
    p_tenant text, p_chat_updated_at timestamptz, p_chat_datasets int, p_id text, p_session_id text, p_chat_id text,
    p_api_key_id text, p_owner text, p_route text, p_body_hash bytea, p_request_id text, p_question text,
    p_model text, p_prompt_version text, p_created_at timestamptz
) RETURNS text LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    place int := 0;
BEGIN
    PERFORM set_config('parley.tenant', p_tenant, true);
    IF p_chat_updated_at IS NOT NULL AND NOT EXISTS (
        SELECT FROM chats
        WHERE tenant_id = p_tenant AND id = p_chat_id AND deleted_at IS NULL AND updated_at = p_chat_updated_at
          AND (SELECT count(*) FROM chat_datasets WHERE tenant_id = p_tenant AND chat_id = p_chat_id) = p_chat_datasets
    ) THEN
        RETURN 'stale';
    END IF;
    IF p_session_id IS NOT NULL THEN
        SELECT next_position FROM sessions
        WHERE tenant_id = p_tenant AND id = p_session_id AND deleted_at IS NULL
        FOR UPDATE INTO place;
        IF NOT FOUND THEN
            RETURN 'gone';
        END IF;
    END IF;
    INSERT INTO turns (tenant_id, id, session_id, chat_id, api_key_id, state, owner, route, body_hash, request_id,
        model, prompt_version, created_at)
    VALUES (p_tenant, p_id, p_session_id, p_chat_id, p_api_key_id, 'running', p_owner, p_route, p_body_hash,
        p_request_id, p_model, p_prompt_version, p_created_at)
    ON CONFLICT DO NOTHING;  -- uq_turns_one_running: one running turn in a session
    IF NOT FOUND THEN
        RETURN 'busy';
    END IF;
    IF p_session_id IS NOT NULL THEN
        UPDATE sessions SET next_position = place + 1, updated_at = p_created_at, last_message_at = p_created_at
        WHERE tenant_id = p_tenant AND id = p_session_id;
    END IF;
    INSERT INTO messages (tenant_id, turn_id, role, session_id, position, content, created_at)
    VALUES (p_tenant, p_id, 'user', p_session_id, place, p_question, p_created_at);
    RETURN 'opened';
END $$
"""

# False when the turn has ended already, or another process has taken it over: nothing is written then.
CLOSE_TURN = """
CREATE FUNCTION close_turn(
    p_tenant text, p_id text, p_fence bigint, p_state text, p_finish_reason text, p_error_kind text, p_error text,
    p_prompt_tokens int, p_completion_tokens int, p_reasoning_tokens int, p_cached_tokens int, p_is_estimated boolean,
    p_reference_total int, p_timings_ms jsonb, p_first_number int, p_last_number int, p_events bytea,
    p_content text, p_reasoning text, p_references jsonb, p_duration_s float8, p_calls jsonb
) RETURNS boolean LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    turn record;
    place int := 1;
BEGIN
    PERFORM set_config('parley.tenant', p_tenant, true);
    -- The session before the turn, as open_turn locks them: two that come at once wait, and never for each other.
    PERFORM FROM sessions
    WHERE tenant_id = p_tenant AND id = (SELECT session_id FROM turns WHERE tenant_id = p_tenant AND id = p_id)
    FOR UPDATE;
    UPDATE turns SET state = p_state, finish_reason = p_finish_reason, error_kind = p_error_kind, error = p_error,
        prompt_tokens = p_prompt_tokens, completion_tokens = p_completion_tokens,
        reasoning_tokens = p_reasoning_tokens, cached_tokens = p_cached_tokens, is_estimated = p_is_estimated,
        reference_total = p_reference_total, timings_ms = p_timings_ms, ended_at = clock_timestamp()
    WHERE tenant_id = p_tenant AND id = p_id AND state = 'running' AND fence = p_fence
    RETURNING session_id, chat_id, api_key_id INTO turn;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO turn_events (tenant_id, turn_id, first_number, last_number, payload)
    VALUES (p_tenant, p_id, p_first_number, p_last_number, p_events)
    ON CONFLICT (tenant_id, turn_id, first_number) DO UPDATE SET  -- stored before, and never told so
        last_number = excluded.last_number, payload = excluded.payload;
    IF turn.session_id IS NOT NULL THEN
        UPDATE sessions SET next_position = next_position + 1, updated_at = clock_timestamp(),
            last_message_at = clock_timestamp(), tokens = tokens + p_prompt_tokens + p_completion_tokens,
            duration_s = duration_s + p_duration_s, round = round + (p_state = 'done')::int
        WHERE tenant_id = p_tenant AND id = turn.session_id
        RETURNING next_position - 1 INTO place;
    END IF;
    INSERT INTO messages (tenant_id, turn_id, role, session_id, position, content, reasoning)
    VALUES (p_tenant, p_id, 'assistant', turn.session_id, place, p_content, p_reasoning);
    IF p_references IS NOT NULL THEN
        INSERT INTO message_references (tenant_id, turn_id, number, chunk_id, document_id, document_name, dataset_id,
            content, positions, image_id, url, doc_type, similarity, vector_similarity, term_similarity, is_cited)
        SELECT p_tenant, p_id, r.number, r.chunk_id, r.document_id, r.document_name, r.dataset_id, r.content,
            r.positions, r.image_id, r.url, r.doc_type, r.similarity, r.vector_similarity, r.term_similarity, r.is_cited
        FROM jsonb_to_recordset(p_references) AS r(number int, chunk_id text, document_id text, document_name text,
            dataset_id text, content text, positions jsonb, image_id text, url text, doc_type text,
            similarity float8, vector_similarity float8, term_similarity float8, is_cited boolean);
    END IF;
    IF p_calls IS NOT NULL THEN
        PERFORM add_usage(p_tenant, p_id, turn.session_id, turn.chat_id, turn.api_key_id, p_calls);
    END IF;
    RETURN true;
END $$
"""

# One ledger row a call, and the day's sums beside it; sums are locked in one order, so that no two deadlock.
ADD_USAGE = """
CREATE FUNCTION add_usage(
    p_tenant text, p_turn_id text, p_session_id text, p_chat_id text, p_api_key_id text, p_calls jsonb
) RETURNS void LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('parley.tenant', p_tenant, true);
    WITH calls AS (
        INSERT INTO usage_ledger (tenant_id, turn_id, session_id, chat_id, api_key_id, kind, purpose, model, provider,
            attempt, prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens, is_estimated, duration_ms)
        SELECT p_tenant, p_turn_id, p_session_id, p_chat_id, p_api_key_id, c.kind, c.purpose, c.model, c.provider,
            c.attempt, c.prompt_tokens, c.completion_tokens, c.reasoning_tokens, c.cached_tokens, c.is_estimated,
            c.duration_ms
        FROM jsonb_to_recordset(p_calls) AS c(kind text, purpose text, model text, provider text, attempt int,
            prompt_tokens int, completion_tokens int, reasoning_tokens int, cached_tokens int, is_estimated boolean,
            duration_ms float8)
        RETURNING (created_at AT TIME ZONE 'UTC')::date AS day, kind, model, provider, prompt_tokens,
            completion_tokens, duration_ms
    )
    INSERT INTO usage_daily (tenant_id, day, api_key_id, kind, model, provider, calls, prompt_tokens,
        completion_tokens, duration_ms)
    SELECT p_tenant, day, COALESCE(p_api_key_id, ''), kind, model, provider, count(*), sum(prompt_tokens),
        sum(completion_tokens), sum(duration_ms)
    FROM calls GROUP BY day, kind, model, provider
    ORDER BY day, kind, model, provider
    ON CONFLICT (tenant_id, day, api_key_id, kind, model, provider) DO UPDATE SET
        calls = usage_daily.calls + excluded.calls,
        prompt_tokens = usage_daily.prompt_tokens + excluded.prompt_tokens,
        completion_tokens = usage_daily.completion_tokens + excluded.completion_tokens,
        duration_ms = usage_daily.duration_ms + excluded.duration_ms;
END $$
"""

FIRST_FUNCTIONS = (ADD_USAGE, OPEN_TURN, CLOSE_TURN)
FUNCTION_NAMES = ("close_turn", "open_turn", "add_usage")

# As OPEN_TURN, which stays for processes of the version before until they have ended. p_session is null for a session
# that is there (or none); else the session begins with this turn: name, user_id, source, kind, variables, opener and
# opener_id. p_extras is kept beside the question.
OPEN_TURN_BEGINNING = """
CREATE FUNCTION open_turn(
    p_tenant text, p_chat_updated_at timestamptz, p_chat_datasets int, p_id text, p_session_id text, p_chat_id text,
    p_api_key_id text, p_owner text, p_route text, p_body_hash bytea, p_request_id text, p_question text,
    p_model text, p_prompt_version text, p_created_at timestamptz, p_session jsonb, p_extras jsonb
) RETURNS text LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    place int := 0;
BEGIN
    PERFORM set_config('parley.tenant', p_tenant, true);
    IF p_chat_updated_at IS NOT NULL AND NOT EXISTS (
        SELECT FROM chats
        WHERE tenant_id = p_tenant AND id = p_chat_id AND deleted_at IS NULL AND updated_at = p_chat_updated_at
          AND (SELECT count(*) FROM chat_datasets WHERE tenant_id = p_tenant AND chat_id = p_chat_id) = p_chat_datasets
    ) THEN
        RETURN 'stale';
    END IF;
    IF p_session IS NOT NULL THEN
        place := 1;
        INSERT INTO sessions (tenant_id, id, kind, chat_id, name, user_id, source, variables, next_position,
            created_at, updated_at, last_message_at)
        VALUES (p_tenant, p_session_id, p_session->>'kind', p_chat_id, p_session->>'name', p_session->>'user_id',
            p_session->>'source', p_session->'variables', 2, p_created_at, p_created_at, p_created_at);
        INSERT INTO messages (tenant_id, turn_id, role, session_id, position, content, created_at)
        VALUES (p_tenant, p_session->>'opener_id', 'assistant', p_session_id, 0, p_session->>'opener', p_created_at);
    ELSIF p_session_id IS NOT NULL THEN
        SELECT next_position FROM sessions
        WHERE tenant_id = p_tenant AND id = p_session_id AND deleted_at IS NULL AND created_at > COALESCE(
            (SELECT sessions_since FROM chats WHERE tenant_id = p_tenant AND id = p_chat_id), '-infinity')
        FOR UPDATE INTO place;
        IF NOT FOUND THEN
            RETURN 'gone';
        END IF;
    END IF;
    INSERT INTO turns (tenant_id, id, session_id, chat_id, api_key_id, state, owner, route, body_hash, request_id,
        model, prompt_version, created_at)
    VALUES (p_tenant, p_id, p_session_id, p_chat_id, p_api_key_id, 'running', p_owner, p_route, p_body_hash,
        p_request_id, p_model, p_prompt_version, p_created_at)
    ON CONFLICT DO NOTHING;  -- uq_turns_one_running: one running turn in a session
    IF NOT FOUND THEN
        RETURN 'busy';
    END IF;
    IF p_session_id IS NOT NULL AND p_session IS NULL THEN
        UPDATE sessions SET next_position = place + 1, updated_at = p_created_at, last_message_at = p_created_at
        WHERE tenant_id = p_tenant AND id = p_session_id;
    END IF;
    INSERT INTO messages (tenant_id, turn_id, role, session_id, position, content, extras, created_at)
    VALUES (p_tenant, p_id, 'user', p_session_id, place, p_question, p_extras, p_created_at);
    RETURN 'opened';
END $$
"""

DROP_OPEN_TURN_BEGINNING = """
DROP FUNCTION open_turn(text, timestamptz, int, text, text, text, text, text, text, bytea, text, text, text, text,
    timestamptz, jsonb, jsonb)
"""

# CLOSE_TURN, which does the work, and what the answer asked its caller's tools to do, as OpenAI writes it.
CLOSE_TURN_CALLING = """
CREATE FUNCTION close_turn(
    p_tenant text, p_id text, p_fence bigint, p_state text, p_finish_reason text, p_error_kind text, p_error text,
    p_prompt_tokens int, p_completion_tokens int, p_reasoning_tokens int, p_cached_tokens int, p_is_estimated boolean,
    p_reference_total int, p_timings_ms jsonb, p_first_number int, p_last_number int, p_events bytea,
    p_content text, p_reasoning text, p_references jsonb, p_duration_s float8, p_calls jsonb, p_tool_calls jsonb
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF NOT close_turn(p_tenant, p_id, p_fence, p_state, p_finish_reason, p_error_kind, p_error, p_prompt_tokens,
        p_completion_tokens, p_reasoning_tokens, p_cached_tokens, p_is_estimated, p_reference_total, p_timings_ms,
        p_first_number, p_last_number, p_events, p_content, p_reasoning, p_references, p_duration_s, p_calls) THEN
        RETURN false;
    END IF;
    IF p_tool_calls IS NOT NULL THEN
        UPDATE messages SET tool_calls = p_tool_calls
        WHERE tenant_id = p_tenant AND turn_id = p_id AND role = 'assistant';
    END IF;
    RETURN true;
END $$
"""

DROP_CLOSE_TURN_CALLING = """
DROP FUNCTION close_turn(text, text, bigint, text, text, text, text, int, int, int, int, boolean, int, jsonb, int, int,
    bytea, text, text, jsonb, float8, jsonb, jsonb)
"""
