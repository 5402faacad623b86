"""What lists of documents are asked (knowledge.md 2.4)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from app.domain.datasets import RUN_DIGITS, Document, DocumentFilter, RunState
from app.domain.errors import BadArgument, Invalid, WrongType
from app.domain.ids import DatasetId, DocumentId
from app.retrieval.metadata import MetadataFilter, read_filter
from app.services.documents import list_documents, owned
from app.services.listing import OFFSET_MOST, count_of
from app.services.metadata import find_by_condition
from app.services.parsing import QUEUED
from repositories.documents import ORDERINGS
from repositories.jobs import PARSE
from repositories.unit_of_work import UnitOfWork

_PAGE_MOST = 2**31


async def listed_documents(
    unit: UnitOfWork, dataset_id: DatasetId, asked: Mapping[str, Any]
) -> tuple[int, list[Document]]:
    """Return how many documents a query means, and the page of them that it asks for.

    `asked` holds texts, and lists of them for `suffix` and `run`, as `schemas.documents.DocumentQuery` has them.

    Raises:
        DatasetMissing: there is no such dataset.
        DocumentMissing: the id or name that was asked for is not in it.
        Invalid: a number is none, there is no such order, or the condition cannot be read.
    """
    await owned(unit, dataset_id, ending=" ")
    orderby: str = asked["orderby"]
    if orderby not in ORDERINGS:
        raise BadArgument(f"Input should be one of {', '.join(ORDERINGS)}", param="orderby")
    condition = _condition(asked["metadata_condition"])
    most = min(max(0, _whole(asked, "page_size")), _PAGE_MOST)
    shown = DocumentFilter(
        document_id=DocumentId(asked["id"]) if asked["id"] else None,
        name=asked["name"] or None,
        keywords=asked["keywords"],
        suffixes=asked["suffix"] or (),
        runs=_runs(asked["run"]),
        document_ids=await find_by_condition(unit, dataset_id, condition),
        created_from_ms=_whole(asked, "create_time_from"),
        created_to_ms=_whole(asked, "create_time_to"),
    )
    skip = min((max(1, _whole(asked, "page")) - 1) * most, OFFSET_MOST)
    desc = asked["desc"].strip().lower() != "false"
    total, found = await list_documents(unit, dataset_id, shown, order_by=orderby, desc=desc, most=most, skip=skip)
    return total, await _with_places(unit, found)


async def _with_places(unit: UnitOfWork, documents: list[Document]) -> list[Document]:
    """Let documents that have no log yet tell how many jobs are before theirs (knowledge.md 2.8)."""
    waiting = [each.id for each in documents if each.run is RunState.RUNNING and each.progress_msg == QUEUED]
    ahead = await unit.jobs.ahead(PARSE, waiting) if waiting else {}
    return [
        replace(each, progress_msg=f"{count} tasks are ahead in the queue...")
        if (count := ahead.get(each.id))
        else each
        for each in documents
    ]


def _condition(sent: str) -> MetadataFilter | None:
    if not sent.strip():
        return None
    try:
        condition = orjson.loads(sent)
    except orjson.JSONDecodeError as error:
        raise Invalid("metadata_condition must be valid JSON.", param="metadata_condition") from error
    if condition is not None and not isinstance(condition, dict):
        raise Invalid("metadata_condition must be an object.", param="metadata_condition")
    return read_filter(condition)


def _runs(words: Sequence[str] | None) -> list[RunState] | None:
    """Return the states asked for; unknown ones match nothing."""
    if not words:
        return None
    known = {**RUN_DIGITS, **{state.value: state for state in RunState}}
    return [known[word] for word in words if word in known]


def _whole(asked: Mapping[str, Any], name: str) -> int:
    """Read a number of any size, below 0 too."""
    value: str = asked[name].strip()
    number = count_of(value.removeprefix("-"))
    if number is None:
        raise WrongType(f"{name}: Input should be a valid integer, unable to parse string as an integer", param=name)
    return -number if value.startswith("-") else number
