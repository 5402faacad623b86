"""What a chat turn does, step by step (conversations.md 10)."""

import asyncio
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.domain.errors import UpstreamFailed
from app.domain.events import ReasoningPiece, TextPiece
from app.domain.ids import DatasetId, DocumentId
from app.domain.models import GenerationOptions, ModelText
from app.domain.retrieval import GraphHit, SearchRequest
from app.engine.prompting import build_prompt, keep_within
from app.engine.research import rounds_of
from app.retrieval.knowledge import CITATION_INSTRUCTIONS
from repositories.unit_of_work import Database
from tests.completions.world import WEB, Shelf, Web, answered, ask, page, reference, said, talker
from tests.engine.conftest import WordCounter


@pytest.mark.promise("conversations:10.3-refine")
async def test_the_last_three_questions_become_one_with_dates(database: Database) -> None:
    model = talker("Refunds on 2024-05-02?", "Yes.")
    shelf = Shelf({"": [reference(0)]})
    history = [said("user", "Q-one"), said("assistant", "A-one"), said("user", "Q-two"), said("assistant", "A-two"),
               said("user", "Q-three"), said("assistant", "A-three")]  # fmt: skip

    await answered(database, ask(model, is_refining=True), shelf, history=history)

    prompt = model.calls[0].messages[0].content
    today = datetime.now(UTC).date()
    for day in (today, today - timedelta(days=1), today + timedelta(days=1)):
        assert f"{day:%Y-%m-%d}" in prompt
    assert "Q-one" not in prompt
    assert "A-one" not in prompt
    assert [each for each in ("Q-two", "A-two", "Q-three", "A-three", "refunds?") if each not in prompt] == []
    assert shelf.requests[0].question == "Refunds on 2024-05-02?"
    assert model.calls[1].messages[-1].content == "refunds?"


@pytest.mark.promise("conversations:10.3-refine-off", "conversations:10-helper-falls-back")
async def test_a_question_stays_as_it_is_alone_or_unrefined_or_with_a_failing_helper(database: Database) -> None:
    history = [said("user", "Before?"), said("assistant", "Yes.")]
    first, unrefined, failing = talker("Yes."), talker("Yes."), talker([UpstreamFailed("away")], "Yes.")
    for model, past, is_refining in ((first, [], True), (unrefined, history, False), (failing, history, True)):
        shelf = Shelf({"": [reference(0)]})
        made = await answered(database, ask(model, is_refining=is_refining), shelf, history=past)
        assert [one.question for one in shelf.requests] == ["refunds?"]
        assert made.draft.text == "Yes."
    assert [len(model.calls) for model in (first, unrefined, failing)] == [1, 1, 2]


@pytest.mark.promise("conversations:10.4-languages", "conversations:10.4-keywords")
async def test_translations_follow_the_question_and_keywords_a_comma(database: Database) -> None:
    shelf = Shelf({"": [reference(0)]})
    model = talker("Erstattungen?\n###\nRimborsi?", "money, card", "Yes.")
    settings = {"cross_languages": ["German", "Italian"], "keyword": True}

    made = await answered(database, ask(model, settings=settings), shelf)

    assert shelf.requests[0].question == "refunds?\nErstattungen?\nRimborsi?, money, card"
    assert made.purposes[:3] == ["translate", "keyword", "answer"]
    assert model.calls[2].messages[-1].content == "refunds?"


@pytest.mark.promise("conversations:10-helper-falls-back")
async def test_translations_and_keywords_that_fail_leave_the_question(database: Database) -> None:
    settings = {"cross_languages": ["German"], "keyword": True}
    away = [UpstreamFailed("away")]
    cases: list[tuple[tuple[str | list[UpstreamFailed], ...], str]] = [
        ((away, "money"), "refunds?, money"),
        (("Erstattungen?", away), "refunds?\nErstattungen?"),
        ((away, away), "refunds?"),
    ]
    for helpers, asked in cases:
        shelf = Shelf({"": [reference(0)]})
        made = await answered(database, ask(talker(*helpers, "Yes."), settings=settings), shelf)
        assert (shelf.requests[0].question, made.draft.text) == (asked, "Yes.")


@pytest.mark.promise("conversations:10.7-search", "conversations:10.7-toc-graph")
async def test_what_is_searched_for_is_what_assistant_and_call_say(database: Database) -> None:
    asked = ask(talker("Yes."), dataset_ids=(DatasetId("s"), DatasetId("t")), document_ids=(DocumentId("d"),))
    condition = {"conditions": [{"name": "year", "comparison_operator": "is", "value": "2024"}]}
    kept = {"method": "auto"}
    chat = replace(
        asked.chat, top_n=3, top_k=77, similarity_threshold=0.45, vector_similarity_weight=0.6, rerank_id="ranker",
        meta_data_filter=kept,
    )  # fmt: skip
    shelf = Shelf({"": [reference(0)]})

    await answered(database, replace(asked, chat=chat, metadata_condition=condition), shelf)

    assert shelf.requests == [
        SearchRequest(
            question="refunds?", dataset_ids=(DatasetId("s"), DatasetId("t")), document_ids=(DocumentId("d"),),
            page=1, page_size=3, similarity_threshold=0.45, vector_similarity_weight=0.6, top_k=77, rerank_id="ranker",
            metadata_condition=condition, meta_data_filter=kept, use_kg=False, toc_enhance=False, chat_model="talker",
        )
    ]  # fmt: skip


@pytest.mark.promise("conversations:10.7-blocks")
async def test_knowledge_is_numbered_blocks_with_title_url_and_metadata(database: Database) -> None:
    model = talker("Yes.")
    shelf = Shelf({"": [reference(0), reference(1)]}, metadata={"year": 2024})

    await answered(database, ask(model, is_quoting=False), shelf)

    system = model.calls[0].messages[0].content
    assert system == (
        "Knowledge:\nID: 0\ntitle: 0.pdf\nyear: 2024\npassage 0\n------\n"
        "ID: 1\ntitle: 1.pdf\nyear: 2024\npassage 1\nEnd."
    )


@pytest.mark.promise("conversations:2.3-knowledge-appended")
async def test_knowledge_without_a_place_goes_behind_the_prompt(database: Database) -> None:
    model = talker("Yes.")
    await answered(database, ask(model, system="Be kind.", is_quoting=False), Shelf({"": [reference(0)]}))
    assert model.calls[0].messages[0].content == "Be kind.\n\nID: 0\ntitle: 0.pdf\npassage 0"


@pytest.mark.promise("conversations:10.7-share")
async def test_passages_are_kept_within_the_context(database: Database) -> None:
    model = talker("Yes.", context_tokens=100)
    shelf = Shelf({"": [reference(0, "word " * 60), reference(1, "more " * 37), reference(2, "last")]})

    made = await answered(database, ask(model), shelf)

    assert [one.chunk_id for one in made.draft.references] == ["c0", "c1"]  # 60 + 37 words: 97 are the limit
    assert made.draft.reference_total == 3
    counter = WordCounter()
    for context_tokens, words, kept in ((100, 37, 2), (100, 38, 1), (None, 7946 - 60, 2), (None, 7947 - 60, 1)):
        passages = [reference(0, "word " * 60), reference(1, "more " * words)]
        assert len(keep_within(passages, context_tokens, counter)) == kept  # of 8192 where nobody knows


@pytest.mark.promise("conversations:10.7-empty-response", "conversations:10.7-empty-reference")
async def test_nothing_found_is_the_empty_response_and_no_model_is_asked(database: Database) -> None:
    model = talker("Never.")
    made = await answered(database, ask(model, empty_response="Sorry!"))
    assert (made.draft.text, model.calls) == ("Sorry!", [])
    assert [(one.references, one.total) for one in made.found] == [((), 0)]

    unquoted = await answered(database, ask(model, empty_response="Sorry!", is_quoting=False))
    assert (unquoted.draft.text, unquoted.found) == ("Sorry!", [])


@pytest.mark.promise("conversations:10.7-empty-blank", "conversations:10.7-not-declared")
async def test_without_an_empty_response_or_a_search_the_model_answers(database: Database) -> None:
    blank = talker("From memory.")
    assert (await answered(database, ask(blank))).draft.text == "From memory."

    undeclared = talker("From memory.")
    shelf = Shelf({"": [reference(0)]})
    made = await answered(database, ask(undeclared, is_searching=False, empty_response="Sorry!"), shelf)
    assert (made.draft.text, shelf.requests, made.found) == ("From memory.", [], [])


@pytest.mark.promise("conversations:10.7-instructions", "conversations:10.7-quote-off")
async def test_citations_are_asked_for_when_quoting_is_on_and_something_was_found(database: Database) -> None:
    for is_quoting, passages, is_asked in (
        (True, [reference(0)], True),
        (False, [reference(0)], False),
        (True, [], False),
    ):
        model = talker("Yes.")
        made = await answered(database, ask(model, is_quoting=is_quoting), Shelf({"": passages}))
        assert (CITATION_INSTRUCTIONS in model.calls[0].messages[0].content) is is_asked
        assert bool(made.found) is is_quoting


@pytest.mark.promise("conversations:10.7-insertion")
async def test_sentences_without_markers_get_those_of_the_passages_they_resemble(database: Database) -> None:
    passages = [reference(0, "The bicycle shop opens at nine."), reference(1, "Refunds are paid within thirty days.")]
    model = talker("Refunds are paid within thirty days. Nothing else is known.\n```\nRefunds are paid\n```")

    made = await answered(database, ask(model), Shelf({"": passages}))

    assert made.draft.content == (
        "Refunds are paid within thirty days. [ID:1] Nothing else is known.\n```\nRefunds are paid\n```"
    )
    assert made.draft.cited == (1,)
    assert made.draft.text.count("[ID") == 0  # the pieces were sent before
    assert "cite" in made.purposes


@pytest.mark.promise("conversations:10.7-repair", "conversations:10.7-out-of-range", "conversations:10.7-all-chunks")
async def test_near_misses_are_repaired_and_what_is_out_of_range_goes(database: Database) -> None:
    model = talker("One (ID: 1), two [ID: 0], three 【ID: 1】, four ref 0, five [ID:7].")

    made = await answered(database, ask(model), Shelf({"": [reference(0), reference(1), reference(2)]}))

    assert made.draft.content == "One [ID:1], two [ID:0], three [ID:1], four [ID:0], five."
    assert made.draft.cited == (1, 0)
    assert [one.chunk_id for one in made.draft.references] == ["c0", "c1", "c2"]  # cited or not
    assert "cite" not in made.purposes


@pytest.mark.promise("conversations:10.7-web")
async def test_pages_of_the_web_come_last_with_their_url(database: Database) -> None:
    model = talker("Yes.")
    web = Web([page()])

    made = await answered(database, ask(model, web_key=WEB, is_quoting=True), Shelf({"": [reference(0)]}), web=web)

    assert web.asked == [("refunds?", "tvly-1")]
    assert [one.url for one in made.draft.references] == [None, "https://x.example/0"]
    assert "ID: 1\ntitle: 100.pdf\nurl: https://x.example/0\npage 0" in model.calls[0].messages[0].content


@pytest.mark.promise("conversations:10.7-web-falls-back", "conversations:10.10-web-alone")
async def test_a_failing_web_search_finds_nothing_and_the_web_alone_will_do(database: Database) -> None:
    made = await answered(database, ask(talker("Yes."), web_key=WEB), Shelf({"": [reference(0)]}), web=Web(fails=True))
    assert (made.draft.text, [one.chunk_id for one in made.draft.references]) == ("Yes.", ["c0"])

    shelf = Shelf()
    alone = await answered(database, ask(talker("Yes."), web_key=WEB, dataset_ids=()), shelf, web=Web([page()]))
    assert (len(alone.draft.references), shelf.requests) == (1, [])


@pytest.mark.promise("conversations:10.7-toc-graph")
async def test_contents_and_graph_are_asked_for_by_the_assistants_settings(database: Database) -> None:
    shelf = Shelf({"": [reference(0)]})
    await answered(database, ask(talker("Yes."), settings={"use_kg": True, "toc_enhance": True}), shelf)
    assert (shelf.requests[0].use_kg, shelf.requests[0].toc_enhance) == (True, True)


@pytest.mark.promise("conversations:10.7-graph-first")
async def test_what_the_graph_says_comes_before_chunks_and_pages(database: Database) -> None:
    graph = GraphHit(id="g", content="---- Entities ----", dataset_ids=(DatasetId("s"),))
    shelf, model = Shelf({"": [reference(0)]}, graph=graph), talker("Yes.")

    made = await answered(database, ask(model, settings={"use_kg": True}, web_key=WEB), shelf, web=Web([page()]))

    assert [one.chunk_id for one in made.draft.references] == ["g", "c0", "c100"]
    assert "ID: 0\ntitle: Related content in Knowledge Graph\n---- Entities ----" in (
        model.calls[0].messages[0].content
    )


@pytest.mark.promise("conversations:10.1-messages")
def test_the_opener_is_not_told_to_the_model() -> None:
    history = [said("assistant", "Hi!"), said("user", "One?"), said("assistant", "1.")]
    prompt = build_prompt("S", history, "Two?", None, WordCounter())
    assert [(one.role, one.content) for one in prompt.messages] == [
        ("system", "S"), ("user", "One?"), ("assistant", "1."), ("user", "Two?"),
    ]  # fmt: skip


@pytest.mark.promise("conversations:10.8-oldest-first", "conversations:10.8-old-markers")
def test_the_oldest_turns_go_one_by_one_and_old_markers_are_left_out() -> None:
    history = [
        said("user", "a " * 30),
        said("assistant", "b " * 30),
        said("user", "c " * 5),
        said("assistant", "d ##1$$"),
    ]
    prompt = build_prompt("S", history, "Two?", 60, WordCounter())
    assert [one.content for one in prompt.messages] == ["S", "c " * 5, "d", "Two?"]


@pytest.mark.promise("conversations:10.8-cut")
def test_what_is_longer_of_prompt_and_question_is_cut() -> None:
    counter = WordCounter()
    long_system = build_prompt("s " * 500, [said("user", "x"), said("assistant", "y")], "q " * 10, 100, counter)
    assert [one.role for one in long_system.messages] == ["system", "user"]
    assert long_system.messages[1].content == "q " * 10
    assert 60 < counter.count(long_system.messages[0].content) <= 81

    long_question = build_prompt("s " * 20, [], "q " * 500, 100, counter)
    assert long_question.messages[0].content == "s " * 20
    assert 50 < counter.count(long_question.messages[1].content) <= 71

    both = build_prompt("s " * 900, [], "q " * 150, 100, counter)
    assert sum(counter.count(one.content) for one in both.messages) <= 95


@pytest.mark.promise("conversations:10.8-max-tokens")
async def test_an_answer_may_be_as_long_as_the_context_leaves(database: Database) -> None:
    model = talker("Yes.", context_tokens=100)
    asked = ask(model, system="s " * 40, options=GenerationOptions(max_tokens=512), is_searching=False)
    await answered(database, asked)
    used = 40 + 4 + 1 + 4
    assert model.calls[0].options.max_tokens == 100 - used
    await answered(database, replace(asked, options=GenerationOptions(max_tokens=7)))
    assert model.calls[1].options.max_tokens == 7


THOUGHT = "Something is missing.\nSEARCH: refund days\nSEARCH: refund card\n"


@pytest.mark.promise("conversations:10.9-loop", "conversations:10.9-streamed", "conversations:10.9-ledger")
async def test_research_thinks_searches_and_notes_and_the_notes_are_the_knowledge(database: Database) -> None:
    shelf = Shelf({"refund days": [reference(0)], "refund card": [reference(0), reference(1)]})
    model = talker(THOUGHT, "Thirty days [ID:0].", "The same card [ID:1].", "That is enough.", "Done [ID:1].")

    asked = ask(model, research_rounds=2)
    chat = replace(asked.chat, top_n=5, similarity_threshold=0.7, vector_similarity_weight=0.9)

    made = await answered(database, replace(asked, chat=chat), shelf)

    assert [one.question for one in shelf.requests] == ["refund days", "refund card"]
    measures = {(one.similarity_threshold, one.vector_similarity_weight, one.page_size) for one in shelf.requests}
    assert measures == {(0.2, 0.3, 5)}
    assert "ID: 0\n" in model.calls[1].messages[0].content
    assert re.search(r"ID: 0\n.*ID: 1\n", model.calls[2].messages[0].content, re.DOTALL)  # one number for one passage
    assert "Knowledge:\nThirty days [ID:0].\n\nThe same card [ID:1].\nEnd." in model.calls[4].messages[0].content
    assert made.draft.reasoning is not None
    assert made.draft.reasoning.startswith(THOUGHT)
    assert "The same card" in made.draft.reasoning
    said = [type(event) for event in made.events if isinstance(event, ReasoningPiece | TextPiece)]
    assert said == [ReasoningPiece] * (len(said) - 1) + [TextPiece]
    assert len(said) > 4
    assert made.purposes == ["think", "extract", "extract", "think", "answer"]
    assert [one.chunk_id for one in made.draft.references] == ["c0", "c1"]
    assert (made.draft.text, made.draft.cited) == ("Done [ID:1].", (1,))


@pytest.mark.promise("conversations:10.9-rounds")
@pytest.mark.parametrize(("degree", "rounds"), [(1, 2), (2, 4), (3, 6), (4, 6), (True, 6), (False, 0), (0, 0)])
async def test_each_degree_has_its_rounds(database: Database, *, degree: bool | int, rounds: int) -> None:
    assert rounds_of(degree) == rounds
    shelf = Shelf({"": [reference(0)]})
    thoughts = [f"SEARCH: query {number}" for number in range(rounds)]
    script = [one for thought in thoughts for one in (thought, "NOTHING")]
    made = await answered(database, ask(talker(*script, "Yes."), research_rounds=rounds), shelf)
    assert made.purposes.count("think") == rounds


@pytest.mark.promise("conversations:10.9-falls-back")
async def test_research_that_fails_leaves_the_turn_as_it_is_without(database: Database) -> None:
    thinking_fails = talker([UpstreamFailed("away")], "Yes.")
    made = await answered(database, ask(thinking_fails, research_rounds=6), Shelf({"": [reference(0)]}))
    assert (made.draft.text, made.draft.cited) == ("Yes.", ())
    assert "ID: 0" in thinking_fails.calls[1].messages[0].content

    noting_fails = talker("SEARCH: a", [ModelText("Thir"), UpstreamFailed("away")], "Yes.")
    made = await answered(database, ask(noting_fails, research_rounds=6), Shelf({"a": [reference(3)]}))
    assert (made.draft.text, [one.chunk_id for one in made.draft.references]) == ("Yes.", ["c3"])
    assert "passage 3" in noting_fails.calls[2].messages[0].content


@pytest.mark.promise("conversations:10.9-deadline")
async def test_research_takes_half_of_the_time_at_most(database: Database) -> None:
    script = [one for number in range(6) for one in (f"SEARCH: query {number}", f"Note {number}.")]
    model = talker(*script, gap_s=0.15)

    begun = asyncio.get_running_loop().time()
    made = await answered(database, ask(model, research_rounds=6), Shelf({"": [reference(0)]}), within_s=1.6)

    assert 1 <= made.purposes.count("think") < 6
    assert made.draft.text
    *research, answer = [call.deadline_s - begun for call in model.calls]
    assert max(research) == pytest.approx(0.8, abs=0.2)
    assert answer == pytest.approx(1.6, abs=0.2)
