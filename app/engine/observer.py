"""What the engine tells of itself: one call when a turn begins, one when it has ended."""

from typing import Protocol

from app.domain.ids import TurnId
from app.domain.turns import TurnState
from app.engine.ask import Ask
from app.engine.draft import Draft


class TurnObserver(Protocol):
    """Turns what happens into metrics and log lines; must be quick and must not raise."""

    def turn_began(self) -> None:
        """A turn is stored and its answer begins."""
        ...

    def turn_ended(self, turn_id: TurnId, ask: Ask, state: TurnState, draft: Draft) -> None:
        """A turn has ended and is stored."""
        ...
