"""The job that reads a knowledge graph out of a dataset (knowledge.md 5.11). It can be killed and run again anywhere.

Documents are read one by one, up to four at a time, and their notes stored as they come; then all notes become the
rows of the graph in one transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import anyio.to_thread
import structlog

from app.domain.errors import UpstreamFailed, UpstreamRefused
from app.ingest.asking import Asker
from app.ingest.dataset_jobs import DatasetRun
from app.ingest.graph.building import Building
from app.ingest.graph.extraction import GraphOptions, read_document, unit_tokens, units_of
from app.ingest.graph.vectors import PURPOSE
from app.ingest.parser_config import ENTITY_TYPES
from app.ingest.several import each
from app.llm.base import TokenCounter
from app.llm.catalogue import ModelCatalogue
from repositories.graph import UnreadDocument
from repositories.unit_of_work import Database

log = structlog.get_logger()

_AT_ONCE = 4
_MOST_FAILED = 3
"""After so many failures the other documents are left for the next attempt: the model seems to be away."""

_READ_SHARE = 0.7  # of the progress


class GraphWork:
    """Makes the graph of a dataset; see `app/ingest/dataset_jobs.py` for how it is run."""

    def __init__(self, *, database: Database, catalogue: ModelCatalogue, tokens: TokenCounter) -> None:
        self._database = database
        self._catalogue = catalogue
        self._tokens = tokens

    async def __call__(self, run: DatasetRun) -> str:
        """Read what is not read yet, and build the graph anew.

        Raises:
            LeaseLost: the job was cancelled or taken over.
            Invalid: a model that is needed cannot be used.
            Missing: it is not configured.
            UpstreamFailed: a model could not answer for some document; the graph holds the others.
        """
        config = run.dataset.parser_config
        asker = Asker(
            self._database,
            self._catalogue.chat(config.get("llm_id") or None),
            run.dataset.tenant_id,
            purpose=PURPOSE,
        )
        options = graph_options(config)
        embedding = self._catalogue.embedding(run.dataset.embedding_model)
        async with self._database.unit(run.dataset.tenant_id) as unit:
            unread = await unit.graph.unread(run.dataset.id)
            known = len(await unit.graph.versions(run.dataset.id))
        await run.report(0.01, f"{len(unread)} documents to read, {known} are in the graph already.")
        reading = _Reading(run, asker, options, self._tokens, unread)
        await reading.all()
        last = await Building(self._database, embedding, run).build(asker, options)
        reading.raise_failure()
        return f"{last}{reading.refusals()}"


class RefreshWork:
    """Ranks a graph anew after documents were taken out of it, and renews what vectors that left stale."""

    def __init__(self, *, database: Database, catalogue: ModelCatalogue) -> None:
        self._database = database
        self._catalogue = catalogue

    async def __call__(self, run: DatasetRun) -> str:
        """Do it. No chat model is asked.

        Raises:
            LeaseLost: the job was cancelled or taken over.
            UpstreamFailed: the embedding model could not answer.
        """
        embedding = self._catalogue.embedding(run.dataset.embedding_model)
        return await Building(self._database, embedding, run).refresh()


def graph_options(parser_config: Mapping[str, Any]) -> GraphOptions:
    """Return what a parser config asks of the graph; what is not there or unusable acts as the default."""
    found: Any = parser_config.get("graphrag")
    config: Mapping[str, Any] = found if isinstance(found, dict) else {}
    return GraphOptions(
        entity_types=_types(config.get("entity_types")) or ENTITY_TYPES,
        is_thorough=config.get("method") == "general",
        has_resolution=config.get("resolution") is True,
        has_communities=config.get("community") is True,
    )


def _types(value: Any) -> tuple[str, ...]:
    sent: list[Any] = value if isinstance(value, list) else []
    return tuple(dict.fromkeys(each.strip() for each in sent if isinstance(each, str) and each.strip()))


class _Reading:
    """Reads documents beside each other, and gathers what went wrong."""

    def __init__(
        self,
        run: DatasetRun,
        asker: Asker,
        options: GraphOptions,
        tokens: TokenCounter,
        documents: Sequence[UnreadDocument],
    ) -> None:
        self._run = run
        self._asker = asker
        self._options = options
        self._tokens = tokens
        self._documents = documents
        self._done = 0
        self._refused: list[str] = []
        self._failed: list[UpstreamFailed] = []

    async def all(self) -> None:
        """Read all documents, or as many as the model can be asked about.

        Raises:
            LeaseLost: the job was cancelled or taken over.
        """
        await each(self._documents, self._one, at_once=_AT_ONCE)

    def raise_failure(self) -> None:
        """Return when every document was read or refused.

        Raises:
            UpstreamFailed: the model could not answer.
        """
        if self._failed:
            raise self._failed[0]

    def refusals(self) -> str:
        """Return a sentence on the documents that the model would not read, empty for none."""
        return f" {len(self._refused)} documents were refused by the model." if self._refused else ""

    async def _one(self, document: UnreadDocument) -> None:
        if len(self._failed) >= _MOST_FAILED:
            return
        try:
            line = await self._read(document)
        except UpstreamRefused as error:
            self._refused.append(document.id)
            line = f"refused by the model: {error.message}"
        except UpstreamFailed as error:
            log.warning("graph_document_failed", document=document.id, error=error.message)
            self._failed.append(error)
            line = f"failed: {error.message}"
        self._done += 1
        share = self._done / len(self._documents)
        await self._run.report(0.01 + _READ_SHARE * share, f"{document.name}: {line}")

    async def _read(self, document: UnreadDocument) -> str:
        run = self._run
        async with run.database.unit(run.dataset.tenant_id) as unit:
            texts = await unit.graph.texts(document.id)
        limit = unit_tokens(self._asker.context_tokens)
        units = await anyio.to_thread.run_sync(lambda: units_of(texts, self._tokens, limit=limit))
        notes = await read_document(self._asker, units, self._options_of(document), self._tokens)
        async with run.database.unit(run.dataset.tenant_id) as unit:
            await unit.jobs.hold(run.job)
            is_kept = await unit.graph.keep(run.dataset.id, document, notes)
        if not is_kept:
            return "was changed or deleted meanwhile."
        return f"{len(notes.entities)} entities, {len(notes.relations)} relations."

    def _options_of(self, document: UnreadDocument) -> GraphOptions:
        """Documents of the method knowledge_graph have types of their own (knowledge.md 5.9)."""
        own = _types(document.parser_config.get("entity_types")) if document.chunk_method == "knowledge_graph" else ()
        return replace(self._options, entity_types=own) if own else self._options
