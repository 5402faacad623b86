"""Signals: running turns get their time, streams live through the drain, and nothing is left behind."""

import re
import signal
import time
from pathlib import Path

import httpx
import psutil

from tests.operations.conftest import scripted
from tests.operations.running import Service, gone, pieces, question, serving, until
from tests.processes import command_of
from tests.upstream.fixtures import ScriptedUpstream


def path_of(service: Service) -> str:
    return f"/api/v1/chats_openai/{service.chat_id}/chat/completions"


def test_ctrl_c_stops_everything_that_was_started(folder: Path, upstream: ScriptedUpstream) -> None:
    with serving(folder, **scripted(upstream)) as service:
        family = service.family()
        assert len(family) > 1
        assert service.stop(signal.SIGINT) == 0
        until(lambda: all(map(gone, family)), 5)


def test_sigterm_lets_a_running_stream_end_while_new_turns_are_refused(
    folder: Path, upstream: ScriptedUpstream
) -> None:
    with serving(folder, **scripted(upstream)) as service, service.client() as client:
        body = question('@@{"pieces": 40, "gap_ms": 40}')
        with client.stream("POST", path_of(service), json=body, headers=service.auth) as stream:
            coming = pieces(stream.iter_lines())
            got = [next(coming)]
            service.process.send_signal(signal.SIGTERM)
            until(lambda: bool(service.lines("draining")), 5)
            ready = httpx.get(f"{service.address}/readyz", trust_env=False)
            assert (ready.status_code, ready.json()["status"]) == (503, "draining")
            assert httpx.get(f"{service.address}/livez", trust_env=False).status_code == 200
            refused = httpx.post(
                service.address + path_of(service), json=question("more"), headers=service.auth, trust_env=False
            )
            assert refused.status_code == 503
            assert "retry-after" in refused.headers
            got += list(coming)
        assert got == [f"word{number} " for number in range(40)] + ["[DONE]"]
        assert service.process.wait(10) == 0
        assert service.lines("turn_ended")[0]["state"] == "done"


def test_a_turn_that_outlasts_the_drain_is_closed_with_its_partial_text(
    folder: Path, upstream: ScriptedUpstream
) -> None:
    with serving(folder, DRAIN="0.5", **scripted(upstream)) as service, service.client() as client:
        body = question('@@{"pieces": 600, "gap_ms": 100}')
        with client.stream("POST", path_of(service), json=body, headers=service.auth) as stream:
            coming = pieces(stream.iter_lines())
            got = [next(coming)]
            service.process.send_signal(signal.SIGTERM)
            begun = time.monotonic()
            got += list(coming)
        assert 0.3 < time.monotonic() - begun < 5
        assert got[-1] == "[DONE]"
        assert 2 < len(got) < 40
        assert service.process.wait(10) == 0
        assert service.lines("turn_ended")[0]["state"] == "stopped"


def test_a_second_sigterm_stops_at_once(folder: Path, upstream: ScriptedUpstream) -> None:
    with serving(folder, **scripted(upstream)) as service, service.client() as client:
        body = question('@@{"pieces": 600, "gap_ms": 100}')
        with client.stream("POST", path_of(service), json=body, headers=service.auth) as stream:
            coming = pieces(stream.iter_lines())
            next(coming)
            service.process.send_signal(signal.SIGTERM)
            until(lambda: bool(service.lines("draining")), 5)
            begun = time.monotonic()
            assert service.stop(signal.SIGTERM) == 0
            assert time.monotonic() - begun < 5
        assert service.lines("turn_ended")[0]["state"] == "stopped"


def test_several_workers_share_one_database_and_die_with_their_killed_parent(
    folder: Path, upstream: ScriptedUpstream
) -> None:
    with serving(folder, "--workers", "2", **scripted(upstream)) as service, service.client() as client:
        until(lambda: len(service.lines("answering_started")) == 2, 10)
        assert client.get("/readyz").json()["checks"]["database"] == "ok"
        family = service.family()
        commands = [command_of(one) for one in family]
        assert sum("app.serving.answering" in command for command in commands) == 2
        assert sum(" -D " in command for command in commands) == 1
        with client.stream("POST", path_of(service), json=question("hello"), headers=service.auth) as stream:
            assert list(pieces(stream.iter_lines()))[-1] == "[DONE]"

        def done() -> list[tuple[str, str]]:
            return re.findall(r'parley_turns_total\{process="(\d)",state="done"\} (\S+)', client.get("/metrics").text)

        until(lambda: [process for process, _ in done()] == ["0", "1"], 10)  # each answers when it is asked in time
        assert sum(float(count) for _, count in done()) == 1
        told = client.get("/metrics").text
        assert told.count("# TYPE parley_turns_total") == 1
        service.process.kill()
        service.process.wait()
        until(lambda: all(map(gone, family)), 20)
    with serving(folder, **scripted(upstream)) as again, again.client() as client:
        assert client.get("/readyz").status_code == 200


def test_ctrl_c_gives_no_time_to_turns_of_several_workers_either(folder: Path, upstream: ScriptedUpstream) -> None:
    with serving(folder, "--workers", "2", **scripted(upstream)) as service, service.client() as client:
        body = question('@@{"pieces": 600, "gap_ms": 100}')
        with client.stream("POST", path_of(service), json=body, headers=service.auth) as stream:
            coming = pieces(stream.iter_lines())
            next(coming)
            family = service.family()
            assert service.stop(signal.SIGINT, within_s=10) == 0
            assert list(coming)[-1] == "[DONE]"
        assert service.lines("turn_ended")[0]["state"] == "stopped"
        until(lambda: all(map(gone, family)), 5)


def test_a_worker_that_dies_is_started_again(folder: Path, upstream: ScriptedUpstream) -> None:
    with serving(folder, "--workers", "2", **scripted(upstream)) as service:
        until(lambda: len(service.lines("answering_started")) == 2, 10)
        victim = psutil.Process(service.lines("answering_started")[0]["pid"])
        victim.kill()
        until(lambda: len(service.lines("answering_started")) == 3, 10)
        family = service.family()
        assert service.stop(signal.SIGTERM) == 0
        until(lambda: all(map(gone, family)), 5)


def test_turns_of_a_killed_service_are_closed_when_it_starts_again(folder: Path, upstream: ScriptedUpstream) -> None:
    with serving(folder, **scripted(upstream)) as service, service.client() as client:
        chat_id, auth = service.chat_id, service.auth
        body = {"question": '@@{"pieces": 600, "gap_ms": 50}', "stream": True}
        with client.stream("POST", f"/api/v1/chats/{chat_id}/completions", json=body, headers=auth) as stream:
            turn_id = stream.headers["x-turn-id"]
            assert next(stream.iter_lines())
            until(lambda: len(upstream.calls()) == 1, 5)
            service.process.kill()
            service.process.wait()
    with serving(folder, **scripted(upstream)) as again, again.client() as client:
        turn = client.get(f"/api/v1/turns/{turn_id}", headers=auth).json()["data"]
        assert turn["state"] == "failed"
