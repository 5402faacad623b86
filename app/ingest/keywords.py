"""The keywords of a chunk, by a chat model (knowledge.md 5.10, `auto_keywords`)."""

import re

from app.domain.models import ChatMessage, GenerationOptions
from app.ingest.answers import bared, distinct, json_texts
from app.retrieval.delimiting import DATA_NOTICE, as_data

TEMPERATURE = 0.2
MOST = 32
_SEPARATORS = re.compile(r"[,，、;；\n|]")
_PREFACE = re.compile(r"^[^:：\n]{0,80}(?:keywords?|key phrases?|关键词|關鍵詞)[^:：\n]{0,40}[:：]", re.IGNORECASE)
_MOST_CHARACTERS = 60
_MOST_WORDS = 6

_PROMPT = """\
Name the {count} keywords or short phrases that matter most in the text below, the most important first. Write them \
in the language of the text, separated by commas, and nothing else.

{notice}

{text}"""


def keyword_prompt(text: str, count: int) -> tuple[list[ChatMessage], GenerationOptions]:
    """Return what to ask for `count` keywords of `text`."""
    prompt = _PROMPT.format(count=count, notice=DATA_NOTICE, text=as_data(text))
    options = GenerationOptions(temperature=TEMPERATURE, max_tokens=32 + 12 * count)
    return [ChatMessage(role="user", content=prompt)], options


def read_keywords(answer: str, count: int) -> list[str]:
    """Return the keywords in an answer, at most `count`; sentences, prefaces and repetitions are none."""
    parts = json_texts(answer)
    if parts is None:
        parts = _SEPARATORS.split(_PREFACE.sub("", answer.replace("```", " ").strip()))
    return distinct([bare for part in parts if _is_keyword(bare := bared(part).rstrip(".。"))])[:count]


def _is_keyword(text: str) -> bool:
    return (
        len(text) <= _MOST_CHARACTERS
        and len(text.split()) <= _MOST_WORDS
        and any(map(str.isalnum, text))
        and not text.endswith((":", "：", "!", "?", "？"))
    )
