"""What a new assistant is refused for, and in which order (conversations.md 2.3)."""

from typing import Any

import anyio
import pytest
from sqlalchemy import delete, text

from app.db.engine import create_engine
from app.db.identity import tenants
from tests.chats.world import Api, MakeDataset, World, invalid, missing
from tests.pg import DatabaseUrls


@pytest.mark.promise(
    "conversations:2.1-name",
    "conversations:2.2-number",
    "conversations:2.3-27-words",
    "conversations:2.3-checks",
    "conversations:2.3-variables",
)
@pytest.mark.parametrize(
    ("sent", "refusal"),
    [
        ({"dataset_ids": "ids"}, invalid("`dataset_ids` should be a list.")),
        ({"dataset_ids": ["nobody's"]}, missing("You don't own the dataset nobody's")),
        ({"dataset_ids": [5]}, missing("You don't own the dataset 5")),
        ({"llm": {"model_name": "gone"}}, invalid("`model_name` gone doesn't exist")),
        ({"llm": {"model_name": "keyless"}}, invalid("`model_name` keyless doesn't exist")),
        ({"llm_id": "gone"}, invalid("`llm_id` gone doesn't exist")),
        ({"llm": {"model_name": "ranker"}}, invalid("`model_name` ranker doesn't exist")),
        ({"llm": {"temperature": "hot"}}, invalid("`temperature` must be a number.")),
        ({"llm": {"temperature": True}}, invalid("`temperature` must be a number.")),
        ({"llm": {"top_p": "0.3"}}, invalid("`top_p` must be a number.")),
        ({"llm": {"presence_penalty": []}}, invalid("`presence_penalty` must be a number.")),
        ({"llm_setting": {"frequency_penalty": "x"}}, invalid("`frequency_penalty` must be a number.")),
        ({"llm_setting": {"max_tokens": 1.5}}, invalid("`max_tokens` must be an integer.")),
        ({"llm": []}, ...),
        ({"llm": "x"}, invalid("`llm` should be an object.")),
        ({"llm_setting": "x"}, invalid("`llm_setting` should be an object.")),
        ({"prompt": 1}, invalid("`prompt` should be an object.")),
        ({"prompt_config": "x"}, invalid("`prompt_config` should be an object.")),
        ({"prompt": {"rerank_model": "gone"}}, invalid("`rerank_model` gone doesn't exist")),
        ({"rerank_id": "gone"}, invalid("`rerank_id` gone doesn't exist")),
        ({"prompt_config": {"rerank_id": "gone"}}, invalid("`rerank_id` gone doesn't exist")),
        ({"name": ""}, invalid("`name` is required.")),
        ({"name": None}, invalid("`name` is required.")),
        ({"name": "  "}, invalid("`name` is required.")),
        ({"name": 5}, invalid("chat name must be a string")),
        ({"name": "é" * 128}, invalid("chat name length is 256 which is larger than 255")),
        ({"name": "x" * 5_000_000}, invalid("chat name length is 5000000 which is larger than 255")),
        ({"tenant_id": "t"}, invalid("`tenant_id` must not be provided.")),
        ({"prompt": {"variables": [{"key": "tone", "optional": False}]}}, invalid("Parameter 'tone' is not used")),
        (
            {"prompt": {"prompt": "In tone {x}.", "variables": [{"key": "tone"}]}},
            invalid("Parameter 'tone' is not used"),
        ),
        ({"prompt": {"variables": "tone"}}, ...),
        ({"prompt": {"variables": [{"key": 1}]}}, ...),
        ({"prompt": {"variables": [{"key": "a", "optional": "no"}]}}, ...),
        ({"prompt": {"show_quote": "yes"}}, invalid("`show_quote` must be a boolean.")),
        ({"prompt": {"opener": 5}}, invalid("`opener` must be a string.")),
        ({"prompt": {"reasoning": 5}}, invalid("`reasoning` must be a boolean or an integer from 0 to 4.")),
        ({"prompt": {"cross_languages": "de"}}, invalid("`cross_languages` should be a list of strings.")),
        ({"prompt": {"top_n": 2**31}}, invalid("`top_n` must be an integer from 1 to 2147483647.")),
        ({"top_k": 0}, invalid("`top_k` must be an integer from 1 to 2147483647.")),
        ({"top_k": "9"}, invalid("`top_k` must be an integer.")),
        ({"similarity_threshold": 1.1}, invalid("`similarity_threshold` must be a number from 0 to 1.")),
        ({"avatar": 5}, invalid("`avatar` must be a string.")),
        ({"meta_data_filter": []}, ...),
        ({"meta_data_filter": "x"}, invalid("`meta_data_filter` should be an object.")),
    ],
)
async def test_2_3_checks(api: Api, sent: dict[str, Any], refusal: Any) -> None:
    if refusal is ...:  # the words are our own: V is what counts
        assert (await api.refusal("POST", "/chats", json={"name": "A", **sent}))[:2] == (400, 102)
    else:
        assert await api.refusal("POST", "/chats", json={"name": "A", **sent}) == refusal
    assert await api.ok("GET", "/chats") == []


@pytest.mark.promise("conversations:2.3-checks")
async def test_2_3_a_body_without_a_name_is_refused(api: Api) -> None:
    for content in (b"", b"{}", b"null"):
        refusal = await api.refusal("POST", "/chats", content=content, headers={"Content-Type": "application/json"})
        assert refusal == invalid("`name` is required.")


@pytest.mark.promise("conversations:2.3-checks", "conversations:2.5-put-checks", "conversations:1.3-wall")
async def test_2_3_2_a_dataset_of_another_tenant_is_none(api: Api, rival: Api, world: World) -> None:
    foreign = await world.dataset(rival)
    chat = await api.chat()

    for method, path in (("POST", "/chats"), ("PUT", f"/chats/{chat['id']}"), ("PATCH", f"/chats/{chat['id']}")):
        told = await api.refusal(method, path, json={"name": "A", "dataset_ids": [foreign]})
        assert told == missing(f"You don't own the dataset {foreign}")
    assert await api.ok("GET", "/chats") == [chat]


@pytest.mark.promise("conversations:2.3-unparsed", "conversations:2.5-put-checks")
async def test_2_3_3_a_dataset_without_chunks(api: Api, make_dataset: MakeDataset) -> None:
    empty = await make_dataset(chunks=0)

    chat = await api.chat()

    for method, path in (("POST", "/chats"), ("PUT", f"/chats/{chat['id']}")):
        refusal = await api.refusal(method, path, json={"name": "A", "dataset_ids": [empty]})
        assert refusal == invalid(f"The dataset {empty} doesn't own parsed file")
    assert await api.ok("GET", "/chats") == [chat]


@pytest.mark.promise("conversations:2.3-embeddings", "conversations:2.5-put-checks")
async def test_2_3_4_embeddings_are_compared_without_their_provider(api: Api, make_dataset: MakeDataset) -> None:
    one, same = await make_dataset(embedding="mini@Builtin"), await make_dataset(embedding="mini@Elsewhere")
    other = await make_dataset(embedding="maxi@Builtin")

    chat = await api.chat(dataset_ids=[same, one, same])
    assert chat["dataset_ids"] == [same, one]
    for method, path in (("POST", "/chats"), ("PUT", f"/chats/{chat['id']}")):
        refusal = await api.refusal(method, path, json={"name": "A", "dataset_ids": [one, other]})
        assert refusal == invalid('Datasets use different embedding models."')
    assert await api.ok("GET", "/chats") == [chat]


@pytest.mark.promise("conversations:2.3-rerank-always")
@pytest.mark.parametrize("rerank", ["BAAI/bge-reranker-v2-m3", "maidalun1020/bce-reranker-base_v1", ""])
async def test_2_3_7_some_rerank_models_always_pass(api: Api, rerank: str) -> None:
    assert (await api.chat(prompt={"rerank_model": rerank}))["rerank_id"] == rerank


@pytest.mark.promise("conversations:2.1-name-unique")
async def test_2_3_10_names_are_unique_whatever_their_case(api: Api, rival: Api) -> None:
    await api.chat(name="Äpfel")

    for name in ("Äpfel", "äPFEL", " äpfel "):
        refusal = await api.refusal("POST", "/chats", json={"name": name})
        assert refusal == invalid("Duplicated chat name in creating chat.")
    await rival.chat(name="Äpfel")


@pytest.mark.promise("conversations:2.1-name-unique")
async def test_2_3_10_of_calls_that_race_for_a_name_one_wins(api: Api) -> None:
    answers: list[tuple[int, str]] = []

    async def create() -> None:
        answer = await api.raw("POST", "/chats", json={"name": "One"})
        answers.append((answer.status_code, answer.json().get("message", "")))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as calls:
            for _ in range(5):
                calls.start_soon(create)

    assert sorted(answers) == [(200, ""), *[(400, "Duplicated chat name in creating chat.")] * 4]


@pytest.mark.promise("conversations:2.3-variables")
async def test_2_3_12_required_variables_occur_in_the_text_except_knowledge(api: Api) -> None:
    text = "Speak {tone}."
    variables = [{"key": "knowledge", "optional": False}, {"key": "tone", "optional": False}]

    chat = await api.chat(prompt={"prompt": text, "variables": [*variables, {"key": "more", "optional": True}]})

    assert chat["prompt"]["prompt"] == text


@pytest.mark.promise("conversations:2.3-order")
async def test_2_3_the_order_of_the_checks(api: Api, make_dataset: MakeDataset) -> None:
    """Each fault hides those after it: mend one after the other."""
    empty, one, other = await make_dataset(chunks=0), await make_dataset(), await make_dataset(embedding="maxi")
    await api.chat(name="Taken")
    unused = {"prompt": "x", "variables": [{"key": "tone", "optional": False}]}
    body: dict[str, Any] = {
        "dataset_ids": "ids",
        "llm": {"model_name": "gone"},
        "prompt": {"rerank_model": "gone", **unused},
        "tenant_id": "t",
    }
    mends: list[tuple[dict[str, Any], str]] = [
        ({}, "`dataset_ids` should be a list."),
        ({"dataset_ids": [empty, "unknown"]}, "You don't own the dataset unknown"),
        ({"dataset_ids": [one, other, empty]}, f"The dataset {empty} doesn't own parsed file"),
        ({"dataset_ids": [one, other]}, 'Datasets use different embedding models."'),
        ({"dataset_ids": [one]}, "`model_name` gone doesn't exist"),
        ({"llm": {}}, "`rerank_model` gone doesn't exist"),
        ({"prompt": unused}, "`name` is required."),
        ({"name": "taken"}, "Duplicated chat name in creating chat."),
        ({"name": "Free"}, "`tenant_id` must not be provided."),
        ({"tenant_id": None}, "Parameter 'tone' is not used"),
    ]
    for mend, message in mends:
        body |= mend
        assert (await api.refusal("POST", "/chats", json=body))[2] == message
    assert (await api.ok("POST", "/chats", json=body | {"prompt": {}}))["name"] == "Free"


@pytest.mark.promise("conversations:2.3-tenant")
async def test_2_3_6_a_tenant_that_went_away_while_its_key_was_remembered(api: Api, world: World) -> None:
    await api.chat()
    async with world.database.unit(api.tenant_id) as unit:
        await unit._connection.execute(delete(tenants).where(tenants.c.tenant_id == api.tenant_id))

    assert await api.refusal("POST", "/chats", json={"name": "A"}) == missing("Tenant not found!")


@pytest.mark.promise("conversations:2.3-insert-failed")
async def test_2_3_13_a_row_that_the_database_refuses(api: Api, fresh_database: DatabaseUrls) -> None:
    owner = create_engine(fresh_database.owner, pool_size=1)
    async with owner.begin() as connection:
        await connection.execute(text("ALTER TABLE chats ADD CONSTRAINT no_a CHECK (name <> 'A')"))
    await owner.dispose()

    assert await api.refusal("POST", "/chats", json={"name": "A"}) == (500, 500, "Fail to new a chat!")
    await api.chat(name="B")
