"""An answer in the making: what an answerer adds to, and what is stored when it ends."""

import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from msgspec import structs

from app.domain.events import ModelAsked, ReasoningPiece, RetrievalDone, TextPiece, ToolCallPiece, TurnEvent
from app.domain.ids import TurnId
from app.domain.models import ChatMessage, FinishReason, ToolCall, Usage
from app.domain.references import Reference
from app.domain.retrieval import ModelCall
from app.engine.log import AT_ONCE, LogWriter, TurnLog
from app.llm.base import ChatModel

_FOUND_SIZE = 1024  # what references count for a batch of the log, however long: they alone are no reason to write


@dataclass(frozen=True, slots=True)
class UnfinishedCall:
    """A model call that has not told its cost; `begun_s` is of the performance counter."""

    model: str
    provider: str
    prompt: Sequence[ChatMessage]
    begun_s: float


class Draft:
    """Collects the pieces, references and costs of a turn, and lets followers see them at once."""

    def __init__(self, turn_log: TurnLog, writer: LogWriter) -> None:
        self._log = turn_log
        self._writer = writer
        self._begun = time.perf_counter()
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._tool_pieces: list[ToolCallPiece] = []
        self.references: tuple[Reference, ...] = ()
        self.reference_total: int | None = None
        self.cited: tuple[int, ...] = ()
        self.repaired: str | None = None
        self.finish_reason = FinishReason.STOP
        self.calls: list[ModelCall] = []
        self.piece_count = 0
        self.prompt = ""  # for debugging, where it is kept (4.4)
        self.timings_ms: dict[str, float] = {}
        self._asked: UnfinishedCall | None = None

    @property
    def turn_id(self) -> TurnId:
        """The turn whose answer it is."""
        return self._log.turn_id

    @property
    def text(self) -> str:
        """The answer so far, as the model wrote it."""
        return "".join(self._text)

    @property
    def content(self) -> str:
        """The answer as it is stored: after citation repair, if there was one."""
        return self.text if self.repaired is None else self.repaired

    @property
    def reasoning(self) -> str | None:
        """The thinking so far; None when there was none."""
        return "".join(self._reasoning) or None

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls to the caller's tools so far."""
        return joined_calls(self._tool_pieces)

    @property
    def usage(self) -> Usage:
        """The sum over the calls that make the answer: the model's and its helpers', not those of search."""
        return sum((call.usage for call in self.calls if call.kind == "chat" or call.purpose == "answer"), Usage())

    @contextmanager
    def step(self, name: str) -> Generator[None, None, None]:
        """Note how long the step `name` took, in milliseconds."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.timings_ms[name] = self.timings_ms.get(name, 0.0) + (time.perf_counter() - begun) * 1000

    def found(self, references: Sequence[Reference], total: int) -> None:
        """Tell what the answer may rest on."""
        self.references, self.reference_total = tuple(references), total
        self._note(
            [RetrievalDone(references=self.references, total=total)], sum(len(one.content) for one in references)
        )

    def asked(self, model: ChatModel, prompt: Sequence[ChatMessage]) -> None:
        """Note that a model call begins whose cost is not known yet."""
        self._asked = UnfinishedCall(model.name, model.provider, prompt, time.perf_counter())
        self._note([ModelAsked(model.name, model.provider, sum(len(message.content) for message in prompt))], 0)

    def add(self, pieces: Sequence[TextPiece | ReasoningPiece]) -> None:
        """Add a few pieces that arrived together: at most `AT_ONCE`."""
        if not self._text and not self._reasoning:
            self.timings_ms["first_piece"] = (time.perf_counter() - self._begun) * 1000
        self.piece_count += len(pieces)
        size = 0
        kept: list[TextPiece | ReasoningPiece] = []
        for piece in pieces:
            text = storable(piece.text)
            size += len(text)
            (self._text if isinstance(piece, TextPiece) else self._reasoning).append(text)
            kept.append(piece if text is piece.text else structs.replace(piece, text=text))
        self._note(kept, size)

    def call(self, pieces: Sequence[ToolCallPiece]) -> None:
        """Add what arrived of calls to the caller's tools."""
        if not pieces:
            return
        kept = [replace(each, name=storable(each.name), arguments=storable(each.arguments)) for each in pieces]
        self.piece_count += len(kept)
        self._tool_pieces += kept
        self._note(kept, sum(len(each.arguments) for each in kept))

    async def write(self, pieces: Sequence[TextPiece | ReasoningPiece]) -> None:
        """Add pieces that arrived together, however many, and wait while the log is too far behind (`log.WINDOW`)."""
        for begin in range(0, len(pieces), AT_ONCE):
            self.add(pieces[begin : begin + AT_ONCE])
            await self._writer.room(self._log)

    def spent(self, call: ModelCall) -> None:
        """Add a call to the ledger of this turn."""
        if call.kind == "chat" and call.purpose == "answer":
            self._asked = None
        self.calls.append(call)

    @property
    def unfinished_call(self) -> UnfinishedCall | None:
        """The model call that was begun and never told its cost."""
        return self._asked

    def _note(self, events: Sequence[TurnEvent], size: int) -> None:
        self._writer.note(self._log, events, size)


def joined_calls(pieces: Iterable[ToolCallPiece]) -> tuple[ToolCall, ...]:
    """Return the calls that `pieces` make, in order."""
    heads: dict[int, ToolCallPiece] = {}
    arguments: dict[int, list[str]] = {}
    for piece in pieces:
        heads.setdefault(piece.number, piece)
        arguments.setdefault(piece.number, []).append(piece.arguments)
    return tuple(
        ToolCall(id=head.id, name=head.name, arguments="".join(arguments[number]))
        for number, head in sorted(heads.items())
    )


def storable(text: str) -> str:
    """Return `text` as Postgres can hold it: no NUL, no lone surrogates."""
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return text.encode("utf-8", "replace").decode()
    return text
