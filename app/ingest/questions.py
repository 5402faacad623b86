"""The questions a chunk answers, by a chat model (knowledge.md 5.10, `auto_questions`)."""

from app.domain.models import ChatMessage, GenerationOptions
from app.ingest.answers import bared, distinct, json_texts, lines
from app.ingest.keywords import TEMPERATURE
from app.retrieval.delimiting import DATA_NOTICE, as_data

MOST = 10
_MOST_CHARACTERS = 400
_MARKS = ("?", "？", "؟", "՞", "፧", "⁇")

_PROMPT = """\
Write {count} questions that the text below answers. No two of them may ask for the same thing; together they cover \
what matters in it. Write them in the language of the text, one on each line, each ending with a question mark, and \
nothing else.

{notice}

{text}"""


def question_prompt(text: str, count: int) -> tuple[list[ChatMessage], GenerationOptions]:
    """Return what to ask for `count` questions about `text`."""
    prompt = _PROMPT.format(count=count, notice=DATA_NOTICE, text=as_data(text))
    options = GenerationOptions(temperature=TEMPERATURE, max_tokens=32 + 48 * count)
    return [ChatMessage(role="user", content=prompt)], options


def read_questions(answer: str, count: int) -> list[str]:
    """Return the questions in an answer, at most `count`.

    What does not end with a question mark is none: it would stand for the chunk in the vector index.
    """
    parts = json_texts(answer)
    found = [bared(part) for part in parts] if parts is not None else list(lines(answer))
    return distinct([each for each in found if _is_question(each)])[:count]


def _is_question(text: str) -> bool:
    return len(text) <= _MOST_CHARACTERS and text.endswith(_MARKS) and any(map(str.isalnum, text))
