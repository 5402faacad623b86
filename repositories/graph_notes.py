"""What documents tell of entities and relations, as JSON in the database."""

from collections.abc import Mapping
from typing import Any

import orjson

from app.domain.graph import EntityNotes, GraphNotes, RelationNotes


def encoded_notes(notes: GraphNotes) -> str:
    """Return notes as they are stored."""
    stored = {
        "entities": [
            {"name": each.name, "types": dict(each.types), "descriptions": sorted(each.descriptions)}
            for each in notes.entities.values()
        ],
        "relations": [
            {
                "source": each.pair[0],
                "target": each.pair[1],
                "descriptions": sorted(each.descriptions),
                "keywords": sorted(each.keywords),
                "strength": each.strength,
            }
            for each in notes.relations.values()
        ],
    }
    return orjson.dumps(stored).decode()


def decoded_notes(stored: Mapping[str, Any]) -> GraphNotes:
    """Return stored notes."""
    entities = [decoded_entity(each) for each in stored["entities"]]
    relations = [decoded_relation(each) for each in stored["relations"]]
    return GraphNotes(
        entities={each.name: each for each in entities}, relations={each.pair: each for each in relations}
    )


def decoded_entity(stored: Mapping[str, Any]) -> EntityNotes:
    """Return the notes of one entity."""
    return EntityNotes(name=stored["name"], types=stored["types"], descriptions=frozenset(stored["descriptions"]))


def decoded_relation(stored: Mapping[str, Any]) -> RelationNotes:
    """Return the notes of one relation."""
    return RelationNotes(
        pair=(stored["source"], stored["target"]),
        descriptions=frozenset(stored["descriptions"]),
        keywords=frozenset(stored["keywords"]),
        strength=stored["strength"],
    )
