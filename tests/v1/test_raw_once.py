"""Raw calls with an `Idempotency-Key` run once (openai.md 1.2, design.md 1.5), over a socket."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx
import pytest
from sqlalchemy import text

from app.domain.errors import Conflict
from app.domain.ids import ProcessId, TenantId, new_id
from app.domain.limits import TokenQuota
from app.domain.principals import Caller, KeyKind
from app.engine.ask import Recognition
from app.security.quotas import Quotas
from app.services.raw_once import OnceCall, RawOnce
from repositories.idempotency import KeyReused
from repositories.statements import Statement
from tests.conftest import Tenant
from tests.service import Events, Service, scripted
from tests.v1.ledger import ledger
from tests.v1.raw import ask

CHAT, TEXT, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
KEY = {"Idempotency-Key": "once"}
CALLS: list[tuple[str, dict[str, Any]]] = [
    (CHAT, ask(do={"text": "It is so."})),
    (CHAT, ask(do={"text": "It is so.", "pieces": 3}, stream=True)),
    (CHAT, ask(do={"text": "Two."}, n=2, stream=True, stream_options={"include_usage": True})),
    (TEXT, {"model": "scripted", "prompt": scripted(text="and so on")}),
    (TEXT, {"model": "scripted", "prompt": scripted(text="and so on"), "stream": True}),
    (EMBEDDINGS, {"model": "embed", "input": ["one", "two"]}),
]


async def rows(service: Service, tenant: Tenant) -> list[Any]:
    async with service.database.unit(tenant.id) as unit:
        return list((await unit._connection.execute(text("SELECT * FROM idempotency"))).all())


@pytest.mark.promise("openai:1.2-raw-once")
@pytest.mark.parametrize(("path", "body"), CALLS)
async def test_a_repeat_gets_the_first_answer_to_the_byte(
    client: httpx.AsyncClient, service: Service, tenant: Tenant, path: str, body: dict[str, Any]
) -> None:
    first = await client.post(path, json=body, headers=KEY)
    asked = len(service.upstream.calls())
    again = [await client.post(path, json=body, headers=KEY) for _ in range(2)]
    other = await client.post(path, json=body, headers={"Idempotency-Key": "another"})

    assert first.status_code == 200
    assert "idempotent-replayed" not in first.headers
    for answer in again:
        assert (answer.status_code, answer.content) == (200, first.content)
        assert answer.headers["content-type"] == first.headers["content-type"]
        assert answer.headers["idempotent-replayed"] == "true"
    assert len(service.upstream.calls()) == 2 * asked
    assert other.status_code == 200
    if path != EMBEDDINGS:
        assert other.content != first.content  # each run has an id of its own
    assert len(await ledger(service, tenant, 2 * asked)) == 2 * asked


@pytest.mark.promise("openai:1.2-raw-reused")
async def test_a_key_that_comes_with_another_request_is_refused(
    client: httpx.AsyncClient, service: Service, tenant: Tenant
) -> None:
    """With another body, on another route, or of what was no raw call; another caller's key is another key."""
    assert (await client.post(CHAT, json=ask(), headers=KEY)).status_code == 200
    for path, body in ((CHAT, ask("Else?")), (CHAT, ask(stream=True)), (EMBEDDINGS, CALLS[-1][1])):
        answer = await client.post(path, json=body, headers=KEY)
        error = answer.json()["error"]
        assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
        assert error["message"] == "This Idempotency-Key was used for another request."
    made = await client.post("/api/v1/chats", json={"name": "c"}, headers={"Idempotency-Key": "native"})
    assert made.status_code == 200
    assert (await client.post(CHAT, json=ask(), headers={"Idempotency-Key": "native"})).status_code == 400
    assert (await client.post("/api/v1/chats", json={"name": "d"}, headers=KEY)).status_code == 400
    second = await service.tenant(tenant_id=tenant.id)
    rival = await service.tenant()
    for caller in (second, rival):
        async with service.client(caller) as theirs:
            assert (await theirs.post(CHAT, json=ask("Else?"), headers=KEY)).status_code == 200
    assert (await client.post(CHAT, json=ask(), headers={"Idempotency-Key": "k" * 256})).status_code == 400


@pytest.mark.promise("openai:1.2-raw-under-way")
@pytest.mark.parametrize("is_streaming", [False, True])
async def test_repeats_while_the_first_is_under_way_wait_for_its_answer(
    client: httpx.AsyncClient, service: Service, is_streaming: bool
) -> None:
    body = ask(do={"pieces": 4, "gap_ms": 80}, stream=is_streaming)
    answers: list[httpx.Response] = []

    async def one() -> None:
        answers.append(await client.post(CHAT, json=body, headers=KEY))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(one)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert sorted("idempotent-replayed" in answer.headers for answer in answers) == [False] + [True] * 4
    assert len(service.upstream.calls()) == 1


@pytest.mark.promise("openai:1.2-raw-free-again")
@pytest.mark.parametrize("is_streaming", [False, True])
async def test_a_call_that_failed_is_none(
    client: httpx.AsyncClient, service: Service, tenant: Tenant, is_streaming: bool
) -> None:
    """Whatever was wrong with it: nothing of it is kept, and the next one with the key is the first."""
    refused = ask(do={"status": 400, "times": 1, "text": "It is so."}, stream=is_streaming)
    assert (await client.post(CHAT, json=refused, headers=KEY)).status_code == 400
    assert await rows(service, tenant) == []
    wrong = ask(temperature=9, stream=is_streaming)
    assert (await client.post(CHAT, json=wrong, headers=KEY)).status_code == 400
    good = await client.post(CHAT, json=refused, headers=KEY)
    assert (good.status_code, "idempotent-replayed" in good.headers) == (200, False)
    assert (await client.post(CHAT, json=refused, headers=KEY)).content == good.content


@pytest.mark.promise("openai:1.2-raw-free-again")
async def test_a_stream_that_broke_off_is_none_either(
    client: httpx.AsyncClient, service: Service, tenant: Tenant
) -> None:
    body = ask(do={"pieces": 8, "gap_ms": 5, "cut_after": 3}, stream=True)
    for _ in range(2):
        answer = await client.post(CHAT, json=body, headers=KEY)
        events = Events(answer.status_code, answer.headers, answer.content)
        assert events.data[-1]["error"]["code"] == "upstream_error"
        assert await rows(service, tenant) == []
    assert len(service.upstream.calls()) == 2


@pytest.mark.promise("openai:1.2-raw-free-again", "openai:T-15")
@pytest.mark.parametrize("is_streaming", [False, True])
async def test_a_caller_who_leaves_ends_the_call_and_frees_the_key(
    client: httpx.AsyncClient, service: Service, tenant: Tenant, is_streaming: bool
) -> None:
    """The provider's call ends at once, as without a key; what waited for it, or comes later, is carried out."""
    directive = {"pieces": 500, "gap_ms": 20, "head_ms": 0 if is_streaming else 3000}
    with anyio.move_on_after(0.5):
        async with client.stream("POST", CHAT, json=ask(do=directive, stream=is_streaming), headers=KEY) as answer:
            async for _ in answer.aiter_bytes():
                pass
    await service.upstream.wait_for(lambda calls: bool(calls) and calls[0]["cancelled"], timeout_s=1.5)
    with anyio.fail_after(5):
        while await rows(service, tenant):  # noqa: ASYNC110 (the database tells nobody)
            await anyio.sleep(0.01)
    body = ask(do={"pieces": 2}, stream=is_streaming)
    assert (await client.post(CHAT, json=body, headers=KEY)).status_code == 200


@pytest.mark.promise("openai:1.2-raw-bounded")
@pytest.mark.parametrize("is_streaming", [False, True])
async def test_an_answer_too_large_to_be_kept_is_not_given_twice(
    client: httpx.AsyncClient, service: Service, tenant: Tenant, is_streaming: bool
) -> None:
    service.parts.raw_once.most_bytes = 2000
    body = ask(do={"pieces": 2000}, stream=is_streaming)
    assert (await client.post(CHAT, json=body, headers=KEY)).status_code == 200
    for _ in range(2):
        again = await client.post(CHAT, json=body, headers=KEY)
        assert (again.status_code, again.json()["error"]["code"]) == (409, "conflict")
        assert again.headers["x-should-retry"] == "false"
        assert "2000 bytes" in again.json()["error"]["message"]
    assert len(service.upstream.calls()) == 1
    (row,) = await rows(service, tenant)
    assert (row.status, row.body) == (200, None)


@pytest.mark.promise("openai:1.2-raw-bounded")
async def test_what_is_kept_is_small_and_goes_after_a_day(
    client: httpx.AsyncClient, service: Service, tenant: Tenant
) -> None:
    answer = await client.post(CHAT, json=ask(do={"pieces": 3000}, stream=True), headers=KEY)
    (row,) = await rows(service, tenant)
    assert service.parts.raw_once.most_bytes == 4 * 1024 * 1024
    assert len(row.body) * 10 < len(answer.content)
    for hours, left in ((23, 1), (25, 0)):
        async with service.database.unit(tenant.id) as unit:
            aged = text("UPDATE idempotency SET created_at = now() - make_interval(hours => :hours)")
            await unit._connection.execute(aged.bindparams(hours=hours))
        await service.parts.caretaker.expire()
        assert len(await rows(service, tenant)) == left


@pytest.mark.promise("openai:1.2-raw-free")
async def test_a_call_without_a_key_pays_nothing(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a statement, and none of the code that keeps answers is entered."""

    def never(*_: Any) -> OnceCall:
        raise AssertionError("no key was sent")

    monkeypatch.setattr(RawOnce, "call", never)
    seen: list[str] = []
    plain = Statement.arguments

    def arguments(statement: Statement, values: dict[str, Any]) -> list[Any]:
        seen.append(statement.sql)
        return plain(statement, values)

    monkeypatch.setattr(Statement, "arguments", arguments)
    for path, body in CALLS:
        assert (await client.post(path, json=body)).status_code == 200
    assert not [one for one in seen if "idempotency" in one]


@pytest.mark.promise("openai:1.2-raw-once")
async def test_a_repeat_reserves_no_tokens(
    client: httpx.AsyncClient, service: Service, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    plain = Quotas.held

    def noted(self: Quotas, tenant_id: TenantId, quota: TokenQuota | None, tokens: int) -> Any:
        held.append(tokens)
        return plain(self, tenant_id, quota, tokens)

    monkeypatch.setattr(Quotas, "held", noted)
    for _ in range(3):
        assert (await client.post(CHAT, json=ask(), headers=KEY)).status_code == 200
    assert len(held) == 1
    assert len(await ledger(service, tenant, 1)) == 1


class Once:
    """Calls of one key by several processes, without a socket."""

    def __init__(self, service: Service, tenant: Tenant) -> None:
        self.service = service
        self.caller = Caller(tenant_id=TenantId(tenant.id), key_id=tenant.key_id, kind=KeyKind.API, scopes=frozenset())

    def of(self, process: ProcessId, *, most_s: float = 5.0, body: bytes = b"b") -> OnceCall:
        once = RawOnce(self.service.database, process, most_s=most_s)
        known = Recognition(route="POST /v1/x", body_hash=body, idempotency_key="k")
        return once.call(self.caller, known)

    async def begun(self, process: ProcessId, **more: Any) -> OnceCall:
        """Return a call that is the first, and is never carried out."""
        call = self.of(process, **more)
        assert await call._first_answer() is None
        return call

    @staticmethod
    async def told(call: OnceCall, produce: Callable[[Any], Awaitable[None]] | None = None) -> bytes:
        parts: list[bytes] = []

        async def give(data: bytes) -> None:
            parts.append(data)

        async def say(send: Callable[[bytes], Awaitable[None]]) -> None:
            await send(b"said by " + call._attempt.id.encode())

        await call.run(produce or say, lambda: b"!", give)
        return b"".join(parts)


@pytest.mark.promise("openai:1.2-raw-dead")
async def test_the_key_of_a_dead_process_is_free(service: Service, tenant: Tenant) -> None:
    once, alive = Once(service, tenant), service.parts.engine.process_id
    dead = await once.begun(ProcessId(f"dead-{new_id()}"))
    told = await once.told(once.of(alive))
    await dead._note(None)  # it was not dead: what is not its own any more it neither frees nor writes
    assert await once.told(once.of(alive)) == told
    with pytest.raises(KeyReused):
        await once.told(once.of(alive, body=b"other"))


@pytest.mark.promise("openai:1.2-raw-dead")
async def test_a_call_that_never_ended_gives_its_key_up(service: Service, tenant: Tenant) -> None:
    once, alive = Once(service, tenant), service.parts.engine.process_id
    await once.begun(alive)
    waiting = once.of(alive, most_s=0.1)
    with pytest.raises(Conflict):
        await once.told(waiting)
    async with service.database.unit(tenant.id) as unit:
        await unit._connection.execute(text("UPDATE idempotency SET created_at = now() - interval '2 minutes'"))
    assert (await once.told(once.of(alive, most_s=0.1))).startswith(b"said by ")


@pytest.mark.promise("openai:1.2-raw-under-way")
async def test_of_many_that_wait_for_a_failed_call_one_is_the_next(service: Service, tenant: Tenant) -> None:
    once, alive = Once(service, tenant), service.parts.engine.process_id
    first, told = await once.begun(alive), set[bytes]()

    async def wait() -> None:
        told.add(await once.told(once.of(alive)))

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(wait)
        await anyio.sleep(0.1)
        await first._note(None)
    assert len(told) == 1
