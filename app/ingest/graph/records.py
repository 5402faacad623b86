"""Reading the records a model writes: strict in what is kept, tolerant in how it is written. Nothing here raises."""

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence

from app.domain.graph import SEPARATOR, STRENGTH_UNIT, EntityNotes, GraphNotes, RelationNotes
from app.ingest.graph.merging import merged

DELIMITER = "<|>"
ENTITY = "ENTITY"
RELATION = "RELATION"
END = "<|END|>"

MOST_NAME = 200
_MOST_DESCRIPTION = 4000
_MOST_KEYWORDS = 20
_MOST_RECORDS = 2000  # of one answer; a model that repeats itself is not listened to for ever
_STRONGEST = 10.0

_LEADING = re.compile(r"^[\s\-*•`>\"'(\[\d.]*(?=(?:entity|relation(?:ship)?)\b)", re.IGNORECASE)
_KIND = re.compile(r"^(entity|relation(?:ship)?)[\s\"'*`]*$", re.IGNORECASE)
_NUMBER = re.compile(r"-?\d+(?:[.,]\d+)?")
_JOINERS = "\u200c\u200d"  # part of the spelling in some scripts
_QUOTES = "\"'`*“”„‘’«»()[]"


def read_records(answer: str, entity_types: Sequence[str]) -> GraphNotes:
    """Return what the records of `answer` say.

    An entity counts once per record. Entities of other types are dropped, and relations of an entity to itself.
    """
    known = {_plain(kind).casefold(): kind for kind in entity_types}
    found: list[GraphNotes] = []
    for fields in _records(answer):
        note = _entity(fields, known) if fields[0] == ENTITY else _relation(fields)
        if note is not None:
            found.append(note)
        if len(found) >= _MOST_RECORDS:
            break
    return merged(found)


def only_known_ends(notes: GraphNotes) -> GraphNotes:
    """Return `notes` without relations to what is no entity of them."""
    kept = {
        pair: note for pair, note in notes.relations.items() if pair[0] in notes.entities and pair[1] in notes.entities
    }
    return GraphNotes(entities=notes.entities, relations=kept)


def says_no(answer: str) -> bool:
    """Tell whether the model says that nothing is missing."""
    return answer.strip().strip("\"'`*.! \n").casefold() in ("no", "none", "nothing", "n", END.casefold(), "")


def entity_name(text: str) -> str:
    """Return the one form of a name: capitals, single spaces, no quotes around it. Empty if it cannot be one."""
    name = _plain(text).strip(_QUOTES + " ,;:").upper()
    return name if name and len(name) <= MOST_NAME and any(each.isalnum() for each in name) else ""


def _records(answer: str) -> Iterator[list[str]]:
    for line in answer.replace("\r", "\n").split("\n"):
        if DELIMITER not in line:
            continue
        first, *rest = _LEADING.sub("", line.strip()).split(DELIMITER)
        kind = _KIND.match(first.strip())
        if kind is not None:
            yield [ENTITY if kind.group(1).casefold() == "entity" else RELATION, *rest]


def _entity(fields: Sequence[str], known: dict[str, str]) -> GraphNotes | None:
    if len(fields) < 4:
        return None
    name = entity_name(fields[1])
    kind = known.get(_plain(fields[2]).strip(_QUOTES).casefold())
    description = _described(" ".join(fields[3:]))
    if not name or kind is None:
        return None
    note = EntityNotes(name=name, types={kind: 1}, descriptions=frozenset({description} - {""}))
    return GraphNotes(entities={name: note})


def _relation(fields: Sequence[str]) -> GraphNotes | None:
    if len(fields) < 4:
        return None
    one, other = entity_name(fields[1]), entity_name(fields[2])
    if not one or not other or one == other:
        return None
    pair = (min(one, other), max(one, other))
    note = RelationNotes(
        pair=pair,
        descriptions=frozenset({_described(fields[3])} - {""}),
        keywords=_keywords(fields[4] if len(fields) > 4 else ""),
        strength=_strength(fields[5] if len(fields) > 5 else ""),
    )
    return GraphNotes(relations={pair: note})


def _keywords(text: str) -> frozenset[str]:
    words = (_plain(word).strip(_QUOTES + " .").lower() for word in re.split(r"[,;、，]", text))
    return frozenset([word for word in words if word and len(word) <= MOST_NAME][:_MOST_KEYWORDS])


def _strength(text: str) -> int:
    """Return thousandths; 1 where no number stands, never over 10."""
    found = _NUMBER.search(text[:80])
    value = float(found.group().replace(",", ".")) if found is not None else 1.0
    if not math.isfinite(value) or value <= 0:
        value = 1.0
    return max(1, round(min(value, _STRONGEST) * STRENGTH_UNIT))


def _described(text: str) -> str:
    plain = _plain(text).replace(END, " ").replace(SEPARATOR, " ").strip("\"'` ")
    return plain[:_MOST_DESCRIPTION].strip()


def _plain(text: str) -> str:
    """Return `text` in one Unicode form, printable, with single spaces."""
    whole = text.encode("utf-8", "replace").decode()
    normal = unicodedata.normalize("NFKC", whole)
    return " ".join("".join(each if each.isprintable() or each in _JOINERS else " " for each in normal).split())
