"""What a chat searches for, as its assistant is set (conversations.md 10.4, 10.7)."""

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

from app.domain.chats import Chat
from app.domain.ids import ChatId, DatasetId, KeyId, TenantId, TurnId, new_id
from app.domain.models import GenerationOptions, ModelText
from app.domain.retrieval import GraphHit, SearchRequest, SearchResult
from app.engine.ask import Ask, Recognition
from app.engine.draft import Draft
from app.engine.log import LogWriter, TurnLog
from app.engine.rag import RagAnswerer
from app.llm.scripted import ScriptedChatModel
from repositories.unit_of_work import Database
from tests.engine.conftest import WordCounter


class Asked:
    """A searcher that remembers what it was asked, and knows only what the graph says."""

    def __init__(self) -> None:
        self.requests: list[SearchRequest] = []

    async def search(self, tenant_id: TenantId, request: SearchRequest) -> SearchResult:
        self.requests.append(request)
        graph = GraphHit(id="g", content="---- Entities ----", dataset_ids=request.dataset_ids)
        return SearchResult(hits=[], total=0, documents=[], graph=graph if request.use_kg else None)


async def answered(database: Database, *said: str, **settings: Any) -> tuple[SearchRequest, ScriptedChatModel, Draft]:
    """Answer `refunds?` with an assistant of these settings; the model says one thing after the other."""
    model = ScriptedChatModel(ModelText(said[0]), next_scripts=[[ModelText(one)] for one in said[1:]])
    now = datetime.now(UTC)
    tenant_id = TenantId(new_id())
    chat = Chat(
        id=ChatId(new_id()), tenant_id=tenant_id, name="c", llm_id="talker", prompt_config=settings,
        created_at=now, updated_at=now,
    )  # fmt: skip
    ask = Ask(
        tenant_id=tenant_id, key_id=cast(KeyId, "k"), recognition=Recognition(route="x", body_hash=b""), chat=chat,
        question="refunds?", model=model, options=GenerationOptions(), prompt_version="1", system="{knowledge}",
        dataset_ids=(DatasetId("d"), DatasetId("e")),
    )  # fmt: skip
    searcher = Asked()
    draft = Draft(TurnLog(tenant_id, TurnId("t"), 1), LogWriter(database))
    deadline_s = asyncio.get_running_loop().time() + 5
    await RagAnswerer(searcher, WordCounter()).answer(ask, (), draft, deadline_s=deadline_s)
    return searcher.requests[0], model, draft


async def test_translations_follow_the_question_and_keywords_come_last(database: Database) -> None:
    request, model, draft = await answered(
        database, "Erstattungen?", "Geld, Karte", "Yes.", cross_languages=["German"], keyword=True
    )

    assert request.question == "refunds?\nErstattungen?, Geld, Karte"
    assert "refunds?" in model.calls[-1].messages[-1].content
    assert "Geld" not in model.calls[-1].messages[-1].content  # the model is asked what was asked
    assert [call.purpose for call in draft.calls] == ["translate", "keyword", "answer"]


async def test_without_settings_only_the_question_is_searched_for(database: Database) -> None:
    request, model, _ = await answered(database, "Yes.", keyword=False, cross_languages=[])

    assert (request.question, request.use_kg, request.toc_enhance) == ("refunds?", False, False)
    assert len(model.calls) == 1


async def test_the_graph_is_what_the_answer_may_rest_on_first(database: Database) -> None:
    request, model, draft = await answered(database, "Yes.", use_kg=True, toc_enhance=True)

    assert (request.use_kg, request.toc_enhance, request.chat_model) == (True, True, "talker")
    [graph] = draft.references
    assert (graph.document_name, graph.dataset_id, graph.document_id) == ("Related content in Knowledge Graph", "d", "")
    assert draft.reference_total == 0
    assert "---- Entities ----" in model.calls[0].messages[0].content
