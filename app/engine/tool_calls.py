"""Calls to the caller's tools, put in order as a model writes them (openai.md 3.4, 3.7)."""

from app.domain.events import ToolCallPiece
from app.domain.ids import TurnId
from app.domain.models import ModelToolCall

_PREFIX = "call_"


def call_id(turn_id: TurnId, number: int) -> str:
    """Return the id of call `number` of a turn: unique everywhere, and the turn can be told from it."""
    return f"{_PREFIX}{turn_id.replace('-', '')}_{number}"


def turn_of_call(given: str) -> TurnId | None:
    """Return the turn that made a call with this id; None when no turn of ours did."""
    digits, _, number = given.removeprefix(_PREFIX).partition("_")
    if not given.startswith(_PREFIX) or len(digits) != 32 or not number.isdecimal() or not digits.isalnum():
        return None
    return TurnId(f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}")


class CallSequence:
    """Turns a model's fragments into pieces: calls from 0 on, each whole before the next begins.

    The first call is passed on as it comes. Fragments of later ones are kept until `flush`, since some providers go
    back and forth between calls. A provider's new id under a known number begins a new call: some number every
    call 0. Ids are ours (`call_id`). With `is_single` only the first call is kept.
    """

    def __init__(self, turn_id: TurnId, *, is_single: bool) -> None:
        self._turn_id = turn_id
        self._is_single = is_single
        self._keys: list[tuple[int, str]] = []
        self._kept: dict[int, list[ModelToolCall]] = {}
        self._has_told = False

    @property
    def has_begun(self) -> bool:
        """Whether any call came."""
        return bool(self._keys)

    def feed(self, fragment: ModelToolCall) -> list[ToolCallPiece]:
        """Return what can be told of `fragment` now."""
        at = self._place(fragment)
        if at == 0:
            return [self._piece(0, fragment, is_first=self._begins())]
        if not self._is_single:
            self._kept.setdefault(at, []).append(fragment)
        return []

    def flush(self) -> list[ToolCallPiece]:
        """Return what was kept; call once, at the end."""
        return [
            self._piece(at, fragment, is_first=place == 0)
            for at, fragments in sorted(self._kept.items())
            for place, fragment in enumerate(fragments)
        ]

    def _begins(self) -> bool:
        begun, self._has_told = self._has_told, True
        return not begun

    def _place(self, fragment: ModelToolCall) -> int:
        for at in reversed(range(len(self._keys))):
            number, known = self._keys[at]
            if number == fragment.number:
                if fragment.id and fragment.name and known and known != fragment.id:
                    break
                return at
        self._keys.append((fragment.number, fragment.id))
        return len(self._keys) - 1

    def _piece(self, at: int, fragment: ModelToolCall, *, is_first: bool) -> ToolCallPiece:
        if is_first:
            name = fragment.name
            return ToolCallPiece(number=at, id=call_id(self._turn_id, at), name=name, arguments=fragment.arguments)
        return ToolCallPiece(number=at, arguments=fragment.arguments)
