"""A turn that this process drives."""

from dataclasses import dataclass, field

import anyio

from app.domain.errors import ParleyError
from app.engine.ask import Ask
from app.engine.draft import Draft
from app.engine.log import TurnLog

_PATIENCE_S = (0.8, 1.3)
"""How long an abandoned turn is kept for the first and the second automatic retry of the same client (openai.md 1.7).

A stock client backs off 0.5 s, then 1 s, and gives up after its second retry.
"""


@dataclass(slots=True, kw_only=True, eq=False)
class RunningTurn:
    """Its answer in the making, who follows it, and how it is ended.

    `retry_count` is that of the newest call that asked for it, `failure` why it failed, once it has.
    """

    ask: Ask
    log: TurnLog
    draft: Draft
    created_s: float
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    is_stopping: bool = False
    followers: int = 0
    retry_count: int | None = None
    failure: ParleyError | None = None
    ended: anyio.Event = field(default_factory=anyio.Event)

    def stop(self) -> None:
        """Have it end with what it has."""
        self.is_stopping = True
        self.scope.cancel()

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody follows it, and nobody may ask for it again."""
        return self.followers == 0 and not self.log.is_sealed and self.ask.on_disconnect == "stop"

    @property
    def patience_s(self) -> float:
        """How long it is kept for its client's automatic retry when it is abandoned, in seconds."""
        if self.retry_count is None or self.retry_count >= len(_PATIENCE_S):
            return 0.0
        return _PATIENCE_S[self.retry_count]
