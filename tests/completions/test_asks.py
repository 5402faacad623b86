"""From a body and an assistant to what a turn does: where it searches, whether it cites, how long it thinks."""

from datetime import UTC, datetime
from typing import Any

import pytest

from app.domain.chats import Chat
from app.domain.ids import ChatId, DatasetId, KeyId, TenantId
from app.domain.principals import ALL_SCOPES, Caller, KeyKind
from app.engine.ask import Ask, Recognition
from app.llm.catalogue import ModelCatalogue
from app.llm.entries import ModelEntry
from app.llm.scripted import ScriptedChatModel, ScriptedEmbeddingModel
from app.security.sealing import Sealer
from app.services.asks import Asked, AskMaker
from routers.native_answers import question_of
from schemas.completions import CompletionCreate

TENANT = TenantId("t")
CALLER = Caller(tenant_id=TENANT, key_id=KeyId("k"), kind=KeyKind.API, scopes=ALL_SCOPES)
ENTRIES = (
    ModelEntry(name="talker", provider="tests", kind="chat", base_url="http://x", api_key="", default=True),
    ModelEntry(name="reader", provider="tests", kind="embedding", base_url="http://x", api_key="", default=True),
)
KNOWLEDGE = {"key": "knowledge", "optional": False}


def never(_: ModelEntry) -> Any:
    raise AssertionError("not asked for")


def made(prompt: dict[str, Any] | None = None, *, datasets: tuple[str, ...] = ("s",), **body: Any) -> Ask:
    """Return the ask that a body makes of an assistant."""
    now = datetime.now(UTC)
    config = {"system": "{knowledge}", "parameters": [KNOWLEDGE], **(prompt or {})}
    chat = Chat(
        id=ChatId("c"), tenant_id=TENANT, name="c", prompt_config=config, created_at=now, updated_at=now,
        datasets=tuple((DatasetId(one), one) for one in datasets),
    )  # fmt: skip
    catalogue = ModelCatalogue(
        ENTRIES, chat=lambda _: ScriptedChatModel(), embedding=lambda _: ScriptedEmbeddingModel(), rerank=never
    )
    question = question_of(CompletionCreate.model_validate({"question": "Why?", **body}), keeps_prompt=False)
    asked = Asked.of(question, known={})
    return AskMaker(catalogue, Sealer(b"tests only")).make(
        CALLER, chat, Recognition(route="x", body_hash=b""), asked, on_disconnect="finish"
    )


@pytest.mark.promise("conversations:10.7-not-declared")
@pytest.mark.parametrize(
    ("prompt", "is_searching"),
    [
        ({"system": "Be kind.", "parameters": [KNOWLEDGE]}, True),
        ({"system": "Be kind.", "parameters": [{"key": "knowledge", "optional": True}]}, True),
        ({"system": "Use {knowledge}.", "parameters": []}, True),
        ({"system": "Be kind.", "parameters": [{"key": "tone", "optional": True}]}, False),
    ],
)
def test_knowledge_is_searched_for_where_it_is_declared_or_named(prompt: dict[str, Any], is_searching: bool) -> None:
    assert made(prompt).is_searching is is_searching
    assert not made(prompt, datasets=()).is_searching
    assert made(prompt, datasets=(), kb_ids=["e"]).is_searching is is_searching


@pytest.mark.promise("conversations:4.1-kb-ids", "conversations:4.1-doc-ids", "conversations:10.5-scope")
@pytest.mark.parametrize(
    ("body", "documents"),
    [
        ({}, ()),
        ({"doc_ids": ""}, ()),
        ({"doc_ids": []}, ()),
        ({"doc_ids": "a"}, ("a",)),
        ({"doc_ids": "a, b,,a"}, ("a", "b")),
        ({"doc_ids": ["b", "a"]}, ("b", "a")),
        ({"question": None, "messages": [{"role": "user", "content": "?", "doc_ids": ["m"]}], "doc_ids": "a"}, ("m",)),
        ({"question": None, "messages": [{"role": "user", "content": "?", "doc_ids": []}], "doc_ids": "a"}, ("a",)),
        (
            {
                "question": None,
                "messages": [{"role": "user", "content": "!", "doc_ids": ["m"]}, {"role": "user", "content": "?"}],
            },
            (),
        ),
    ],
)
def test_the_last_message_says_which_documents_are_searched_or_else_the_call(
    body: dict[str, Any], documents: tuple[str, ...]
) -> None:
    ask = made(**body, kb_ids=["e", "s", ""])
    assert ask.document_ids == documents
    assert ask.dataset_ids == ("s", "e")
    assert made(**body).dataset_ids == ("s",)


@pytest.mark.promise("conversations:4.1-metadata-condition")
def test_a_metadata_condition_is_that_of_the_search() -> None:
    condition = {"logic": "and", "conditions": [{"name": "year", "comparison_operator": "is", "value": "2024"}]}
    assert made(metadata_condition=condition).metadata_condition == condition
    assert made().metadata_condition is None


@pytest.mark.promise("conversations:4.1-quote")
@pytest.mark.parametrize(
    ("kept", "sent", "is_quoting"),
    [
        ({}, {}, True),
        ({"quote": True}, {"quote": True}, True),
        ({"quote": True}, {"quote": False}, False),
        ({"quote": False}, {"quote": True}, False),
        ({"quote": False}, {}, False),
    ],
)
def test_answers_cite_where_assistant_and_call_both_want_it(
    kept: dict[str, Any], sent: dict[str, Any], is_quoting: bool
) -> None:
    assert made(kept, **sent).is_quoting is is_quoting


@pytest.mark.promise("conversations:10.9-rounds", "conversations:4.1-b27-keys")
@pytest.mark.parametrize(
    ("kept", "sent", "rounds"),
    [
        ({}, {}, 0),
        ({"reasoning": True}, {}, 6),
        ({"reasoning": 2}, {}, 4),
        ({"reasoning": True}, {"reasoning": 1}, 2),
        ({"reasoning": 3}, {"reasoning": False}, 0),
        ({"reasoning": 3}, {"reasoning": 0}, 0),
        ({}, {"reasoning": 3}, 6),
        ({}, {"reasoning": 4}, 6),
        ({}, {"reasoning": True}, 6),
    ],
)
def test_a_call_reasons_as_it_says_or_else_as_the_assistant_does(
    kept: dict[str, Any], sent: dict[str, Any], rounds: int
) -> None:
    assert made(kept, **sent).research_rounds == rounds


@pytest.mark.promise("conversations:10.3-refine-off")
def test_questions_are_refined_unless_the_assistant_does_not_want_it() -> None:
    wishes: list[tuple[dict[str, Any], bool]] = [
        ({}, True), ({"refine_multiturn": True}, True), ({"refine_multiturn": False}, False),
    ]  # fmt: skip
    assert [made(prompt).is_refining for prompt, _ in wishes] == [wish for _, wish in wishes]
