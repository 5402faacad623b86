"""What is told when the service answers for the first time, and at every later start (operations.md 2)."""

import sys

import structlog

from app.serving.first_start import Welcome
from app.settings import Settings

log = structlog.get_logger()


def greet(settings: Settings, address: str, welcome: Welcome | None) -> None:
    """Tell it on a terminal, or as one log line."""
    database = "its own PostgreSQL" if settings.is_embedded else "the PostgreSQL of PARLEY_DATABASE_URL"
    if not sys.stdout.isatty():
        log.info("serving", address=address, database=database, workers=settings.workers, **_logged(settings, welcome))
        return
    sys.stdout.write(first_words(settings, address, database, welcome) if welcome else f"{_where(address)}\n")
    sys.stdout.flush()


def first_words(settings: Settings, address: str, database: str, welcome: Welcome) -> str:
    """Return the lines of a first start; the commands among them work when pasted."""
    lines = [
        "",
        f"  {_where(address)}",
        "",
        f"  API key    {welcome.key}",
        "             " + ("(PARLEY_API_KEY)" if settings.api_key else f"(also in {welcome.key_file})"),
        f"  Database   {database}, under {settings.data_dir.absolute()}"
        if settings.is_embedded
        else f"  Database   {database}",
        f"  Models     chat {welcome.chat_model}, embeddings {welcome.embedding_model}",
    ]
    if welcome.is_builtin_chat:
        lines.append(
            "             This small chat model is for a first try; name a better one with PARLEY_LLM_BASE_URL, "
            "PARLEY_LLM_MODEL, PARLEY_LLM_API_KEY."
        )
    if welcome.chat_id:
        lines += ["", "  Try it:", "", *_curl(address, welcome), "", "  or in Python (pip install openai):", ""]
        lines += _python(address, welcome)
    return "\n".join([*lines, "", ""])


def _where(address: str) -> str:
    return f"parley answers on {address}, its documentation on {address}/docs. Ctrl-C stops it."


def _curl(address: str, welcome: Welcome) -> list[str]:
    where = f"{_base(address, welcome)}/chat/completions"
    headers = f"-H 'Authorization: Bearer {welcome.key}' -H 'Content-Type: application/json'"
    body = """{"model": "model", "stream": true, "messages": [{"role": "user", "content": "Say hello."}]}"""
    return [f"curl -sN {where} {headers} -d '{body}'"]


def _python(address: str, welcome: Welcome) -> list[str]:
    return [
        "from openai import OpenAI",
        f'chat = OpenAI(base_url="{_base(address, welcome)}", api_key="{welcome.key}").chat.completions',
        'answer = chat.create(model="model", stream=False, messages=[{"role": "user", "content": "Say hello."}])',
        "print(answer.choices[0].message.content)",
    ]


def _base(address: str, welcome: Welcome) -> str:
    return f"{address}/api/v1/chats_openai/{welcome.chat_id}"


def _logged(settings: Settings, welcome: Welcome | None) -> dict[str, object]:
    if welcome is None:
        return {}
    return {
        "docs": "/docs",
        "chat_model": welcome.chat_model,
        "embedding_model": welcome.embedding_model,
        "chat_id": welcome.chat_id or None,
        "key_file": None if settings.api_key else str(welcome.key_file),
    }
