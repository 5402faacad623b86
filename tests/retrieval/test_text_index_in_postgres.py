"""The literals against the parser they are written for."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.retrieval.lexemes import fine_lexemes, lexemes
from app.retrieval.text_index import tsvector
from tests.pg import DatabaseServer


def ask(server: DatabaseServer, *literals: str) -> list[list[str]]:
    async def run() -> list[list[str]]:
        connection = await asyncpg.connect(server.admin_url.replace("+asyncpg", ""))
        try:
            rows = [
                await connection.fetchval("select tsvector_to_array($1::text::tsvector)", text) for text in literals
            ]
        finally:
            await connection.close()
        return rows

    return _in_thread(run())


def _in_thread(work: Coroutine[None, None, list[list[str]]]) -> list[list[str]]:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result(timeout=30)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(max_size=120), min_size=10, max_size=40))
def test_postgres_reads_back_our_lexemes(postgres_server: DatabaseServer, texts: list[str]) -> None:
    stored = ask(postgres_server, *(tsvector(text, "") for text in texts))
    for text, row in zip(texts, stored, strict=True):
        assert set(row) == {*lexemes(text), *fine_lexemes(text)}


def test_postgres_takes_the_largest_chunks(postgres_server: DatabaseServer) -> None:
    words = " ".join(f"unique{number}word" for number in range(120_000))
    for row in ask(postgres_server, tsvector(words, "t"), tsvector("x" * 9999, ""), tsvector("same " * 9999, "")):
        assert row


@pytest.mark.parametrize("text", ["it's \\ 'quoted'", "a:b,c*", "", "数据库 c++"])
def test_postgres_takes_marks_of_its_own_syntax(postgres_server: DatabaseServer, text: str) -> None:
    assert set(ask(postgres_server, tsvector(text, text, [text]))[0]) == {*lexemes(text), *fine_lexemes(text)}
