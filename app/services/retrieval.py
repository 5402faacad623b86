"""The retrieval route's rules: what a request says, in the order it is checked (knowledge.md 4.1)."""

import math
from collections.abc import Mapping
from typing import Any

from app.domain.errors import Invalid
from app.domain.ids import DatasetId, DocumentId, KeyId, TenantId
from app.domain.retrieval import SearchRequest, SearchResult
from app.retrieval.service import Retriever
from repositories.unit_of_work import Database

_MOST = 10_000  # of a page and of neighbours; what is beyond is cut to it
_PAGES = 2**31


async def retrieve(
    database: Database, retriever: Retriever, tenant_id: TenantId, key_id: KeyId, request: SearchRequest
) -> SearchResult:
    """Search, and write what the models cost to the ledger."""
    result = await retriever.search(tenant_id, request, must_be_parsed=True)
    if result.calls:
        async with database.unit(tenant_id) as unit:
            await unit.usage.add(result.calls, api_key_id=key_id)
    return result


def read_request(sent: Mapping[str, Any]) -> SearchRequest:
    """Return the search a body asks for.

    Raises:
        Invalid: a field is missing or of the wrong type; the message is the contract's.
    """
    dataset_ids = sent.get("dataset_ids")
    if dataset_ids is None or dataset_ids in ("", []):
        raise Invalid("`dataset_ids` is required.", param="dataset_ids")
    if not isinstance(dataset_ids, list):
        raise Invalid("`dataset_ids` should be a list", param="dataset_ids")
    document_ids = sent.get("document_ids") or []
    if not isinstance(document_ids, list):
        raise Invalid("`documents` should be a list", param="document_ids")
    question = sent.get("question")
    if question is None:
        raise Invalid("`question` is required.", param="question")
    if not isinstance(question, str):
        raise Invalid("`question` should be a string", param="question")
    top_k = _whole(sent, "top_k", 1024, least=-1)
    if top_k <= 0:
        raise Invalid("`top_k` must be greater than 0", param="top_k")
    condition = sent.get("metadata_condition")
    if condition is not None and not isinstance(condition, dict):
        raise Invalid("metadata_condition must be an object.", param="metadata_condition")
    rerank_id = sent.get("rerank_id")
    if rerank_id is not None and not isinstance(rerank_id, str):
        raise Invalid("`rerank_id` should be a string", param="rerank_id")
    return SearchRequest(
        question=question,
        dataset_ids=tuple(DatasetId(each) for each in _texts(dataset_ids, "dataset_ids")),
        document_ids=tuple(DocumentId(each) for each in _texts(document_ids, "document_ids")),
        page=min(max(1, _whole(sent, "page", 1)), _PAGES),
        page_size=min(_whole(sent, "page_size", 30), _MOST),
        similarity_threshold=_number(sent, "similarity_threshold", 0.2),
        vector_similarity_weight=min(1.0, max(0.0, _number(sent, "vector_similarity_weight", 0.3))),
        top_k=min(top_k, _MOST),
        rerank_id=rerank_id or None,
        highlight=_flag(sent.get("highlight")),
        metadata_condition=condition if not document_ids else None,
    )


def _texts(values: list[Any], name: str) -> list[str]:
    if not all(isinstance(value, str) for value in values):
        raise Invalid(f"`{name}` should be a list of strings", param=name)
    return values


def _whole(sent: Mapping[str, Any], name: str, default: int, *, least: int = 0) -> int:
    """Read an int, or a string of one; what is below `least` counts as it."""
    value = sent.get(name, default)
    if isinstance(value, str) and len(value) <= 40:
        try:
            value = int(value)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, int):
        raise Invalid(f"`{name}` should be an integer", param=name)
    return max(least, value)


def _number(sent: Mapping[str, Any], name: str, default: float) -> float:
    value = sent.get(name, default)
    if isinstance(value, str) and len(value) <= 40:
        try:
            value = float(value)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Invalid(f"`{name}` should be a number", param=name)
    return float(value)


def _flag(value: Any) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise Invalid("`highlight` should be a boolean", param="highlight")
