"""The rules by which notes become one graph (knowledge.md 5.11). Order and grouping make no difference."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from app.domain.graph import (
    SEPARATOR,
    STRENGTH_UNIT,
    Entity,
    EntityNotes,
    GraphNotes,
    Pair,
    Relation,
    RelationNotes,
)

MOST_DESCRIPTIONS = 12
"""More descriptions of one thing than these are summarised."""


@dataclass(slots=True)
class _Entity:
    types: Counter[str] = field(default_factory=Counter[str])
    descriptions: set[str] = field(default_factory=set[str])
    document_ids: set[str] = field(default_factory=set[str])


@dataclass(slots=True)
class _Relation:
    descriptions: set[str] = field(default_factory=set[str])
    keywords: set[str] = field(default_factory=set[str])
    strength: int = 0
    document_ids: set[str] = field(default_factory=set[str])


class Merger:
    """Gathers notes: counts of types add up, descriptions, keywords and documents unite, strengths add up."""

    def __init__(self) -> None:
        self._entities: dict[str, _Entity] = {}
        self._relations: dict[Pair, _Relation] = {}

    def add(self, notes: GraphNotes, document_id: str | None = None) -> None:
        """Take notes in; they are those of `document_id`, if given."""
        own = {document_id} if document_id is not None else set[str]()
        for entity in notes.entities.values():
            gathered = self._entities.setdefault(entity.name, _Entity())
            gathered.types.update(entity.types)
            gathered.descriptions |= entity.descriptions
            gathered.document_ids |= entity.document_ids | own
        for relation in notes.relations.values():
            held = self._relations.setdefault(relation.pair, _Relation())
            held.descriptions |= relation.descriptions
            held.keywords |= relation.keywords
            held.strength += relation.strength
            held.document_ids |= relation.document_ids | own

    def notes(self) -> GraphNotes:
        """Return what was gathered."""
        entities = {
            name: EntityNotes(
                name=name,
                types=dict(sorted(each.types.items())),
                descriptions=frozenset(each.descriptions),
                document_ids=frozenset(each.document_ids),
            )
            for name, each in sorted(self._entities.items())
        }
        relations = {
            pair: RelationNotes(
                pair=pair,
                descriptions=frozenset(each.descriptions),
                keywords=frozenset(each.keywords),
                strength=each.strength,
                document_ids=frozenset(each.document_ids),
            )
            for pair, each in sorted(self._relations.items())
        }
        return GraphNotes(entities=entities, relations=relations)


def merged(several: Iterable[GraphNotes]) -> GraphNotes:
    """Return the notes of all of them."""
    merger = Merger()
    for notes in several:
        merger.add(notes)
    return merger.notes()


def renamed(notes: GraphNotes, names: Mapping[str, str]) -> GraphNotes:
    """Return `notes` with each name in `names` replaced by its value; relations that become loops go."""
    if not names:
        return notes
    merger = Merger()
    for entity in notes.entities.values():
        name = names.get(entity.name, entity.name)
        merger.add(GraphNotes(entities={name: replace(entity, name=name)}))
    for relation in notes.relations.values():
        one, other = (names.get(name, name) for name in relation.pair)
        if one != other:
            pair = (min(one, other), max(one, other))
            merger.add(GraphNotes(relations={pair: replace(relation, pair=pair)}))
    return merger.notes()


def majority(types: Mapping[str, int]) -> str:
    """Return the type that was said most often, the alphabetically first of equals."""
    return min(types, key=lambda kind: (-types[kind], kind)) if types else ""


def joined(descriptions: Iterable[str]) -> str:
    """Return the descriptions as one text."""
    return SEPARATOR.join(sorted(descriptions))


def as_entity(notes: EntityNotes, *, pagerank: float = 0.0, degree: int = 0, aliases: Sequence[str] = ()) -> Entity:
    """Return the node of the dataset's graph."""
    return Entity(
        name=notes.name,
        type=majority(notes.types),
        description=joined(notes.descriptions),
        pagerank=pagerank,
        degree=degree,
        aliases=tuple(sorted(aliases)),
        document_ids=tuple(sorted(notes.document_ids)),
    )


def as_relation(notes: RelationNotes) -> Relation:
    """Return the edge of the dataset's graph."""
    source, target = notes.pair
    return Relation(
        source=source,
        target=target,
        description=joined(notes.descriptions),
        keywords=tuple(sorted(notes.keywords)),
        weight=notes.strength / STRENGTH_UNIT,
        document_ids=tuple(sorted(notes.document_ids)),
    )
