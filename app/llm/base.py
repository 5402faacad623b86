"""What a model is to the rest of the house: three protocols, and the failures only this room tells apart."""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from app.domain.errors import UpstreamFailed, UpstreamLimited, UpstreamRefused, UpstreamTimeout
from app.domain.models import ChatMessage, Embeddings, GenerationOptions, ModelItem, Usage

Outcome = Literal["ok", "refused", "limited", "timeout", "failed", "closed"]
"""How one call to one upstream ended; `closed` is ours: the caller stopped listening."""

AttemptObserver = Callable[[str, str, Outcome, float], None]
"""Called once per upstream call with provider, model, outcome and seconds."""


class UpstreamDenied(UpstreamFailed):
    """The provider does not serve this service (key refused, no such model): asking again is no use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long silence is borne within the deadline of a call."""

    first_token_s: float = 60.0
    piece_s: float = 60.0


class TokenCounter(Protocol):
    """Counts tokens where the provider does not."""

    def count(self, text: str) -> int:
        """Return how many tokens `text` is, or about."""
        ...


class ChatModel(Protocol):
    """Streams answers to a list of messages."""

    @property
    def name(self) -> str:
        """The model's name without its provider."""
        ...

    @property
    def provider(self) -> str:
        """Who serves it."""
        ...

    @property
    def context_tokens(self) -> int | None:
        """Tokens that prompt and answer may have together, if known."""
        ...

    def stream(
        self, messages: Sequence[ChatMessage], options: GenerationOptions, *, deadline_s: float
    ) -> AsyncGenerator[Sequence[ModelItem], None]:
        """Yield batches of items: pieces, then one `ModelFinish`, then one `ModelUsage`.

        A batch holds whatever arrived together and is never empty. `deadline_s` is the loop time at which all must
        have ended. Closing the generator aborts the upstream call at once.

        Raises:
            UpstreamFailed: or one of its kinds; after the first batch too.
        """
        ...


class EmbeddingModel(Protocol):
    """Turns texts into vectors."""

    @property
    def name(self) -> str:
        """The model's name without its provider."""
        ...

    @property
    def provider(self) -> str:
        """Who serves it."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of every vector."""
        ...

    async def embed(self, texts: Sequence[str], *, deadline_s: float) -> Embeddings:
        """Return one vector per text, in order, L2-normalised; `deadline_s` is a loop time.

        Raises:
            UpstreamFailed: or one of its kinds.
        """
        ...


class RerankModel(Protocol):
    """Scores passages against a query."""

    @property
    def name(self) -> str:
        """The model's name without its provider."""
        ...

    @property
    def provider(self) -> str:
        """Who serves it."""
        ...

    async def rerank(self, query: str, passages: Sequence[str], *, deadline_s: float) -> tuple[list[float], Usage]:
        """Return a score from 0 to 1 for each passage, in order, and the cost; `deadline_s` is a loop time.

        Raises:
            UpstreamFailed: or one of its kinds.
        """
        ...


def outcome_of(error: BaseException | None) -> Outcome:
    """Return the word for how a call ended."""
    match error:
        case None:
            return "ok"
        case UpstreamRefused():
            return "refused"
        case UpstreamLimited():
            return "limited"
        case UpstreamTimeout():
            return "timeout"
        case UpstreamFailed():
            return "failed"
        case _:
            return "closed"
