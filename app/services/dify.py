"""Retrieval as Dify asks for it: one dataset, and words of its own (knowledge.md 4.8)."""

from collections.abc import Mapping
from typing import Any

from app.domain.datasets import DatasetMissing
from app.domain.errors import BadArgument, Invalid, Missing
from app.domain.principals import Caller
from app.domain.retrieval import SearchRequest, SearchResult
from app.retrieval.service import NothingParsed, Retriever
from app.security.quotas import Quotas
from app.services.retrieval import read_request, retrieve
from repositories.unit_of_work import Database

_REQUIRED = ("knowledge_id", "query")


class ArgumentsMissing(BadArgument):
    """Fields that have to be there are not; the message names them all."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(f"required argument are missing: {','.join(names)}; ")


def read_dify(sent: Mapping[str, Any]) -> SearchRequest:
    """Return the search that Dify asks for: one page of `top_k` chunks.

    Raises:
        ArgumentsMissing: there is no query, or nowhere to look.
        Invalid: a field is of the wrong type.
    """
    absent = [name for name in _REQUIRED if sent.get(name) is None]
    if absent:
        raise ArgumentsMissing(absent)
    setting = sent.get("retrieval_setting")
    if setting is None:
        setting = {}
    if not isinstance(setting, dict):
        raise Invalid("`retrieval_setting` should be an object")
    if not isinstance(sent["knowledge_id"], str):
        raise Invalid("`knowledge_id` should be a string")
    if not isinstance(sent["query"], str):
        raise Invalid("`query` should be a string")
    told = {name: setting[name] for name in ("top_k",) if setting.get(name) is not None}
    if setting.get("score_threshold") is not None:
        told["similarity_threshold"] = setting["score_threshold"]
    return read_request(
        {
            "dataset_ids": [sent["knowledge_id"]],
            "question": sent["query"],
            "use_kg": sent.get("use_kg"),
            "metadata_condition": sent.get("metadata_condition"),
            "page_size": told.get("top_k", 1024),
            **told,
        },
        least_similarity=0.0,
    )


async def retrieve_for_dify(
    database: Database, retriever: Retriever, quotas: Quotas, caller: Caller, request: SearchRequest
) -> SearchResult:
    """Search one dataset; what the models cost goes to the ledger.

    Raises:
        Missing: the dataset is not the caller's, or nothing in it was parsed.
        ParleyError: as `retrieve`.
    """
    try:
        return await retrieve(database, retriever, quotas, caller, request)
    except DatasetMissing as error:
        raise Missing("Knowledgebase not found!") from error
    except NothingParsed as error:
        raise Missing(error.message) from error
