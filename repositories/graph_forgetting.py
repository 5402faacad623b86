"""Taking documents out of a knowledge graph, and graphs out of a dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.graph import Entity, GraphNotes, Pair, Relation
from app.domain.ids import DatasetId, DocumentId, TenantId
from repositories.graph_notes import decoded_entity, decoded_relation

_OWN = "tenant_id = :tenant AND dataset_id = :dataset_id"
_IDS = "CAST(:document_ids AS text[])"

_HAS_GRAPH = text(f"""
    SELECT EXISTS (SELECT FROM graph_entities WHERE {_OWN} AND document_ids && {_IDS})
        OR EXISTS (SELECT FROM graph_documents WHERE {_OWN} AND document_id = ANY({_IDS}))
""")  # noqa: S608 (constants)

_DROP_NOTES = text(f"DELETE FROM graph_documents WHERE {_OWN} AND document_id = ANY({_IDS})")  # noqa: S608
_DROP_ORPHANS = text(f"""
    DELETE FROM graph_entities WHERE {_OWN} AND document_ids <@ {_IDS} RETURNING name
""")  # noqa: S608 (constants)
_DROP_LOOSE = text(f"""
    DELETE FROM graph_relations WHERE {_OWN} AND document_ids <@ {_IDS} RETURNING source
""")  # noqa: S608 (constants)
_SHARED = text(f"""
    SELECT name, aliases, document_ids FROM graph_entities WHERE {_OWN} AND document_ids && {_IDS} ORDER BY name
""")  # noqa: S608 (constants)
_SHARED_RELATIONS = text(f"""
    SELECT source, target FROM graph_relations
    WHERE {_OWN} AND (document_ids && {_IDS} OR source = ANY(CAST(:names AS text[]))
                      OR target = ANY(CAST(:names AS text[])))
    ORDER BY source, target
""")  # noqa: S608 (constants)
_ALIASES = text(f"""
    SELECT name, aliases FROM graph_entities WHERE {_OWN} AND name = ANY(CAST(:names AS text[]))
""")  # noqa: S608 (constants)

_SAID_OF = text(f"""
    SELECT g.document_id, e AS note FROM graph_documents g
    CROSS JOIN LATERAL jsonb_array_elements(g.subgraph->'entities') AS e
    WHERE {_OWN} AND g.document_id = ANY({_IDS}) AND e->>'name' = ANY(CAST(:names AS text[]))
""")  # noqa: S608 (constants)
_SAID_BETWEEN = text(f"""
    SELECT g.document_id, e AS note FROM graph_documents g
    CROSS JOIN LATERAL jsonb_array_elements(g.subgraph->'relations') AS e
    WHERE {_OWN} AND g.document_id = ANY({_IDS})
      AND e->>'source' = ANY(CAST(:names AS text[])) AND e->>'target' = ANY(CAST(:names AS text[]))
""")  # noqa: S608 (constants)

# The vector is no longer that of the new name or text: its hash tells, and the next job makes it anew.
_REVISE_ENTITY = text(f"""
    UPDATE graph_entities SET name = :name, type = :type, description = :description,
        aliases = ARRAY(SELECT jsonb_array_elements_text(CAST(:aliases AS jsonb))),
        document_ids = ARRAY(SELECT jsonb_array_elements_text(CAST(:now_in AS jsonb)))
    WHERE {_OWN} AND name = :old
""")  # noqa: S608 (constants)
_REVISE_RELATION = text(f"""
    UPDATE graph_relations SET source = :source, target = :target, description = :description, weight = :weight,
        keywords = ARRAY(SELECT jsonb_array_elements_text(CAST(:keywords AS jsonb))),
        document_ids = ARRAY(SELECT jsonb_array_elements_text(CAST(:now_in AS jsonb)))
    WHERE {_OWN} AND source = :old_source AND target = :old_target
""")  # noqa: S608 (constants)
_DROP_ENTITY = text(f"DELETE FROM graph_entities WHERE {_OWN} AND name = :name")  # noqa: S608 (constants)
_DROP_RELATION = text(f"DELETE FROM graph_relations WHERE {_OWN} AND source = :source AND target = :target")  # noqa: S608

_DROP_TOUCHED_COMMUNITIES = text(f"""
    DELETE FROM graph_communities WHERE {_OWN} AND entities && CAST(:names AS text[])
""")  # noqa: S608 (constants)

_TABLES = ("graph_communities", "graph_relations", "graph_entities", "graph_documents")
_DROP_ALL = [text(f"DELETE FROM {table} WHERE {_OWN}") for table in _TABLES]  # noqa: S608 (constants)
_DROP_JOBS = text("""
    DELETE FROM jobs WHERE tenant_id = :tenant AND kind = ANY(CAST(:kinds AS text[])) AND subject_id = :dataset_id
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """What other documents tell of too: entities with their aliases, and relations that may have to change.

    `gone` are entities that only the forgotten documents named; `document_ids` those that still tell of the others.
    """

    gone: Sequence[str]
    entities: Mapping[str, Sequence[str]]
    relations: Sequence[Pair]
    document_ids: Sequence[str]


class GraphForgetting:
    """Takes out of the graphs of one tenant. Never commits; lock the graph first."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    async def is_in(self, dataset_id: DatasetId, document_ids: Sequence[DocumentId]) -> bool:
        """Tell whether any of the documents has a share in the graph."""
        values = self._values(dataset_id, document_ids=list(document_ids))
        return bool((await self._connection.execute(_HAS_GRAPH, values)).scalar_one())

    async def drop(self, dataset_id: DatasetId, document_ids: Sequence[DocumentId]) -> Touched:
        """Drop the documents' notes and what nothing else tells of; what is left to be revised."""
        values = self._values(dataset_id, document_ids=list(document_ids))
        await self._connection.execute(_DROP_NOTES, values)
        gone = [str(row.name) for row in await self._connection.execute(_DROP_ORPHANS, values)]
        await self._connection.execute(_DROP_LOOSE, values)
        shared = (await self._connection.execute(_SHARED, values)).all()
        resolved = [str(row.name) for row in shared if row.aliases]
        pairs = await self._connection.execute(_SHARED_RELATIONS, {**values, "names": resolved})
        names = [str(row.name) for row in shared]
        await self._connection.execute(_DROP_TOUCHED_COMMUNITIES, {**values, "names": [*gone, *names]})
        return Touched(
            gone=gone,
            entities={str(row.name): list(row.aliases) for row in shared},
            relations=[(str(row.source), str(row.target)) for row in pairs],
            document_ids=sorted({each for row in shared for each in row.document_ids} - set(document_ids)),
        )

    async def aliases(self, dataset_id: DatasetId, names: Sequence[str]) -> dict[str, list[str]]:
        """Return the aliases of these entities."""
        rows = await self._connection.execute(_ALIASES, self._values(dataset_id, names=list(names)))
        return {str(row.name): list(row.aliases) for row in rows}

    async def said_of(
        self, dataset_id: DatasetId, names: Sequence[str], document_ids: Sequence[str]
    ) -> list[tuple[str, GraphNotes]]:
        """Return what these documents say of these names and between them, by document."""
        values = self._values(dataset_id, names=list(names), document_ids=list(document_ids))
        found: list[tuple[str, GraphNotes]] = []
        for row in await self._connection.execute(_SAID_OF, values):
            entity = decoded_entity(row.note)
            found.append((str(row.document_id), GraphNotes(entities={entity.name: entity})))
        for row in await self._connection.execute(_SAID_BETWEEN, values):
            relation = decoded_relation(row.note)
            found.append((str(row.document_id), GraphNotes(relations={relation.pair: relation})))
        return found

    async def revise_entity(self, dataset_id: DatasetId, old: str, entity: Entity | None) -> None:
        """Put `entity` in the place of the one named `old`, or nothing; rank, degree and vector stay."""
        if entity is None:
            await self._connection.execute(_DROP_ENTITY, self._values(dataset_id, name=old))
            return
        values = self._values(
            dataset_id,
            old=old,
            name=entity.name,
            type=entity.type,
            description=entity.description,
            aliases=orjson.dumps(list(entity.aliases)).decode(),
            now_in=orjson.dumps(list(entity.document_ids)).decode(),
        )
        await self._connection.execute(_REVISE_ENTITY, values)

    async def revise_relation(self, dataset_id: DatasetId, old: Pair, relation: Relation | None) -> None:
        """Put `relation` in the place of the one between `old`, or nothing; the vector stays."""
        if relation is None:
            await self._connection.execute(_DROP_RELATION, self._values(dataset_id, source=old[0], target=old[1]))
            return
        values = self._values(
            dataset_id,
            old_source=old[0],
            old_target=old[1],
            source=relation.source,
            target=relation.target,
            description=relation.description,
            weight=relation.weight,
            keywords=orjson.dumps(list(relation.keywords)).decode(),
            now_in=orjson.dumps(list(relation.document_ids)).decode(),
        )
        await self._connection.execute(_REVISE_RELATION, values)

    async def drop_all(self, dataset_id: DatasetId, *, job_kinds: Sequence[str]) -> None:
        """Drop the dataset's graph with all it was made of, and the record of the jobs that made it."""
        for statement in _DROP_ALL:
            await self._connection.execute(statement, self._values(dataset_id))
        await self._connection.execute(_DROP_JOBS, self._values(dataset_id, kinds=list(job_kinds)))

    def _values(self, dataset_id: DatasetId, **more: Any) -> dict[str, Any]:
        return {"tenant": self._tenant_id, "dataset_id": dataset_id, **more}
