"""Keywords, questions, tags and contents through the parse job (knowledge.md 5.10, 5.12)."""

import re
from collections.abc import AsyncGenerator, Sequence

import anyio
import pytest

from app.domain.errors import UpstreamFailed
from app.domain.ids import DocumentId
from app.domain.models import ChatMessage, GenerationOptions, ModelItem
from app.retrieval.delimiting import as_data
from tests.chats.world import Api
from tests.knowledge.speaking import Speaker, chunks_of, fenced, speaking, talker, usage_of, work_until_idle, world
from tests.knowledge.world import World, api, assert_exact_counters, make_dataset, parse, parsed, shown, upload

__all__ = ["api", "talker", "world"]

PARAGRAPHS = [
    f"Chapter {number} tells of the {word} and how it is kept."
    for number, word in enumerate(["boiler", "radiator", "chimney", "cellar", "attic"], 1)
]
TEXT = "\n".join(PARAGRAPHS).encode()
SMALL = {"chunk_token_num": 8, "delimiter": "\n"}


def word_of(text: str) -> str:
    found = re.search(r"of the (\w+)", text)
    return found[1] if found else "none"


@pytest.mark.promise("5.10-keywords", "5.10-keywords-searched")
async def test_keywords_are_asked_for_each_chunk_and_found_by_search(world: World, api: Api, talker: Speaker) -> None:
    talker.answer = lambda prompt: f"the {word_of(fenced(prompt))}, household, zyxword{word_of(fenced(prompt))}"
    dataset = await make_dataset(api, parser_config={**SMALL, "auto_keywords": 3})
    (document,) = await parsed(world, api, dataset["id"], ("house.txt", TEXT))
    assert document["run"] == "DONE", document["progress_msg"]
    chunks = await chunks_of(world, api, document["id"])
    assert len(talker.asked) == len(chunks) == 5
    assert [chunk.important_keywords for chunk in chunks] == [
        [f"the {word_of(chunk.content)}", "household", f"zyxword{word_of(chunk.content)}"] for chunk in chunks
    ]
    assert all("the 3 keywords" in prompt for prompt in talker.asked)
    assert {options.temperature for options in talker.options} == {0.2}
    assert await usage_of(world, api) == {"keywords": 5}
    found = await api.ok(
        "POST",
        "/retrieval",
        json={"question": "zyxwordcellar", "dataset_ids": [dataset["id"]], "similarity_threshold": 0},
    )
    first, *others = found["chunks"]
    assert first["content"].startswith("Chapter 4")
    assert first["term_similarity"] == pytest.approx(1)
    assert "zyxwordcellar" in first["important_keywords"]
    assert all(chunk["term_similarity"] == 0 for chunk in others)
    assert "Finding keywords: 5 of 5." in document["progress_msg"]


@pytest.mark.promise("5.10-cached")
async def test_parsing_again_asks_only_for_what_changed(world: World, api: Api, talker: Speaker) -> None:
    other = Speaker(answer=lambda _: "other words", name="other-talker")
    speaking(world, chat=talker, other=other)
    talker.answer = lambda prompt: f"the {word_of(fenced(prompt))}"
    dataset = await make_dataset(api, parser_config={**SMALL, "auto_keywords": 3})
    (document,) = await parsed(world, api, dataset["id"], ("house.txt", TEXT))
    await parse(api, dataset["id"], document["id"])
    await world.work()
    assert len(talker.asked) == 5
    assert await usage_of(world, api) == {"keywords": 5}
    path = f"/datasets/{dataset['id']}/documents/{document['id']}"
    await api.ok("PUT", path, json={"parser_config": {"auto_keywords": 2}})
    await parse(api, dataset["id"], document["id"])
    await world.work()
    assert len(talker.asked) == 10  # another N is another question
    longer = TEXT + b"\nChapter 6 tells of the garage and how it is kept."
    await parsed(world, api, dataset["id"], ("longer.txt", longer))
    assert [word_of(fenced(prompt)) for prompt in talker.asked[10:]] == ["garage"], "the same text in another file"
    await api.ok("PUT", path, json={"parser_config": {"llm_id": "other-talker@builtin"}})
    await parse(api, dataset["id"], document["id"])
    await world.work()
    assert (len(talker.asked), len(other.asked)) == (11, 5)
    assert [chunk.important_keywords for chunk in await chunks_of(world, api, document["id"])] == [["other words"]] * 5


@pytest.mark.promise("5.10-questions", "5.10-questions-embedded")
async def test_questions_stand_for_the_content_in_the_vector(world: World, api: Api, talker: Speaker) -> None:
    talker.answer = lambda prompt: f"Where is the {word_of(fenced(prompt))}?\nWho keeps it?\nToo many?"
    dataset = await make_dataset(api, parser_config={**SMALL, "auto_questions": 2, "filename_embd_weight": 0.1})
    (document,) = await parsed(world, api, dataset["id"], ("house.txt", TEXT))
    chunks = await chunks_of(world, api, document["id"])
    assert [chunk.questions for chunk in chunks] == [
        [f"Where is the {word_of(chunk.content)}?", "Who keeps it?"] for chunk in chunks
    ]
    assert all("Write 2 questions" in prompt for prompt in talker.asked)
    assert len(talker.asked) == len(chunks) == 5
    embedded = [text for call in world.embedding.calls for text in call]
    assert "Where is the boiler?\nWho keeps it?" in embedded
    assert not any(text.startswith("Chapter") for text in embedded)
    assert await usage_of(world, api) == {"questions": 5}


@pytest.mark.promise("5.10-gaps-told")
@pytest.mark.parametrize(
    ("only", "said", "without"),
    [
        ("", "", 5),
        ("", "I would rather not say what this is about, to be quite honest with you all.", 5),
        ("chimney", "", 1),
    ],
)
async def test_an_answer_without_keywords_is_told_and_leaves_the_chunk_as_it_was(
    world: World, api: Api, talker: Speaker, only: str, said: str, without: int
) -> None:
    def answer(prompt: str) -> str:
        if only in fenced(prompt):
            return said
        return "Is it so?" if "questions" in prompt else "so"

    talker.answer = answer
    dataset = await make_dataset(api, parser_config={**SMALL, "auto_keywords": 3, "auto_questions": 1})
    (document,) = await parsed(world, api, dataset["id"], ("house.txt", TEXT))
    assert document["run"] == "DONE"
    assert f"No keywords for {without} of 5 chunks" in document["progress_msg"]
    assert f"No questions for {without} of 5 chunks" in document["progress_msg"]
    chunks = await chunks_of(world, api, document["id"])
    assert [len(chunk.important_keywords) for chunk in chunks].count(0) == without
    assert [len(chunk.questions) for chunk in chunks].count(0) == without
    assert not chunks[2].important_keywords


@pytest.mark.promise("5.10-upstream-failure", "5.10-no-second-payment")
async def test_a_failure_that_passes_costs_only_what_was_not_answered(world: World, api: Api, talker: Speaker) -> None:
    failures = [UpstreamFailed("The provider is on holiday.")]

    def answer(prompt: str) -> str | Exception:
        if "chimney" in prompt and failures:
            return failures.pop()
        return "one, two"

    talker.answer = answer
    dataset = await make_dataset(api, parser_config={**SMALL, "auto_keywords": 2})
    (document,) = await parsed(world, api, dataset["id"], ("house.txt", TEXT))
    await work_until_idle(world)
    document = await shown(api, dataset["id"], document["id"])
    assert document["run"] == "DONE"
    assert "The provider is on holiday. Trying again" in document["progress_msg"]
    answered = await usage_of(world, api)
    assert answered == {"keywords": 5}


@pytest.mark.promise("5.10-upstream-failure")
async def test_a_failure_that_stays_fails_the_document_with_the_providers_message(
    world: World, api: Api, talker: Speaker
) -> None:
    talker.answer = lambda _: UpstreamFailed("The provider is on holiday.")
    dataset = await make_dataset(api, parser_config={**SMALL, "auto_keywords": 2})
    (document,) = await parsed(world, api, dataset["id"], ("house.txt", TEXT))
    await work_until_idle(world)
    document = await shown(api, dataset["id"], document["id"])
    assert (document["run"], document["progress"], document["chunk_count"]) == ("FAIL", -1, 0)
    assert "[ERROR]The provider is on holiday." in document["progress_msg"]
    assert await chunks_of(world, api, document["id"]) == []


@pytest.mark.promise("5.10-bounded")
async def test_at_most_four_questions_are_under_way(world: World, api: Api, talker: Speaker) -> None:
    at_once = most = 0
    four = anyio.Event()

    class Counting(Speaker):
        async def stream(
            self, messages: Sequence[ChatMessage], options: GenerationOptions, *, deadline_s: float
        ) -> AsyncGenerator[list[ModelItem], None]:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            if at_once == 4:
                four.set()
            with anyio.fail_after(20):
                await four.wait()  # the first four wait for each other; a fifth would be seen
            async for items in super().stream(messages, options, deadline_s=deadline_s):
                yield items
            at_once -= 1

    speaking(world, chat=Counting(answer=lambda _: "a word"))
    dataset = await make_dataset(api, parser_config={**SMALL, "auto_keywords": 1})
    text = "\n".join(f"Sentence number {n} stands in a line of its own here." for n in range(24)).encode()
    (document,) = await parsed(world, api, dataset["id"], ("many.txt", text))
    assert document["chunk_count"] >= 12
    assert most == 4


@pytest.mark.promise("5.10-llm-id")
async def test_the_documents_own_model_is_asked(world: World, api: Api, talker: Speaker) -> None:
    other = Speaker(answer=lambda _: "other words", name="other-talker")
    speaking(world, chat=talker, other=other)
    dataset = await make_dataset(api, parser_config=SMALL)
    (document,) = await upload(api, dataset["id"], ("house.txt", TEXT))
    path = f"/datasets/{dataset['id']}/documents/{document['id']}"
    await api.ok("PUT", path, json={"parser_config": {"auto_keywords": 1, "llm_id": "other-talker@builtin"}})
    await parse(api, dataset["id"], document["id"])
    await world.work()
    assert talker.asked == []
    assert len(other.asked) == 5


# --- tags ------------------------------------------------------------------------------------------------------------


async def tag_dataset(world: World, api: Api, rows: list[tuple[str, str]]) -> str:
    dataset = await make_dataset(api, chunk_method="tag")
    lines = "\n".join(f"{content}\t{tags}" for content, tags in rows)
    (document,) = await parsed(world, api, dataset["id"], ("tags.txt", lines.encode()))
    assert document["run"] == "DONE", document["progress_msg"]
    return str(dataset["id"])


@pytest.mark.promise("5.10-tags-statistics", "5.10-tags-examples")
async def test_chunks_get_the_tags_of_chunks_with_the_same_words(world: World, api: Api, talker: Speaker) -> None:
    rows = [(f"the boiler heats water number {n}", "heating") for n in range(40)]
    rows += [(f"the chimney lets smoke out number {n}", "smoke") for n in range(40)]
    rows += [(f"nothing of interest {n}", ",".join(f"rare{n}x{m}" for m in range(100))) for n in range(160)]
    tags = await tag_dataset(world, api, rows)
    config = {"chunk_token_num": 2, "delimiter": "\n", "tag_kb_ids": [tags], "topn_tags": 1}
    dataset = await make_dataset(api, parser_config=config)
    text = b"Our boiler heats water.\nOur chimney lets smoke out."
    (document,) = await parsed(world, api, dataset["id"], ("house.txt", text))
    assert document["run"] == "DONE", document["progress_msg"]
    # 16080 tags in all, 40 of each: 0.1 * (41 / 1040) / (41 / 17080) = 1.64
    chunks = await chunks_of(world, api, document["id"])
    assert [chunk.tag_weights for chunk in chunks] == [{"heating": 2.0}, {"smoke": 2.0}]
    assert talker.asked == []

    # the keywords of a chunk are looked for beside its words
    talker.answer = lambda _: "boiler heats water"
    path = f"/datasets/{dataset['id']}/documents/{document['id']}"
    (named,) = await upload(api, dataset["id"], ("named.txt", b"A most pleasant place."))
    await api.ok("PUT", path.replace(document["id"], named["id"]), json={"parser_config": {"auto_keywords": 1}})
    await parse(api, dataset["id"], named["id"])
    await world.work()
    assert [chunk.tag_weights for chunk in await chunks_of(world, api, named["id"])] == [{"heating": 2.0}]
    assert await usage_of(world, api) == {"keywords": 1}

    # where they are not known the model is shown two that statistics tagged
    talker.answer = lambda _: '{"smoke": 4}'
    lines = b"My boiler heats water.\nMy chimney lets smoke out.\nYour chimney lets smoke out.\nUnheard of everywhere."
    (mixed,) = await parsed(world, api, dataset["id"], ("mixed.txt", lines))
    tags_of = [chunk.tag_weights for chunk in await chunks_of(world, api, mixed["id"])]
    assert tags_of == [{"heating": 2.0}, {"smoke": 2.0}, {"smoke": 2.0}, {"smoke": 4.0}]
    prompt = talker.asked[-1]
    assert as_data("My boiler heats water.") + '\nIts answer: {"heating":2}' in prompt
    assert as_data("My chimney lets smoke out.") + '\nIts answer: {"smoke":2}' in prompt
    assert "Your chimney" not in prompt
    assert fenced(prompt) == "Unheard of everywhere."
    assert await usage_of(world, api) == {"keywords": 1, "tags": 1}


@pytest.mark.promise("5.10-tags-model", "5.10-tags-model-scores", "5.10-gaps-told")
async def test_the_model_chooses_where_statistics_know_nothing(world: World, api: Api, talker: Speaker) -> None:
    tags = await tag_dataset(world, api, [("boiler things", "heating,house.old"), ("smoke things", "smoke")])
    answers = {"boiler": '{"heating": 9, "house_old": 2, "smoke": 1}', "chimney": '{"smoke": 8}'}
    talker.answer = lambda prompt: next((said for word, said in answers.items() if word in fenced(prompt)), "none")
    config = {"chunk_token_num": 2, "delimiter": "\n", "tag_kb_ids": [tags], "topn_tags": 2}
    dataset = await make_dataset(api, parser_config=config)
    text = b"Our boiler is new and large.\nOur chimney is old and black.\nNobody knows anything of this."
    (document,) = await parsed(world, api, dataset["id"], ("house.txt", text))
    assert [chunk.tag_weights for chunk in await chunks_of(world, api, document["id"])] == [
        {"heating": 9.0, "house_old": 2.0},
        {"smoke": 8.0},
        {},
    ]
    assert all('["heating","house_old","smoke"]' in prompt for prompt in talker.asked)
    assert await usage_of(world, api) == {"tags": 3}
    assert "No tags for 1 of 3 chunks" in document["progress_msg"]


@pytest.mark.promise("5.10-tags-foreign")
async def test_tag_datasets_of_others_and_of_nobody_are_no_source(world: World, api: Api, talker: Speaker) -> None:
    rival = await world.caller()
    theirs = await tag_dataset(world, rival, [("boiler things", "secret")])
    talker.answer = lambda _: '{"secret": 9}'
    dataset = await make_dataset(api, parser_config={**SMALL, "tag_kb_ids": [theirs, "0" * 32]})
    (document,) = await parsed(world, api, dataset["id"], ("house.txt", TEXT))
    assert document["run"] == "DONE"
    assert "The tag datasets hold no tags" in document["progress_msg"]
    assert talker.asked == []
    assert all(chunk.tag_weights == {} for chunk in await chunks_of(world, api, document["id"]))


# --- contents --------------------------------------------------------------------------------------------------------


@pytest.mark.promise("5.12-stored", "5.12-only-naive")
async def test_contents_are_stored_with_the_document_and_not_as_a_chunk(
    world: World, api: Api, talker: Speaker
) -> None:
    def answer(prompt: str) -> str:
        if "numbered passages" in prompt:
            return "1: Heat\n3: Smoke\n4: Deep down"
        return "1: 1\n2: 1\n3: 2"

    talker.answer = answer
    dataset = await make_dataset(api, parser_config=SMALL)
    (document,) = await upload(api, dataset["id"], ("house.txt", TEXT))
    path = f"/datasets/{dataset['id']}/documents/{document['id']}"
    await api.ok("PUT", path, json={"parser_config": {"toc_extraction": True}})
    await parse(api, dataset["id"], document["id"])
    await world.work()
    after = await shown(api, dataset["id"], document["id"])
    assert (after["run"], after["chunk_count"]) == ("DONE", 5)
    async with world.database.unit(api.tenant_id) as unit:
        entries = await unit.contents.get(DocumentId(document["id"]))
    assert [(entry.level, entry.title, len(entry.chunk_ids)) for entry in entries] == [
        (1, "Heat", 3),
        (1, "Smoke", 2),
        (2, "Deep down", 2),
    ]
    listed = await api.ok("GET", f"{path}/chunks")
    assert entries[1].chunk_ids[0] in {chunk["id"] for chunk in listed["chunks"] if "chimney" in chunk["content"]}
    assert await usage_of(world, api) == {"toc": 2}
    await api.ok("PUT", path, json={"parser_config": {"toc_extraction": False}})
    await parse(api, dataset["id"], document["id"])
    await world.work()
    async with world.database.unit(api.tenant_id) as unit:
        assert await unit.contents.get(DocumentId(document["id"])) == []
    asked = len(talker.asked)
    for sent in ({"chunk_method": "one", "parser_config": {"toc_extraction": True}}, {"chunk_method": "book"}):
        changed = await api.ok("PUT", path, json=sent)
        assert changed["parser_config"]["toc_extraction"] is True
        await parse(api, dataset["id"], document["id"])
        await world.work()
        assert (await shown(api, dataset["id"], document["id"]))["run"] == "DONE"
        async with world.database.unit(api.tenant_id) as unit:
            assert await unit.contents.get(DocumentId(document["id"])) == []
    assert len(talker.asked) == asked
    await assert_exact_counters(world, api)
