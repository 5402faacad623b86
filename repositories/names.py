"""Names that are free, asked in one way for every sort of thing."""

from sqlalchemy import TextClause, text


def free_name(table: str, others: str, *, also: str = "true") -> TextClause:
    """Return the statement for the first of `:names` that none of the `others` in `table` has, in whatever case.

    `others` is a condition for `t`, the rows of the table; `also` one for `c.name`, the name that is looked at.
    """
    return text(f"""
        SELECT c.name FROM unnest(CAST(:names AS text[])) WITH ORDINALITY AS c(name, n)
        WHERE NOT EXISTS (
            SELECT FROM {table} t WHERE t.tenant_id = :tenant AND {others} AND lower(t.name) = lower(c.name)) AND {also}
        ORDER BY c.n LIMIT 1
    """)  # noqa: S608 (constants)
