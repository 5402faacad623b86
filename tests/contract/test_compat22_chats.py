"""Assistants as clients of RAGFlow 0.22 meet them: the C22 columns of conversations.md 1 and 2."""

from typing import Any

import pytest
from sqlalchemy import text

from app.db.engine import create_engine
from app.domain.chats import Chat, TenantMissing
from tests.contract.compat22 import V1, Old, old
from tests.pg import DatabaseUrls

__all__ = ["old"]  # a fixture, found by name

CREATED = {
    *("id", "tenant_id", "name", "description", "language", "status", "do_refer", "prompt_type", "meta_data_filter"),
    *("avatar", "dataset_ids", "llm", "prompt", "create_time", "create_date", "update_time", "update_date"),
}
PROMPTED = {
    *("prompt", "opener", "variables", "show_quote", "empty_response", "tts", "refine_multiturn"),
    *("similarity_threshold", "keywords_similarity_weight", "top_n", "rerank_model"),
}


@pytest.mark.promise("conversations:2.4-created-22")
async def test_2_4_a_new_assistant_has_the_keys_of_0_22_and_no_others(old: Old) -> None:
    chat = await old.chat(dataset_ids=[await old.dataset()], prompt={"top_k": 7})

    assert set(chat) == CREATED
    assert set(chat["prompt"]) == PROMPTED


@pytest.mark.promise("conversations:2.4-listed-22")
async def test_2_4_lists_show_whole_datasets_and_top_k_and_no_ids_of_datasets(old: Old) -> None:
    docs = await old.dataset()
    chat = await old.chat(dataset_ids=[docs], prompt={"top_k": 7})

    [listed] = await old.data("GET", "/chats", params={"id": chat["id"]})

    assert set(listed) == CREATED - {"dataset_ids"} | {"datasets", "top_k"}
    assert listed["top_k"] == 7
    [row] = listed["datasets"]
    assert row["id"] == docs
    assert {"chunk_count", "parser_config", "embedding_model", "document_count", "create_time", "status"} <= set(row)
    assert [row] == (await old.call("GET", "/datasets", params={"id": docs}))["data"]


@pytest.mark.promise("conversations:2.2-weight-22")
async def test_2_2_the_weight_is_taken_for_the_other_part_and_shown_inverted(old: Old) -> None:
    chat = await old.chat(prompt={"keywords_similarity_weight": 0.7})
    assert chat["prompt"]["keywords_similarity_weight"] == 0.3

    body = {"prompt": {"keywords_similarity_weight": 0.9}}
    await old.call("PUT", f"/chats/{chat['id']}", json=body)

    shown = (await old.client.get(f"/api/v1/chats/{chat['id']}")).json()["data"]
    assert shown["vector_similarity_weight"] == 0.9
    assert shown["prompt"]["keywords_similarity_weight"] == 0.1


@pytest.mark.promise("conversations:2.5-bare-22")
async def test_2_5_changes_and_deletions_tell_nothing_but_success(old: Old) -> None:
    chat = await old.chat()

    assert await old.call("PUT", f"/chats/{chat['id']}", json={"name": "renamed"}) == {"code": 0}
    assert await old.call("DELETE", "/chats", json={"ids": [chat["id"]]}) == {"code": 0}
    assert await old.data("GET", "/chats") == []


@pytest.mark.promise("conversations:2.5-one-22")
async def test_2_5_routes_of_one_assistant_that_0_22_did_not_have(old: Old) -> None:
    chat = await old.chat(name="a")
    path = f"/chats/{chat['id']}"

    assert await old.data("GET", path) == chat
    patched = await old.data("PATCH", path, json={"name": "b"})
    assert (set(patched), patched["name"]) == (CREATED, "b")
    assert await old.data("DELETE", path) is True
    for method in ("GET", "PATCH", "DELETE"):
        assert await old.refusal(method, path) == (102, "You do not own the chat")


@pytest.mark.promise("conversations:2.3-checks-22")
async def test_2_3_refusals_of_a_new_assistant_and_their_codes(old: Old) -> None:
    mine, empty, other = await old.dataset(), await old.dataset(chunks=0), await old.dataset(embedding="big@Builtin")
    await old.chat(name="Taken")
    variables = [{"key": "knowledge", "optional": False}]
    for sent, refusal in (
        ({"dataset_ids": "ids"}, (102, "You don't own the dataset i")),
        ({"dataset_ids": 5}, (100, "TypeError(\"'int' object is not iterable\")")),
        ({"dataset_ids": ["nobody's"]}, (102, "You don't own the dataset nobody's")),
        ({"dataset_ids": [empty]}, (102, f"The dataset {empty} doesn't own parsed file")),
        ({"dataset_ids": [mine, other]}, (109, 'Datasets use different embedding models."')),
        ({"llm": {"model_name": "gone"}}, (102, "`model_name` gone doesn't exist")),
        ({"prompt": {"rerank_model": "gone"}}, (102, "`rerank_model` gone doesn't exist")),
        ({"name": ""}, (102, "`name` is required.")),
        ({"name": "tAKEN"}, (102, "Duplicated chat name in creating chat.")),
        ({"tenant_id": "t"}, (102, "`tenant_id` must not be provided.")),
        ({"prompt": {"prompt": "P", "variables": variables}}, (102, "Parameter 'knowledge' is not used")),
        ({"prompt": {"variables": [{"key": "tone", "optional": False}]}}, (102, "Parameter 'tone' is not used")),
    ):
        assert await old.refusal("POST", "/chats", json={"name": "x", **sent}) == refusal, sent


@pytest.mark.promise("conversations:2.3-checks-22")
async def test_2_3_what_cannot_be_written(
    old: Old, fresh_database: DatabaseUrls, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = create_engine(fresh_database.owner, pool_size=1)
    async with owner.begin() as connection:
        await connection.execute(text("ALTER TABLE chats ADD CONSTRAINT no_a CHECK (name <> 'A')"))
    await owner.dispose()
    assert await old.refusal("POST", "/chats", json={"name": "A"}) == (102, "Fail to new a chat!")

    async def gone(_self: object, _chat: Chat) -> None:
        raise TenantMissing("Tenant not found!")

    monkeypatch.setattr("repositories.chats.ChatRepository.add", gone)
    assert await old.refusal("POST", "/chats", json={"name": "B"}) == (102, "Tenant not found!")


@pytest.mark.promise("conversations:2.3-checks-22")
async def test_2_3_generation_settings_are_taken_as_they_come(old: Old) -> None:
    chat = await old.chat(llm={"temperature": "hot"})

    assert chat["llm"]["temperature"] == "hot"


@pytest.mark.promise("conversations:2.1-leftover-22")
@pytest.mark.parametrize("sent", [{"what": 1}, {"llm": {}}, {"prompt": {}}, {"name": "y", "extra": None}])
async def test_2_1_a_key_nobody_knows_fails_an_update_and_not_a_creation(old: Old, sent: dict[str, Any]) -> None:
    chat = await old.chat(**{"prompt": {"opener": "Yo"}, **sent, "name": "x"})

    code, message = await old.refusal("PUT", f"/chats/{chat['id']}", json=sent)

    assert (code, "ValueError" in message) == (100, True)
    assert [one["name"] for one in await old.data("GET", "/chats")] == ["x"]


@pytest.mark.promise("conversations:2.1-dropped")
async def test_2_1_what_nobody_may_write_is_dropped_from_an_update(old: Old) -> None:
    chat = await old.chat(name="mine")

    times = {"create_time": 1, "create_date": "never", "update_time": 1, "update_date": "never"}
    sent = {"id": "x", "tenant_id": "y", "status": "0", "created_by": "z", **times}
    assert await old.call("PUT", f"/chats/{chat['id']}", json=sent) == {"code": 0}
    assert (await old.data("PATCH", f"/chats/{chat['id']}", json=sent))["id"] == chat["id"]

    [listed] = await old.data("GET", "/chats", params={"name": "mine"})
    kept = ("id", "tenant_id", "status", "create_time", "create_date")
    assert {key: listed[key] for key in kept} == {key: chat[key] for key in kept}
    assert listed["update_time"] > chat["update_time"]
    assert listed["update_date"].endswith("GMT")


@pytest.mark.promise("conversations:2.5-put-22")
async def test_2_5_refusals_of_a_change_and_their_codes(old: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, empty, other = await old.dataset(), await old.dataset(chunks=0), await old.dataset(embedding="big@Builtin")
    await old.chat(name="Taken")
    chat = await old.chat(name="mine", prompt={"prompt": "P {knowledge}", "opener": "Yo"})
    path = f"/chats/{chat['id']}"
    for where, sent, refusal in (
        ("/chats/nobody's", {"name": "x"}, (102, "You do not own the chat")),
        (path, {"name": ""}, (102, "`name` cannot be empty.")),
        (path, {"name": "TAKEN"}, (102, "Duplicated chat name in updating chat.")),
        (path, {"prompt": {"prompt": "without"}}, (102, "Parameter 'knowledge' is not used")),
        (path, {"dataset_ids": ["nobody's"]}, (102, "You don't own the dataset nobody's")),
        (path, {"dataset_ids": "ids"}, (102, "You don't own the dataset i")),
        (path, {"dataset_ids": [empty]}, (102, f"The dataset {empty} doesn't own parsed file")),
        (path, {"dataset_ids": [mine, other]}, (109, 'Datasets use different embedding models."')),
        (path, {"llm": {"model_name": "gone"}}, (102, "`model_name` gone doesn't exist")),
        (path, {"prompt": {"rerank_model": "gone"}}, (102, "`rerank_model` gone doesn't exist")),
    ):
        assert await old.refusal("PUT", where, json=sent) == refusal
    assert await old.call("PUT", path, json={"name": "MINE"}) == {"code": 0}

    async def gone(_self: object, _chat: Chat) -> None:
        return None

    monkeypatch.setattr("repositories.chats.ChatRepository.update", gone)
    assert await old.refusal("PUT", path, json={"name": "mine"}) == (102, "Chat not found!")


@pytest.mark.promise("conversations:2.5-put-22")
async def test_2_5_an_update_without_datasets_leaves_them(old: Old) -> None:
    docs = await old.dataset()
    chat = await old.chat(dataset_ids=[docs])

    for sent in ({"description": "x"}, {"description": "y", "dataset_ids": None}):
        assert await old.call("PUT", f"/chats/{chat['id']}", json=sent) == {"code": 0}

    [listed] = await old.data("GET", "/chats", params={"id": chat["id"]})
    assert [one["id"] for one in listed["datasets"]] == [docs]


@pytest.mark.promise("conversations:2.5-delete-22", "conversations:1.2-partial-22", "conversations:1.1-discriminators")
async def test_2_5_outcomes_of_deletions(old: Old) -> None:
    a, b, c = [(await old.chat())["id"] for _ in range(3)]

    unknown = await old.call("DELETE", "/chats", json={"ids": [a, a, "x"]})
    assert unknown == {"code": 0, "data": {"success_count": 1, "errors": ["Assistant(x) not found."]}}
    doubled = await old.call("DELETE", "/chats", json={"ids": [b, b]})
    assert doubled == {"code": 0, "data": {"success_count": 1, "errors": [f"Duplicate assistant ids: {b}"]}}
    gone = "Assistant(x) not found.; Assistant(y) not found."
    assert await old.refusal("DELETE", "/chats", json={"ids": ["x", "y", "x"]}) == (102, gone)
    assert await old.call("DELETE", "/chats", json={"ids": [], "delete_all": False}) == {"code": 0}
    assert [one["id"] for one in await old.data("GET", "/chats")] == [c]
    assert await old.call("DELETE", "/chats") == {"code": 0}
    assert await old.data("GET", "/chats") == []


@pytest.mark.promise("conversations:2.5-list-22")
async def test_2_5_lists_and_what_they_refuse(old: Old) -> None:
    a = await old.chat(name="a")
    b = await old.chat(name="b")

    async def listed(**query: str) -> list[str]:
        return [one["name"] for one in await old.data("GET", "/chats", params=query)]

    assert await listed() == ["b", "a"]
    assert await listed(desc="False") == ["a", "b"]
    assert await listed(page="0", page_size="1") == ["b"]
    assert await listed(page_size="0") == []
    assert await listed(id=a["id"], name="a", unknown="x") == ["a"]
    missing = (102, "The chat doesn't exist")
    assert await old.refusal("GET", "/chats", params={"id": b["id"], "name": "a"}) == missing
    for query in ({"page": "x"}, {"page_size": "-1"}, {"orderby": "nothing"}):
        assert (await old.refusal("GET", "/chats", params=query))[0] == 100


@pytest.mark.promise("conversations:1.2-non-object-22")
@pytest.mark.parametrize(("content", "kind"), [('"ids"', "str"), ("[1]", "list"), ("5", "int"), ("true", "bool")])
async def test_1_2_a_body_that_is_no_object_fails_as_python_does(old: Old, content: str, kind: str) -> None:
    text = f"AttributeError(\"'{kind}' object has no attribute 'get'\")"
    assert await old.refusal("POST", "/chats", content=content) == (100, text)
    as_json = {"Content-Type": "application/json"}
    assert await old.refusal("POST", "/chats", content=content, headers=as_json) == (100, text)


@pytest.mark.promise("conversations:1.2-routes-22")
async def test_1_2_routes_and_methods_nobody_serves(old: Old) -> None:
    nobody = (100, "<NotFound '404: Not Found'>")
    wrong = (100, "<MethodNotAllowed '405: Method Not Allowed'>")
    assert await old.refusal("GET", "/chats/x/nothing") == nobody
    assert await old.refusal("PUT", "/chats", json={}) == wrong
    assert await old.refusal("POST", "/chats//sessions", json={}) == wrong  # the same as POST /chats/sessions
    assert await old.refusal("PUT", "/chats//sessions/x", json={}) == nobody
    assert await old.data("GET", "/chats/") == []


@pytest.mark.promise("conversations:1.4-keys-22")
async def test_1_4_calls_without_a_good_key(old: Old) -> None:
    for header, code, message in (
        ({"Authorization": ""}, 0, "`Authorization` can't be empty"),
        ({"Authorization": "Bearer"}, 0, "Please check your authorization format."),
        ({"Authorization": "Bearer nobody"}, 109, "Authentication error: API key is invalid!"),
    ):
        body = await old.call("GET", "/chats", headers=header)
        assert body == {"code": code, "message": message, "data": False}
    async with old.service.client() as nobody:
        told = await nobody.get(f"{V1}/chats")
    assert (told.status_code, told.json()) == (
        200,
        {"code": 0, "message": "`Authorization` can't be empty", "data": False},
    )


@pytest.mark.promise("conversations:1.1-mount", "conversations:1.1-header", "conversations:1.1-unknown-level")
async def test_1_1_the_dialect_by_mount_and_by_header(old: Old) -> None:
    for level, status in (("0.22", 200), ("off", 404)):
        answer = await old.client.get("/api/v1/chats?id=x", headers={"X-RAGFlow-Compat": level})
        assert answer.status_code == status
    assert (await old.client.get(f"{V1}/chats?id=x")).json() == {"code": 102, "message": "The chat doesn't exist"}
    for level in ("0.27", "1"):
        answer = await old.client.get("/api/v1/chats", headers={"X-RAGFlow-Compat": level})
        assert answer.status_code == 400
        assert answer.json() == {"code": 102, "message": f"Unknown compat level: {level}", "data": None}


@pytest.mark.promise("conversations:1.1-same-storage", "conversations:1.1-discriminators")
async def test_1_1_both_dialects_share_ids_and_take_both_vocabularies(old: Old) -> None:
    chat = await old.chat(llm_id="scripted", icon="i", prompt_config={"prologue": "Yo"})
    assert (chat["llm"]["model_name"], chat["avatar"], chat["prompt"]["opener"]) == ("scripted", "i", "Yo")

    answer = (await old.client.get(f"/api/v1/chats/{chat['id']}")).json()["data"]
    assert (answer["id"], answer["icon"]) == (chat["id"], "i")
    patched = await old.data("PATCH", f"/chats/{chat['id']}", json={"icon": "j", "unknown": 1})
    assert (patched["avatar"], set(patched)) == ("j", CREATED)
    reranker = "BAAI/bge-reranker-v2-m3"
    other = await old.chat(llm_setting={"top_p": 1}, vector_similarity_weight=0.25, rerank_id=reranker)
    assert other["llm"]["top_p"] == 1
    assert (other["prompt"]["keywords_similarity_weight"], other["prompt"]["rerank_model"]) == (0.75, reranker)
    sessions = f"/chats/{chat['id']}/sessions"
    session = (await old.client.post(f"/api/v1{sessions}", json={})).json()["data"]["id"]
    assert (await old.data("PATCH", f"{sessions}/{session}", json={"name": "n"}))["name"] == "n"
    assert [one["id"] for one in await old.data("GET", sessions)] == [session]
