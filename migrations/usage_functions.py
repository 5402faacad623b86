"""The ledger's function, since rows name the end user."""

from migrations.functions import ADD_USAGE

_NAMED = (
    ("duration_ms)\n        SELECT", "duration_ms, user_id)\n        SELECT"),
    (
        "c.duration_ms\n        FROM",
        "c.duration_ms,\n            COALESCE(c.user_id, (SELECT NULLIF(s.user_id, '') FROM sessions s\n"
        "                WHERE s.tenant_id = p_tenant AND s.id = p_session_id))\n        FROM",
    ),
    ("duration_ms float8)\n        RETURNING", "duration_ms float8, user_id text)\n        RETURNING"),
)


def _replacing(function: str) -> str:
    return function.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")


def _naming(function: str) -> str:
    for before, after in _NAMED:
        if function.count(before) != 1:
            raise AssertionError(f"the function has not once {before!r}")
        function = function.replace(before, after)
    return function


ADD_USAGE_AS_BEFORE = _replacing(ADD_USAGE)

# Whom the call names, else whose session it is.
ADD_USAGE_OF_USERS = _replacing(_naming(ADD_USAGE))
