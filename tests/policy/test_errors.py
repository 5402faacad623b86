"""Every refusal has an answer in every dialect (conversations.md 1.2, 1.3; openai.md 1.6)."""

import importlib
import pkgutil

import pytest

import app
import migrations
import repositories
import routers
from app.domain.errors import (
    BadArgument,
    Broken,
    Invalid,
    KeyAbsent,
    Kind,
    Missing,
    NotAuthorized,
    NotFound,
    NotPermitted,
    NotTakenIn,
    ParleyError,
    Taken,
    Unauthenticated,
    Unsuitable,
    WrongType,
)
from app.wire.dialects import OPENAI_TYPES, Dialect, refusal, refusal_of
from app.wire.errors import error_body, error_headers

NATIVE = {
    Kind.INVALID: (400, 102),
    Kind.CONFLICT: (400, 102),
    Kind.TOO_LARGE: (413, 102),
    Kind.UNAUTHENTICATED: (401, 103),
    Kind.FORBIDDEN: (403, 104),
    Kind.MISSING: (404, 105),
    Kind.LIMITED: (429, 429),
    Kind.UNAVAILABLE: (503, 500),
    Kind.UPSTREAM: (500, 500),
    Kind.UPSTREAM_REFUSED: (500, 500),
    Kind.UPSTREAM_LIMITED: (500, 500),
    Kind.UPSTREAM_TIMEOUT: (500, 500),
    Kind.INTERNAL: (500, 500),
}


def every_error() -> list[type[ParleyError]]:
    """Return `ParleyError` and everything below it, once every module of ours is imported."""
    for package in (app, routers, repositories, migrations):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(("__main__", ".env")) and ".versions" not in module.name:
                importlib.import_module(module.name)
    found: list[type[ParleyError]] = []
    waiting: list[type[ParleyError]] = [ParleyError]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += one.__subclasses__()
    return sorted({one for one in found if one.__module__.split(".")[0] != "tests"}, key=lambda one: one.__qualname__)


def bare(error: type[ParleyError]) -> ParleyError:
    """Return an error of this class, however it is made elsewhere."""
    one = error.__new__(error)
    ParleyError.__init__(one, "Something is wrong.", param="a.b", retry_after_s=0.2)
    return one


def test_every_kind_has_its_number_in_the_native_table() -> None:
    """conversations.md 1.3."""
    assert {kind: (refusal(kind, Dialect.NATIVE).status, refusal(kind, Dialect.NATIVE).code) for kind in Kind} == NATIVE


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize("error", every_error(), ids=lambda one: one.__name__)
def test_every_error_has_an_answer_in_every_dialect(error: type[ParleyError], dialect: Dialect) -> None:
    one = bare(error)
    told = refusal_of(one, dialect)
    body = error_body(one, dialect)
    if dialect is Dialect.RAGFLOW_22:
        assert told.status in (200, 413, 429, 503)
        assert {key: body[key] for key in ("code", "message")} == {"code": told.code, "message": "Something is wrong."}
        assert set(body) <= {"code", "message", "data"}
        assert not body.get("data")
        return
    if dialect is Dialect.DIFY:
        words = "API-KEY is invalid!" if one.kind is Kind.UNAUTHENTICATED else "Something is wrong."
        assert told.status == (200 if isinstance(one, BadArgument) else told.code)
        assert body == {"code": told.code, "message": words} | ({"data": None} if told.code == 101 else {})
        return
    if dialect is Dialect.OPENAI:
        assert set(body) == {"error"}
        assert set(body["error"]) == {"message", "type", "param", "code"}
        assert (body["error"]["message"], body["error"]["param"]) == ("Something is wrong.", "a.b")
        return
    assert 400 <= told.status < 600
    assert told.code in (102, 103, 104, 105, 429, 500)
    assert {key: body[key] for key in ("code", "message", "data")} == {
        "code": told.code,
        "message": "Something is wrong.",
        "data": None,
    }
    if dialect is Dialect.OPENAI_CHAT:
        assert body["error"] == {
            "message": "Something is wrong.",
            "type": OPENAI_TYPES[one.kind],
            "param": "a.b",
            "code": told.code,
        }
    else:
        assert set(body) == {"code", "message", "data"}
    assert error_headers(one) == {"Retry-After": "1", "Retry-After-Ms": "200"}


def test_ragflow_tells_apart_by_class_what_others_tell_apart_by_kind() -> None:
    """knowledge.md 0.2; RAGFlow's own numbers."""
    codes = {
        Invalid: 102,
        BadArgument: 101,
        WrongType: 100,
        Missing: 102,
        NotPermitted: 108,
        NotAuthorized: 109,
        NotFound: 404,
        Taken: 409,
        Unsuitable: 400,
        NotTakenIn: 500,
        Unauthenticated: 109,
        KeyAbsent: 0,
        Broken: 100,
    }
    assert {one: refusal_of(one("x"), Dialect.RAGFLOW_22).code for one in codes} == codes


def test_what_was_done_all_the_same_is_told() -> None:
    one = NotTakenIn("a.exe: no", done=[{"id": "1"}])
    assert error_body(one, Dialect.RAGFLOW_22) == {"code": 500, "message": "a.exe: no", "data": [{"id": "1"}]}
    assert error_body(one, Dialect.NATIVE)["data"] == [{"id": "1"}]


def test_a_hint_to_come_back_is_whole_seconds_within_a_minute() -> None:
    """openai.md 1.7: longer waits make some clients retry at once."""
    for given, told in ((0.0, "1"), (1.4, "1"), (30, "30"), (60, "60")):
        assert error_headers(ParleyError("x", retry_after_s=given)) == {"Retry-After": told}
    assert error_headers(ParleyError("x", retry_after_s=0.25)) == {"Retry-After": "1", "Retry-After-Ms": "250"}
    long = error_headers(ParleyError("x", retry_after_s=3600))
    assert long == {"Retry-After": "60", "X-Should-Retry": "false"}
    assert error_headers(ParleyError("x")) == {}


def test_openai_clients_retry_only_what_may_work_again() -> None:
    """openai.md 1.6: by status; a request of the caller's own making is never retried."""
    retried = {kind for kind in Kind if refusal(kind, Dialect.OPENAI_CHAT).status in (408, 409, 429, *range(500, 600))}
    assert retried == {
        Kind.LIMITED,
        Kind.UNAVAILABLE,
        Kind.UPSTREAM,
        Kind.UPSTREAM_LIMITED,
        Kind.UPSTREAM_TIMEOUT,
        Kind.INTERNAL,
    }
