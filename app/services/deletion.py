"""Deleting several things at once: which are meant, and what is told of it (conversations.md 2.5, 3.5)."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from app.domain.errors import Invalid, Missing
from app.domain.listing import Deletion


async def delete_several(
    sent: Mapping[str, Any],
    *,
    delete: Callable[[Sequence[str]], Awaitable[list[str]]],
    delete_all: Callable[[], Awaitable[int]],
    unknown: Callable[[str], str],
    duplicate: Callable[[str], str],
    is_compat22: bool = False,
) -> Deletion:
    """Delete what a body `{"ids", "delete_all"}` asks for; `delete` returns the ids that were there.

    No ids mean all, unless `delete_all` was sent and is false. RAGFlow 0.22 tells of duplicates only where it has
    nothing else to tell.

    Raises:
        Invalid: `ids` is no list of strings, or `delete_all` no boolean.
        Missing: ids were given, and none of them was there.
    """
    ids, is_all = _ids(sent), _is_all(sent)
    if not ids:
        return Deletion(success_count=await delete_all() if is_all else 0)
    counts = Counter(ids)
    deleted = set(await delete(list(counts)))
    errors = [unknown(each) for each in counts if each not in deleted]
    if not (is_compat22 and errors):
        errors += [duplicate(each) for each, count in counts.items() if count > 1]
    if not deleted:
        raise Missing("; ".join(errors))
    return Deletion(success_count=len(deleted), errors=tuple(errors))


def _ids(sent: Mapping[str, Any]) -> list[str]:
    ids = sent.get("ids")
    if ids is None:
        return []
    if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
        raise Invalid("`ids` should be a list of strings.", param="ids")
    return ids


def _is_all(sent: Mapping[str, Any]) -> bool:
    is_all = sent.get("delete_all", True)
    if not isinstance(is_all, bool):
        raise Invalid("`delete_all` must be a boolean.", param="delete_all")
    return is_all
