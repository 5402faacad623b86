"""The knowledge graph of a dataset: notes of documents, and the rows made of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.graph import Community, Entity, GraphNotes, Pair, Relation
from app.domain.ids import DatasetId, DocumentId, TenantId
from repositories.graph_notes import decoded_notes, encoded_notes

_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('graph ' || :tenant || ' ' || :dataset_id, 0))")

_UNREAD = text("""
    SELECT d.id, d.name, d.chunk_method, d.parser_config, d.process_begin_at FROM documents d
    WHERE d.tenant_id = :tenant AND d.dataset_id = :dataset_id AND d.run = 'DONE' AND d.is_enabled
      AND d.chunk_count > 0
      AND NOT EXISTS (SELECT FROM graph_documents g WHERE g.tenant_id = d.tenant_id AND g.document_id = d.id)
    ORDER BY d.created_at, d.id
""")

_TEXTS = text("""
    SELECT content FROM chunks
    WHERE tenant_id = :tenant AND document_id = :document_id AND layer = 0 AND is_available ORDER BY ordinal, id
""")

# A document that was parsed anew since its text was read is another text: its notes are not kept.
_KEEP = text("""
    WITH read AS (
        SELECT d.id FROM documents d
        WHERE d.tenant_id = :tenant AND d.dataset_id = :dataset_id AND d.id = :document_id AND d.run = 'DONE'
          AND d.process_begin_at IS NOT DISTINCT FROM CAST(:begun_at AS timestamptz)
        FOR SHARE
    )
    INSERT INTO graph_documents (tenant_id, document_id, dataset_id, subgraph)
    SELECT :tenant, read.id, :dataset_id, CAST(:notes AS jsonb) FROM read
    ON CONFLICT (tenant_id, document_id) DO NOTHING RETURNING document_id
""")

_VERSIONS = text("""
    SELECT document_id, created_at FROM graph_documents
    WHERE tenant_id = :tenant AND dataset_id = :dataset_id ORDER BY document_id
""")

_NOTES = text("""
    SELECT document_id, subgraph FROM graph_documents
    WHERE tenant_id = :tenant AND document_id = ANY(CAST(:document_ids AS text[])) ORDER BY document_id
""")

_ENTITY_VECTORS = text("""
    SELECT name, vector_of FROM graph_entities WHERE tenant_id = :tenant AND dataset_id = :dataset_id
""")
_RELATION_VECTORS = text("""
    SELECT source, target, vector_of FROM graph_relations WHERE tenant_id = :tenant AND dataset_id = :dataset_id
""")

_ENTITIES = text("""
    SELECT name, type, description, pagerank, degree, aliases, document_ids FROM graph_entities
    WHERE tenant_id = :tenant AND dataset_id = :dataset_id ORDER BY name COLLATE "C"
""")
_RELATIONS = text("""
    SELECT source, target, description, keywords, weight, document_ids FROM graph_relations
    WHERE tenant_id = :tenant AND dataset_id = :dataset_id ORDER BY source COLLATE "C", target COLLATE "C"
""")

_DROP_ENTITIES = text("""
    DELETE FROM graph_entities WHERE tenant_id = :tenant AND dataset_id = :dataset_id
      AND name <> ALL(CAST(:names AS text[]))
""")
_DROP_RELATIONS = text("""
    DELETE FROM graph_relations r WHERE r.tenant_id = :tenant AND r.dataset_id = :dataset_id
      AND NOT EXISTS (SELECT FROM unnest(CAST(:sources AS text[]), CAST(:targets AS text[])) AS k(source, target)
                      WHERE k.source = r.source AND k.target = r.target)
""")

_ENTITY_VALUES = """unnest(CAST(:names AS text[]), CAST(:types AS text[]), CAST(:descriptions AS text[]),
    CAST(:pageranks AS float8[]), CAST(:degrees AS int[]), CAST(:aliases AS text[]), CAST(:document_ids AS text[]))
    WITH ORDINALITY AS e(name, type, description, pagerank, degree, aliases, document_ids, n)"""
_RELATION_VALUES = """unnest(CAST(:sources AS text[]), CAST(:targets AS text[]), CAST(:descriptions AS text[]),
    CAST(:keywords AS text[]), CAST(:weights AS float8[]), CAST(:document_ids AS text[]))
    WITH ORDINALITY AS e(source, target, description, keywords, weight, document_ids, n)"""
_VECTORS = """unnest(CAST(:embeddings AS text[]), CAST(:hashes AS bytea[]))
    WITH ORDINALITY AS v(embedding, vector_of, n)"""


def _array(column: str) -> str:
    return f"ARRAY(SELECT jsonb_array_elements_text(CAST({column} AS jsonb)))"


_PUT_ENTITIES = text(f"""
    INSERT INTO graph_entities (tenant_id, dataset_id, name, type, description, pagerank, degree, aliases, document_ids,
        embedding, dimensions, vector_of)
    SELECT :tenant, :dataset_id, e.name, e.type, e.description, e.pagerank, e.degree, {_array("e.aliases")},
        {_array("e.document_ids")}, CAST(v.embedding AS vector), vector_dims(CAST(v.embedding AS vector)), v.vector_of
    FROM {_ENTITY_VALUES} JOIN {_VECTORS} ON v.n = e.n
    ON CONFLICT (tenant_id, dataset_id, name) DO UPDATE SET type = EXCLUDED.type, description = EXCLUDED.description,
        pagerank = EXCLUDED.pagerank, degree = EXCLUDED.degree, aliases = EXCLUDED.aliases,
        document_ids = EXCLUDED.document_ids, embedding = EXCLUDED.embedding, dimensions = EXCLUDED.dimensions,
        vector_of = EXCLUDED.vector_of
""")  # noqa: S608 (constants)

_CHANGE_ENTITIES = text(f"""
    UPDATE graph_entities g SET type = e.type, description = e.description, pagerank = e.pagerank, degree = e.degree,
        aliases = {_array("e.aliases")}, document_ids = {_array("e.document_ids")}
    FROM {_ENTITY_VALUES}
    WHERE g.tenant_id = :tenant AND g.dataset_id = :dataset_id AND g.name = e.name
""")  # noqa: S608 (constants)

_PUT_RELATIONS = text(f"""
    INSERT INTO graph_relations (tenant_id, dataset_id, source, target, description, keywords, weight, document_ids,
        embedding, dimensions, vector_of)
    SELECT :tenant, :dataset_id, e.source, e.target, e.description, {_array("e.keywords")}, e.weight,
        {_array("e.document_ids")}, CAST(v.embedding AS vector), vector_dims(CAST(v.embedding AS vector)), v.vector_of
    FROM {_RELATION_VALUES} JOIN {_VECTORS} ON v.n = e.n
    ON CONFLICT (tenant_id, dataset_id, source, target) DO UPDATE SET description = EXCLUDED.description,
        keywords = EXCLUDED.keywords, weight = EXCLUDED.weight, document_ids = EXCLUDED.document_ids,
        embedding = EXCLUDED.embedding, dimensions = EXCLUDED.dimensions, vector_of = EXCLUDED.vector_of
""")  # noqa: S608 (constants)

_CHANGE_RELATIONS = text(f"""
    UPDATE graph_relations g SET description = e.description, keywords = {_array("e.keywords")}, weight = e.weight,
        document_ids = {_array("e.document_ids")}
    FROM {_RELATION_VALUES}
    WHERE g.tenant_id = :tenant AND g.dataset_id = :dataset_id AND g.source = e.source AND g.target = e.target
""")  # noqa: S608 (constants)

_DROP_COMMUNITIES = text("DELETE FROM graph_communities WHERE tenant_id = :tenant AND dataset_id = :dataset_id")
_ADD_COMMUNITIES = text("""
    INSERT INTO graph_communities (tenant_id, dataset_id, id, title, report, findings, weight, entities)
    SELECT :tenant, :dataset_id, c.id, c.title, c.report, CAST(c.findings AS jsonb), c.weight,
        ARRAY(SELECT jsonb_array_elements_text(CAST(c.entities AS jsonb)))
    FROM unnest(CAST(:ids AS text[]), CAST(:titles AS text[]), CAST(:reports AS text[]), CAST(:findings AS text[]),
        CAST(:weights AS float8[]), CAST(:entities AS text[])) AS c(id, title, report, findings, weight, entities)
    ON CONFLICT DO NOTHING
""")

_ROWS_AT_ONCE = 250

Versions = dict[str, datetime]
"""Which documents are in a graph, and since when."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectored:
    """A new vector, L2-normalised, and the hash of what it is of."""

    embedding: Sequence[float]
    vector_of: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadDocument:
    """A parsed document that is not in the graph; `begun_at` tells this parsing from a later one."""

    id: DocumentId
    name: str
    chunk_method: str
    parser_config: dict[str, Any]
    begun_at: datetime | None


class GraphRepository:
    """Graphs of one tenant, as jobs make them. Never commits."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    async def lock(self, dataset_id: DatasetId) -> None:
        """Keep the dataset's graph from others who lock it until this unit ends."""
        await self._connection.execute(_LOCK, self._own(dataset_id))

    async def unread(self, dataset_id: DatasetId) -> list[UnreadDocument]:
        """Return the parsed and enabled documents that are not in the graph, oldest first."""
        rows = await self._connection.execute(_UNREAD, self._own(dataset_id))
        return [
            UnreadDocument(
                id=DocumentId(row.id),
                name=row.name,
                chunk_method=row.chunk_method,
                parser_config=row.parser_config,
                begun_at=row.process_begin_at,
            )
            for row in rows
        ]

    async def texts(self, document_id: DocumentId) -> list[str]:
        """Return the document's own chunks that are available, in reading order."""
        values = {"tenant": self._tenant_id, "document_id": document_id}
        return [str(row.content) for row in await self._connection.execute(_TEXTS, values)]

    async def keep(self, dataset_id: DatasetId, document: UnreadDocument, notes: GraphNotes) -> bool:
        """Store the notes of a document; False when it is gone, or was parsed anew since it was read."""
        values = {
            **self._own(dataset_id),
            "document_id": document.id,
            "begun_at": document.begun_at,
            "notes": encoded_notes(notes),
        }
        return (await self._connection.execute(_KEEP, values)).first() is not None

    async def versions(self, dataset_id: DatasetId) -> Versions:
        """Return which documents are in the graph."""
        rows = await self._connection.execute(_VERSIONS, self._own(dataset_id))
        return {str(row.document_id): row.created_at for row in rows}

    async def notes(self, document_ids: Sequence[str]) -> dict[str, GraphNotes]:
        """Return the notes of these documents, by document."""
        values = {"tenant": self._tenant_id, "document_ids": list(document_ids)}
        rows = await self._connection.execute(_NOTES, values)
        return {str(row.document_id): decoded_notes(row.subgraph) for row in rows}

    async def entities(self, dataset_id: DatasetId) -> list[Entity]:
        """Return all entities, by name."""
        rows = await self._connection.execute(_ENTITIES, self._own(dataset_id))
        return [as_entity(row) for row in rows]

    async def relations(self, dataset_id: DatasetId) -> list[Relation]:
        """Return all relations, by names."""
        rows = await self._connection.execute(_RELATIONS, self._own(dataset_id))
        return [as_relation(row) for row in rows]

    async def known_vectors(self, dataset_id: DatasetId) -> tuple[dict[str, bytes], dict[Pair, bytes]]:
        """Return of what the stored vectors are (`Vectored.vector_of`), by entity and by relation."""
        entities = await self._connection.execute(_ENTITY_VECTORS, self._own(dataset_id))
        relations = await self._connection.execute(_RELATION_VECTORS, self._own(dataset_id))
        return (
            {str(row.name): bytes(row.vector_of) for row in entities},
            {(str(row.source), str(row.target)): bytes(row.vector_of) for row in relations},
        )

    async def put(
        self,
        dataset_id: DatasetId,
        entities: Sequence[Entity],
        relations: Sequence[Relation],
        entity_vectors: Mapping[str, Vectored],
        relation_vectors: Mapping[Pair, Vectored],
    ) -> None:
        """Make these the graph's rows; those without a new vector are there already and keep theirs."""
        own = self._own(dataset_id)
        await self._connection.execute(_DROP_ENTITIES, {**own, "names": [each.name for each in entities]})
        ends = {"sources": [each.source for each in relations], "targets": [each.target for each in relations]}
        await self._connection.execute(_DROP_RELATIONS, {**own, **ends})
        fresh = [each for each in entities if each.name in entity_vectors]
        for batch in _batches(fresh):
            vectors = _vectors([entity_vectors[each.name] for each in batch])
            await self._connection.execute(_PUT_ENTITIES, {**own, **_entity_columns(batch), **vectors})
        for batch in _batches([each for each in entities if each.name not in entity_vectors]):
            await self._connection.execute(_CHANGE_ENTITIES, {**own, **_entity_columns(batch)})
        new = [each for each in relations if each.pair in relation_vectors]
        for some in _batches(new):
            vectors = _vectors([relation_vectors[each.pair] for each in some])
            await self._connection.execute(_PUT_RELATIONS, {**own, **_relation_columns(some), **vectors})
        for some in _batches([each for each in relations if each.pair not in relation_vectors]):
            await self._connection.execute(_CHANGE_RELATIONS, {**own, **_relation_columns(some)})

    async def put_communities(self, dataset_id: DatasetId, communities: Sequence[Community]) -> None:
        """Make these the graph's communities."""
        await self._connection.execute(_DROP_COMMUNITIES, self._own(dataset_id))
        columns = {
            "ids": [each.id for each in communities],
            "titles": [each.title for each in communities],
            "reports": [each.report for each in communities],
            "findings": [orjson.dumps(list(each.findings)).decode() for each in communities],
            "weights": [each.weight for each in communities],
            "entities": [orjson.dumps(list(each.entities)).decode() for each in communities],
        }
        await self._connection.execute(_ADD_COMMUNITIES, {**self._own(dataset_id), **columns})

    def _own(self, dataset_id: DatasetId) -> dict[str, Any]:
        return {"tenant": self._tenant_id, "dataset_id": dataset_id}


def as_entity(row: Row[Any]) -> Entity:
    """Return the entity of a row that has all its columns."""
    return Entity(
        name=row.name,
        type=row.type,
        description=row.description,
        pagerank=row.pagerank,
        degree=row.degree,
        aliases=list(row.aliases),
        document_ids=list(row.document_ids),
    )


def as_relation(row: Row[Any]) -> Relation:
    """Return the relation of a row that has all its columns."""
    return Relation(
        source=row.source,
        target=row.target,
        description=row.description,
        keywords=list(row.keywords),
        weight=row.weight,
        document_ids=list(row.document_ids),
    )


def _entity_columns(entities: Sequence[Entity]) -> dict[str, list[Any]]:
    return {
        "names": [each.name for each in entities],
        "types": [each.type for each in entities],
        "descriptions": [each.description for each in entities],
        "pageranks": [each.pagerank for each in entities],
        "degrees": [each.degree for each in entities],
        "aliases": [orjson.dumps(list(each.aliases)).decode() for each in entities],
        "document_ids": [orjson.dumps(list(each.document_ids)).decode() for each in entities],
    }


def _relation_columns(relations: Sequence[Relation]) -> dict[str, list[Any]]:
    return {
        "sources": [each.source for each in relations],
        "targets": [each.target for each in relations],
        "descriptions": [each.description for each in relations],
        "keywords": [orjson.dumps(list(each.keywords)).decode() for each in relations],
        "weights": [each.weight for each in relations],
        "document_ids": [orjson.dumps(list(each.document_ids)).decode() for each in relations],
    }


def _vectors(vectors: Sequence[Vectored]) -> dict[str, list[Any]]:
    return {
        "embeddings": [orjson.dumps(list(each.embedding)).decode() for each in vectors],
        "hashes": [each.vector_of for each in vectors],
    }


def _batches(rows: Sequence[Any]) -> list[Sequence[Any]]:
    return [rows[start : start + _ROWS_AT_ONCE] for start in range(0, len(rows), _ROWS_AT_ONCE)]
