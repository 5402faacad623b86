"""What a unit of work raises when Postgres is away, or refuses what it was sent."""

from asyncpg import InterfaceError, PostgresError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from app.domain.errors import Unavailable

DRIVER_FAILURES = (PostgresError, InterfaceError, OSError, TimeoutError)
"""What the driver raises, and whoever waits for it with a deadline."""

DATABASE_FAILURES = (SQLAlchemyError, *DRIVER_FAILURES, Unavailable)
"""Some statements go through SQLAlchemy and some straight to the driver (`statements.py`): each raises its own."""

STATEMENT_FAILURES = (SQLAlchemyError, PostgresError, InterfaceError)
"""What a statement raises, whichever way it went."""

_SLOW = ("57014", "55P03")  # ended by its deadline, for itself or for a lock
_AGAIN = ("40", "57P", "53", "08")  # beaten by another transaction; shutting down; out of room; connection lost


def passing(error: Exception) -> Unavailable | None:
    """Return what a caller is told of a failure that is nobody's fault; None where a statement of ours is wrong."""
    lost = isinstance(error, InterfaceError)
    cause: BaseException | None = error
    if isinstance(error, DBAPIError):
        lost, cause = error.connection_invalidated, error.orig
    state = getattr(cause, "sqlstate", None) or ""
    if state in _SLOW:
        return Unavailable("The database took too long for this; please ask for less, or try again.", retry_after_s=5)
    if lost or state.startswith(_AGAIN):
        return Unavailable("The database could not finish this; please try again.", retry_after_s=2)
    return None
