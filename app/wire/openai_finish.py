"""Finish reasons and usage of providers, in OpenAI's words (openai.md 3.3)."""

from typing import Any

from app.domain.errors import UpstreamFailed
from app.domain.models import Usage
from app.llm.passthrough import Tally

_WORDS = {
    **dict.fromkeys(("length", "max_tokens", "max_length", "model_length", "max_output_tokens"), "length"),
    **dict.fromkeys(
        ("content_filter", "safety", "blocked", "recitation", "prohibited_content", "sensitive", "refusal"),
        "content_filter",
    ),
    **dict.fromkeys(("tool_calls", "tool_use", "tool_call"), "tool_calls"),
    "function_call": "function_call",
}
_MOST = 2**31 - 1  # nobody counts further, and sums stay within a column
_BROKEN = frozenset({"error", "abort", "aborted", "cancelled", "network_error", "insufficient_system_resource"})


def finish_reason(word: Any, *, has_calls: bool = False) -> str:
    """Return OpenAI's word for a provider's; one nobody knows is `stop`, which after tool calls is `tool_calls`.

    Raises:
        UpstreamFailed: the word says that the answer was broken off.
    """
    known = word.lower() if isinstance(word, str) else ""
    if known in _BROKEN:
        raise UpstreamFailed("The model provider broke off its answer.")
    found = _WORDS.get(known, "stop")
    return "tool_calls" if has_calls and found == "stop" else found


def read_usage(told: Any) -> Usage | None:
    """Return a provider's usage; None when it says nothing."""
    if not isinstance(told, dict):
        return None
    prompt, completion = _count(told.get("prompt_tokens")), _count(told.get("completion_tokens"))
    if prompt is None and completion is None:
        return None
    return Usage(
        prompt_tokens=prompt or 0,
        completion_tokens=completion or 0,
        reasoning_tokens=_detail(told, "completion_tokens_details", "reasoning_tokens"),
        cached_tokens=_detail(told, "prompt_tokens_details", "cached_tokens")
        or _count(told.get("prompt_cache_hit_tokens"))
        or 0,
    )


def usage_told(tally: Tally) -> dict[str, Any]:
    """Return the usage of a call: what the provider told, with every field of openai.md 3.3 and the sum right."""
    usage = tally.usage or Usage()
    told: dict[str, Any] = {
        **tally.told,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            **_numbers(tally.told.get("prompt_tokens_details")),
            "cached_tokens": usage.cached_tokens,
        },
        "completion_tokens_details": {
            **_numbers(tally.told.get("completion_tokens_details")),
            "reasoning_tokens": usage.reasoning_tokens,
        },
    }
    told["prompt_tokens_details"].setdefault("audio_tokens", 0)
    for name in ("audio_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens"):
        told["completion_tokens_details"].setdefault(name, 0)
    if usage.is_estimated:
        told["estimated"] = True
    return told


def _numbers(told: Any) -> dict[str, int]:
    if not isinstance(told, dict):
        return {}
    return {name: found for name, value in told.items() if (found := _count(value)) is not None}


def _detail(told: dict[str, Any], group: str, name: str) -> int:
    details = told.get(group)
    return (_count(details.get(name)) or 0) if isinstance(details, dict) else 0


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return min(max(int(value), 0), _MOST)
