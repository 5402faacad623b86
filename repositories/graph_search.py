"""Knowledge graphs as they are shown and searched. What only disabled documents tell of is not found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.graph import Community, Graph
from app.domain.ids import DatasetId, TenantId
from repositories.graph import as_entity, as_relation

GraphKey = tuple[str, str]
"""Dataset and name: what names an entity among several graphs."""

_TOP = text("""
    SELECT name, type, description, pagerank, degree, aliases, document_ids FROM graph_entities
    WHERE tenant_id = :tenant AND dataset_id = :dataset_id ORDER BY pagerank DESC, name LIMIT :most
""")
_AMONG = text("""
    SELECT source, target, description, keywords, weight, document_ids FROM graph_relations
    WHERE tenant_id = :tenant AND dataset_id = :dataset_id AND source <> target
      AND source = ANY(CAST(:names AS text[])) AND target = ANY(CAST(:names AS text[]))
    ORDER BY weight DESC, source, target LIMIT :most
""")
_DOCUMENTS = text("""
    SELECT document_id FROM graph_documents WHERE tenant_id = :tenant AND dataset_id = :dataset_id
    ORDER BY created_at, document_id
""")

_IN = "g.tenant_id = :tenant AND g.dataset_id = ANY(CAST(:dataset_ids AS text[]))"
_ENABLED = """EXISTS (SELECT FROM documents d WHERE d.tenant_id = g.tenant_id AND d.id = ANY(g.document_ids)
    AND d.is_enabled)"""
_NEARNESS = "1 - (g.embedding <=> CAST(:vector AS vector))"

_SAMPLES = text(f"""
    SELECT type, name FROM (
        SELECT g.type, g.name, row_number() OVER (PARTITION BY g.type ORDER BY g.pagerank DESC, g.name) AS place
        FROM graph_entities g WHERE {_IN}
    ) ranked WHERE place <= :most ORDER BY type, place
""")  # noqa: S608 (constants)

_NEAR_ENTITIES = text(f"""
    SELECT n.* FROM (
        SELECT g.dataset_id, g.name, g.type, g.description, g.pagerank, {_NEARNESS} AS similarity
        FROM graph_entities g WHERE {_IN} AND g.dimensions = :dimensions AND {_ENABLED} OFFSET 0
    ) n WHERE n.similarity >= :least ORDER BY n.similarity DESC, n.name, n.dataset_id LIMIT :most
""")  # noqa: S608 (constants)

_OF_TYPES = text(f"""
    SELECT g.dataset_id, g.name FROM graph_entities g WHERE {_IN} AND lower(g.type) = ANY(CAST(:types AS text[]))
    ORDER BY g.pagerank DESC, g.name, g.dataset_id LIMIT :most
""")  # noqa: S608 (constants)

_RELATION = """g.dataset_id, g.source, g.target, g.description, g.weight, COALESCE(a.pagerank, 0) AS source_rank,
    COALESCE(b.pagerank, 0) AS target_rank"""
_ENDS = """
    LEFT JOIN graph_entities a ON a.tenant_id = g.tenant_id AND a.dataset_id = g.dataset_id AND a.name = g.source
    LEFT JOIN graph_entities b ON b.tenant_id = g.tenant_id AND b.dataset_id = g.dataset_id AND b.name = g.target"""

_NEAR_RELATIONS = text(f"""
    SELECT {_RELATION}, g.similarity FROM (
        SELECT g.*, {_NEARNESS} AS similarity
        FROM graph_relations g WHERE {_IN} AND g.dimensions = :dimensions AND {_ENABLED} OFFSET 0
    ) g {_ENDS} WHERE g.similarity >= :least
    ORDER BY g.similarity DESC, g.source, g.target, g.dataset_id LIMIT :most
""")  # noqa: S608 (constants)

_TOUCHING = text(f"""
    SELECT {_RELATION}, 0.0 AS similarity FROM graph_relations g {_ENDS}
    WHERE {_IN} AND {_ENABLED} AND EXISTS (
        SELECT FROM unnest(CAST(:held_in AS text[]), CAST(:names AS text[])) AS k(dataset_id, name)
        WHERE k.dataset_id = g.dataset_id AND k.name IN (g.source, g.target))
    ORDER BY g.weight DESC, g.source, g.target, g.dataset_id LIMIT :most
""")  # noqa: S608 (constants)

_COMMUNITY = text(f"""
    SELECT g.id, g.title, g.report, g.findings, g.weight, g.entities FROM graph_communities g
    CROSS JOIN LATERAL (
        SELECT count(*) AS held FROM unnest(CAST(:held_in AS text[]), CAST(:names AS text[])) AS k(dataset_id, name)
        WHERE k.dataset_id = g.dataset_id AND k.name = ANY(g.entities)
    ) h
    WHERE {_IN} AND h.held > 0 ORDER BY h.held DESC, g.weight DESC, g.id LIMIT 1
""")  # noqa: S608 (constants)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundEntity:
    """An entity, and how near its name is to what was looked for."""

    key: GraphKey
    type: str
    description: str
    pagerank: float
    similarity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRelation:
    """A relation, how near it is to the question (0 when it was found by its ends), and the PageRanks of its ends."""

    source: GraphKey
    target: GraphKey
    description: str
    weight: float
    similarity: float
    ranks: tuple[float, float]


class GraphSearch:
    """Reads the graphs of one tenant."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    async def shown(self, dataset_id: DatasetId, *, most_entities: int, most_relations: int) -> Graph:
        """Return the highest ranked entities, and the heaviest relations among them."""
        own = {"tenant": self._tenant_id, "dataset_id": dataset_id}
        entities = [as_entity(row) for row in await self._connection.execute(_TOP, {**own, "most": most_entities})]
        if not entities:
            return Graph()
        among = {**own, "names": [each.name for each in entities], "most": most_relations}
        relations = [as_relation(row) for row in await self._connection.execute(_AMONG, among)]
        documents = [str(row.document_id) for row in await self._connection.execute(_DOCUMENTS, own)]
        return Graph(entities=entities, relations=relations, document_ids=documents)

    async def samples(self, dataset_ids: Sequence[DatasetId], *, most: int) -> dict[str, list[str]]:
        """Return the types of the graphs' entities, each with the names of its `most` highest ranked."""
        found: dict[str, list[str]] = {}
        for row in await self._connection.execute(_SAMPLES, self._among(dataset_ids, most=most)):
            found.setdefault(str(row.type), []).append(str(row.name))
        return found

    async def near_entities(
        self, dataset_ids: Sequence[DatasetId], vector: Sequence[float], *, least: float, most: int
    ) -> list[FoundEntity]:
        """Return the entities whose names are near to `vector`, nearest first."""
        rows = await self._connection.execute(_NEAR_ENTITIES, self._near(dataset_ids, vector, least=least, most=most))
        return [
            FoundEntity(
                key=(str(row.dataset_id), str(row.name)),
                type=row.type,
                description=row.description,
                pagerank=row.pagerank,
                similarity=row.similarity,
            )
            for row in rows
        ]

    async def of_types(self, dataset_ids: Sequence[DatasetId], types: Sequence[str], *, most: int) -> list[GraphKey]:
        """Return the entities of these types in whatever case, the highest ranked first."""
        values = self._among(dataset_ids, types=[each.lower() for each in types], most=most)
        return [(str(row.dataset_id), str(row.name)) for row in await self._connection.execute(_OF_TYPES, values)]

    async def near_relations(
        self, dataset_ids: Sequence[DatasetId], vector: Sequence[float], *, least: float, most: int
    ) -> list[FoundRelation]:
        """Return the relations that are near to `vector`, nearest first."""
        values = self._near(dataset_ids, vector, least=least, most=most)
        return [_relation(row) for row in await self._connection.execute(_NEAR_RELATIONS, values)]

    async def touching(
        self, dataset_ids: Sequence[DatasetId], keys: Sequence[GraphKey], *, most: int
    ) -> list[FoundRelation]:
        """Return the relations of these entities, the heaviest first."""
        rows = await self._connection.execute(_TOUCHING, self._keyed(dataset_ids, keys, most=most))
        return [_relation(row) for row in rows]

    async def community(self, dataset_ids: Sequence[DatasetId], keys: Sequence[GraphKey]) -> Community | None:
        """Return the community that holds the most of these entities."""
        row = (await self._connection.execute(_COMMUNITY, self._keyed(dataset_ids, keys))).one_or_none()
        if row is None:
            return None
        return Community(
            id=row.id,
            title=row.title,
            report=row.report,
            findings=list(row.findings),
            weight=row.weight,
            entities=list(row.entities),
        )

    def _among(self, dataset_ids: Sequence[DatasetId], **more: Any) -> dict[str, Any]:
        return {"tenant": self._tenant_id, "dataset_ids": list(dataset_ids), **more}

    def _near(
        self, dataset_ids: Sequence[DatasetId], vector: Sequence[float], *, least: float, most: int
    ) -> dict[str, Any]:
        written = orjson.dumps(list(vector)).decode()
        return self._among(dataset_ids, vector=written, dimensions=len(vector), least=least, most=most)

    def _keyed(self, dataset_ids: Sequence[DatasetId], keys: Sequence[GraphKey], **more: Any) -> dict[str, Any]:
        return self._among(dataset_ids, held_in=[key[0] for key in keys], names=[key[1] for key in keys], **more)


def _relation(row: Row[Any]) -> FoundRelation:
    return FoundRelation(
        source=(str(row.dataset_id), str(row.source)),
        target=(str(row.dataset_id), str(row.target)),
        description=row.description,
        weight=row.weight,
        similarity=float(row.similarity),
        ranks=(float(row.source_rank), float(row.target_rank)),
    )
