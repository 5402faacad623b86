"""Rules of the parameters that every generation call of `/v1` shares (openai.md 3.1); for assistants too."""

import math
import re
from collections.abc import Mapping
from typing import Any

from app.domain.errors import BadArgument, Invalid, WrongType
from app.domain.sessions import WORD_MOST_BYTES

_RANGES: Mapping[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
}
_FLAGS = ("stream", "logprobs", "store", "parallel_tool_calls")
_FUNCTION_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MOST_TOOLS = 128
_MOST_STOPS = 4
_MOST_CHOICES = 128
_MOST_TOP_LOGPROBS = 20
_MOST_METADATA = 16
_FORMATS = ("text", "json_object", "json_schema")


def end_user(body: Mapping[str, Any]) -> str | None:
    """Return whom the caller names as the end user, for the ledger; no more than an id may have, nothing that is none.

    A provider of a raw model is told what was sent, and judges it itself.
    """
    for name in ("safety_identifier", "user"):
        if isinstance(value := body.get(name), str) and value:
            return value[:WORD_MOST_BYTES].replace("\0", "\ufffd")
    return None


def check_generation(body: Mapping[str, Any]) -> None:
    """Return when every parameter of a generation call is within its rules; unknown keys are nobody's business here.

    Raises:
        Invalid: one is not; `param` names it.
    """
    for name in _FLAGS:
        if name in body and not isinstance(body[name], bool):
            raise WrongType(f"`{name}` must be true or false.", param=name)
    for name, (least, most) in _RANGES.items():
        if name in body:
            check_number(body[name], name, least, most)
    for name in ("max_tokens", "max_completion_tokens"):
        if name in body:
            check_count(body[name], name, 1)
    if "seed" in body:
        check_count(body["seed"], "seed", -(2**63))
    if "n" in body:
        check_count(body["n"], "n", 1, _MOST_CHOICES)
    _check_stop(body.get("stop"))
    _check_logit_bias(body.get("logit_bias"))
    _check_stream_options(body)
    _check_logprobs(body)
    check_metadata(body.get("metadata"))
    _check_format(body.get("response_format"))
    check_tools(body)


def check_number(value: Any, param: str, least: float, most: float) -> None:
    """Return when `value` is a number from `least` to `most`.

    Raises:
        WrongType, BadArgument: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WrongType(f"`{param}` must be a number.", param=param)
    if not (math.isfinite(value) and least <= value <= most):
        raise BadArgument(f"`{param}` must be between {least:g} and {most:g}, not {value:g}.", param=param)


def check_count(value: Any, param: str, least: int, most: int | None = None) -> None:
    """Return when `value` is a whole number from `least` to `most`.

    Raises:
        WrongType, BadArgument: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise WrongType(f"`{param}` must be a whole number.", param=param)
    if value < least:
        raise BadArgument(f"`{param}` must be at least {least}, not {value}.", param=param)
    if most is not None and value > most:
        raise BadArgument(f"`{param}` must be at most {most}, not {value}.", param=param)


def check_metadata(metadata: Any) -> None:
    """Return when `metadata` is a map of at most 16 short keys to texts.

    Raises:
        WrongType, BadArgument: it is not.
    """
    if metadata is None:
        return
    if not isinstance(metadata, dict):
        raise WrongType("`metadata` must be an object.", param="metadata")
    if len(metadata) > _MOST_METADATA:
        raise BadArgument(f"`metadata` must have at most {_MOST_METADATA} pairs.", param="metadata")
    for key, value in metadata.items():
        if len(key) > 64:
            raise BadArgument("A key of `metadata` must have at most 64 characters.", param="metadata")
        if not isinstance(value, str):
            raise WrongType(f"`metadata.{key}` must be a text.", param=f"metadata.{key}")
        if len(value) > 512:
            raise BadArgument(f"`metadata.{key}` must have at most 512 characters.", param=f"metadata.{key}")


def check_tools(body: Mapping[str, Any]) -> None:
    """Return when the declared tools and the choice among them fit together (openai.md 3.7).

    Raises:
        Invalid: they do not; `param` is the dotted path.
    """
    tools = body.get("tools")
    names: set[str] = set()
    if tools is not None:
        if not isinstance(tools, list):
            raise WrongType("`tools` must be a list.", param="tools")
        if len(tools) > _MOST_TOOLS:
            raise BadArgument(f"`tools` must have at most {_MOST_TOOLS} elements.", param="tools")
        for index, tool in enumerate(tools):
            names.add(_tool_name(tool, f"tools.{index}"))
    choice = body.get("tool_choice")
    if choice is None:
        return
    if isinstance(choice, str):
        if choice not in ("none", "auto", "required"):
            raise BadArgument("`tool_choice` must be none, auto, required or a tool.", param="tool_choice")
        if choice == "required" and not names:
            raise BadArgument("`tool_choice` is required, but there are no `tools`.", param="tool_choice")
        return
    _check_choice(choice, names)


def _check_choice(choice: Any, names: set[str]) -> None:
    if not isinstance(choice, dict):
        raise WrongType("`tool_choice` must be a text or an object.", param="tool_choice")
    kind = choice.get("type")
    if kind not in ("function", "custom"):
        return  # `allowed_tools` and what comes after it: the provider's business
    inner = choice.get(kind)
    name = inner.get("name") if isinstance(inner, dict) else None
    if not isinstance(name, str):
        raise Invalid(
            f"`tool_choice.{kind}.name` is missing.",
            param=f"tool_choice.{kind}.name",
            code="missing_required_parameter",
        )
    if name not in names:
        raise BadArgument(f"The tool `{name[:64]}` of `tool_choice` is not among `tools`.", param="tool_choice")


def _tool_name(tool: Any, path: str) -> str:
    if not isinstance(tool, dict):
        raise WrongType(f"`{path}` must be an object.", param=path)
    kind = tool.get("type")
    if not isinstance(kind, str):
        raise Invalid(f"`{path}.type` is missing.", param=f"{path}.type", code="missing_required_parameter")
    if kind not in ("function", "custom"):
        return ""
    inner = tool.get(kind)
    if not isinstance(inner, dict):
        raise Invalid(f"`{path}.{kind}` is missing.", param=f"{path}.{kind}", code="missing_required_parameter")
    name = inner.get("name")
    if not isinstance(name, str):
        raise Invalid(
            f"`{path}.{kind}.name` is missing.", param=f"{path}.{kind}.name", code="missing_required_parameter"
        )
    if not _FUNCTION_NAME.fullmatch(name):
        raise BadArgument(
            f"`{path}.{kind}.name` must have 1 to 64 of the characters a-z, A-Z, 0-9, _ and -.",
            param=f"{path}.{kind}.name",
        )
    parameters = inner.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise WrongType(f"`{path}.{kind}.parameters` must be an object.", param=f"{path}.{kind}.parameters")
    return name


def _check_stop(stop: Any) -> None:
    if stop is None or isinstance(stop, str):
        return
    if not isinstance(stop, list) or not all(isinstance(one, str) for one in stop):
        raise WrongType("`stop` must be a text or a list of texts.", param="stop")
    if len(stop) > _MOST_STOPS:
        raise BadArgument(f"`stop` must have at most {_MOST_STOPS} elements.", param="stop")
    for index, one in enumerate(stop):
        if not one:
            raise BadArgument("An element of `stop` must not be empty.", param=f"stop.{index}")


def _check_logit_bias(bias: Any) -> None:
    if bias is None:
        return
    if not isinstance(bias, dict):
        raise WrongType("`logit_bias` must be an object.", param="logit_bias")
    for key, value in bias.items():
        check_number(value, f"logit_bias.{key[:40]}", -100, 100)


def _check_stream_options(body: Mapping[str, Any]) -> None:
    options = body.get("stream_options")
    if options is None:
        return
    if body.get("stream") is not True:
        raise BadArgument("`stream_options` is only allowed with `stream`: true.", param="stream_options")
    if not isinstance(options, dict):
        raise WrongType("`stream_options` must be an object.", param="stream_options")
    for name in ("include_usage", "include_obfuscation"):
        if not isinstance(options.get(name), bool | None):
            raise WrongType(f"`stream_options.{name}` must be true or false.", param=f"stream_options.{name}")


def _check_logprobs(body: Mapping[str, Any]) -> None:
    if "top_logprobs" not in body:
        return
    check_count(body["top_logprobs"], "top_logprobs", 0, _MOST_TOP_LOGPROBS)
    if body.get("logprobs") is not True:
        raise BadArgument("`top_logprobs` needs `logprobs`: true.", param="top_logprobs")


def _check_format(form: Any) -> None:
    if form is None:
        return
    if not isinstance(form, dict):
        raise WrongType("`response_format` must be an object.", param="response_format")
    kind = form.get("type")
    if kind not in _FORMATS:
        raise BadArgument(f"`response_format.type` must be one of {', '.join(_FORMATS)}.", param="response_format.type")
    if kind != "json_schema":
        return
    inner = form.get("json_schema")
    if not isinstance(inner, dict):
        raise Invalid(
            "`response_format.json_schema` is missing.",
            param="response_format.json_schema",
            code="missing_required_parameter",
        )
    if not isinstance(inner.get("name"), str):
        raise Invalid(
            "`response_format.json_schema.name` is missing.",
            param="response_format.json_schema.name",
            code="missing_required_parameter",
        )
    if not _FUNCTION_NAME.fullmatch(inner["name"]):
        raise BadArgument(
            "`response_format.json_schema.name` must have 1 to 64 of the characters a-z, A-Z, 0-9, _ and -.",
            param="response_format.json_schema.name",
        )
    if inner.get("schema") is not None and not isinstance(inner["schema"], dict):
        raise WrongType(
            "`response_format.json_schema.schema` must be an object.", param="response_format.json_schema.schema"
        )
