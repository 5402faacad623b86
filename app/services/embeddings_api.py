"""Calls of `/v1/embeddings` (openai.md 4): inputs read, limits kept, vectors of the length asked for."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import anyio
import anyio.to_thread

from app.domain.errors import BadArgument, Invalid, UpstreamFailed, WrongType
from app.domain.models import Embeddings, Usage
from app.domain.principals import Caller
from app.domain.retrieval import ModelCall
from app.llm.base import EmbeddingModel
from app.llm.catalogue import ModelCatalogue
from app.llm.entries import ModelEntry
from app.llm.openai_embedding import OpenAIEmbeddingModel, TokensOrText
from app.llm.tokens import Encodings
from app.security.quotas import Quotas
from app.services.ledger import Entry, Ledger
from app.services.v1_models import RawModel
from app.services.v1_params import check_count, end_user

_MOST_INPUTS = 2048
_TIMEOUT_S = 120.0
_WRITTEN_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """Vectors in input order, and how the caller wants them written."""

    model: str
    embeddings: Embeddings
    encoding: Literal["float", "base64"]


class EmbeddingsApi:
    """Answers embedding requests."""

    def __init__(self, catalogue: ModelCatalogue, quotas: Quotas, ledger: Ledger, encodings: Encodings) -> None:
        self._catalogue = catalogue
        self._quotas = quotas
        self._ledger = ledger
        self._encodings = encodings

    async def embed(self, caller: Caller, model: RawModel, body: Mapping[str, Any]) -> Embedded:
        """Return the vectors that `body` asks for.

        Raises:
            Invalid: an input or parameter breaks its rules, or the model cannot do what it asks.
            QuotaUsedUp, Unavailable: before anything was asked.
            UpstreamFailed: or one of its kinds.
        """
        entry = model.entry
        encoding = body.get("encoding_format", "float")
        if encoding not in ("float", "base64"):
            raise BadArgument("`encoding_format` must be float or base64.", param="encoding_format")
        if not isinstance(body.get("user"), str | None):
            raise WrongType("`user` must be a text.", param="user")
        asked, cut = _dimensions(body, entry, model.name)
        inputs = _inputs(body.get("input"))
        inputs = await anyio.to_thread.run_sync(self._fitting, inputs, entry, model.name)
        self._ledger.check_room()
        tokens = sum(len(one) // (4 if isinstance(one, str) else 1) + 1 for one in inputs)
        async with self._quotas.held(caller.tenant_id, caller.quota, tokens):
            embedder = self._catalogue.embedding(entry.wire_name)
            spent: list[Usage] = []
            begun_s = asyncio.get_running_loop().time()
            try:
                vectors = await _asked(embedder, inputs, asked, begun_s + _TIMEOUT_S, spent)
            except UpstreamFailed as error:
                error.is_final = error.is_final or bool(spent)
                raise
            finally:
                if spent:
                    await self._account(caller, embedder, spent, begun_s, end_user(body))
        if cut is not None:
            vectors = await anyio.to_thread.run_sync(_shortened, vectors, cut)
        usage = sum(spent, Usage())
        found = Embeddings(vectors=vectors, model=embedder.name, provider=embedder.provider, usage=usage)
        return Embedded(model=model.name, embeddings=found, encoding=encoding)

    async def _account(
        self, caller: Caller, model: EmbeddingModel, spent: Sequence[Usage], begun_s: float, user_id: str | None
    ) -> None:
        """Give the ledger a row of what a call cost, whether it came to its end or not."""
        row = ModelCall(
            kind="embedding",
            purpose="raw",
            model=model.name,
            provider=model.provider,
            usage=sum(spent, Usage()),
            duration_ms=(asyncio.get_running_loop().time() - begun_s) * 1000,
            user_id=user_id,
        )
        entry = Entry(caller.tenant_id, caller.key_id, row)
        self._ledger.add(entry)
        if caller.quota is not None:  # the day's sum must know before the reservation ends
            with anyio.move_on_after(_WRITTEN_S, shield=True):
                await entry.written.wait()

    def _fitting(self, inputs: list[TokensOrText], entry: ModelEntry, name: str) -> list[TokensOrText]:
        """Return the inputs as the provider takes them, none too long for the model; runs in a thread."""
        return [self._fit(one, f"input.{at}", entry, name) for at, one in enumerate(inputs)]

    def _fit(self, one: TokensOrText, path: str, entry: ModelEntry, name: str) -> TokensOrText:
        if isinstance(one, str):
            if entry.context is not None and len(one.encode("utf-8", "replace")) > entry.context:
                self._check_length(self._encodings.count(entry.encoding or "cl100k_base", one), path, entry, name)
            return one
        self._check_length(len(one), path, entry, name)
        if "tokens" in entry.able:
            return one
        if entry.encoding is None:
            raise BadArgument(f"The model `{name}` takes no token numbers.", param="input", code="unsupported_value")
        text = self._encodings.decode(entry.encoding, one)
        if not text:
            raise BadArgument(f"`{path}` holds numbers that are no text in {entry.encoding}.", param=path)
        return text

    def _check_length(self, tokens: int, path: str, entry: ModelEntry, name: str) -> None:
        if entry.context is not None and tokens > entry.context:
            raise BadArgument(
                f"`{path}` has {tokens} tokens; the model `{name}` takes at most {entry.context}.",
                param=path,
                code="context_length_exceeded",
            )


async def _asked(
    model: EmbeddingModel,
    inputs: Sequence[TokensOrText],
    dimensions: int | None,
    deadline_s: float,
    spent: list[Usage],
) -> list[list[float]]:
    if isinstance(model, OpenAIEmbeddingModel):
        return await model.embed_raw(inputs, dimensions=dimensions, deadline_s=deadline_s, spent=spent)
    found = await model.embed([one for one in inputs if isinstance(one, str)], deadline_s=deadline_s)
    spent.append(found.usage)
    return found.vectors


def _inputs(told: Any) -> list[TokensOrText]:
    """Return the inputs; one alone is a list of one.

    Raises:
        Invalid: there are none, too many, an empty one, or not all of one sort.
    """
    if told is None:
        raise Invalid("Missing required parameter: `input`.", param="input", code="missing_required_parameter")
    if isinstance(told, str):
        if not told:
            raise BadArgument("`input` must not be empty.", param="input")
        return [told]
    if not isinstance(told, list):
        raise WrongType("`input` must be a text, a list of texts, or token numbers.", param="input")
    if not told:
        raise BadArgument("`input` must not be empty.", param="input")
    if all(_is_token(one) for one in told):
        return [told]
    if len(told) > _MOST_INPUTS:
        raise BadArgument(f"`input` must have at most {_MOST_INPUTS} elements, not {len(told)}.", param="input")
    sort = str if isinstance(told[0], str) else list
    for at, one in enumerate(told):
        if not isinstance(one, sort) or (sort is list and not all(_is_token(part) for part in one)):
            raise WrongType(
                f"`input.{at}`: all inputs must be texts, or all lists of token numbers.", param=f"input.{at}"
            )
        if not one:
            raise BadArgument(f"`input.{at}` must not be empty.", param=f"input.{at}")
    return told


def _dimensions(body: Mapping[str, Any], entry: ModelEntry, name: str) -> tuple[int | None, int | None]:
    """Return the length to ask the provider for, and the length to cut to here; None where that is not to be done."""
    if "dimensions" not in body:
        return None, None
    wanted = body["dimensions"]
    check_count(wanted, "dimensions", 1)
    if wanted == entry.dimensions:
        return None, None
    if "dimensions" in entry.able:
        return wanted, None
    if "shortening" not in entry.able or entry.dimensions is None:
        raise BadArgument(
            f"The vectors of the model `{name}` have {entry.dimensions} dimensions and no others.",
            param="dimensions",
            code="unsupported_parameter",
        )
    if wanted > entry.dimensions:
        raise BadArgument(f"`dimensions` must be at most {entry.dimensions}, not {wanted}.", param="dimensions")
    return None, wanted


def _shortened(vectors: Sequence[Sequence[float]], size: int) -> list[list[float]]:
    """Return the starts of vectors, of length 1 again."""
    found: list[list[float]] = []
    for vector in vectors:
        start = vector[:size]
        length = math.hypot(*start)
        if length == 0:
            raise UpstreamFailed("The embedding provider sent a vector without a direction.")
        found.append([value / length for value in start])
    return found


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 32
