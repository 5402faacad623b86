"""How often background jobs are tried."""

from dataclasses import dataclass

ABANDONED = "ERROR: Task is abandoned after {} times attempts."


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryConfig:
    """How often a job is tried, and how long it waits in between: `backoff_s`, doubled each time.

    After the last try it fails; with `rest_s` it rests for so long instead and begins again, as often as it takes.
    """

    attempts: int = 3
    backoff_s: float = 5.0
    rest_s: float | None = None
