"""The load generator, a process of its own: `python -m bench.load` reads jobs from its input, a line each.

While a job runs it only sends, and notes what came when. Every byte is parsed and checked afterwards.
"""

import asyncio
import gc
import random
import sys
from contextlib import suppress
from time import perf_counter

import msgspec
import orjson
import uvloop

from bench.connection import Connection, Exchange, Pool, request_bytes
from bench.jobs import Closed, Hold, Job, LookUp, Outcome, Release, Spread, Target
from bench.wire import WireError, check_whole, pieces, read_answer

_ANSWER_LIMIT_S = 60.0
_held: list[Connection] = []


async def run(job: Job) -> Outcome:
    """Do one job."""
    match job:
        case Spread():
            return await _spread(job)
        case Closed():
            return await _closed(job)
        case Hold():
            return await _hold(job)
        case Release():
            return await _release()
        case LookUp():
            return await _look_up(job)


async def _spread(job: Spread) -> Outcome:
    dice = random.Random(job.seed)  # noqa: S311 - arrivals, no secrets
    interval_s = job.stream_s / job.parallel
    request, outcome, pool = request_bytes(job.target), Outcome(), Pool(job.target.port)
    exchanges: list[tuple[float, Exchange]] = []

    async def one(due_s: float) -> None:
        connection = await pool.take()
        exchange = connection.ask(request)
        exchanges.append((due_s, exchange))
        await _until_done(exchange)
        pool.give(connection)

    await pool.fill(job.parallel + 8)
    begun_s = perf_counter() + 0.05
    async with asyncio.TaskGroup() as tasks:
        for number in range(job.parallel + job.measured):
            due_s = begun_s + (number + dice.random()) * interval_s
            await asyncio.sleep(due_s - perf_counter())
            tasks.create_task(one(due_s))
    pool.close()
    for number, (due_s, exchange) in enumerate(exchanges):
        said = _checked(job.target, exchange, outcome)
        if said and number >= job.parallel:
            outcome.ttft_ms.append((said[0][0] - exchange.sent_s) * 1000)
            outcome.took_ms.append((said[-1][0] - exchange.sent_s) * 1000)
            outcome.content_events += len(said)
            outcome.requests += 1
        outcome.late_ms = max(outcome.late_ms, (exchange.sent_s - due_s) * 1000)
    outcome.seconds = perf_counter() - begun_s
    return outcome


async def _closed(job: Closed) -> Outcome:
    request, outcome, pool = request_bytes(job.target), Outcome(), Pool(job.target.port)
    exchanges: list[Exchange] = []
    await pool.fill(job.parallel)
    from_s = perf_counter() + job.warm_s
    until_s = from_s + job.seconds

    async def caller() -> None:
        connection = await pool.take()
        while perf_counter() < until_s:
            exchange = connection.ask(request)
            exchanges.append(exchange)
            await _until_done(exchange)
            if not connection.is_open:
                connection = await pool.take()
        connection.close()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(job.parallel):
            tasks.create_task(caller())
    for exchange in exchanges:
        said = _checked(job.target, exchange, outcome)
        if said is None:
            continue
        outcome.content_events += sum(from_s <= time_s < until_s for time_s, _ in said)
        ended_s = exchange.reads[-1][0]
        if from_s <= ended_s < until_s:
            outcome.requests += 1
            outcome.took_ms.append((ended_s - exchange.sent_s) * 1000)
            outcome.ttft_ms += [(said[0][0] - exchange.sent_s) * 1000] if said else []
    outcome.seconds = job.seconds
    return outcome


async def _until_done(exchange: Exchange) -> None:
    """Wait for the end of an answer; what is wrong with it is found when it is checked."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_ANSWER_LIMIT_S):
            await exchange.done


def _checked(target: Target, exchange: Exchange, outcome: Outcome) -> list[tuple[float, str]] | None:
    """Return the pieces of an answer (none for one that was not streamed); None when it is not as it should be."""
    outcome.checked += 1
    said: list[tuple[float, str]] = []
    try:
        answer = read_answer(exchange.reads)
        if target.is_stream:
            said = pieces(answer, target)
        else:
            check_whole(answer, target)
    except (WireError, ValueError, LookupError, TypeError) as error:
        outcome.fail(str(error) or repr(error))
        return None
    if (turn_id := answer.head.headers.get("x-turn-id")) is not None:
        outcome.turn_ids.append(turn_id)
    return said


async def _hold(job: Hold) -> Outcome:
    request, outcome = request_bytes(job.target), Outcome()
    exchanges: list[Exchange] = []
    for _ in range(job.parallel):
        connection = await Connection.open(job.target.port)
        _held.append(connection)
        exchanges.append(connection.ask(request))
    first = job.target.expected.split(" ")[0].encode()
    give_up_s = perf_counter() + _ANSWER_LIMIT_S
    waiting = exchanges
    while waiting and perf_counter() < give_up_s:
        await asyncio.sleep(0.05)
        waiting = [one for one in waiting if first not in b"".join(data for _, data in one.reads)]
    for exchange in waiting:
        outcome.fail(f"{job.target.name}: no first piece, only {exchange.reads!r}")
    outcome.requests = len(exchanges) - len(waiting)
    return outcome


async def _release() -> Outcome:
    outcome = Outcome(requests=sum(connection.is_open for connection in _held))
    for connection in _held:
        connection.close()
    _held.clear()
    await asyncio.sleep(0.1)
    return outcome


async def _look_up(job: LookUp) -> Outcome:
    outcome, todo = Outcome(), list(job.turns)

    async def reader() -> None:
        connection = await Connection.open(job.port)
        while todo:
            turn_id, tokens = todo.pop()
            head = f"GET /api/v1/turns/{turn_id} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {job.key}\r\n\r\n"
            exchange = connection.ask(head.encode())
            await _until_done(exchange)
            outcome.checked += 1
            try:
                told = orjson.loads(read_answer(exchange.reads).body)
                found = (told["data"]["state"], told["data"]["usage"]["completion_tokens"])
            except (WireError, ValueError, LookupError, TypeError) as error:
                found = (repr(error), -1)
            if found != ("done", tokens):
                outcome.fail(f"turn {turn_id}: {found} instead of {('done', tokens)}")
        connection.close()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(job.parallel):
            tasks.create_task(reader())
    return outcome


def main() -> None:
    """Answer jobs until the input ends."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for line in sys.stdin.buffer:
            job = msgspec.json.decode(line, type=Job)
            gc.collect()
            gc.freeze()
            gc.disable()
            try:
                outcome = runner.run(run(job))
            except* OSError as errors:  # nobody listens there any more
                outcome = Outcome()
                outcome.fail(repr(errors.exceptions[0]))
            finally:
                gc.enable()
                gc.unfreeze()
            sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
