"""What is sent fits the model's context, to the token (conversations.md 10.8); markers of broken-off answers."""

import asyncio

import pytest

from app.domain.errors import UpstreamFailed
from app.domain.ids import TurnId
from app.domain.models import ChatMessage, ModelText
from app.engine.draft import Draft
from app.engine.log import LogWriter, TurnLog
from app.engine.prompting import build_prompt
from app.engine.rag import RagAnswerer
from repositories.unit_of_work import Database
from tests.completions.world import Shelf, answered, ask, reference, said, talker
from tests.engine.conftest import WordCounter

OVERHEAD = 4  # tokens a message costs beside its text
COUNTER = WordCounter()


def words(count: int, seed: str = "w") -> str:
    return " ".join([seed] * count)


def cost(messages: list[ChatMessage]) -> int:
    return sum(COUNTER.count(one.content) + OVERHEAD for one in messages)


@pytest.mark.promise("conversations:10.8-exact")
@pytest.mark.parametrize(("context", "turns"), [(100, 2), (99, 1), (73, 1), (72, 0), (53, 0)])
def test_a_turn_is_dropped_when_one_token_is_missing_and_not_before(context: int, turns: int) -> None:
    """95 tokens of 100 hold system text, two turns and the question exactly; 94 of 99 do not."""
    history = [
        said("user", words(4, "q1")), said("assistant", words(14, "a1")),
        said("user", words(4, "q2")), said("assistant", words(7, "a2")),
    ]  # fmt: skip
    question = words(20, "question")
    prompt = build_prompt(words(22, "system"), history, question, context, COUNTER)
    kept = [one.content for one in prompt.messages]
    assert kept[0] == words(22, "system")
    assert kept[-1] == question
    assert kept[1:-1] == [one.content for one in history[len(history) - 2 * turns :]]
    assert cost(prompt.messages) <= int(context * 0.95)
    assert prompt.tokens == cost(prompt.messages)


@pytest.mark.promise("conversations:10.8-exact")
def test_the_opener_and_a_question_without_an_answer_go_as_turns_do() -> None:
    history = [said("assistant", "Hello!"), said("user", words(30, "q1")), said("user", "q2"), said("assistant", "a2")]
    prompt = build_prompt("S", history, "Q?", 60, COUNTER)
    assert [one.content for one in prompt.messages] == ["S", words(30, "q1"), "q2", "a2", "Q?"]
    prompt = build_prompt("S", history, "Q?", 50, COUNTER)
    assert [one.content for one in prompt.messages] == ["S", "q2", "a2", "Q?"]


@pytest.mark.promise("conversations:10.8-exact")
def test_a_context_nobody_knows_has_8192_tokens() -> None:
    history = [said("user", words(10, "q1")), said("assistant", words(10, "a1"))]
    room = int(8192 * 0.95) - 2 * (10 + OVERHEAD) - OVERHEAD
    assert len(build_prompt("", history, words(room), None, COUNTER).messages) == 3
    assert len(build_prompt("", history, words(room + 1), None, COUNTER).messages) == 1


@pytest.mark.promise("conversations:10.8-exact", "conversations:10.8-cut")
def test_whatever_the_lengths_what_is_sent_fits_and_something_is_asked() -> None:
    for context in (40, 100, 1000):
        limit = int(context * 0.95)
        lengths = (0, 1, limit // 5, limit // 2, limit - 9, limit - 8, limit - 4, limit, 3 * limit, 40 * limit)
        for of_system in lengths:
            for of_question in lengths[1:]:
                system, question = words(of_system, "s"), words(of_question, "q")
                prompt = build_prompt(system, [said("user", "x"), said("assistant", "y")], question, context, COUNTER)
                about = (context, of_system, of_question)
                assert cost(prompt.messages) <= limit, about
                assert prompt.messages[-1].content.strip(), about
                assert question.startswith(prompt.messages[-1].content.rstrip()[:-1] or "q"), about
                if of_system:
                    assert prompt.messages[0].role == "system", about
                    assert prompt.messages[0].content.strip(), about


@pytest.mark.promise("conversations:10.7-broken-off")
async def test_an_answer_that_was_broken_off_is_kept_with_its_markers_repaired(database: Database) -> None:
    shelf = Shelf({"": [reference(0), reference(1)]})
    model = talker([ModelText("Thirty days (ID"), ModelText(": 1). Or not 【ID: 9】. And"), UpstreamFailed("away")])
    asked = ask(model, is_refining=False)
    draft = Draft(TurnLog(asked.tenant_id, TurnId("t"), 1), LogWriter(database))
    deadline_s = asyncio.get_running_loop().time() + 5
    with pytest.raises(UpstreamFailed):
        await RagAnswerer(shelf, COUNTER).answer(asked, [], draft, deadline_s=deadline_s)
    assert draft.content == "Thirty days [ID:1]. Or not. And"
    assert draft.cited == (1,)
    assert draft.text == "Thirty days (ID: 1). Or not 【ID: 9】. And"  # as it was streamed


@pytest.mark.promise("conversations:10.7-across-pieces")
async def test_markers_are_repaired_wherever_pieces_were_cut(database: Database) -> None:
    whole = "Thirty days (ID: 1). The card [ID：0]; ref 1.\n```\n(ID: 0)\n```"
    for cut in range(1, len(whole)):
        model = talker([ModelText(whole[:cut]), ModelText(whole[cut:])])
        made = await answered(database, ask(model, is_refining=False), Shelf({"": [reference(0), reference(1)]}))
        assert made.draft.content == "Thirty days [ID:1]. The card [ID:0]; [ID:1].\n```\n(ID: 0)\n```", cut
        assert made.draft.cited == (1, 0)
