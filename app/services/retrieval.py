"""The retrieval routes' rules: what a request says, in the order it is checked (knowledge.md 4.1)."""

from collections.abc import Mapping, Sequence
from typing import Any

import anyio

from app.domain.errors import Invalid, WrongType
from app.domain.ids import DatasetId, DocumentId, TenantId
from app.domain.principals import Caller
from app.domain.retrieval import ModelCall, SearchRequest, SearchResult
from app.retrieval.service import Retriever
from app.security.quotas import Quotas, estimate
from app.services.reading import flag, languages, number, texts, whole
from repositories.unit_of_work import Database

_MOST = 10_000  # of a page and of neighbours; what is beyond is cut to it
_PAGES = 2**31
_WRITTEN_S = 5.0


async def retrieve(
    database: Database, retriever: Retriever, quotas: Quotas, caller: Caller, request: SearchRequest
) -> SearchResult:
    """Search, and write what the models cost to the ledger, also when the search failed after they were asked.

    Raises:
        QuotaUsedUp, Limited: before anything was asked.
        ParleyError: as `Retriever.search`.
    """
    calls: list[ModelCall] = []
    async with quotas.held(caller.tenant_id, caller.quota, _cost(request)):
        try:
            return await retriever.search(caller.tenant_id, request, must_be_parsed=True, calls=calls)
        finally:
            await write_calls(database, caller, calls)


async def write_calls(database: Database, caller: Caller, calls: Sequence[ModelCall]) -> None:
    """Write what models cost to the ledger of the caller's key; whoever is cancelled meanwhile still does."""
    if calls:
        with anyio.move_on_after(_WRITTEN_S, shield=True):
            async with database.unit(caller.tenant_id) as unit:
                await unit.usage.add(calls, api_key_id=caller.key_id)


def _cost(request: SearchRequest) -> int:
    """Return about how many tokens a search costs: the question's, and those of a chat model that is asked first."""
    is_asking = request.keyword or bool(request.cross_languages) or request.meta_data_filter is not None
    return estimate((request.question,), None if is_asking else 1)


async def read_checked(
    retriever: Retriever, tenant_id: TenantId, sent: Mapping[str, Any], *, is_compat22: bool
) -> SearchRequest:
    """Return the search a body asks for; whose datasets these are is told before what else is wrong with it.

    Raises:
        DatasetMissing, MixedEmbeddings: as `Retriever.search`.
        Invalid: as `read_request`.
    """
    try:
        return read_request(sent, is_compat22=is_compat22)
    except Invalid:
        await retriever.check(tenant_id, _dataset_ids(sent))
        raise


def read_request(sent: Mapping[str, Any], *, is_compat22: bool = False, least_similarity: float = 0.2) -> SearchRequest:
    """Return the search a body asks for. `least_similarity` is the threshold of one that names none.

    RAGFlow 0.22 marks the found words unless it is told not to.

    Raises:
        Invalid: a field is missing or of the wrong type; the message is the contract's.
    """
    dataset_ids = _dataset_ids(sent)
    question = sent.get("question")
    if question is None:
        raise Invalid("`question` is required.", param="question")
    if not isinstance(question, str):
        raise WrongType("`question` should be a string", param="question")
    document_ids = sent.get("document_ids")
    if document_ids is not None and not isinstance(document_ids, list):
        raise Invalid("`documents` should be a list", param="document_ids")
    top_k = whole(sent, "top_k", 1024, least=-1)
    if top_k <= 0:
        raise WrongType("`top_k` must be greater than 0", param="top_k")
    condition = sent.get("metadata_condition")
    if condition is not None and not isinstance(condition, dict):
        raise WrongType("metadata_condition must be an object.", param="metadata_condition")
    rerank_id = sent.get("rerank_id")
    if rerank_id is not None and not isinstance(rerank_id, str):
        raise WrongType("`rerank_id` should be a string", param="rerank_id")
    return SearchRequest(
        question=question,
        dataset_ids=dataset_ids,
        document_ids=tuple(DocumentId(each) for each in texts(document_ids or [], "document_ids")),
        page=min(max(1, whole(sent, "page", 1)), _PAGES),
        page_size=min(whole(sent, "page_size", 30), _MOST),
        similarity_threshold=number(sent, "similarity_threshold", least_similarity),
        vector_similarity_weight=min(1.0, max(0.0, number(sent, "vector_similarity_weight", 0.3))),
        top_k=min(top_k, _MOST),
        rerank_id=rerank_id or None,
        highlight=_is_marked(sent.get("highlight"), is_compat22=is_compat22),
        has_tokens=True,
        metadata_condition=condition if not document_ids else None,
        cross_languages=languages(sent.get("cross_languages")),
        keyword=flag(sent, "keyword"),
        use_kg=flag(sent, "use_kg"),
        toc_enhance=flag(sent, "toc_enhance"),
    )


def _dataset_ids(sent: Mapping[str, Any]) -> tuple[DatasetId, ...]:
    dataset_ids = sent.get("dataset_ids")
    if dataset_ids is None or dataset_ids in ("", []):
        raise Invalid("`dataset_ids` is required.", param="dataset_ids")
    if not isinstance(dataset_ids, list):
        raise Invalid("`dataset_ids` should be a list", param="dataset_ids")
    return tuple(DatasetId(each) for each in texts(dataset_ids, "dataset_ids"))


def _is_marked(value: Any, *, is_compat22: bool) -> bool:
    if value is None:
        return is_compat22
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if is_compat22:
        return True
    raise Invalid("`highlight` should be a boolean", param="highlight")
