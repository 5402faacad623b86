"""From exceptions to answers: every failure of a route ends here and nowhere else."""

from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from app.domain.errors import BadArgument, Broken, Invalid, Kind, Missing, ParleyError, WrongType
from app.wire import compat22
from app.wire.dialects import OPENAI_TYPES, Dialect, refusal_of
from app.wire.errors import UNEXPECTED, body, error_body, error_headers
from repositories.failures import STATEMENT_FAILURES, passing
from routers.deps import OrjsonResponse

log = structlog.get_logger()

_MALFORMED = "Malformed JSON syntax: Missing commas/brackets or invalid encoding"
_NO_OBJECT = "Request body must be a JSON object."
_SHOWN = 125  # characters of a refused value that are shown (knowledge.md 0.4)


def install(app: FastAPI) -> None:
    """Let `app` answer every failure in the dialect of its route."""
    app.add_exception_handler(ParleyError, _parley_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    for failure in STATEMENT_FAILURES:
        app.add_exception_handler(failure, _database)
    app.add_exception_handler(Exception, _unexpected)


def _dialect(request: Request) -> Dialect:
    dialect: Dialect = getattr(request.state, "dialect", Dialect.NATIVE)
    return dialect


def answer(error: ParleyError, dialect: Dialect) -> Response:
    """Return the answer that tells of `error`."""
    status = refusal_of(error, dialect).status
    return OrjsonResponse(error_body(error, dialect), status, headers=error_headers(error))


async def _parley_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ParleyError)  # noqa: S101 (the registration above)
    dialect = _dialect(request)
    if dialect is Dialect.RAGFLOW_22:
        error = compat22.worded(error, _template(request))
    return answer(error, dialect)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 (the registration above)
    problems = error.errors()
    first = problems[0]
    path = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
    param = ".".join(path) or None
    if _dialect(request) is Dialect.OPENAI:
        return answer(_v1_refusal(first, param), Dialect.OPENAI)
    message = _told(problems)
    if message == _NO_OBJECT and _dialect(request) is Dialect.RAGFLOW_22:
        message = compat22.not_an_object(first["input"])
    return answer(_refused(request, message, param=param), _dialect(request))


def _v1_refusal(problem: Any, param: str | None) -> Invalid:
    """Return what `/v1` says of the first field at fault (openai.md 1.6)."""
    message = f"{param}: {problem['msg'].removeprefix('Value error, ')}" if param else _told([problem])
    if problem["type"] == "missing":
        return Invalid(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")
    return (WrongType if problem["type"].endswith("_type") else BadArgument)(message, param=param)


def _refused(request: Request, message: str, *, param: str | None = None) -> Invalid:
    """Bodies that a schema checks are refused as arguments, others for their types (knowledge.md 0.4)."""
    is_strict = _template(request) in compat22.STRICT
    return BadArgument(message, param=param) if is_strict else WrongType(message, param=param)


def _template(request: Request) -> str:
    return getattr(request.scope.get("route"), "path", "")


def _told(problems: Any) -> str:
    for problem in problems:
        if problem["type"] == "json_invalid":
            return _MALFORMED
        if tuple(problem["loc"]) == ("body",) and problem["type"] in ("model_attributes_type", "dict_type"):
            return _NO_OBJECT
    return "\n".join(_line(problem) for problem in problems)


def _line(problem: Any) -> str:
    field = ".".join(str(part) for part in problem["loc"] if part not in ("body", "query", "path"))
    value = str(problem.get("input")).encode("utf-8", "replace").decode()
    shown = value if len(value) <= _SHOWN + 3 else value[:_SHOWN] + "..."
    return f"Field: <{field}> - Message: <{problem['msg'].removeprefix('Value error, ')}> - Value: <{shown}>"


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 (the registration above)
    dialect = _dialect(request)
    match error.status_code:
        case 404:
            if dialect is Dialect.RAGFLOW_22:
                return _unserved(compat22.not_found())
            if dialect is Dialect.OPENAI:
                return answer(Missing(f"Unknown request URL: {_call(request)}.", code="unknown_url"), dialect)
            return answer(Missing(f"Not Found: {request.url.path}"), dialect)
        case 405:
            if dialect is Dialect.RAGFLOW_22:
                return _unserved(compat22.wrong_method())
            if dialect is Dialect.OPENAI:
                refused = answer(Invalid(f"Not allowed: {_call(request)}.", code="method_not_supported"), dialect)
                refused.headers.update(error.headers or {})
                return refused
            content = body(dialect, 102, "Method Not Allowed", OPENAI_TYPES[Kind.INVALID])
            return OrjsonResponse(content, 405, headers=error.headers)
        case status if status < 500:
            return answer(_refused(request, _MALFORMED), dialect)
        case _:
            return await _unexpected(request, error)


def _call(request: Request) -> str:
    return f"{request.method} {request.url.path}"


def _unserved(message: str) -> Response:
    return OrjsonResponse(body(Dialect.RAGFLOW_22, 100, message, ""))


async def _database(request: Request, error: Exception) -> Response:
    told = passing(error)
    if told is None:
        return await _unexpected(request, error)
    log.warning("database_failed", route=_template(request), error=str(error)[:300])
    return await _parley_error(request, told)


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("request_failed", route=_template(request), exc_info=error)  # a path may hold a secret
    dialect = _dialect(request)
    is_22 = dialect is Dialect.RAGFLOW_22
    return answer(Broken(compat22.exception(error, UNEXPECTED) if is_22 else UNEXPECTED), dialect)
