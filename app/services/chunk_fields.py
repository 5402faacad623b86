"""What bodies say of a chunk, checked in the contract's order (knowledge.md 3.1, 3.3)."""

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.domain.errors import Invalid, WrongType
from app.ingest.images import picture_media_type

_INT_MOST = 2**31 - 1  # positions are sorted as Postgres integers
_IDS_MOST = 100  # of a list's `chunk_ids`


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkFields:
    """The fields that were sent; None for those that were not."""

    content: str | None = None
    important_keywords: list[str] | None = None
    questions: list[str] | None = None
    tags: list[str] | None = None
    tag_weights: dict[str, float] | None = None
    is_available: bool | None = None
    positions: list[list[int]] | None = None
    picture: bytes | None = None


def read_addition(sent: Mapping[str, Any]) -> ChunkFields:
    """Return the fields of a new chunk; questions are trimmed, blank ones dropped.

    Raises:
        Invalid: a field is missing or no list.
        WrongType: a value is of a type it cannot be of.
    """
    content = sent.get("content", "")
    if content is None:
        raise WrongType("`content` is required", param="content")
    if not isinstance(content, str):
        raise WrongType("`content` should be a string", param="content")
    if not content.strip():
        raise Invalid("`content` is required", param="content")
    keywords = _texts(sent, "important_keywords", "`important_keywords` is required to be a list")
    questions = _texts(sent, "questions", "`questions` is required to be a list")
    return ChunkFields(
        content=content,
        important_keywords=keywords or [],
        questions=_trimmed(questions or []),
        tags=_tags(sent) or [],
        tag_weights=_tag_weights(sent) or {},
        picture=_picture(sent),
    )


def read_change(sent: Mapping[str, Any]) -> ChunkFields:
    """Return the fields to be changed. Any text is a content, a blank one too.

    Raises:
        Invalid: a field is no list.
        WrongType: a value is of a type it cannot be of.
    """
    content = sent.get("content", "")
    if not isinstance(content, str):
        raise WrongType("`content` should be a string", param="content")
    keywords = _texts(sent, "important_keywords", "`important_keywords` should be a list")
    questions = _texts(sent, "questions", "`questions` should be a list")
    return ChunkFields(
        content=content if "content" in sent else None,
        important_keywords=keywords,
        questions=_trimmed(questions) if questions is not None else None,
        tags=_tags(sent),
        tag_weights=_tag_weights(sent),
        is_available=read_flag(sent["available"], "available") if "available" in sent else None,
        positions=_positions(sent["positions"]) if "positions" in sent else None,
    )


def read_flag(value: Any, name: str) -> bool:
    """Return whether `value` is a whole number other than 0, or true.

    Raises:
        WrongType: it is neither a boolean nor a number, nor text of a whole number.
    """
    if isinstance(value, str) and len(value) <= 40:
        try:
            value = int(value)
        except ValueError:
            value = None
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise WrongType(f"`{name}` should be true or false", param=name)
    return bool(int(value))


def read_switch(sent: Mapping[str, Any]) -> tuple[list[str], bool]:
    """Return which chunks to switch, each once, and whether they become available.

    Raises:
        Invalid: one of the two is not told.
        WrongType: a value is of a type it cannot be of.
    """
    ids = read_ids(sent)
    if not ids:
        raise Invalid("`chunk_ids` is required.", param="chunk_ids")
    name = next((key for key in ("available_int", "available") if sent.get(key) is not None), None)
    if name is None:
        raise Invalid("`available_int` or `available` is required.", param="available")
    return list(dict.fromkeys(ids)), read_flag(sent[name], name)


def read_ids(sent: Mapping[str, Any]) -> list[str] | None:
    """Return the `chunk_ids` of a body, None when there are none.

    Raises:
        WrongType: they are no list of strings.
    """
    ids = sent.get("chunk_ids")
    if ids is None:
        return None
    if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
        raise WrongType("`chunk_ids` should be a list of strings", param="chunk_ids")
    return list(ids)


def read_listed_ids(text: str) -> list[str] | None:
    """Return the ids of a list's `chunk_ids`, None when it names none.

    Raises:
        Invalid: there are more than a hundred.
    """
    ids = [each.strip() for each in text.split(",") if each.strip()]
    if len(ids) > _IDS_MOST:
        raise Invalid(f"`chunk_ids` may name at most {_IDS_MOST} chunks.", param="chunk_ids")
    return ids or None


def read_listed_flag(text: str) -> bool | None:
    """Return what a list's `available` asks for, None for all.

    Raises:
        Invalid: it is neither `true` nor `false`.
    """
    told = {"": None, "true": True, "1": True, "false": False, "0": False}
    word = text.strip().lower()
    if word not in told:
        raise Invalid("`available` should be true or false", param="available")
    return told[word]


def _texts(sent: Mapping[str, Any], name: str, refusal: str) -> list[str] | None:
    if name not in sent:
        return None
    values = sent[name]
    if not isinstance(values, list):
        raise Invalid(refusal, param=name)
    if not all(isinstance(each, str) for each in values):
        raise WrongType(f"`{name}` must be a list of strings", param=name)
    return list(values)


def _trimmed(questions: list[str]) -> list[str]:
    return [question.strip() for question in questions if question.strip()]


def _tags(sent: Mapping[str, Any]) -> list[str] | None:
    tags = sent.get("tag_kwd")
    if tags is None:
        return None
    if not isinstance(tags, list) or not all(isinstance(each, str) for each in tags):
        raise Invalid("`tag_kwd` must be a list of strings", param="tag_kwd")
    return list(tags)


def _tag_weights(sent: Mapping[str, Any]) -> dict[str, float] | None:
    weights = sent.get("tag_feas")
    if weights is None:
        return None
    if not isinstance(weights, dict) or not all(
        isinstance(weight, int | float) and not isinstance(weight, bool) for weight in weights.values()
    ):
        raise Invalid("`tag_feas` must be an object of tags and their weights", param="tag_feas")
    return {str(tag): weight for tag, weight in weights.items()}


def _picture(sent: Mapping[str, Any]) -> bytes | None:
    """Return the bytes of `image_base64`, which may be a data URI; None when there are none."""
    told = sent.get("image_base64")
    if told is None or told == "":
        return None
    refusal = Invalid("`image_base64` should be a PNG, JPEG, GIF, WebP, BMP or TIFF picture", param="image_base64")
    if not isinstance(told, str):
        raise refusal
    text = told.partition(",")[2] if told.startswith("data:") else told
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise refusal from error
    if picture_media_type(data) is None:
        raise refusal
    return data


def _positions(value: Any) -> list[list[int]]:
    if not isinstance(value, list):
        raise Invalid("`positions` should be a list", param="positions")
    for position in value:
        is_five = isinstance(position, list) and len(position) == 5
        if not is_five or not all(_is_whole(number) for number in position):
            raise WrongType("each of `positions` should be five integers: page, left, right, top, bottom")
    return [list(position) for position in value]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -_INT_MOST <= value <= _INT_MOST
