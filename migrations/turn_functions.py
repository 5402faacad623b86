"""A turn opened in a session that is there, with all it needs to begin, in one round trip."""

# First a row that says what came of it, as open_turn does, or 'full' (the session holds p_most messages and none may
# go); then, if it was opened, a row for each message a model may be told: the last p_told, oldest first. A turn that
# failed is kept and shown, but is no part of that (openai.md 1.7).
CONTINUE_SESSION = """
CREATE FUNCTION continue_session(
    p_tenant text, p_chat_updated_at timestamptz, p_chat_datasets int, p_id text, p_session_id text, p_chat_id text,
    p_api_key_id text, p_owner text, p_route text, p_body_hash bytea, p_request_id text, p_question text,
    p_model text, p_prompt_version text, p_created_at timestamptz, p_extras jsonb, p_most int, p_is_trimming boolean,
    p_told int
) RETURNS TABLE (opening text, role text, content text, tool_calls text, extras text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    came text;
BEGIN
    IF p_most > 0 AND NOT p_is_trimming THEN
        BEGIN
            came := open_turn(p_tenant, p_chat_updated_at, p_chat_datasets, p_id, p_session_id, p_chat_id,
                p_api_key_id, p_owner, p_route, p_body_hash, p_request_id, p_question, p_model, p_prompt_version,
                p_created_at, NULL::jsonb, p_extras);
            IF came = 'opened' AND NOT make_room(p_tenant, p_session_id, p_id, p_most, false) THEN
                RAISE EXCEPTION 'the session is full' USING ERRCODE = 'PL001';  -- takes back what was written
            END IF;
        EXCEPTION WHEN SQLSTATE 'PL001' THEN
            came := 'full';
        END;
    ELSE
        came := open_turn(p_tenant, p_chat_updated_at, p_chat_datasets, p_id, p_session_id, p_chat_id,
            p_api_key_id, p_owner, p_route, p_body_hash, p_request_id, p_question, p_model, p_prompt_version,
            p_created_at, NULL::jsonb, p_extras);
        IF came = 'opened' AND p_most > 0 THEN
            PERFORM make_room(p_tenant, p_session_id, p_id, p_most, true);
        END IF;
    END IF;
    RETURN QUERY SELECT came, NULL::text, NULL::text, NULL::text, NULL::text;
    IF came = 'opened' THEN
        RETURN QUERY SELECT NULL::text, told.role, told.content, told.tool_calls, told.extras FROM (
            SELECT m.role, m.content, m.position, m.tool_calls::text, m.extras::text
            FROM messages m LEFT JOIN turns t ON t.tenant_id = m.tenant_id AND t.id = m.turn_id
            WHERE m.tenant_id = p_tenant AND m.session_id = p_session_id AND m.turn_id <> p_id
              AND (t.state IS NULL OR t.state IN ('done', 'stopped'))
              AND (m.content <> '' OR m.tool_calls IS NOT NULL)
            ORDER BY m.position DESC LIMIT p_told
        ) told ORDER BY told.position;
    END IF;
END $$
"""

DROP_CONTINUE_SESSION = "DROP FUNCTION continue_session"
