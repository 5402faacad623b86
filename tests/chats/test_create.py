"""Creating assistants: conversations.md 2.1 to 2.4."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from sqlalchemy import update

from app.db.conversations import chats
from app.db.knowledge import datasets
from app.services.prompts import SYSTEM
from tests.chats.world import Api, MakeDataset, World, drop_dataset, missing

KNOWLEDGE = [{"key": "knowledge", "optional": False}]
PROLOGUE = "Hi! I'm your assistant. What can I do for you?"
EMPTY_RESPONSE = "Sorry! No relevant content was found in the knowledge base!"
SETTING = {"temperature": 0.1, "top_p": 0.3, "presence_penalty": 0.4, "frequency_penalty": 0.7, "max_tokens": 512}
CONFIG = {
    "system": SYSTEM,
    "prologue": PROLOGUE,
    "parameters": KNOWLEDGE,
    "quote": True,
    "empty_response": EMPTY_RESPONSE,
    "tts": False,
    "refine_multiturn": True,
}
RETRIEVAL = {"similarity_threshold": 0.2, "top_n": 6, "top_k": 1024}
PROMPT = {
    "prompt": SYSTEM,
    "system": SYSTEM,
    "opener": PROLOGUE,
    "variables": KNOWLEDGE,
    "show_quote": True,
    "empty_response": EMPTY_RESPONSE,
    "tts": False,
    "refine_multiturn": True,
    "keywords_similarity_weight": 0.7,
    "rerank_model": "",
    **RETRIEVAL,
}


@pytest.mark.promise(
    "conversations:2.4-union",
    "conversations:2.1-defaults",
    "conversations:2.2-defaults",
    "conversations:1.5-times-of-assistants",
    "conversations:1.5-ids",
)
async def test_2_4_the_whole_object_of_an_assistant_with_defaults(api: Api, make_dataset: MakeDataset) -> None:
    docs = await make_dataset(name="Docs")

    chat = await api.ok("POST", "/chats", json={"name": "Support", "dataset_ids": [docs]})

    times = {key: chat.pop(key) for key in ("create_time", "create_date", "update_time", "update_date")}
    chat_id = chat.pop("id")
    assert chat == {
        "tenant_id": api.tenant_id,
        "name": "Support",
        "description": "A helpful Assistant",
        "language": "English",
        "status": "1",
        "do_refer": "1",
        "prompt_type": "simple",
        "meta_data_filter": {},
        "avatar": "",
        "icon": "",
        "dataset_ids": [docs],
        "datasets": [{"id": docs, "name": "Docs"}],
        "kb_names": ["Docs"],
        "llm": {"model_name": "gpt-4o@OpenAI", **SETTING},
        "llm_id": "gpt-4o@OpenAI",
        "llm_setting": SETTING,
        "prompt": PROMPT,
        "prompt_config": CONFIG,
        **RETRIEVAL,
        "vector_similarity_weight": 0.3,
        "rerank_id": "",
    }
    assert re.fullmatch("[0-9a-f]{32}", chat_id)
    assert times["create_time"] == times["update_time"]
    assert times["create_date"] == times["update_date"]
    assert re.fullmatch(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", times["create_date"])
    assert parsedate_to_datetime(times["create_date"]).timestamp() == times["create_time"] // 1000
    assert await api.ok("GET", f"/chats/{chat_id}") == {"id": chat_id, **chat, **times}
    bare = await api.ok("POST", "/chats", json={"name": "Bare"})
    without: dict[str, Any] = {"name": "Bare", "dataset_ids": [], "datasets": [], "kb_names": []}
    assert bare == {**chat, **without, **{key: bare[key] for key in ("id", *times)}}


@pytest.mark.promise("conversations:2.2-system-text")
def test_2_2_the_default_system_text_says_what_it_must() -> None:
    assert "{knowledge}" in SYSTEM
    assert "The answer you are looking for is not found in the knowledge base!" in SYSTEM
    assert "chat history" in SYSTEM
    assert "from the knowledge base" in SYSTEM
    assert "in detail" in SYSTEM


@pytest.mark.promise(
    "conversations:2.1-fields",
    "conversations:2.1-names-27",
    "conversations:2.1-retrieval-at-top",
    "conversations:2.1-unknown-keys",
    "conversations:2.1-do-refer",
    "conversations:2.2-llm-replaces",
    "conversations:2.2-llm-extra",
)
@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ({"avatar": "data:x"}, {"avatar": "data:x", "icon": "data:x"}),
        ({"icon": "data:x"}, {"avatar": "data:x", "icon": "data:x"}),
        ({"description": ""}, {"description": ""}),
        ({"description": None}, {"description": "A helpful Assistant"}),
        ({"language": "Deutsch"}, {"language": "Deutsch"}),
        ({"dataset_ids": None}, {"dataset_ids": [], "datasets": [], "kb_names": []}),
        ({"dataset_ids": ["", None]}, {"dataset_ids": []}),
        ({"meta_data_filter": {"method": "auto"}}, {"meta_data_filter": {"method": "auto"}}),
        ({"meta_data_filter": None}, {"meta_data_filter": {}}),
        ({"show_quotation": True}, {"do_refer": "1"}),
        ({"show_quotation": False}, {"do_refer": "0"}),
        ({"do_refer": "0"}, {"do_refer": "0"}),
        (
            {"avatar": None, "icon": None, "language": None, "do_refer": None, "llm_id": None, "prompt": None},
            {"avatar": "", "icon": "", "language": "English", "do_refer": "1", "llm_id": "gpt-4o@OpenAI"},
        ),
        (dict.fromkeys((*RETRIEVAL, "vector_similarity_weight", "rerank_id")), {**RETRIEVAL, "rerank_id": ""}),
        ({"top_n": 3, "top_k": 9, "similarity_threshold": 0}, {"top_n": 3, "top_k": 9, "similarity_threshold": 0}),
        (
            {
                "top_n": 3,
                "top_k": 9,
                "similarity_threshold": 0.5,
                "rerank_id": "ranker",
                "prompt": {"top_n": 5, "top_k": 11, "similarity_threshold": 0.25, "rerank_model": "ranker@local"},
            },
            {"top_n": 5, "top_k": 11, "similarity_threshold": 0.25, "rerank_id": "ranker@local"},
        ),
        ({"rerank_id": "ranker"}, {"rerank_id": "ranker"}),
        ({"id": "x", "status": "0", "created_by": "me", "create_time": 1, "what": 1}, {"status": "1"}),
        ({"name": "  trimmed\t"}, {"name": "trimmed"}),
        ({"name": "é" * 127 + "x"}, {"name": "é" * 127 + "x"}),
        # 2.2 llm
        ({"llm": {}}, {"llm_setting": SETTING}),
        ({"llm": None}, {"llm_setting": SETTING}),
        (
            {"llm_id": "other"},
            {"llm_id": "other", "llm_setting": SETTING, "llm": {"model_name": "other", **SETTING}},
        ),
        ({"llm_setting": {}}, {"llm_setting": {}, "llm": {"model_name": "gpt-4o@OpenAI"}}),
        ({"llm": {"temperature": 1}}, {"llm_setting": {"temperature": 1}}),
        ({"llm": {"model_name": None, "top_p": 1}}, {"llm": {"model_name": "gpt-4o@OpenAI", "top_p": 1}}),
        ({"llm": {"model_name": "other@openai"}}, {"llm": {"model_name": "other@openai"}, "llm_setting": {}}),
        (
            {"llm": {"max_token": 7, "model_type": "chat"}},
            {
                "llm": {"model_name": "gpt-4o@OpenAI", "max_token": 7, "model_type": "chat"},
                "llm_setting": {"max_token": 7, "model_type": "chat"},
            },
        ),
        ({"llm": {"top_p": 1}, "llm_setting": {"top_p": 0}}, {"llm_setting": {"top_p": 1}}),
        # 2.2 prompt
        ({"prompt": {"keywords_similarity_weight": 0.1}}, {"vector_similarity_weight": 0.9}),
        ({"vector_similarity_weight": 0.25}, {"vector_similarity_weight": 0.25}),
        ({"prompt": {"rerank_model": "ranker@local"}}, {"rerank_id": "ranker@local"}),
    ],
)
async def test_2_1_what_is_sent_is_shown(api: Api, sent: dict[str, Any], shown: dict[str, Any]) -> None:
    chat = await api.chat(**sent)

    assert {key: chat[key] for key in shown} == shown
    assert not {"what", "created_by"} & set(chat)
    assert await api.ok("GET", f"/chats/{chat['id']}") == chat  # and stored


@pytest.mark.promise(
    "conversations:2.2-renaming",
    "conversations:2.2-system-empty",
    "conversations:2.2-prompt-wins",
    "conversations:2.2-unknown-kept",
    "conversations:2.2-weight",
)
@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ({"prompt": {"prompt": "P"}}, {"prompt": "P", "system": "P"}),
        ({"prompt": {"system": "S"}}, {"prompt": "S", "system": "S"}),
        ({"prompt": {"prompt": "P", "system": "S"}}, {"prompt": "P", "system": "P"}),
        ({"prompt": {"system": "S", "prompt": "P"}}, {"prompt": "P", "system": "P"}),
        ({"prompt": {"prompt": ""}}, {"prompt": SYSTEM}),
        ({"prompt_config": {"system": ""}}, {"prompt": SYSTEM}),
        ({"prompt": {"opener": ""}}, {"opener": ""}),
        ({"prompt": {"variables": []}}, {"variables": []}),
        ({"prompt": {"show_quote": False}}, {"show_quote": False}),
        ({"prompt": {"quote": False}}, {"show_quote": False}),
        ({"prompt": {"empty_response": None}}, {"empty_response": ""}),
        ({"prompt": {"empty_response": ""}}, {"empty_response": ""}),
        ({"prompt": {"empty_response": "None.", "tts": True}}, {"empty_response": "None.", "tts": True}),
        ({"prompt": {"refine_multiturn": False}}, {"refine_multiturn": False}),
        (
            {"prompt": {"keyword": True, "reasoning": 2, "use_kg": True, "toc_enhance": True}},
            {"keyword": True, "reasoning": 2, "use_kg": True, "toc_enhance": True},
        ),
        ({"prompt": {"reasoning": True}}, {"reasoning": True}),
        ({"prompt": {"cross_languages": ["de"]}}, {"cross_languages": ["de"]}),
        ({"prompt": {"mine": {"a": [1]}}}, {"mine": {"a": [1]}}),
        ({"prompt_config": {"system": "S", "prologue": "Hi", "quote": False}}, {"prompt": "S", "opener": "Hi"}),
        ({"prompt_config": {"parameters": [{"key": "knowledge"}]}}, {"variables": KNOWLEDGE}),
        ({"prompt": {"prompt": "P"}, "prompt_config": {"system": "S"}}, {"prompt": "P"}),
        ({"prompt": {"tavily_api_key": "tvly-1"}}, {"tavily_api_key": "***"}),
        ({"prompt": {"keywords_similarity_weight": 0.1}}, {"keywords_similarity_weight": 0.1}),
    ],
)
async def test_2_2_prompts_are_read_in_both_vocabularies(api: Api, sent: Any, shown: dict[str, Any]) -> None:
    chat = await api.chat(**sent)

    assert {key: chat["prompt"][key] for key in shown} == shown
    assert await api.ok("GET", f"/chats/{chat['id']}") == chat


@pytest.mark.promise("conversations:2.2-renaming")
@pytest.mark.parametrize("place", ["prompt", "prompt_config"])
async def test_2_2_what_is_said_in_one_vocabulary_is_shown_in_both(api: Api, place: str) -> None:
    rest = {"empty_response": "None.", "tts": False, "refine_multiturn": True}
    variables = [{"key": "tone", "optional": True}]
    old = {"opener": "Yo", "variables": variables, "show_quote": False} | rest
    new = {"prologue": "Yo", "parameters": variables, "quote": False} | rest
    columns = {"similarity_threshold": 0.25, "top_n": 3, "top_k": 9}
    old_columns = {**columns, "keywords_similarity_weight": 0.25, "rerank_model": "ranker"}
    new_columns = {**columns, "vector_similarity_weight": 0.75, "rerank_id": "ranker"}

    for sent in ({"prompt": "P", **old, **old_columns}, {"system": "P", **new, **new_columns}):
        chat = await api.chat(**{place: sent})
        assert chat["prompt"] == {"prompt": "P", "system": "P", **old, **old_columns}
        assert chat["prompt_config"] == {"system": "P", **new}
        assert {key: chat[key] for key in new_columns} == new_columns


@pytest.mark.promise("conversations:2.2-tavily-secret")
async def test_2_2_a_web_key_is_stored_and_never_shown(api: Api, world: World) -> None:
    chat = await api.chat(prompt_config={"tavily_api_key": "tvly-secret"})
    again = await api.ok("PUT", f"/chats/{chat['id']}", json=chat)

    row = (await world.sql(api, chats.select())).one()
    assert row.prompt_config["tavily_api_key"] == "***"
    assert b"tvly-secret" not in row.secrets
    assert chat["prompt_config"]["tavily_api_key"] == again["prompt"]["tavily_api_key"] == "***"


@pytest.mark.promise("conversations:2.4-deleted-dataset")
async def test_2_4_a_deleted_dataset_disappears_silently(api: Api, world: World, make_dataset: MakeDataset) -> None:
    kept, dropped = await make_dataset(name="Kept"), await make_dataset()
    chat = await api.chat(dataset_ids=[dropped, kept])

    await drop_dataset(world, api, dropped)

    assert (await api.ok("GET", f"/chats/{chat['id']}"))["dataset_ids"] == [kept]
    assert (await api.ok("GET", "/chats"))[0]["datasets"] == [{"id": kept, "name": "Kept"}]


async def test_a_repeated_call_with_an_idempotency_key_makes_one_assistant(api: Api) -> None:
    headers = {"Idempotency-Key": "k-1"}

    first = await api.raw("POST", "/chats", json={"name": "One"}, headers=headers)
    again = await api.raw("POST", "/chats", json={"name": "One"}, headers=headers)
    other = await api.raw("POST", "/chats", json={"name": "Two"}, headers=headers)

    assert first.content == again.content
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (other.status_code, other.json()["code"]) == (400, 102)
    assert len(await api.ok("GET", "/chats")) == 1


@pytest.mark.promise("conversations:2.2-system-setting")
async def test_2_2_an_operator_may_set_the_default_system_text(api: Api, world: World) -> None:
    world.app.state.default_system_prompt = "Ours: {knowledge}"

    for sent in ({}, {"prompt": {"prompt": ""}}):
        assert (await api.chat(**sent))["prompt"]["prompt"] == "Ours: {knowledge}"


@pytest.mark.promise("conversations:2.4-deleted-dataset")
async def test_2_4_a_dataset_that_is_being_deleted_is_gone_already(
    api: Api, world: World, make_dataset: MakeDataset
) -> None:
    kept, going = await make_dataset(name="Kept"), await make_dataset()
    chat = await api.chat(dataset_ids=[going, kept])
    await world.sql(
        api, update(datasets).where(datasets.c.id == going).values(deleted_at=datetime.now(UTC), name="deleted")
    )

    assert (await api.ok("GET", f"/chats/{chat['id']}"))["kb_names"] == ["Kept"]
    async with world.database.unit(api.tenant_id) as unit:
        asked = await unit.chats.for_turn(chat["id"])
    assert asked is not None
    assert [name for _, name in asked.datasets] == ["Kept"]
    told = await api.refusal("PUT", f"/chats/{chat['id']}", json={"dataset_ids": [going]})
    assert told == missing(f"You don't own the dataset {going}")
