"""From the notes of all documents to the rows of one graph: names resolved, ranked, embedded, reported on, stored."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import anyio.to_thread

from app.domain.errors import Unavailable
from app.domain.graph import Community, Entity, GraphNotes, Pair, Relation
from app.ingest import several
from app.ingest.asking import Asker
from app.ingest.dataset_jobs import DatasetRun
from app.ingest.graph.communities import louvain, reported, worth_a_report
from app.ingest.graph.extraction import GraphOptions, shortened
from app.ingest.graph.merging import Merger, as_entity, as_relation, renamed
from app.ingest.graph.pagerank import pageranks
from app.ingest.graph.resolution import same_names
from app.ingest.graph.vectors import GraphVectors
from app.llm.base import EmbeddingModel
from repositories.graph import Versions
from repositories.unit_of_work import Database

_DOCUMENTS_AT_ONCE = 100
_REPORTS_AT_ONCE = 4
_TRIES = 5  # how often documents may change while the graph is built


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A graph whose entities have their ranks."""

    entities: Sequence[Entity]
    relations: Sequence[Relation]


class Building:
    """Builds the graph of the dataset of one run."""

    def __init__(self, database: Database, model: EmbeddingModel, run: DatasetRun) -> None:
        self._database = database
        self._run = run
        self._dataset = run.dataset
        self._vectors = GraphVectors(database, model, run.dataset.tenant_id)

    async def build(self, asker: Asker, options: GraphOptions) -> str:
        """Make the graph of the notes of all documents, and store it; a line on what it holds.

        Documents that come or go meanwhile make it start over with what it heard from models.

        Raises:
            LeaseLost: the job was cancelled or taken over.
            UpstreamFailed: a model could not answer.
            Unavailable: documents came and went all the time.
        """
        for _ in range(_TRIES):
            versions, notes = await self._notes()
            names: dict[str, str] = {}
            if options.has_resolution:
                names = await same_names(asker, notes.entities)
                await self._run.report(0.75, f"{len(names)} names mean the same as others.")
            notes = await shortened(asker, await anyio.to_thread.run_sync(renamed, notes, names))
            graph = await anyio.to_thread.run_sync(ranked, notes, names)
            await self._run.report(0.8, f"{len(graph.entities)} entities and {len(graph.relations)} relations ranked.")
            communities = await self._communities(asker, graph) if options.has_communities else []
            if await self._store(versions, graph, communities):
                told = f", {len(communities)} community reports" if options.has_communities else ""
                return f"The graph has {len(graph.entities)} entities, {len(graph.relations)} relations{told}."
        raise Unavailable("The documents of the dataset keep changing.")

    async def refresh(self) -> str:
        """Rank the stored graph anew, and renew vectors that are of another text; a line on what it holds.

        Raises:
            LeaseLost: the job was cancelled or taken over.
            UpstreamFailed: the embedding model could not answer.
            Unavailable: documents came and went all the time.
        """
        for _ in range(_TRIES):
            async with self._database.unit(self._dataset.tenant_id) as unit:
                await unit.graph.lock(self._dataset.id)
                versions = await unit.graph.versions(self._dataset.id)
                entities = await unit.graph.entities(self._dataset.id)
                relations = await unit.graph.relations(self._dataset.id)
            graph = await anyio.to_thread.run_sync(reranked, entities, relations)
            if await self._store(versions, graph, None, instead_of=(entities, relations)):
                return f"The graph has {len(graph.entities)} entities, {len(graph.relations)} relations."
        raise Unavailable("The documents of the dataset keep changing.")

    async def _notes(self) -> tuple[Versions, GraphNotes]:
        """Return the notes of all documents that are in the graph, and which these are."""
        merger = Merger()
        async with self._database.unit(self._dataset.tenant_id) as unit:
            versions = await unit.graph.versions(self._dataset.id)
        ids = list(versions)
        for start in range(0, len(ids), _DOCUMENTS_AT_ONCE):
            async with self._database.unit(self._dataset.tenant_id) as unit:
                found = await unit.graph.notes(ids[start : start + _DOCUMENTS_AT_ONCE])
            await anyio.to_thread.run_sync(_gather, merger, found)
        return versions, await anyio.to_thread.run_sync(merger.notes)

    async def _communities(self, asker: Asker, graph: Ranked) -> list[Community]:
        ranks = {each.name: each.pagerank for each in graph.entities}
        weights = {each.pair: each.weight for each in graph.relations}
        groups = worth_a_report(await anyio.to_thread.run_sync(louvain, list(ranks), weights), ranks)
        parts = await anyio.to_thread.run_sync(_parts, graph, groups)
        made: list[Community] = []

        async def report(part: Ranked) -> None:
            made.append(await reported(asker, part.entities, part.relations))
            await self._run.report(0.8 + 0.05 * len(made) / len(groups), f"Community {len(made)} of {len(groups)}.")

        await several.each(parts, report, at_once=_REPORTS_AT_ONCE)
        return made

    async def _store(
        self,
        versions: Versions,
        graph: Ranked,
        communities: Sequence[Community] | None,
        *,
        instead_of: tuple[Sequence[Entity], Sequence[Relation]] | None = None,
    ) -> bool:
        """Store the graph, if its documents are still those it was made of; None leaves communities as they are.

        With `instead_of` the stored rows must be these.
        """
        async with self._database.unit(self._dataset.tenant_id) as unit:
            known = await unit.graph.known_vectors(self._dataset.id)

        async def tell(done: int, count: int) -> None:
            await self._run.report(0.85 + 0.1 * done / count, f"{done} of {count} vectors made.")

        new = await self._vectors.missing(graph.entities, graph.relations, known, on_batch=tell)
        async with self._database.unit(self._dataset.tenant_id) as unit:
            await unit.jobs.hold(self._run.job)
            await unit.graph.lock(self._dataset.id)
            is_same = await unit.graph.versions(self._dataset.id) == versions
            # Another job may have stored since: what it dropped has no vector to keep.
            is_same = is_same and await unit.graph.known_vectors(self._dataset.id) == known
            if is_same and instead_of is not None:
                stored = await unit.graph.entities(self._dataset.id), await unit.graph.relations(self._dataset.id)
                is_same = stored == instead_of
            if is_same:
                await unit.graph.put(self._dataset.id, graph.entities, graph.relations, new.entities, new.relations)
                if communities is not None:
                    await unit.graph.put_communities(self._dataset.id, communities)
                return True
        return False


def _parts(graph: Ranked, groups: Sequence[Sequence[str]]) -> list[Ranked]:
    """Return the graph's part in each of the groups, which share no name: entities by rank, relations among them."""
    home = {name: at for at, group in enumerate(groups) for name in group}
    entities: list[list[Entity]] = [[] for _ in groups]
    relations: list[list[Relation]] = [[] for _ in groups]
    for entity in sorted(graph.entities, key=lambda each: (-each.pagerank, each.name)):
        if (at := home.get(entity.name)) is not None:
            entities[at].append(entity)
    for relation in graph.relations:
        if (at := home.get(relation.source)) is not None and at == home.get(relation.target):
            relations[at].append(relation)
    return [Ranked(entities=some, relations=inner) for some, inner in zip(entities, relations, strict=True)]


def ranked(notes: GraphNotes, names: Mapping[str, str]) -> Ranked:
    """Return the graph of notes; `names` are those that were replaced, by what stands for them now."""
    relations = [as_relation(each) for each in notes.relations.values()]
    ranks, degrees = _ranks(list(notes.entities), relations)
    aliases: dict[str, list[str]] = {}
    for alias, name in names.items():
        aliases.setdefault(name, []).append(alias)
    entities = [
        as_entity(each, pagerank=ranks[name], degree=degrees[name], aliases=aliases.get(name, ()))
        for name, each in notes.entities.items()
    ]
    return Ranked(entities=entities, relations=relations)


def reranked(entities: Sequence[Entity], relations: Sequence[Relation]) -> Ranked:
    """Return the same graph with ranks and degrees as they are now."""
    ranks, degrees = _ranks([each.name for each in entities], relations)
    again = [replace(each, pagerank=ranks[each.name], degree=degrees[each.name]) for each in entities]
    return Ranked(entities=again, relations=relations)


def _ranks(names: Sequence[str], relations: Sequence[Relation]) -> tuple[dict[str, float], Counter[str]]:
    weights: dict[Pair, float] = {each.pair: each.weight for each in relations}
    degrees = Counter(name for pair in weights for name in pair)
    return pageranks(names, weights), degrees


def _gather(merger: Merger, found: Mapping[str, GraphNotes]) -> None:
    for document_id, notes in found.items():
        merger.add(notes, document_id)
