"""Refusals and failures, told by kind; no HTTP numbers here.

ParleyError
├── Invalid            the caller's request cannot be served as written
│   ├── TooLarge       ... because it is over a size limit
│   ├── Conflict       ... because of what is going on right now; the same call may succeed later
│   ├── BadArgument    ... because a value breaks the rules of its field
│   ├── WrongType      ... because a value is of another type than its field
│   ├── Taken          ... because something else has that name already
│   ├── Unsuitable     ... because this object is not of the sort the call is for
│   └── NotTakenIn     ... because files of that sort are not accepted
├── Unauthenticated    a key nobody knows
│   ├── KeyAbsent      no key at all
│   ├── KeyMalformed   a header that holds none
│   └── PageKeyUnknown no token, or one nobody knows, on a route for pages
│       └── PageKeyAbsent  ... no header at all
├── Forbidden          a known key that may not do this
├── Missing            no such object, or another tenant's: the two look alike
│   ├── NotPermitted   ... asked for by those who name what they may reach
│   ├── NotAuthorized  ... asked for its derived data, such as the graph
│   ├── NotOperable    ... asked for through a search app or an embedded page
│   └── NotFound       ... a part of something that is there, or a file
├── Limited            a limit is used up for now
├── Unavailable        this process takes no new work (draining)
├── Broken             our own fault; the detail is in the log only
└── UpstreamFailed     a model provider could not answer
    ├── UpstreamRefused    it said 400: the request itself
    ├── UpstreamLimited    it said 429
    └── UpstreamTimeout    it was silent too long
"""

from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What sort of refusal it is; `app/wire/dialects.py` gives each dialect's status and code."""

    INVALID = "invalid"
    TOO_LARGE = "too_large"
    CONFLICT = "conflict"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    MISSING = "missing"
    LIMITED = "limited"
    UNAVAILABLE = "unavailable"
    UPSTREAM = "upstream"
    UPSTREAM_REFUSED = "upstream_refused"
    UPSTREAM_LIMITED = "upstream_limited"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    INTERNAL = "internal"


class ParleyError(Exception):
    """A failure a caller may be told about; `message` is fit to show.

    `param` is the dotted path of the field at fault, if one is; `retry_after_s` a hint in seconds. `done` is what was
    done all the same, as it goes on the wire, where a call may succeed in part. `code` is OpenAI's word for the
    failure (openai.md 1.6) where its class does not tell. `is_final` says that the same call must not be sent again:
    something was stored or billed (1.7).
    """

    kind: Kind = Kind.INVALID

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        done: Any = None,
        code: str | None = None,
        is_final: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.done = done
        self.code = code
        self.is_final = is_final


class Invalid(ParleyError):
    """The request cannot be served as written."""


class TooLarge(Invalid):
    """The request is over a size limit."""

    kind = Kind.TOO_LARGE


class Conflict(Invalid):
    """Something else is going on with the same object; the same call may succeed later."""

    kind = Kind.CONFLICT


class BadArgument(Invalid):
    """A value breaks the rules of its field."""


class WrongType(Invalid):
    """A value is of another type than its field."""


class Taken(Conflict):
    """Something else has that name already."""


class Unsuitable(Invalid):
    """The object is not of the sort the call is for."""


class NotTakenIn(Invalid):
    """Files of that sort are not accepted."""


class Unauthenticated(ParleyError):
    """No key, a malformed one, or one nobody knows."""

    kind = Kind.UNAUTHENTICATED


class KeyAbsent(Unauthenticated):
    """The call came without a key."""


class KeyMalformed(Unauthenticated):
    """The header that should hold a key does not."""


class PageKeyUnknown(Unauthenticated):
    """A route for pages was called without a token, or with one nobody knows."""


class PageKeyAbsent(PageKeyUnknown):
    """A route for pages was called without a header that could hold a token."""


class Forbidden(ParleyError):
    """A known key that may not do this."""

    kind = Kind.FORBIDDEN


class Missing(ParleyError):
    """The object does not exist, or belongs to another tenant: the two look alike."""

    kind = Kind.MISSING


class NotPermitted(Missing):
    """It is not among the objects that the caller may reach."""


class NotAuthorized(Missing):
    """Derived data of an object that the caller may not reach."""


class NotOperable(Missing):
    """It is not among what search apps and embedded pages of this caller may use."""


class NotFound(Missing):
    """A part of something that is there is not; or a file."""


class Limited(ParleyError):
    """A limit of the key or tenant is used up for now."""

    kind = Kind.LIMITED


class Unavailable(ParleyError):
    """This process takes no new work: it is draining, or has not finished starting."""

    kind = Kind.UNAVAILABLE


class Broken(ParleyError):
    """Something of ours failed; the detail is in the log only."""

    kind = Kind.INTERNAL


class UpstreamFailed(ParleyError):
    """A model provider could not answer; `message` carries no secret of ours or theirs."""

    kind = Kind.UPSTREAM


class UpstreamRefused(UpstreamFailed):
    """The provider found the request itself at fault (HTTP 400, 413, 422)."""

    kind = Kind.UPSTREAM_REFUSED


class UpstreamLimited(UpstreamFailed):
    """The provider asked us to come back later (HTTP 429)."""

    kind = Kind.UPSTREAM_LIMITED


class UpstreamTimeout(UpstreamFailed):
    """The provider was silent longer than a deadline allows."""

    kind = Kind.UPSTREAM_TIMEOUT
