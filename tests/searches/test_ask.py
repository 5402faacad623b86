"""Questions to datasets by API key (conversations.md 7.2)."""

from itertools import pairwise
from typing import Any

import pytest

from app.domain.errors import UpstreamFailed
from tests.searches.world import CAT, DOG, Api, World, make_dataset
from tests.service import Events

ASK = "/api/v1/sessions/ask"


def final(events: Events) -> Any:
    """The last event with an answer in it."""
    return next(one["data"] for one in reversed(events.data) if isinstance(one, dict) and one["data"] is not True)


@pytest.mark.promise("conversations:7.2-stream")
async def test_an_answer_comes_in_pieces_then_a_final_event_then_both_ends(world: World, api: Api, pets: str) -> None:
    model = world.says("It sleeps on the stove [ID:0].")
    events = await api.asked(ASK, question="Where does the cat sleep?", dataset_ids=[pets])

    assert events.status == 200
    assert events.headers["content-type"].startswith("text/event-stream")
    assert events.text == "It sleeps on the stove [ID:0]."
    assert events.data[-2:] == [{"code": 0, "message": "", "data": True}, "[DONE]"]
    last = final(events)
    assert (last["answer"], last["final"], last["final_content"]) == ("", True, "It sleeps on the stove [ID:0].")
    assert last["session_id"] is None
    [chunk] = [each for each in last["reference"]["chunks"] if each["content"] == CAT]
    assert set(chunk) == {
        "id", "content", "document_id", "document_name", "dataset_id", "image_id", "positions", "url", "similarity",
        "vector_similarity", "term_similarity", "doc_type", "chunk_id", "doc_id", "doc_name",
    }  # fmt: skip
    assert last["reference"]["doc_aggs"] == [
        {"doc_name": "pets.txt", "doc_id": chunk["document_id"], "count": 1},
    ]
    assert last["reference"]["total"] == len(last["reference"]["chunks"])
    assert all(one["data"]["reference"] == {} for one in events.data if isinstance(one, dict) and is_piece(one))
    assert CAT in model.calls[0].messages[0].content


def is_piece(event: dict[str, Any]) -> bool:
    return isinstance(event["data"], dict) and event["data"].get("final") is False


@pytest.mark.promise("conversations:7.2-cumulative")
async def test_legacy_repeats_the_whole_text(world: World, api: Api, pets: str) -> None:
    world.says("It sleeps here [ID:0].")
    wanted: tuple[dict[str, Any], ...] = ({"legacy": True}, {"stream_mode": "cumulative"})
    for sent in wanted:
        events = await api.asked(ASK, question="Where does the cat sleep?", dataset_ids=[pets], **sent)
        answers = [one["data"]["answer"] for one in events.data if isinstance(one, dict) and one["data"] is not True]
        assert answers[0] == "It "
        assert all(later.startswith(earlier) for earlier, later in pairwise(answers))
        assert answers[-1] == "It sleeps here [ID:0]."
        assert final(events)["reference"]["chunks"][0]["content"] == CAT
        assert events.data[-1] == "[DONE]"


@pytest.mark.promise("conversations:7.2-cumulative")
async def test_0_22_repeats_the_whole_text_and_has_an_end_of_its_own(world: World, api: Api, pets: str) -> None:
    world.says("It sleeps here [ID:0].")
    asked = {"question": "Where does the cat sleep?", "dataset_ids": [pets]}
    events = await api.asked(ASK, is_22=True, **asked)
    told = [one for one in events.data if one["data"] is not True]
    so_far = ["It ", "It sleeps ", "It sleeps here ", "It sleeps here [ID:0]."]
    assert [one["data"]["answer"] for one in told] == [*so_far, so_far[-1]]
    assert all(one["code"] == 0 and one["message"] == "" for one in told)
    assert [one["data"]["reference"] for one in told[:-1]] == [{}] * 4
    [chunk] = told[-1]["data"]["reference"]["chunks"]
    assert set(chunk) == {
        "id", "content", "document_id", "document_name", "dataset_id", "image_id", "positions", "url", "similarity",
        "vector_similarity", "term_similarity", "doc_type",
    }  # fmt: skip
    assert events.data[-1] == {"code": 0, "data": True}

    in_pieces = await api.asked(ASK, is_22=True, stream_mode="incremental", **asked)
    assert in_pieces.text == "It sleeps here [ID:0]."
    world.says(UpstreamFailed("The provider is away."))
    failed = await api.asked(ASK, is_22=True, **asked)
    assert failed.data == [
        {
            "code": 500,
            "message": "The provider is away.",
            "data": {"answer": "**ERROR**: The provider is away.", "reference": []},
        },
        {"code": 0, "data": True},
    ]


@pytest.mark.promise("conversations:7.2-settings")
async def test_how_an_answer_is_searched_for_and_asked_for(world: World, api: Api) -> None:
    dataset = await make_dataset(api, *(f"The cat number {number} sleeps." for number in range(14)), DOG)
    model = world.says("They sleep.")
    requests = world.noted_searches()
    events = await api.asked(ASK, question="Does the cat sleep?", dataset_ids=[dataset])

    [request] = requests
    assert (request.similarity_threshold, request.vector_similarity_weight, request.top_k) == (0.1, 0.3, 1024)

    chunks = final(events)["reference"]["chunks"]
    assert len(chunks) == 12
    assert final(events)["reference"]["total"] == 14
    for chunk in chunks:
        score = 0.7 * chunk["term_similarity"] + 0.3 * chunk["vector_similarity"]
        assert chunk["similarity"] == pytest.approx(score)
    [call] = model.calls
    assert (call.options.temperature, call.options.max_tokens) == (0.1, None)


@pytest.mark.promise("conversations:7.2-citations")
async def test_citations_are_placed_where_the_model_wrote_none(world: World, api: Api, pets: str) -> None:
    world.says("A dog eats a bone every morning.")
    last = final(await api.asked(ASK, question="What does a dog eat?", dataset_ids=[pets]))

    [number] = [n for n, chunk in enumerate(last["reference"]["chunks"]) if chunk["content"] == DOG]
    assert f"[ID:{number}]" in last["final_content"]


@pytest.mark.promise("conversations:7.2-errors")
async def test_what_is_wrong_is_told_in_order(api: Api, rival: Api, pets: str) -> None:
    empty, foreign = await make_dataset(api), await make_dataset(rival, CAT)
    question = {"question": "x"}
    for sent, expected in (
        ({}, (400, 102, "`question` is required.")),
        ({"question": ""}, (400, 102, "`question` is required.")),
        ({"question": 7, "dataset_ids": []}, (400, 102, "`question` should be a string")),
        (question, (400, 102, "`dataset_ids` is required.")),
        ({**question, "dataset_ids": []}, (400, 102, "`dataset_ids` is required.")),
        ({**question, "dataset_ids": pets}, (400, 102, "`dataset_ids` should be a list.")),
        ({**question, "dataset_ids": [7]}, (400, 102, "`dataset_ids` should be a list of strings")),
        ({**question, "dataset_ids": [foreign, empty]}, (404, 105, f"You don't own the dataset {foreign}.")),
        ({**question, "dataset_ids": [pets, "nothing"]}, (404, 105, "You don't own the dataset nothing.")),
        ({**question, "dataset_ids": [empty, foreign]}, (400, 102, f"The dataset {empty} doesn't own parsed file")),
    ):
        assert await api.refusal("POST", ASK, json=sent) == expected
        if expected[2] != "`question` should be a string" and "of strings" not in expected[2]:
            told = await api.refusal_22("POST", ASK, json=sent)
            assert told == {"code": 102, "message": expected[2]}


@pytest.mark.promise("conversations:7.2-stateless")
async def test_a_question_is_a_turn_of_no_session_and_on_the_ledger(world: World, api: Api, pets: str) -> None:
    events = await api.asked(ASK, question="Where does the cat sleep?", dataset_ids=[pets])

    turn = await api.ok("GET", f"/api/v1/turns/{events.headers['x-turn-id']}")
    assert (turn["session_id"], turn["chat_id"], turn["state"]) == (None, None, "done")
    assert await world.rows(api, "SELECT id FROM sessions") == []
    ledger = await world.ledger(api)
    assert ("answer", "chat", api.key_id, True) in ledger
    assert ("query", "embedding", api.key_id, True) in ledger


async def test_a_model_that_fails_before_its_first_word_is_a_status(world: World, api: Api, pets: str) -> None:
    world.says(UpstreamFailed("The provider is away."))
    status, code, message = await api.refusal("POST", ASK, json={"question": "cat?", "dataset_ids": [pets]})
    assert (status, code, message) == (500, 500, "The provider is away.")


async def test_datasets_of_different_embedding_models_are_refused(api: Api, pets: str) -> None:
    other = await make_dataset(api, CAT, embedding_model="other-embedding@tests")
    refused = await api.refusal("POST", ASK, json={"question": "cat?", "dataset_ids": [pets, other]})
    assert refused == (400, 102, 'Datasets use different embedding models."')


async def test_nothing_found_is_the_models_to_tell_and_the_embedded_ones_never(
    world: World, api: Api, pets: str
) -> None:
    world.says("The documents do not say.")
    events = await api.asked(ASK, question="zyzzyva", dataset_ids=[pets])
    assert events.text == "The documents do not say."
    assert final(events)["reference"] == {"total": 0, "chunks": [], "doc_aggs": []}
