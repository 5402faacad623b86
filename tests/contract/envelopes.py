"""What a refusal looks like, by the dialect of its route."""

from tests.contract.routes import Operation

_UNION = {"code", "message", "data"}
_OPENAI = {"message", "type", "param", "code"}
_CODES = (102, 103, 104, 105, 429)


def flaw(one: Operation, status: int, body: object) -> str | None:
    """Return what is wrong with the body of a refusal, None when nothing is.

    conversations.md 1.2: an envelope of code, message and null data. openai.md 1.6: an `error` object, alone on
    the `/v1` routes and beside the envelope on those of one assistant. knowledge.md 4.8: the status again, and words.
    """
    if not isinstance(body, dict):
        return "not an object"
    if one.is_dify:
        return None if set(body) == {"code", "message"} and body["code"] == status and _says(body) else "not Dify's"
    error = body.get("error")
    if one.is_openai and (not isinstance(error, dict) or set(error) != _OPENAI or not _says(error)):
        return "no error of the OpenAI form"
    if one.is_openai and not one.is_union:
        return None if set(body) == {"error"} else "more than an error"
    if not _UNION <= set(body) <= _UNION | {"error"}:
        return "no envelope"
    if body["code"] not in _CODES:
        return "an unknown code"
    return None if _says(body) and body["data"] is None else "no words, or data"


def _says(body: dict[str, object]) -> bool:
    message = body["message"]
    return isinstance(message, str) and bool(message.strip())
