"""Changing and reading one assistant: conversations.md 2.5."""

from typing import Any

import pytest

from app.domain.chats import Chat
from app.services.prompts import SYSTEM
from tests.chats.world import Api, MakeDataset, invalid, missing

METHODS = pytest.mark.parametrize("method", ["PUT", "PATCH"])
TIMES = ("update_time", "update_date")
OTHERWISE: dict[str, Any] = {  # than the defaults
    "avatar": "a",
    "description": "d",
    "language": "Deutsch",
    "do_refer": "0",
    "meta_data_filter": {"method": "auto"},
    "top_n": 3,
    "top_k": 9,
    "similarity_threshold": 0.5,
    "vector_similarity_weight": 0.25,
    "rerank_id": "ranker",
    "llm": {"model_name": "other", "top_p": 1},
    "prompt": {"prompt": "P", "opener": "Yo", "variables": [], "show_quote": False, "empty_response": "", "mine": 1},
}


@pytest.mark.promise("conversations:2.5-put-absent", "conversations:1.5-update-time")
@METHODS
async def test_2_5_an_empty_body_leaves_everything_but_the_time(
    api: Api, make_dataset: MakeDataset, method: str
) -> None:
    chat = await api.chat(**OTHERWISE, dataset_ids=[await make_dataset()])

    before = chat["update_time"]
    for content in (b"", b"{}"):
        changed = await api.ok(method, f"/chats/{chat['id']}", content=content)
        assert {**changed, **{key: chat[key] for key in TIMES}} == chat
        assert changed["update_time"] > before
        before = changed["update_time"]


@pytest.mark.promise("conversations:2.5-put-absent", "conversations:2.1-unknown-keys")
@METHODS
async def test_2_5_one_field_leaves_all_others(api: Api, make_dataset: MakeDataset, method: str) -> None:
    chat = await api.chat(**OTHERWISE, dataset_ids=[await make_dataset()])

    for sent in ({"name": "Other", "what": 1}, {"do_refer": "2"}, {"description": "e"}):
        changed = await api.ok(method, f"/chats/{chat['id']}", json=sent)
        chat |= {key: sent[key] for key in sent if key != "what"}
        assert {**changed, **{key: chat[key] for key in TIMES}} == chat


@pytest.mark.promise("conversations:2.5-merge")
@METHODS
async def test_2_5_prompt_and_llm_merge_over_what_is_stored(api: Api, method: str) -> None:
    chat = await api.chat(prompt={"opener": "Yo", "mine": 1}, llm={"model_name": "other", "top_p": 1, "x": 1})

    body = {
        "prompt": {"show_quote": False, "top_n": 3, "rerank_model": "ranker"},
        "llm": {"model_name": None, "temperature": 0.5, "x": None, "top_p": None},
    }
    changed = await api.ok(method, f"/chats/{chat['id']}", json=body)

    assert changed["prompt"] == chat["prompt"] | body["prompt"]
    assert changed["llm"] == {"model_name": "other", "temperature": 0.5, "x": None}


@pytest.mark.promise("conversations:2.5-merge")
@METHODS
async def test_2_5_the_words_of_0_27_merge_as_well(api: Api, method: str) -> None:
    chat = await api.chat(llm={"top_p": 1})

    body = {"prompt_config": {"prologue": "Yo"}, "llm_setting": {"temperature": 0.5}, "icon": "i", "llm_id": "other"}
    changed = await api.ok(method, f"/chats/{chat['id']}", json=body)

    assert changed["prompt_config"] == chat["prompt_config"] | {"prologue": "Yo"}
    assert changed["llm"] == {"model_name": "other", "top_p": 1, "temperature": 0.5}
    assert changed["avatar"] == "i"


@pytest.mark.promise("conversations:2.5-detach")
@METHODS
async def test_2_5_only_an_explicit_empty_list_detaches_datasets(
    api: Api, make_dataset: MakeDataset, method: str
) -> None:
    one, two = await make_dataset(), await make_dataset()
    chat = await api.chat(dataset_ids=[one])
    path = f"/chats/{chat['id']}"

    assert (await api.ok(method, path, json={"description": "x"}))["dataset_ids"] == [one]
    assert (await api.ok(method, path, json={"dataset_ids": [two, one]}))["dataset_ids"] == [two, one]
    assert (await api.ok(method, path, json={"dataset_ids": None}))["dataset_ids"] == [two, one]
    assert (await api.ok(method, path, json={"dataset_ids": []}))["dataset_ids"] == []


@pytest.mark.promise("conversations:2.1-dropped")
@METHODS
async def test_2_1_what_only_we_may_say_is_dropped(api: Api, method: str) -> None:
    chat = await api.chat(name="A")

    dates = {"create_date": "never", "update_date": "never"}
    sent = {"id": "x", "tenant_id": "x", "status": "0", "created_by": "x", "create_time": 1, "update_time": 1, **dates}
    changed = await api.ok(method, f"/chats/{chat['id']}", json=sent)

    assert {**changed, **{key: chat[key] for key in TIMES}} == chat
    assert changed["update_time"] > chat["update_time"]
    assert changed["update_date"].endswith("GMT")


@METHODS
async def test_2_5_the_shown_object_can_be_sent_back(api: Api, make_dataset: MakeDataset, method: str) -> None:
    chat = await api.chat(
        dataset_ids=[await make_dataset()], prompt={"keywords_similarity_weight": 0.1, "reasoning": 3, "x": None}
    )

    changed = await api.ok(method, f"/chats/{chat['id']}", json=chat)

    assert {**changed, **{key: chat[key] for key in TIMES}} == chat


@pytest.mark.promise("conversations:2.5-put-checks", "conversations:2.5-patch")
@pytest.mark.parametrize(
    ("sent", "refusal"),
    [
        ({"dataset_ids": "ids"}, invalid("`dataset_ids` should be a list.")),
        ({"dataset_ids": ["nobody's"]}, missing("You don't own the dataset nobody's")),
        ({"llm": {"model_name": "gone"}}, invalid("`model_name` gone doesn't exist")),
        ({"llm_id": "gone"}, invalid("`llm_id` gone doesn't exist")),
        ({"prompt": {"rerank_model": "gone"}}, invalid("`rerank_model` gone doesn't exist")),
        ({"name": 5}, invalid("chat name must be a string")),
        ({"name": "x" * 256}, invalid("chat name length is 256 which is larger than 255")),
        ({"name": "taken"}, invalid("Duplicated chat name in updating chat.")),
        ({"llm_setting": "x"}, invalid("`llm_setting` should be an object.")),
        ({"prompt_config": "x"}, invalid("`prompt_config` should be an object.")),
        ({"prompt": {"variables": [{"key": "tone"}]}}, invalid("Parameter 'tone' is not used")),
        ({"rerank_id": "gone"}, invalid("`rerank_id` gone doesn't exist")),
        ({"llm": {"top_p": "x"}}, invalid("`top_p` must be a number.")),
    ],
)
@METHODS
async def test_2_5_checks(api: Api, method: str, sent: dict[str, Any], refusal: Any) -> None:
    await api.chat(name="Taken")
    chat = await api.chat(name="Own")

    assert await api.refusal(method, f"/chats/{chat['id']}", json=sent) == refusal
    assert await api.ok("GET", f"/chats/{chat['id']}") == chat


@pytest.mark.promise("conversations:2.5-put-checks", "conversations:2.5-patch")
@pytest.mark.parametrize("name", ["", "  ", None])
@pytest.mark.parametrize(
    ("method", "message"), [("PUT", "`name` cannot be empty."), ("PATCH", "`name` cannot be empty")]
)
async def test_2_5_8_an_empty_name(api: Api, method: str, message: str, name: str | None) -> None:
    chat = await api.chat()

    assert await api.refusal(method, f"/chats/{chat['id']}", json={"name": name}) == invalid(message)


@pytest.mark.promise("conversations:2.5-put-order")
@METHODS
async def test_2_5_the_order_of_the_checks(api: Api, make_dataset: MakeDataset, method: str) -> None:
    """Each fault hides those after it: mend one after the other."""
    empty, one, other = await make_dataset(chunks=0), await make_dataset(), await make_dataset(embedding="maxi")
    await api.chat(name="Taken")
    chat = await api.chat(name="Own")
    unused = {"prompt": "x", "variables": [{"key": "tone", "optional": False}]}
    body: dict[str, Any] = {
        "dataset_ids": "ids",
        "llm": {"model_name": "gone"},
        "prompt": {"rerank_model": "gone", **unused},
        "name": "",
    }
    mends: list[tuple[dict[str, Any], str]] = [
        ({}, "`dataset_ids` should be a list."),
        ({"dataset_ids": [empty, "unknown"]}, "You don't own the dataset unknown"),
        ({"dataset_ids": [one, other, empty]}, f"The dataset {empty} doesn't own parsed file"),
        ({"dataset_ids": [one, other]}, 'Datasets use different embedding models."'),
        ({"dataset_ids": [one]}, "`model_name` gone doesn't exist"),
        ({"llm": {}}, "`rerank_model` gone doesn't exist"),
        ({"prompt": unused}, "`name` cannot be empty" + ("." if method == "PUT" else "")),
        ({"name": "taken"}, "Duplicated chat name in updating chat."),
        ({"name": "Free"}, "Parameter 'tone' is not used"),
    ]
    for mend, message in mends:
        body |= mend
        assert (await api.refusal(method, f"/chats/{chat['id']}", json=body))[2] == message
    assert await api.ok("GET", f"/chats/{chat['id']}") == chat
    assert (await api.ok(method, f"/chats/{chat['id']}", json=body | {"prompt": {}}))["name"] == "Free"


@pytest.mark.promise("conversations:2.5-own-name")
@METHODS
async def test_2_5_9_its_own_name_in_another_case_is_fine(api: Api, method: str) -> None:
    chat = await api.chat(name="Own")

    assert (await api.ok(method, f"/chats/{chat['id']}", json={"name": " OWN "}))["name"] == "OWN"


@pytest.mark.promise("conversations:2.5-merged-variables")
@METHODS
async def test_2_5_10_required_variables_are_checked_on_the_merged_prompt(api: Api, method: str) -> None:
    chat = await api.chat(prompt={"prompt": "In {tone}", "variables": [{"key": "tone"}]})
    path = f"/chats/{chat['id']}"

    assert await api.refusal(method, path, json={"prompt": {"prompt": "x"}}) == invalid("Parameter 'tone' is not used")
    await api.ok(method, path, json={"prompt": {"prompt": "x", "variables": []}})
    changed = await api.ok(method, path, json={"prompt": {"variables": [{"key": "knowledge", "optional": False}]}})
    assert changed["prompt"]["prompt"] == "x"  # `knowledge` need not be in it


@pytest.mark.promise("conversations:2.2-system-empty")
@METHODS
async def test_2_2_an_empty_text_becomes_the_default_text_again(api: Api, method: str) -> None:
    chat = await api.chat(prompt={"prompt": "P"})

    assert (await api.ok(method, f"/chats/{chat['id']}", json={"prompt": {"prompt": ""}}))["prompt"]["prompt"] == SYSTEM


@pytest.mark.promise("conversations:2.5-not-owned")
@METHODS
async def test_2_5_1_what_is_not_owned_comes_before_any_other_fault(api: Api, rival: Api, method: str) -> None:
    chat, deleted = await rival.chat(), await api.chat()
    await api.ok("DELETE", f"/chats/{deleted['id']}")

    for chat_id in (chat["id"], deleted["id"], "unknown", "%00", "%ff", "a" * 5000):
        refusal = await api.refusal(method, f"/chats/{chat_id}", json={"dataset_ids": 5, "name": ""})
        assert refusal == missing("You do not own the chat")


@pytest.mark.promise("conversations:2.5-gone")
async def test_2_5_11_a_chat_that_goes_away_meanwhile(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = await api.chat()

    async def gone(_self: object, _chat: Chat) -> None:
        return None

    monkeypatch.setattr("repositories.chats.ChatRepository.update", gone)
    assert await api.refusal("PUT", f"/chats/{chat['id']}", json={}) == missing("Chat not found!")


@pytest.mark.promise("conversations:2.5-get", "conversations:1.3-wall")
async def test_2_5_get_one(api: Api, rival: Api) -> None:
    chat = await api.chat()

    assert await api.ok("GET", f"/chats/{chat['id']}") == chat
    for chat_id in (chat["id"], "unknown"):
        assert await rival.refusal("GET", f"/chats/{chat_id}") == missing("You do not own the chat")
