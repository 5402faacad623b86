"""Search apps on pages (conversations.md 7.6), and questions to them by key (7.8)."""

from typing import Any

import anyio
import pytest

from app.domain.models import ModelText
from app.llm.scripted import ScriptedChatModel
from tests.searches.test_ask import final
from tests.searches.test_retrieval_tests import BOTS, NOT_OWNED, TEST, texts
from tests.searches.world import CAT, ORIGIN, Api, World, add_document, make_dataset, make_search


@pytest.mark.promise("conversations:7.6-codes-22")
async def test_0_22_has_codes_of_its_own_on_pages(api: Api, page: Api, rival: Api, pets: str) -> None:
    async def told(path: str, **sent: Any) -> Any:
        return await page.refusal_22("POST", f"{BOTS}/{path}", json=sent)

    foreign, empty = await make_dataset(rival, CAT), await make_dataset(api)
    lacking = {"code": 101, "message": "required argument are missing: kb_id,question; "}
    assert {key: (await told("retrieval_test"))[key] for key in lacking} == lacking
    nothing = await told("retrieval_test", kb_id=[], question="x")
    assert nothing == {"code": 102, "message": "Please specify dataset firstly.", "data": False}
    assert await told("retrieval_test", kb_id=foreign, question="x") == {"code": 103, "message": NOT_OWNED}
    assert await told("retrieval_test", kb_id=empty, question="x") == {
        "code": 102,
        "message": "No chunk found! Check the chunk status please!",
    }
    detail = await page.refusal_22("GET", f"{BOTS}/detail?search_id=nothing")
    assert detail == {"code": 103, "message": "Has no permission for this operation."}
    unselected = await told("mindmap", question="x", kb_ids=[])
    assert (unselected["code"], unselected["message"]) == (100, "No KB selected")
    for path, keys in (("ask", "question,kb_ids"), ("mindmap", "question,kb_ids"), ("related_questions", "question")):
        assert (await told(path))["code"] == 101
        assert (await told(path))["message"] == f"required argument are missing: {keys}; "
    nobody = {"Authorization": "Bearer nobody"}
    for path in ("ask", "retrieval_test", "mindmap", "related_questions"):  # before the token is looked at
        answer = await page.client.post(
            f"{BOTS}/{path}", json={"kb_ids": []}, headers=nobody | {"X-RAGFlow-Compat": "0.22"}
        )
        assert (answer.status_code, answer.json()["code"]) == (200, 101), path
        assert (await page.client.post(f"{BOTS}/{path}", json={}, headers=nobody)).status_code == 401


@pytest.mark.promise("conversations:7.6-detail")
async def test_a_page_sees_the_search_apps_of_its_tenant(api: Api, page: Api, rival: Api) -> None:
    search_id, foreign = await make_search(api, kb_ids=["a"]), await make_search(rival)
    shown = await page.ok("GET", f"{BOTS}/detail?search_id={search_id}")
    assert shown == await api.ok("GET", f"/api/v1/searches/{search_id}")
    for unknown in ("nothing", foreign):
        refused = await page.refusal("GET", f"{BOTS}/detail?search_id={unknown}")
        assert refused == (404, 105, "Has no permission for this operation.")
    assert (await page.refusal("GET", f"{BOTS}/detail"))[:2] == (400, 102)


@pytest.mark.promise("conversations:7.6-ask")
@pytest.mark.promise("conversations:7.8-completions")
async def test_a_search_app_answers_from_its_own_datasets(world: World, api: Api, page: Api, pets: str) -> None:
    """Those of its configuration, or else those of the body."""
    wild = await make_dataset(api, "A wild cat hunts mice.")
    set_up, open_one = await make_search(api, kb_ids=[wild]), await make_search(api)
    app, path = "/api/v1/searches", "completions"
    ways: tuple[tuple[Api, str, dict[str, Any], str], ...] = (
        (page, f"{BOTS}/ask", {"kb_ids": [pets], "search_id": set_up}, "A wild cat hunts mice."),
        (page, f"{BOTS}/ask", {"kb_ids": [pets], "search_id": open_one}, CAT),
        (page, f"{BOTS}/ask", {"kb_ids": [pets]}, CAT),
        (api, f"{app}/{set_up}/{path}", {"kb_ids": [pets]}, "A wild cat hunts mice."),
        (api, f"{app}/{set_up}/completion", {}, "A wild cat hunts mice."),
        (api, f"{app}/{open_one}/{path}", {"kb_ids": [pets]}, CAT),
        (api, "/v1/conversation/ask", {"kb_ids": [pets], "search_id": set_up}, "A wild cat hunts mice."),
        (api, "/v1/conversation/ask", {"kb_ids": [pets]}, CAT),
    )
    for caller, where, sent, content in ways:
        world.says("So it is [ID:0].")
        events = await caller.asked(where, question="What does the cat do?", **sent)
        assert events.text == "So it is [ID:0].", where
        assert [chunk["content"] for chunk in final(events)["reference"]["chunks"]] == [content]
        assert events.data[-2:] == [{"code": 0, "message": "", "data": True}, "[DONE]"]
        old = await caller.asked(where, is_22=True, question="What does the cat do?", **sent)
        assert final(old)["answer"] == "So it is [ID:0]."


@pytest.mark.promise("conversations:7.7-answer-settings")
async def test_a_search_app_answers_with_its_own_settings(world: World, api: Api, page: Api, pets: str) -> None:
    other = world.says("Meow.", model="other")
    search_id = await make_search(
        api,
        kb_ids=[pets],
        chat_id="other@tests",
        similarity_threshold=0.05,
        vector_similarity_weight=1.0,
        top_k=55,
        use_kg=True,
        llm_setting={
            "temperature": 0.7,
            "top_p": 0.8,
            "presence_penalty_enabled": False,
            "frequency_penalty": 0.9,
            "frequencyPenaltyEnabled": False,
        },
    )
    requests = world.noted_searches()
    events = await page.asked(f"{BOTS}/ask", question="cat?", kb_ids=[], search_id=search_id)
    assert events.text == "Meow."
    [request] = requests
    assert (request.similarity_threshold, request.vector_similarity_weight) == (0.05, 1.0)
    assert (request.top_k, request.use_kg, request.page_size) == (55, True, 12)
    [call] = other.calls
    assert (call.options.temperature, call.options.top_p) == (0.7, 0.8)
    assert (call.options.presence_penalty, call.options.frequency_penalty) == (0.4, None)
    for chunk in final(events)["reference"]["chunks"]:
        assert chunk["similarity"] == pytest.approx(chunk["vector_similarity"])

    bob = await add_document(api, pets, "Bob's cat purrs.", name="bob.txt", author="Bob")
    for config in (
        {"doc_ids": [bob]},
        {"meta_data_filter": {"method": "manual", "manual": [{"key": "author", "op": "=", "value": "Bob"}]}},
    ):
        narrow = await make_search(api, kb_ids=[pets], **config)
        last = final(await page.asked(f"{BOTS}/ask", question="cat?", kb_ids=[], search_id=narrow))
        assert [chunk["content"] for chunk in last["reference"]["chunks"]] == ["Bob's cat purrs."]
    strict = await make_search(api, kb_ids=[pets], similarity_threshold=5.0)
    last = final(await page.asked(f"{BOTS}/ask", question="cat?", kb_ids=[], search_id=strict))
    assert last["reference"]["chunks"] == []
    absent = await make_search(api, kb_ids=[pets])
    await api.ok(
        "PUT",
        f"/api/v1/searches/{absent}",
        json={"name": "m", "search_config": {"similarity_threshold": None, "rerank_id": None, "doc_ids": None}},
    )
    requests = world.noted_searches()
    assert final(await page.asked(f"{BOTS}/ask", question="cat?", kb_ids=[], search_id=absent))["final"] is True
    assert [request.similarity_threshold for request in requests] == [0.1]


@pytest.mark.promise("conversations:7.6-ask-errors")
@pytest.mark.promise("conversations:7.8-completions-errors")
async def test_what_questions_to_search_apps_are_refused_for(
    world: World, api: Api, page: Api, rival: Api, pets: str
) -> None:
    foreign, foreign_app, open_one = await make_dataset(rival, CAT), await make_search(rival), await make_search(api)
    stranger = await make_search(api, kb_ids=[foreign])
    asked = {"question": "x", "kb_ids": [pets]}

    async def on_page(**sent: Any) -> tuple[int, int, str]:
        return await page.refusal("POST", f"{BOTS}/ask", json=sent)

    assert await on_page() == (400, 102, "required argument are missing: question,kb_ids; ")
    assert await on_page(question="", kb_ids=[pets]) == (400, 102, "`question` is required.")
    assert await on_page(question="x", kb_ids=[]) == (400, 102, "`kb_ids` is required.")
    assert (await on_page(question="x", kb_ids="x"))[:2] == (400, 102)
    for named in ([foreign], [pets, foreign], [foreign, pets], [pets, "nothing"]):
        assert await on_page(question="x", kb_ids=named) == (404, 105, NOT_OWNED)
    assert await on_page(question="x") == (400, 102, "required argument are missing: kb_ids; ")
    assert await on_page(**asked, search_id=stranger) == (404, 105, NOT_OWNED)
    assert await on_page(**asked, search_id=foreign_app) == (404, 105, "Can't find this Search App!")

    async def by_key(search_id: str, **sent: Any) -> tuple[int, int, str]:
        path = f"/api/v1/searches/{search_id}/completions"
        told = await api.refusal("POST", path, json=sent)
        assert await api.refusal("POST", path.removesuffix("s"), json=sent) == told
        assert await api.refusal("POST", "/v1/conversation/ask", json={**sent, "search_id": search_id}) == told
        return told

    assert await by_key(open_one) == (400, 102, "required argument are missing: question; ")
    assert await by_key(open_one, question="x") == (400, 102, "`kb_ids` is required.")
    assert await by_key(open_one, question="x", kb_ids=[foreign]) == (
        404,
        105,
        f"You don't own the dataset {foreign}",
    )
    assert await by_key(open_one, question="x", kb_ids=[pets, foreign]) == (
        404,
        105,
        f"You don't own the dataset {foreign}",
    )
    assert await by_key(stranger, question="x") == (404, 105, f"You don't own the dataset {foreign}")
    assert await by_key("nothing", **asked) == (404, 105, "Cannot find search nothing")
    world.says("Yes.")
    odd_ones: tuple[dict[str, Any], ...] = (
        {"chat_id": "nobody"}, {"chat_id": 7}, {"llm_setting": []}, {"similarity_threshold": "much"}, {"top_k": []},
        {"doc_ids": "x"}, {"kb_ids": 7}, {"rerank_id": []}, {"rerank_id": "nobody"}, {"meta_data_filter": 1},
        {"use_kg": "perhaps"},
    )  # fmt: skip
    for config in odd_ones:
        odd = await make_search(api, **config)
        status, code, _ = await by_key(odd, **asked)
        assert (status, code) == (400, 102), config


async def test_a_page_that_leaves_stops_the_model(world: World, page: Api, pets: str) -> None:
    model = world.models["talker"] = ScriptedChatModel(ModelText("It "), hang=True, name="talker")
    sent = {"question": "Where does the cat sleep?", "kb_ids": [pets]}
    async with page.client.stream("POST", f"{BOTS}/ask", headers=page.auth(), json=sent) as answer:
        async for line in answer.aiter_lines():
            if '"It "' in line:
                break
    with anyio.fail_after(2):
        await model.closed.wait()
    assert model.closed.is_set()


async def test_the_embedded_model_quotes_and_says_nothing_of_its_own(world: World, api: Api, pets: str) -> None:
    search_id = await make_search(api, kb_ids=[pets], chat_id="small@builtin")
    path = f"/api/v1/searches/{search_id}/completions"
    told = await api.asked(path, question="zyzzyva")
    assert told.text == "Nothing in the documents answers this question."
    assert (await api.asked(path, question="the cat sleeps on the warm stove")).text.startswith(CAT)
    assert "small" not in world.models  # it was never asked: that would have failed


@pytest.mark.promise("conversations:7.6-visitors")
async def test_a_visitor_reaches_its_search_app_and_nothing_else(world: World, api: Api, pets: str) -> None:
    secret = await make_dataset(api, "The secret cat code is 42.")
    document = (await api.ok("GET", f"/api/v1/datasets/{pets}/documents"))["docs"][0]["id"]
    hidden = await add_document(api, pets, "A hidden cat.", name="hidden.txt")
    manual = {"method": "manual", "manual": [{"key": "name", "op": "=", "value": "x"}]}
    search_id, other = await make_search(api, kb_ids=[pets], doc_ids=[document]), await make_search(api)
    open_one = await make_search(api)
    visitor = await world.visitor(api, search_id)
    asked = {"kb_id": pets, "question": "cat"}

    assert texts(await visitor.ok("POST", TEST, json=asked)) == [CAT]
    assert texts(await visitor.ok("POST", TEST, json={**asked, "meta_data_filter": manual})) == [CAT]
    assert (await visitor.ok("GET", f"{BOTS}/detail?search_id={search_id}"))["id"] == search_id
    refused = (404, 105, NOT_OWNED)
    assert await visitor.refusal("POST", TEST, json={**asked, "kb_id": secret}) == refused
    assert await visitor.refusal("POST", TEST, json={**asked, "doc_ids": [hidden]}) == refused
    assert texts(await visitor.ok("POST", TEST, json={**asked, "doc_ids": []})) == [CAT]
    for path, sent in (("retrieval_test", asked), ("ask", {"kb_ids": [], "question": "x"})):
        told = await visitor.refusal("POST", f"{BOTS}/{path}", json={**sent, "search_id": other})
        assert told[:2] == (403, 104)
    assert (await visitor.refusal("GET", f"{BOTS}/detail?search_id={other}"))[:2] == (403, 104)
    answered = final(await visitor.asked(f"{BOTS}/ask", question="cat?", kb_ids=[secret]))
    assert [chunk["content"] for chunk in answered["reference"]["chunks"]] == [CAT]
    loose = await world.visitor(api, open_one)
    for path in ("ask", "mindmap"):
        told = await loose.refusal("POST", f"{BOTS}/{path}", json={"question": "x", "kb_ids": [secret]})
        assert told == refused
    assert visitor.headers == {"Origin": ORIGIN}


async def test_only_tokens_for_pages_open_routes_for_pages(api: Api, page: Api) -> None:
    for path in ("ask", "retrieval_test", "related_questions", "mindmap"):
        assert (await api.refusal("POST", f"{BOTS}/{path}", json={}))[:2] == (403, 104)
        bare = await api.client.post(f"{BOTS}/{path}", json={})
        assert (bare.status_code, bare.json()["code"]) == (401, 103)
    for path in ("/api/v1/sessions/ask", "/api/v1/searches", "/v1/conversation/ask", "/v1/search/list"):
        assert (await page.refusal("POST", path, json={}))[:2] == (403, 104)
