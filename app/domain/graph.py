"""The knowledge graph of a dataset: what each document says of things, and what is told of them together.

Notes are what can be merged: in any order and grouping the outcome is the same (`app/ingest/graph/merging.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SEPARATOR = "<SEP>"
"""What stands between descriptions of one thing."""

Pair = tuple[str, str]
"""The names of two different entities in alphabetical order."""

STRENGTH_UNIT = 1000
"""Strengths are counted in whole thousandths: sums of those do not depend on their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityNotes:
    """What is said of a thing; `types` counts how often it was called what."""

    name: str
    types: Mapping[str, int]
    descriptions: frozenset[str]
    document_ids: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationNotes:
    """What is said of two things together; `strength` is in thousandths."""

    pair: Pair
    descriptions: frozenset[str]
    keywords: frozenset[str] = frozenset()
    strength: int = STRENGTH_UNIT
    document_ids: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphNotes:
    """Notes of a unit of text, a document or a dataset."""

    entities: Mapping[str, EntityNotes] = field(default_factory=dict[str, EntityNotes])
    relations: Mapping[Pair, RelationNotes] = field(default_factory=dict[Pair, RelationNotes])


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """A node of a dataset's graph. PageRanks of a graph sum to 1; `degree` counts its relations.

    `aliases` are other names that were judged to mean the same.
    """

    name: str
    type: str
    description: str
    pagerank: float = 0.0
    degree: int = 0
    aliases: Sequence[str] = ()
    document_ids: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """An edge of a dataset's graph; it has no direction, `source` is the name that comes first."""

    source: str
    target: str
    description: str
    keywords: Sequence[str] = ()
    weight: float = 1.0
    document_ids: Sequence[str] = ()

    @property
    def pair(self) -> Pair:
        """The names at both ends."""
        return self.source, self.target


@dataclass(frozen=True, slots=True, kw_only=True)
class Community:
    """Entities that belong together, and what a model wrote of them. `weight` is from 0 to 10."""

    id: str
    title: str
    report: str
    findings: Sequence[str]
    weight: float
    entities: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A graph, or the part of it that is shown."""

    entities: Sequence[Entity] = ()
    relations: Sequence[Relation] = ()
    document_ids: Sequence[str] = ()
