"""Tags for chunks that statistics know nothing of, by a chat model (knowledge.md 5.10)."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import orjson

from app.domain.models import ChatMessage, GenerationOptions
from app.ingest.answers import bared, json_value
from app.retrieval.delimiting import DATA_NOTICE, as_data

EXAMPLES_MOST = 2
_SCORES = (1, 10)
_TAGS_MOST = 400
_EXAMPLE_CHARACTERS = 2000
_LINE = re.compile(r"^(?P<tag>.+?)\s*[:：=]\s*(?P<score>\d+(?:\.\d+)?)\W*$")

_PROMPT = """\
Choose the tags that fit the text below best, at most {count}, from this list only:
{tags}

Answer with one JSON object: each chosen tag with a score from 1 (fits a little) to 10 (fits exactly). Write nothing \
else.

{notice}
{examples}
The text:
{text}"""

_EXAMPLE = """
An example text:
{text}
Its answer: {answer}
"""


def tag_prompt(
    text: str, counts: Mapping[str, int], examples: Sequence[tuple[str, Mapping[str, float]]], count: int
) -> tuple[list[ChatMessage], GenerationOptions]:
    """Return what to ask for the tags of `text`; `counts` says how common each tag is: the most common are offered."""
    offered = sorted(counts, key=lambda tag: (-counts[tag], tag))[:_TAGS_MOST]
    shown = "".join(
        _EXAMPLE.format(text=as_data(example[:_EXAMPLE_CHARACTERS]), answer=_example_answer(tags))
        for example, tags in examples[:EXAMPLES_MOST]
    )
    prompt = _PROMPT.format(
        count=count,
        tags=orjson.dumps(offered).decode(),
        notice=DATA_NOTICE,
        examples=shown,
        text=as_data(text),
    )
    return [ChatMessage(role="user", content=prompt)], GenerationOptions(temperature=0.2, max_tokens=32 + 24 * count)


def read_tags(answer: str, known: Mapping[str, Any], count: int) -> dict[str, float]:
    """Return the `count` best of the tags in an answer, with scores 1 to 10; tags that nobody knows are left out."""
    names = {tag.casefold(): tag for tag in known}
    found: dict[str, float] = {}
    for tag, score in _pairs(answer):
        name = names.get(bared(tag).casefold()) or names.get(tag.strip().casefold())
        if name is not None:
            found.setdefault(name, min(_SCORES[1], max(_SCORES[0], score)))
    best = sorted(found, key=lambda tag: (-found[tag], tag))[:count]
    return {tag: found[tag] for tag in best}


def _pairs(answer: str) -> list[tuple[str, float]]:
    value = json_value(answer)
    if isinstance(value, dict):
        pairs = cast(dict[str, Any], value).items()
        return [
            (tag, float(score))
            for tag, score in pairs
            if isinstance(score, int | float) and not isinstance(score, bool) and score == score
        ]
    matches = (_LINE.match(line.strip().strip(",")) for line in answer.splitlines())
    return [(match["tag"], float(match["score"])) for match in matches if match is not None]


def _example_answer(tags: Mapping[str, float]) -> str:
    return orjson.dumps({tag: min(_SCORES[1], max(_SCORES[0], round(score))) for tag, score in tags.items()}).decode()
