"""What a search page asks for beside an answer: hits, further questions, a mind map (conversations.md 7.3, 7.6)."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from anyio import to_thread

from app.domain.datasets import DatasetMissing
from app.domain.errors import Invalid, Missing, NotOperable, WrongType
from app.domain.ids import DatasetId, DocumentId
from app.domain.models import ChatMessage, GenerationOptions
from app.domain.principals import Caller
from app.domain.retrieval import ModelCall, SearchRequest, SearchResult
from app.domain.search_apps import SearchApp
from app.engine.prompting import keep_within
from app.llm.asking import ask_text
from app.llm.base import ChatModel, TokenCounter
from app.llm.catalogue import ModelCatalogue
from app.retrieval.rephrasing import BUILTIN
from app.retrieval.service import NothingParsed, Retriever
from app.security.quotas import Quotas, estimate
from app.services.asking_datasets import CHUNKS, NOT_OWNED, page_app, question_of, reachable
from app.services.mindmap import Node, mindmap_prompt, outline_of, parse_outline
from app.services.reading import flag, texts, whole
from app.services.related import parse_related, related_prompt
from app.services.retrieval import read_request, retrieve, write_calls
from app.services.search_apps import require_keys
from app.services.search_settings import SearchSettings, chat_model, generation, ids, objects, read_settings
from repositories.unit_of_work import Database

_MODEL_S = 90.0
_RELATED_TEMPERATURE, _RELATED_TOKENS = 0.9, 1000
_MINDMAP_TEMPERATURE, _MINDMAP_TOKENS = 0.3, 3000
_MINDMAP_THRESHOLD = 0.2
_PASSAGES_SHARE = 2  # of the model's context: the other half is for the outline
_CONTEXT = 8192
_DEFAULTS = (
    "doc_ids", "similarity_threshold", "vector_similarity_weight", "top_k", "rerank_id", "use_kg", "keyword",
    "highlight", "cross_languages", "meta_data_filter",
)  # fmt: skip
"""Keys of a configuration that count where a body does not have them."""

_OF_THE_APP = ("meta_data_filter", "include_metadata", "metadata_fields")
"""What a visitor cannot choose."""


class NothingSelected(WrongType):
    """No dataset was named. RAGFlow 0.22 raises here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """What a search found, and which fields of the documents' metadata to show: empty is all, None is none."""

    result: SearchResult
    metadata_fields: tuple[str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchTools:
    """What routes of search pages ask for. Every model call is on the caller's ledger, those that failed too."""

    database: Database
    retriever: Retriever
    catalogue: ModelCatalogue
    tokens: TokenCounter
    quotas: Quotas

    async def test(self, caller: Caller, sent: Mapping[str, Any], *, is_compat22: bool = False) -> Tested:
        """Search as a body asks, and as its search app is set where it says nothing (7.6).

        Raises:
            Invalid: a field is missing or cannot be.
            Missing: the search app or a dataset is not there or not the caller's; or nothing is parsed.
            UpstreamFailed: a model could not answer.
        """
        require_keys(sent, "kb_id", "question")
        named = _named(sent["kb_id"])
        if not named:
            raise Invalid("Please specify dataset firstly.", param="kb_id", done=False if is_compat22 else None)
        async with self.database.unit(caller.tenant_id) as unit:
            app = await page_app(unit, caller, sent)
            settings = read_settings(app.search_config if app is not None else None)
            dataset_ids = await reachable(unit, caller, named, settings)
        merged = _merged(caller, app, sent)
        request = _read_test(merged, dataset_ids, settings)
        if caller.visit is not None and settings.doc_ids:
            request = _confined(request, settings)
        return Tested(result=await self._found(caller, request), metadata_fields=_metadata_fields(merged))

    async def related(self, caller: Caller, sent: Mapping[str, Any]) -> list[str]:
        """Return questions that go on from a body's, by the model of its search app (7.3).

        Raises:
            Invalid: there is no question; the model cannot be used.
            Missing: the search app is not there or not the caller's.
            UpstreamFailed: the model could not answer.
        """
        require_keys(sent, "question")
        question = question_of(sent)
        async with self.database.unit(caller.tenant_id) as unit:
            app = await page_app(unit, caller, sent)
        settings = read_settings(app.search_config if app is not None else None)
        return await self._related(caller, question, "", settings)

    async def related_by_default(self, caller: Caller, sent: Mapping[str, Any]) -> list[str]:
        """Return the same by the default model, within the body's `industry`. Raises as `related`."""
        question = question_of(sent)
        industry = sent.get("industry") or ""
        if not isinstance(industry, str):
            raise WrongType("`industry` should be a string", param="industry")
        return await self._related(caller, question, industry, SearchSettings())

    async def _related(self, caller: Caller, question: str, industry: str, settings: SearchSettings) -> list[str]:
        model = chat_model(self.catalogue, settings.chat_model)
        options = generation(settings.llm_setting, temperature=_RELATED_TEMPERATURE, max_tokens=_RELATED_TOKENS)
        return parse_related(await self._said(caller, model, related_prompt(question, industry), options, "related"))

    async def mindmap(self, caller: Caller, sent: Mapping[str, Any]) -> Node:
        """Return a mind map of what a body's question finds (7.6); a bare root when that is nothing.

        The embedded model is too small to draw, and one that drew nothing did not help: then the documents and the
        beginnings of their passages are the tree.

        Raises:
            Invalid: a field is missing; the model cannot be used.
            Missing: the search app or a dataset is not there or not the caller's.
            UpstreamFailed: a model could not answer.
        """
        require_keys(sent, "question", "kb_ids")
        question = question_of(sent)
        async with self.database.unit(caller.tenant_id) as unit:
            app = await page_app(unit, caller, sent)
            config = app.search_config if app is not None else None
            settings = read_settings(config, threshold=_MINDMAP_THRESHOLD)
            wanted = settings.kb_ids or ids(sent, "kb_ids")
            if not wanted:
                raise NothingSelected("No KB selected", param="kb_ids")
            dataset_ids = await reachable(unit, caller, wanted, settings)
        model = chat_model(self.catalogue, settings.chat_model)
        result = await self._found(caller, _mindmap_request(question, dataset_ids, settings))
        passages = [hit.reference for hit in result.hits]
        if not passages or model.provider == BUILTIN:
            return outline_of(passages)
        room = (model.context_tokens or _CONTEXT) // _PASSAGES_SHARE
        kept = await to_thread.run_sync(partial(keep_within, passages, room, self.tokens))
        options = generation(settings.llm_setting, temperature=_MINDMAP_TEMPERATURE, max_tokens=_MINDMAP_TOKENS)
        said = await self._said(caller, model, mindmap_prompt(question, kept), options, "mindmap")
        tree = parse_outline(said)
        return tree if tree.children else outline_of(passages)

    async def _found(self, caller: Caller, request: SearchRequest) -> SearchResult:
        try:
            return await retrieve(self.database, self.retriever, self.quotas, caller, request)
        except DatasetMissing as error:  # it went away meanwhile
            raise Missing("Knowledgebase not found!", param="kb_id") from error
        except NothingParsed as error:
            raise Missing(error.message) from error

    async def _said(
        self,
        caller: Caller,
        model: ChatModel,
        messages: Sequence[ChatMessage],
        options: GenerationOptions,
        purpose: str,
    ) -> str:
        calls: list[ModelCall] = []
        deadline_s = asyncio.get_running_loop().time() + _MODEL_S
        tokens = estimate((message.content for message in messages), options.max_tokens)
        async with self.quotas.held(caller.tenant_id, caller.quota, tokens):
            try:
                return await ask_text(model, messages, options, purpose=purpose, calls=calls, deadline_s=deadline_s)
            finally:
                await write_calls(self.database, caller, calls)


def _named(kb_id: Any) -> tuple[str, ...]:
    if isinstance(kb_id, str):
        return (kb_id,) if kb_id else ()
    if kb_id is not None and not isinstance(kb_id, list):
        raise WrongType("`kb_id` should be a string or a list", param="kb_id")
    return tuple(dict.fromkeys(each for each in texts(kb_id or [], "kb_id") if each))


def _merged(caller: Caller, app: SearchApp | None, sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body with what its search app says where it says nothing. Null says nothing."""
    config = app.search_config if app is not None else {}
    shown = config.get("reference_metadata")
    shown = shown if isinstance(shown, dict) else {}
    set_so = {name: config.get(name) for name in _DEFAULTS}
    set_so |= {"include_metadata": shown.get("include"), "metadata_fields": shown.get("fields")}
    is_visitor = caller.visit is not None
    said = {name: value for name, value in sent.items() if not (is_visitor and name in _OF_THE_APP)}
    return {name: value for name, value in set_so.items() if value is not None} | {
        name: value for name, value in said.items() if value is not None
    }


def _read_test(
    merged: Mapping[str, Any], dataset_ids: tuple[DatasetId, ...], settings: SearchSettings
) -> SearchRequest:
    question = merged.get("question", "")
    read = read_request(
        {
            **merged,
            "question": question,
            "dataset_ids": list(dataset_ids),
            "document_ids": list(ids(merged, "doc_ids")),
            "metadata_condition": None,
            "page_size": whole(merged, "size", 30),
            "toc_enhance": False,
        },
        least_similarity=0.0,
    )
    return replace(read, meta_data_filter=objects(merged, "meta_data_filter") or None, chat_model=settings.chat_model)


def _confined(request: SearchRequest, settings: SearchSettings) -> SearchRequest:
    """Return a visitor's search within the documents of its search app, all of them where it names none.

    Raises:
        NotOperable: it names another one.
    """
    allowed = tuple(map(DocumentId, settings.doc_ids))
    if not {*request.document_ids} <= {*allowed}:
        raise NotOperable(NOT_OWNED, param="doc_ids")
    return replace(request, document_ids=request.document_ids or allowed)


def _metadata_fields(merged: Mapping[str, Any]) -> tuple[str, ...] | None:
    return ids(merged, "metadata_fields") if flag(merged, "include_metadata") else None


def _mindmap_request(question: str, dataset_ids: tuple[DatasetId, ...], settings: SearchSettings) -> SearchRequest:
    return SearchRequest(
        question=question,
        dataset_ids=dataset_ids,
        document_ids=tuple(map(DocumentId, settings.doc_ids)),
        page_size=CHUNKS,
        similarity_threshold=settings.similarity_threshold,
        vector_similarity_weight=settings.vector_similarity_weight,
        top_k=settings.top_k,
        rerank_id=settings.rerank_id or None,
        meta_data_filter=settings.meta_data_filter or None,
        chat_model=settings.chat_model,
    )
