"""Row-level security: which tables have the tenant wall, and what the dispatch role may see of whom.

The app role reaches a row only when the transaction's `parley.tenant` is the row's tenant (design.md 1.4).
Work that belongs to no tenant (claiming jobs, finding orphaned turns, looking a key up) runs as the
dispatch role, which crosses the wall but sees only the columns named here: never a message, chunk or prompt.
"""

DISPATCH_ROLE = "parley_dispatch"

TENANT_SETTING = "parley.tenant"

DISPATCH_GRANTS: dict[str, tuple[str, ...]] = {
    "tenants": ("SELECT",),
    "api_keys": ("SELECT", "DELETE"),
    "rate_windows": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "open_streams": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "quota_days": ("SELECT (tenant_id, day)", "DELETE"),
    "quota_reservations": ("SELECT (tenant_id, process_id)", "DELETE"),
    "sessions": ("SELECT (tenant_id, id, kind, updated_at, deleted_at)",),
    "turns": ("SELECT (tenant_id, id, session_id, state, owner, fence, is_stop_requested, created_at)",),
    "jobs": (
        "SELECT (tenant_id, id, kind, subject_id, state, priority, attempts, run_after, owner, fence, lease_until,"
        " created_at)",
        "UPDATE (state, attempts, run_after, owner, fence, lease_until)",
    ),
    "turn_events": ("SELECT (tenant_id, turn_id, first_number, created_at)", "DELETE"),
    "idempotency": ("SELECT (tenant_id, api_key_id, key, created_at)", "DELETE"),
    "model_answers": ("SELECT (tenant_id, key, created_at)", "DELETE"),
    "stray_blobs": ("SELECT", "DELETE"),
}


def wall_statements(table: str) -> list[str]:
    """Return the statements that put `table` behind the wall."""
    own = f"tenant_id = current_setting('{TENANT_SETTING}', true)"
    statements = [
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        f"CREATE POLICY tenant_wall ON {table} USING ({own}) WITH CHECK ({own})",
    ]
    if table in DISPATCH_GRANTS:
        statements.append(f"CREATE POLICY dispatch ON {table} TO {DISPATCH_ROLE} USING (true)")
        statements += [f"GRANT {grant} ON {table} TO {DISPATCH_ROLE}" for grant in DISPATCH_GRANTS[table]]
    return statements
