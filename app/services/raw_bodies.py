"""Bodies of raw calls: what a model must be able to do for them, what its provider is sent, what they would cost."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from app.domain.errors import BadArgument, Invalid, WrongType
from app.domain.models import Usage
from app.llm.base import TokenCounter
from app.llm.passthrough import Tally
from app.llm.tokens import PER_MESSAGE, PER_PROMPT

OWN_KEYS = frozenset(
    {
        "model",
        "stream_options",
        "session_id",
        "reference",
        "variables",
        "metadata_condition",
        "dataset_ids",
        "metadata",
        "store",
    }
)
"""Keys that are ours and mean nothing to a provider (openai.md 3.1)."""

_MOST_PROMPTS = 128


def check_able(body: Mapping[str, Any], able: Collection[str], model: str) -> None:
    """Return when a model that is `able` can do what `body` asks, rather than be silent about it (openai.md 3.1, 3.8).

    Raises:
        BadArgument: it cannot.
    """
    if body.get("logprobs") not in (None, False) and "logprobs" not in able:
        raise BadArgument(f"The model `{model}` gives no `logprobs`.", param="logprobs", code="unsupported_parameter")
    if body.get("tools") and "tools" not in able:
        raise BadArgument(f"The model `{model}` takes no `tools`.", param="tools", code="unsupported_parameter")
    form = body.get("response_format") or {}
    if form.get("type") == "json_schema" and "json_schema" not in able:
        raise BadArgument(
            f"The model `{model}` keeps to no `json_schema`.", param="response_format", code="unsupported_value"
        )


def sent_body(body: Mapping[str, Any], able: Collection[str]) -> dict[str, Any]:
    """Return what goes to the provider: all but our own keys, the limit of tokens under the name it understands."""
    sent = {key: value for key, value in body.items() if key not in OWN_KEYS}
    most = sent.pop("max_completion_tokens", None) or sent.get("max_tokens")
    sent.pop("max_tokens", None)
    if most is not None:
        sent["max_completion_tokens" if "max_completion_tokens" in able else "max_tokens"] = most
    return sent


def downgraded(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message for a provider that does not know the role `developer`."""
    return {**message, "role": "system"} if message["role"] == "developer" else message


def prompts_of(body: Mapping[str, Any]) -> int:
    """Return how many prompts a text completion has.

    Raises:
        Invalid: there is none, or it is neither text nor token numbers.
    """
    prompt = body.get("prompt")
    if prompt is None:
        raise Invalid("Missing required parameter: `prompt`.", param="prompt", code="missing_required_parameter")
    if isinstance(prompt, str):
        return 1
    if not isinstance(prompt, list):
        raise WrongType("`prompt` must be a text, a list of texts, or token numbers.", param="prompt")
    if not prompt:
        raise BadArgument("`prompt` must not be empty.", param="prompt")
    if all(_is_token(one) for one in prompt):
        return 1
    for index, one in enumerate(prompt):
        if not (isinstance(one, str) or (isinstance(one, list) and one and all(_is_token(part) for part in one))):
            raise WrongType(f"`prompt.{index}` must be a text or token numbers.", param=f"prompt.{index}")
    if len(prompt) > _MOST_PROMPTS:
        raise BadArgument(f"`prompt` must have at most {_MOST_PROMPTS} elements.", param="prompt")
    return len(prompt)


def texts_of(body: Mapping[str, Any]) -> Iterator[str]:
    """Yield the texts of a request: those of its messages, or its prompts."""
    for message in body.get("messages") or ():
        content = message.get("content")
        if isinstance(content, str):
            yield content
        for part in content if isinstance(content, list) else ():
            if isinstance(part.get("text"), str):
                yield part["text"]
    prompt = body.get("prompt")
    for one in prompt if isinstance(prompt, list) else [prompt]:
        if isinstance(one, str):
            yield one


def estimated(body: Mapping[str, Any], tally: Tally, counter: TokenCounter) -> Usage:
    """Return what a call about cost whose provider does not say; runs in a thread."""
    prompt = PER_PROMPT + PER_MESSAGE * len(body.get("messages") or ()) + sum(map(counter.count, texts_of(body)))
    reasoning = counter.count("".join(tally.reasoning)) if tally.reasoning else 0
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=counter.count("".join(tally.texts)) + reasoning,
        reasoning_tokens=reasoning,
        is_estimated=True,
    )


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
