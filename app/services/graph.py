"""Rules of knowledge graphs: shown, deleted, and documents taken out of them (knowledge.md 2.5, 4.7)."""

from collections.abc import Mapping, Sequence

from app.domain.errors import NotAuthorized
from app.domain.graph import Graph, GraphNotes
from app.domain.ids import DatasetId, DocumentId
from app.ingest.graph.merging import Merger, as_entity, as_relation, renamed
from app.ingest.graph.resolution import components
from repositories.graph_forgetting import Touched
from repositories.jobs import CHANNEL, GRAPH, GRAPH_REFRESH
from repositories.unit_of_work import UnitOfWork

MOST_ENTITIES = 256
MOST_RELATIONS = 128


async def shown_graph(unit: UnitOfWork, dataset_id: DatasetId) -> Graph:
    """Return the part of the dataset's graph that is shown.

    Raises:
        NotAuthorized: the caller has no such dataset.
    """
    await _own(unit, dataset_id)
    return await unit.graph_search.shown(dataset_id, most_entities=MOST_ENTITIES, most_relations=MOST_RELATIONS)


async def delete_graph(unit: UnitOfWork, dataset_id: DatasetId) -> None:
    """Delete the dataset's graph with all it was made of; a job that makes it ends, and its record goes.

    Raises:
        NotAuthorized: the caller has no such dataset.
    """
    await _own(unit, dataset_id)
    await wipe_graph(unit, dataset_id)


async def wipe_graph(unit: UnitOfWork, dataset_id: DatasetId) -> None:
    """As `delete_graph`, for a dataset that is known to be the caller's."""
    cancelled = [*await unit.jobs.cancel(GRAPH, [dataset_id]), *await unit.jobs.cancel(GRAPH_REFRESH, [dataset_id])]
    await unit.graph.lock(dataset_id)
    await unit.graph_forgetting.drop_all(dataset_id, job_kinds=[GRAPH, GRAPH_REFRESH])
    if cancelled:
        await unit.notify(CHANNEL, "cancelled")


async def forget_documents(unit: UnitOfWork, dataset_id: DatasetId, document_ids: Sequence[DocumentId]) -> None:
    """Take the documents' share out of the dataset's graph; what others tell of too is told without them.

    Call it in the unit that deletes the documents or their chunks, before their rows go. When the unit commits, nothing
    that only they said can be found any more. Ranks and vectors follow by a job that is queued here.
    """
    if not document_ids or not await unit.graph_forgetting.is_in(dataset_id, document_ids):
        return
    await unit.graph.lock(dataset_id)
    touched = await unit.graph_forgetting.drop(dataset_id, document_ids)
    if touched.entities or touched.relations:
        await _revise(unit, dataset_id, touched)
    await unit.jobs.add(GRAPH_REFRESH, [dataset_id])
    await unit.notify(CHANNEL, "")


async def _revise(unit: UnitOfWork, dataset_id: DatasetId, touched: Touched) -> None:
    """Tell entities and relations anew from what the remaining documents say."""
    ends = {name for pair in touched.relations for name in pair} - set(touched.entities)
    aliases = {**await unit.graph_forgetting.aliases(dataset_id, sorted(ends)), **touched.entities}
    raw = sorted({each for name, others in aliases.items() for each in (name, *others)})
    merger = Merger()
    for document_id, notes in await unit.graph_forgetting.said_of(dataset_id, raw, touched.document_ids):
        merger.add(notes, document_id)
    said = merger.notes()
    names = _names(aliases, touched, said)
    told = renamed(said, names)
    stands_for = {name: _now(name, others, names, told) for name, others in aliases.items()}
    for name in touched.entities:
        now = stands_for[name]
        others = [alias for alias, to in names.items() if to == now and alias in said.entities]
        entity = as_entity(told.entities[now], aliases=others) if now in told.entities else None
        await unit.graph_forgetting.revise_entity(dataset_id, name, entity)
    for one, other in touched.relations:
        ends_now = sorted((stands_for.get(one, one), stands_for.get(other, other)))
        left = told.relations.get((ends_now[0], ends_now[1]))
        relation = as_relation(left) if left is not None else None
        await unit.graph_forgetting.revise_relation(dataset_id, (one, other), relation)


def _names(aliases: Mapping[str, Sequence[str]], touched: Touched, said: GraphNotes) -> dict[str, str]:
    """Return which name stands for which: among those that are still said, where documents were taken away."""
    names: dict[str, str] = {}
    for name, others in aliases.items():
        if name not in touched.entities:
            names |= dict.fromkeys(others, name)
            continue
        alive = [each for each in (name, *others) if each in said.entities]
        mentions = {each: sum(said.entities[each].types.values()) for each in alive}
        names |= components([(alive[0], each) for each in alive[1:]], mentions)
    return names


def _now(name: str, others: Sequence[str], names: Mapping[str, str], told: GraphNotes) -> str:
    """Return the name under which the entity `name` is told of now."""
    alive = (names.get(each, each) for each in (name, *others))
    return next((each for each in alive if each in told.entities), name)


async def _own(unit: UnitOfWork, dataset_id: DatasetId) -> None:
    if await unit.datasets.get(dataset_id) is None:
        raise NotAuthorized("No authorization.")
