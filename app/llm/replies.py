"""What an HTTP answer of a provider means as an error; the same for every kind of model (openai.md 1.6)."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from app.domain.errors import UpstreamFailed, UpstreamLimited, UpstreamRefused, UpstreamTimeout
from app.llm.base import UpstreamDenied
from app.net.http import Answer

MAX_MESSAGE = 500
_TOO_LONG = "context_length_exceeded"
_TOO_LONG_WORDS = re.compile(
    r"(?i)context (?:length|window|size)|maximum context|too many tokens"
)  # of those without codes
_SECRETS = re.compile(
    r"(?i)\b(?:sk|pk|rk|gsk|xai|hf|nvapi|AIza|key)[-_][\w*.-]{6,}"
    r"|\bAIza[\w-]{10,}|\bbearer\s+\S+|\b(?:api[-_ ]?key|token|authorization)\b\s*[=:]\s*\S+"
)


def check_status(answer: Answer, body: bytes, *, api_key: str | None) -> None:
    """Return if the provider answered 200.

    Raises:
        UpstreamRefused: 400, 413, 422, with the provider's words, scrubbed.
        UpstreamLimited: 429, with its `retry-after`.
        UpstreamDenied: 401, 402, 403, 404, and redirects.
        UpstreamFailed: anything else.
    """
    status = answer.status
    if status == 200:
        return
    error = _error_object(body)
    match status:
        case 400 | 413 | 422:
            text = (
                _context_text(error) or message_of(error, api_key=api_key) or "The model provider refused the request."
            )
            if _context_text(error) or error.get("code") == _TOO_LONG or _TOO_LONG_WORDS.search(text):
                raise UpstreamRefused(text, param="messages", code=_TOO_LONG)
            param = error.get("param")
            raise UpstreamRefused(text, param=param if isinstance(param, str) else None)
        case 429:
            raise UpstreamLimited("The model provider is over its rate limit.", retry_after_s=_retry_after(answer))
        case 401 | 402 | 403:
            raise UpstreamDenied(f"The model provider refused the service's credential ({status}).")
        case 404:
            raise UpstreamDenied("The model provider does not know this model or address (404).")
        case 300 | 301 | 302 | 303 | 307 | 308 | 405:
            raise UpstreamDenied(f"The model provider's address is not an API ({status}).")
        case 503 | 529:
            raise UpstreamFailed(
                f"The model provider answered {status}.",
                retry_after_s=_retry_after(answer),
                code="upstream_unavailable",
            )
        case _:
            raise UpstreamFailed(f"The model provider answered {status}.", retry_after_s=_retry_after(answer))


def stream_error(error: Any, *, api_key: str | None) -> UpstreamFailed:
    """Return the failure for an `error` found inside an answer that began well."""
    found: dict[str, Any] = error if isinstance(error, dict) else {"message": error}
    text = message_of(found, api_key=api_key)
    return UpstreamFailed(f"The model provider failed: {text}" if text else "The model provider failed.")


def message_of(error: dict[str, Any], *, api_key: str | None) -> str:
    """Return the provider's words on one line, without secrets, at most `MAX_MESSAGE` characters; maybe empty."""
    text = next((error[key] for key in ("message", "detail", "error", "msg") if isinstance(error.get(key), str)), "")
    return scrub(text, api_key=api_key)


def scrub(text: str, *, api_key: str | None) -> str:
    """Return `text` on one line, with anything like a credential starred, capped."""
    if api_key:
        text = text.replace(api_key, "***")
    text = " ".join(_SECRETS.sub("***", text[: 4 * MAX_MESSAGE]).split())
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"


def retrying_helps(error: UpstreamFailed) -> bool:
    """Tell whether the same upstream may answer if asked again."""
    return not isinstance(error, UpstreamRefused | UpstreamDenied | UpstreamTimeout)


def _error_object(body: bytes) -> dict[str, Any]:
    try:
        found: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    if isinstance(found, list) and found:
        found = found[0]  # Google's OpenAI endpoint wraps it in a list
    if not isinstance(found, dict):
        return {}
    inner = found.get("error")
    return inner if isinstance(inner, dict) else found


def _context_text(error: dict[str, Any]) -> str | None:
    prompt, context = error.get("n_prompt_tokens"), error.get("n_ctx")
    if not (isinstance(prompt, int) and isinstance(context, int)):
        return None
    return f"The prompt has {prompt} tokens; this model's context is {context} tokens."


def _retry_after(answer: Answer) -> float | None:
    try:
        if millis := answer.header("retry-after-ms"):
            return max(0.0, float(millis) / 1000)
        value = answer.header("retry-after")
        if not value:
            return None
        if value.replace(".", "", 1).isdigit():
            return float(value)
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
