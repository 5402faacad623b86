"""Related questions and mind maps (conversations.md 7.3, 7.6)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import UpstreamFailed
from app.domain.ids import ChunkId, DatasetId, DocumentId
from app.domain.principals import KeyKind
from app.domain.references import Reference
from app.services.mindmap import outline_of, parse_outline
from app.services.related import parse_related, related_prompt
from app.services.search_settings import generation
from app.wire.search_apps import mindmap
from tests.searches.test_retrieval_tests import BOTS, NOT_OWNED
from tests.searches.world import BIRD, CAT, DOG, Api, World, make_dataset, make_search

RELATED = "/api/v1/sessions/related_questions"
OTHERS = ("/api/v1/chat/recommendation", "/api/v1/chat/recommandation")  # codespell:ignore


@pytest.mark.promise("conversations:7.3-parse")
def test_numbered_lines_and_bullets_are_questions() -> None:
    said = """Here you are:
1. What is first?
 2) What is second?
3.What is third?
10. What is tenth?
117) What is far?
- What is a bullet?
* **What is bold?**
• What is round?
What is no item?
-7 degrees
1.5 is a number
4.
1. What is first?
"""
    assert parse_related(said) == [
        "What is first?", "What is second?", "What is third?", "What is tenth?", "What is far?", "What is a bullet?",
        "What is bold?", "What is round?",
    ]  # fmt: skip
    assert parse_related("\n".join(f"{n}. q{n}" for n in range(1, 30))) == [f"q{n}" for n in range(1, 11)]
    assert parse_related("I do not know.") == parse_related("") == []


@given(st.text())
def test_whatever_is_said_it_is_at_most_ten_lines(said: str) -> None:
    found = parse_related(said)
    assert len(found) <= 10
    assert all(text and text == text.strip() for text in found)


@pytest.mark.promise("conversations:7.3-routes")
async def test_every_route_returns_questions(world: World, api: Api, page: Api) -> None:
    world.says("1. Why?\n2. How?\n10. When?")
    for caller, path in ((api, RELATED), *((api, each) for each in OTHERS), (page, f"{BOTS}/related_questions")):
        assert await caller.ok("POST", path, json={"question": "What?"}) == ["Why?", "How?", "When?"]


@pytest.mark.promise("conversations:7.3-errors")
async def test_a_question_is_needed(api: Api, page: Api) -> None:
    for sent in ({}, {"question": ""}, {"question": None}):
        assert await api.refusal("POST", RELATED, json=sent) == (400, 102, "`question` is required.")
        assert await api.refusal_22("POST", RELATED, json=sent) == {"code": 102, "message": "`question` is required."}
    lacking = "required argument are missing: question; "
    for caller, path in (*((api, each) for each in OTHERS), (page, f"{BOTS}/related_questions")):
        assert await caller.refusal("POST", path, json={}) == (400, 102, lacking)
        told = await caller.refusal_22("POST", path, json={})
        assert (told["code"], told["message"]) == (101, lacking)
        assert await caller.refusal("POST", path, json={"question": ""}) == (400, 102, "`question` is required.")
        unknown = await caller.refusal("POST", path, json={"question": "x", "search_id": "nothing"})
        assert unknown == (404, 105, "Can't find this Search App!")
    assert (await api.refusal("POST", RELATED, json={"question": 7}))[:2] == (400, 102)
    assert (await api.refusal("POST", RELATED, json={"question": "x", "industry": [7]}))[:2] == (400, 102)


@pytest.mark.promise("conversations:7.3-model")
@pytest.mark.promise("conversations:7.3-industry")
async def test_which_model_is_asked_and_how(world: World, api: Api, page: Api) -> None:
    talker, other = world.says("1. Why?"), world.says("1. Other?", model="other")
    await api.ok("POST", RELATED, json={"question": "What is a lease?", "industry": "aviation"})
    call = talker.calls[0]
    assert call.options.temperature == 0.9
    assert "What is a lease?" in call.messages[0].content
    assert "Stay within this industry" in call.messages[0].content
    assert "aviation" in call.messages[0].content
    await api.ok("POST", RELATED, json={"question": "What is a lease?"})
    assert "industry" not in talker.calls[-1].messages[0].content
    assert "industry" not in related_prompt("What?")[0].content

    search_id = await make_search(api, chat_id="other", llm_setting={"temperature": 0.2, "top_p": 0.4})
    for caller, path in (*((api, each) for each in OTHERS), (page, f"{BOTS}/related_questions")):
        asked = {"question": "What?", "search_id": search_id}
        assert await caller.ok("POST", path, json=asked) == ["Other?"]
        assert (other.calls[-1].options.temperature, other.calls[-1].options.top_p) == (0.2, 0.4)
    unset = await make_search(api)
    await api.ok("POST", OTHERS[0], json={"question": "What?", "search_id": unset})
    assert talker.calls[-1].options.temperature == 0.9


@pytest.mark.promise("conversations:7.3-ledger")
async def test_helpers_are_on_the_ledger_of_their_key(world: World, api: Api, page: Api, pets: str) -> None:
    await api.ok("POST", RELATED, json={"question": "What?"})
    await page.ok("POST", f"{BOTS}/mindmap", json={"question": "cat", "kb_ids": [pets]})
    await page.ok("POST", f"{BOTS}/retrieval_test", json={"question": "cat", "kb_id": pets})
    assert await world.ledger(api) == [
        ("mindmap", "chat", page.key_id, False),
        ("query", "embedding", page.key_id, False),
        ("query", "embedding", page.key_id, False),
        ("related", "chat", api.key_id, False),
    ]


async def test_helpers_keep_to_the_tokens_of_the_day(world: World) -> None:
    model = world.says("1. Why?")
    poor = await world.caller(tokens_per_day=1)
    answers = [await poor.raw("POST", RELATED, json={"question": "What?"}) for _ in range(2)]
    assert answers[-1].status_code == 429, await world.rows(poor, "SELECT * FROM quota_days")
    assert len(model.calls) == sum(answer.status_code == 200 for answer in answers)


@pytest.mark.promise("conversations:11-tokens-per-day")
async def test_searches_keep_to_the_tokens_of_the_day(world: World, api: Api, pets: str) -> None:
    """What embeds a question is refused as any other model once nothing is left."""
    made = await world.caller(tenant_id=api.tenant_id, tokens_per_day=3)
    sent: dict[str, Any] = {"question": "How many legs has a cat, and a bird?", "dataset_ids": [pets]}
    answers = [await made.raw("POST", "/api/v1/retrieval", json=sent) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert answers[1].headers["x-should-retry"] == "false"
    dify = {"knowledge_id": pets, "query": "cat"}
    assert (await made.raw("POST", "/api/v1/dify/retrieval", json=dify)).status_code == 429
    page = await world.caller(api.tenant_id, kind=KeyKind.EMBED, tokens_per_day=1)
    for status in (200, 429):
        answer = await page.raw("POST", f"{BOTS}/retrieval_test", json={"question": "cat", "kb_id": pets})
        assert answer.status_code == status


async def test_a_model_that_fails_is_told_and_nothing_breaks(world: World, api: Api, pets: str) -> None:
    world.says(UpstreamFailed("The provider is away."))
    for path, sent in ((RELATED, {"question": "x"}), ("/api/v1/chat/mindmap", {"question": "cat", "kb_ids": [pets]})):
        assert await api.refusal("POST", path, json=sent) == (500, 500, "The provider is away.")


@pytest.mark.promise("conversations:7.6-mindmap")
async def test_a_mind_map_is_a_tree_of_ids(world: World, api: Api, page: Api, pets: str) -> None:
    model = world.says("Sure!\n# Cats\n## Sleep\n- on the **stove**\n  - warm\n- at night\n# Dogs\n1. bones")
    expected = {
        "id": "root",
        "children": [
            {
                "id": "Cats",
                "children": [
                    {
                        "id": "Sleep",
                        "children": [
                            {"id": "on the **stove", "children": [{"id": "warm", "children": []}]},
                            {"id": "at night", "children": []},
                        ],
                    }
                ],
            },
            {"id": "Dogs", "children": [{"id": "bones", "children": []}]},
        ],
    }
    sent = {"question": "cat and dog: what do they do, the cat on the warm stove, a dog with a bone?", "kb_ids": [pets]}
    for caller, path in ((page, f"{BOTS}/mindmap"), (api, "/api/v1/chat/mindmap")):
        drawn = await caller.ok("POST", path, json=sent)
        assert drawn == expected
    told = model.calls[0].messages[0].content
    assert CAT in told
    assert DOG in told
    assert "cat and dog: what do they do, the cat on the warm stove, a dog with a bone?" in told


@pytest.mark.promise("conversations:7.6-mindmap-search")
async def test_a_mind_map_is_drawn_of_the_twelve_best_chunks(world: World, api: Api, page: Api) -> None:
    dataset = await make_dataset(api, *(f"The cat number {number} sleeps." for number in range(14)), DOG)
    model = world.says("- cats")
    await page.ok("POST", f"{BOTS}/mindmap", json={"question": "Does the cat sleep?", "kb_ids": [dataset]})
    assert model.calls[0].messages[0].content.count("The cat number") == 12
    strict = await make_search(api, similarity_threshold=5.0, kb_ids=[dataset])
    asked = world.noted_searches()
    await page.ok("POST", f"{BOTS}/mindmap", json={"question": "cat", "kb_ids": [dataset]})
    bare = await page.ok("POST", f"{BOTS}/mindmap", json={"question": "cat", "kb_ids": [], "search_id": strict})
    assert [request.similarity_threshold for request in asked] == [0.2, 5.0]
    assert bare == {"id": "root", "children": []}


@pytest.mark.promise("conversations:7.6-mindmap-errors")
async def test_what_mind_maps_are_refused_for(api: Api, page: Api, rival: Api, pets: str) -> None:
    foreign = await make_dataset(rival, CAT)
    for caller, path in ((page, f"{BOTS}/mindmap"), (api, "/api/v1/chat/mindmap")):
        for sent, keys in (({}, "question,kb_ids"), ({"question": "x"}, "kb_ids"), ({"kb_ids": [foreign]}, "question")):
            lacking = await caller.refusal("POST", path, json=sent)
            assert lacking == (400, 102, f"required argument are missing: {keys}; ")
        unselected = await caller.refusal("POST", path, json={"question": "x", "kb_ids": []})
        assert unselected == (400, 102, "No KB selected")
        told = await caller.refusal_22("POST", path, json={"question": "x", "kb_ids": []})
        assert (told["code"], told["message"]) == (100, "No KB selected")
        for named in ([foreign], [pets, foreign]):
            refused = await caller.refusal("POST", path, json={"question": "x", "kb_ids": named})
            assert refused == (404, 105, NOT_OWNED)


async def test_the_embedded_model_draws_nothing_the_documents_do(world: World, api: Api, pets: str) -> None:
    search_id = await make_search(api, kb_ids=[pets], chat_id="small@builtin")
    sent = {"question": "What do cats and birds do?", "kb_ids": [], "search_id": search_id}
    drawn = await api.ok("POST", "/api/v1/chat/mindmap", json=sent)
    [document] = drawn["children"]
    assert document["id"] == "pets.txt"
    assert {child["id"] for child in document["children"]} <= {CAT, DOG, BIRD}
    assert document["children"]
    world.says("I cannot draw.")
    drawn = await api.ok("POST", "/api/v1/chat/mindmap", json={**sent, "kb_ids": [pets], "search_id": ""})
    assert [child["id"] for child in drawn["children"]] == ["pets.txt"]
    world.says("no list here", model="small", provider="builtin")
    assert await api.ok("POST", OTHERS[0], json={"question": "What?", "search_id": search_id}) == []


@given(st.text(alphabet="#-*+ \t\n1.)ab`", max_size=400))
def test_any_outline_is_a_tree(said: str) -> None:
    tree = mindmap(parse_outline(said))
    assert tree["id"] == "root"
    waiting = [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        assert set(node) == {"id", "children"}
        assert depth <= 6
        assert node["id"]
        waiting += [(child, depth + 1) for child in node["children"]]


def test_a_document_shows_the_beginnings_of_three_passages() -> None:
    def passage(document: str, content: str) -> Reference:
        return Reference(
            chunk_id=ChunkId("c"), content=content, document_id=DocumentId(document), document_name=f"{document}.txt",
            dataset_id=DatasetId("s"),
        )  # fmt: skip

    tree = outline_of(
        [*(passage("a", f"Number {n}. And more.") for n in range(5)), passage("b", "word " * 40), passage("c", "")]
    )
    assert [(node.text, [child.text for child in node.children]) for node in tree.children] == [
        ("a.txt", ["Number 0.", "Number 1.", "Number 2."]),
        ("b.txt", ["word " * 15 + "word…"]),
        ("c.txt", []),
    ]


@pytest.mark.promise("conversations:7.7-switches")
def test_values_that_are_switched_off_are_not_used() -> None:
    setting: dict[str, Any] = {
        "temperature": 0.9, "top_p": 0.9, "presence_penalty": 0.9, "frequency_penalty": 0.9, "parameter": "Precise",
    }  # fmt: skip
    used = generation(setting, temperature=0.1)
    assert (used.temperature, used.top_p, used.presence_penalty, used.frequency_penalty) == (0.9,) * 4
    off = {f"{name}_enabled": False for name in ("temperature", "top_p", "presence_penalty", "frequency_penalty")}
    used = generation(setting | off, temperature=0.5)
    assert (used.temperature, used.top_p, used.frequency_penalty, used.presence_penalty) == (0.1, 0.3, 0.7, 0.4)
    old = {"temperatureEnabled": False, "topPEnabled": False, "presencePenaltyEnabled": False}
    used = generation(setting | old, temperature=0.5)
    assert (used.temperature, used.top_p, used.presence_penalty, used.frequency_penalty) == (0.5, None, None, 0.9)
    odd_ones: tuple[Any, ...] = ("x", True, None, float("nan"), [], {})
    for odd in odd_ones:
        assert generation({"temperature": odd}, temperature=0.5).temperature == 0.5
