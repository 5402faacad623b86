"""How a key stands with its limit, as headers (conversations.md 11, openai.md 1.3)."""

import math

from app.domain.limits import Standing, TokenStanding

Headers = list[tuple[bytes, bytes]]


def limit_headers(standing: Standing, *, is_openai: bool) -> Headers:
    """Return the three native headers, and OpenAI's three as well where its clients ask."""
    limit, remaining = standing.config.limit, standing.remaining
    headers = [
        (b"x-ratelimit-limit", b"%d" % limit),
        (b"x-ratelimit-remaining", b"%d" % remaining),
        (b"x-ratelimit-reset", b"%d" % math.ceil(standing.ends_at)),
    ]
    if is_openai:
        headers += [
            (b"x-ratelimit-limit-requests", b"%d" % limit),
            (b"x-ratelimit-remaining-requests", b"%d" % remaining),
            (b"x-ratelimit-reset-requests", duration(standing.left_s).encode()),
        ]
    return headers


def token_headers(standing: TokenStanding) -> Headers:
    """Return OpenAI's three headers about tokens."""
    return [
        (b"x-ratelimit-limit-tokens", b"%d" % standing.limit),
        (b"x-ratelimit-remaining-tokens", b"%d" % standing.remaining),
        (b"x-ratelimit-reset-tokens", duration(standing.left_s).encode()),
    ]


def duration(seconds: float) -> str:
    """Return a stretch of time as OpenAI writes it: `20ms`, `1s`, `6m0s`."""
    milliseconds = max(1, math.ceil(seconds * 1000))
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    whole = math.ceil(milliseconds / 1000)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
