"""Sections as they are stored: which new one is which old one, when a document is parsed again (sections.md 1)."""

from collections import defaultdict, deque
from collections.abc import Sequence

from app.domain.datasets import StoredSection
from app.domain.documents import OutlineSection
from app.domain.ids import SectionId, new_id

_SHINGLE_WORDS = 4
_LEAST_SHARED = 0.5
_MOST_COMPARED = 400  # sections on either side; beyond it only headings tell
_MOST_WORDS = 500  # of a section, that it is compared by


def stored_sections(outlined: Sequence[OutlineSection], old: Sequence[StoredSection]) -> list[StoredSection]:
    """Return the sections of an outline with the ids they had before, or new ones. Blocking."""
    kept = match_sections(old, outlined)
    ids = [kept.get(section.order) or SectionId(new_id()) for section in outlined]
    return [
        StoredSection(
            id=ids[section.order],
            position=section.order,
            level=section.level,
            title=section.title,
            path=section.path,
            parent_id=ids[section.parent_order] if section.parent_order is not None else None,
            content=section.content,
        )
        for section in outlined
    ]


def match_sections(old: Sequence[StoredSection], new: Sequence[OutlineSection]) -> dict[int, SectionId]:
    """Return the old id for each new section, by its order, that is an old one.

    First those with the same heading path, in order; then the unmatched old one whose text is most alike, if at least
    half of the shingles of both are shared.
    """
    by_path: dict[tuple[str, ...], deque[StoredSection]] = defaultdict(deque)
    for stored in old:
        by_path[stored.path].append(stored)
    kept: dict[int, SectionId] = {}
    for section in new:
        if same := by_path.get(section.path):
            kept[section.order] = same.popleft().id
    left = [section for sections in by_path.values() for section in sections]
    unmatched = [section for section in new if section.order not in kept]
    if left and unmatched and max(len(left), len(unmatched)) <= _MOST_COMPARED:
        kept |= _alike(left, unmatched)
    return kept


def _alike(old: Sequence[StoredSection], new: Sequence[OutlineSection]) -> dict[int, SectionId]:
    old_shingles = [(section.id, _shingles(section.content)) for section in old]
    pairs: list[tuple[float, int, SectionId]] = []
    for section in new:
        shingles = _shingles(section.content)
        for old_id, others in old_shingles:
            if min(len(shingles), len(others)) < _LEAST_SHARED * max(len(shingles), len(others)):
                continue  # they cannot share half
            common = len(shingles & others)
            shared = common / max(1, len(shingles) + len(others) - common)
            if shared >= _LEAST_SHARED:
                pairs.append((shared, section.order, old_id))
    kept: dict[int, SectionId] = {}
    taken: set[SectionId] = set()
    for _, order, old_id in sorted(pairs, key=lambda pair: (-pair[0], pair[1])):
        if order not in kept and old_id not in taken:
            kept[order] = old_id
            taken.add(old_id)
    return kept


def _shingles(text: str) -> frozenset[int]:
    """Hashes of them: numbers are compared faster than words."""
    words = text.split(None, _MOST_WORDS)[:_MOST_WORDS]
    last = max(1, len(words) - _SHINGLE_WORDS + 1)
    return frozenset(hash(tuple(words[at : at + _SHINGLE_WORDS])) for at in range(last)) if words else frozenset()
