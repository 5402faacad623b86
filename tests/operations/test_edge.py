"""What every answer carries and what no route ever sees: ids, sizes, slashes, NUL, origins; and what machines ask."""

import json
import re
import time
from pathlib import Path

import httpx
import pytest

from tests.operations.conftest import scripted
from tests.operations.running import Service, parley, pieces, question, serving, until
from tests.upstream.fixtures import ScriptedUpstream

CANARY = "canary-of-a-prompt"


def chat_path(service: Service) -> str:
    return f"/api/v1/chats_openai/{service.chat_id}/chat/completions"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/livez", 200),
        ("GET", "/api/v1/chats", 200),
        ("GET", "/nothing/here", 404),
        ("PATCH", "/api/v1/chats", 405),
        ("GET", "/api/v1/chats?name=%00", 400),
        ("GET", "/api/v1/chats/%00", 400),
        ("GET", "/docs", 200),
    ],
)
def test_every_answer_has_a_request_id(service: Service, method: str, path: str, status: int) -> None:
    with service.client() as client:
        ours = client.request(method, path, headers=service.auth)
        theirs = client.request(method, path, headers={**service.auth, "X-Request-Id": "Their.id_1-2"})
        odd = client.request(method, path, headers={**service.auth, "X-Request-Id": "no spaces"})
    assert (ours.status_code, theirs.status_code) == (status, status)
    assert re.fullmatch(r"req_[0-9a-f]{32}", ours.headers["x-request-id"])
    assert theirs.headers.get_list("x-request-id") == ["Their.id_1-2"]
    assert odd.headers["x-request-id"].startswith("req_")
    assert "server" not in ours.headers


def test_streams_and_refusals_of_the_openai_routes_have_id_and_time(service: Service) -> None:
    with service.client() as client:
        with client.stream("POST", chat_path(service), json=question("hello"), headers=service.auth) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            assert stream.headers["x-request-id"].startswith("req_")
            assert int(stream.headers["openai-processing-ms"]) >= 0
            assert "content-encoding" not in stream.headers
            stream.read()
        refused = client.post(chat_path(service), json=question("hello"), headers={"Authorization": "Bearer nobody"})
        unknown = [client.get(f"/api/v1/{name}/x/y/z") for name in ("chats_openai", "openai")]
        other_name = client.post(
            f"/api/v1/openai/{service.chat_id}/chat/completions",
            json={**question("hello"), "messages": []},
            headers=service.auth,
        )
    for answer in (refused, *unknown, other_name):
        assert answer.headers["x-request-id"].startswith("req_")
        assert "openai-processing-ms" in answer.headers
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_a_request_id_is_on_the_log_lines_of_the_request_and_of_its_turn(service: Service) -> None:
    headers = {**service.auth, "X-Request-Id": "follow-me"}
    with service.client() as client:
        client.post(chat_path(service), json=question("hello"), headers=headers)
    until(lambda: any(one["request_id"] == "follow-me" for one in service.lines("request")), 5)
    turn = next(one for one in service.lines("turn_ended") if one["request_id"] == "follow-me")
    assert (turn["state"], turn["model"]) == ("done", "scripted@default")
    assert turn["completion_tokens"] == 16
    assert turn["timings_ms"]["first_piece"] > 0
    request = next(one for one in service.lines("request") if one["request_id"] == "follow-me")
    assert request["route"] == "/api/v1/chats_openai/{chat_id}/chat/completions"
    assert request["tenant"] == turn["tenant"]


def test_a_body_over_the_cap_is_refused_and_the_connection_goes_on(service: Service) -> None:
    large = json.dumps({"name": "x" * 5000}).encode()
    with service.client() as client:
        told = client.post("/api/v1/chats", content=large, headers={**service.auth, "content-type": "application/json"})
        assert (told.status_code, told.json()["code"], told.json()["data"]) == (413, 102, None)
        assert "4096" in told.json()["message"]
        stream = client.stream("GET", "/livez")
        with stream as first:
            first.read()
            connection = first.extensions["network_stream"]
        untold = client.post("/api/v1/chats", content=iter([large[:3000], large[3000:]]), headers=service.auth)
        assert (untold.status_code, untold.json()["code"]) == (413, 102)
        openai = client.post(chat_path(service), content=large, headers=service.auth)
        assert openai.status_code == 413
        assert openai.json()["error"]["type"] == "invalid_request_error"
        with client.stream("GET", "/livez") as after:
            assert after.status_code == 200
            assert after.extensions["network_stream"] is connection


@pytest.mark.parametrize("path", ["/api/v1/chats", "/v1/chat/completions", "/api/v1/retrieval"])
@pytest.mark.parametrize("is_told", [True, False])
def test_a_body_that_calls_itself_an_upload_has_the_cap_of_its_route(
    service: Service, path: str, *, is_told: bool
) -> None:
    large = json.dumps({"name": "x" * 5000, "question": "x"}).encode()
    headers = {**service.auth, "content-type": "multipart/form-data; boundary=x"}
    with service.client() as client:
        answer = client.post(path, content=large if is_told else iter([large]), headers=headers)
    if path.startswith("/v1"):  # reads no body that is not JSON
        assert (answer.status_code, answer.json()["error"]["type"]) in [
            (413, "invalid_request_error"),
            (400, "invalid_request_error"),
        ]
    else:
        assert (answer.status_code, answer.json()["code"]) == (413, 102)


def test_an_upload_may_be_larger_than_a_json_body(service: Service) -> None:
    with service.client() as client:
        dataset = client.post("/api/v1/datasets", json={"name": "large files"}, headers=service.auth).json()["data"]
        stored = client.post(
            f"/api/v1/datasets/{dataset['id']}/documents",
            files={"file": ("large.txt", b"word " * 20_000)},
            headers=service.auth,
        )
    assert stored.json()["code"] == 0, stored.text


@pytest.mark.parametrize("path", ["/api/v1/chats/", "//api/v1//chats", "/api/v1/chats///"])
def test_slashes_too_many_are_ignored(service: Service, path: str) -> None:
    with service.client() as client:
        assert client.get(service.address + path, headers=service.auth).status_code == 200


def test_an_empty_id_in_a_path_collapses(service: Service) -> None:
    with service.client() as client:
        answer = client.post("/api/v1/chats//sessions", json={}, headers=service.auth)
    assert answer.status_code == 405


def test_ready_says_what_was_looked_at(service: Service) -> None:
    fine = {"database": "ok", "migrations": "ok", "models": "ok", "queue": "ok"}
    with service.client() as client:
        assert client.get("/readyz").json() == {"status": "ready", "checks": fine}
        for path in ("/v1/system/healthz", "/api/v1/system/healthz"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()["status"], answer.json()["checks"]) == (200, "ok", fine)


def test_metrics_tell_of_requests_turns_tokens_and_upstreams(service: Service) -> None:
    with service.client() as client:
        client.post(chat_path(service), json=question("hello"), headers=service.auth)
        client.get("/nothing/here")
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    told = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#"))
    route = "/api/v1/chats_openai/{chat_id}/chat/completions"
    assert float(told[f'parley_http_requests_total{{method="POST",route="{route}",status="200"}}']) >= 1
    assert float(told['parley_http_requests_total{method="other",route="none",status="404"}']) >= 1
    assert float(told['parley_turns_total{state="done"}']) >= 1
    assert float(told["parley_turn_first_piece_seconds_count"]) >= 1
    assert float(told['parley_upstream_attempts_total{model="scripted",outcome="ok",provider="default"}']) >= 1
    tokens = 'parley_tokens_total{direction="completion",kind="chat",model="scripted",provider="default"}'
    assert float(told[tokens]) >= 16
    assert {
        "parley_streams_open",
        "parley_followers",
        "parley_turns_running",
        'parley_queue_jobs{state="queued"}',
        "parley_queue_oldest_seconds",
        "parley_database_connections_in_use",
        "parley_event_loop_lag_seconds_count",
    } <= told.keys()
    assert not any(service.chat_id in name for name in told)


def test_pieces_are_counted_when_a_turn_ends(service: Service) -> None:
    headers = {**service.auth, "X-Request-Id": "sixteen-pieces"}
    with service.client() as client:
        client.post(chat_path(service), json=question("hello"), headers=headers)
        told = client.get("/metrics").text
    turn = next(one for one in service.lines("turn_ended") if one["request_id"] == "sixteen-pieces")
    assert turn["pieces"] == 16
    assert float(next(line for line in told.splitlines() if line.startswith("parley_pieces_total ")).split()[1]) >= 16


def test_metrics_are_not_for_those_a_proxy_speaks_for(service: Service) -> None:
    with service.client() as client:
        assert client.get("/metrics", headers={"X-Forwarded-For": "203.0.113.9"}).status_code == 403


def test_pages_of_named_origins_may_call_and_metrics_can_be_off(folder: Path, upstream: ScriptedUpstream) -> None:
    settings = {"CORS_ORIGINS": '["https://app.example"]', "METRICS": "off", **scripted(upstream)}
    with serving(folder, **settings) as service, service.client() as client:
        asked = "authorization,content-type,x-stainless-retry-count"
        preflight = client.options(
            "/api/v1/chats",
            headers={
                "Origin": "https://app.example",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": asked,
            },
        )
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-headers"] == asked
        assert "x-request-id" in preflight.headers
        answer = client.get("/api/v1/chats", headers={**service.auth, "Origin": "https://app.example"})
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        exposed = answer.headers["access-control-expose-headers"].split(", ")
        assert {"x-request-id", "retry-after", "openai-processing-ms", "x-ratelimit-reset-tokens"} <= set(exposed)
        stranger = client.get("/api/v1/chats", headers={**service.auth, "Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in stranger.headers
        assert client.get("/metrics").status_code == 404


def test_a_revoked_key_opens_nothing_a_second_later(service: Service) -> None:
    made = parley("keys", "create", "--name", "short-lived", "--json", env=service.env, folder=service.folder)
    key = json.loads(made.stdout)
    auth = {"Authorization": f"Bearer {key['key']}"}
    with service.client() as client:
        assert client.get("/api/v1/chats", headers=auth).status_code == 200
        revoked = parley("keys", "revoke", key["id"], env=service.env, folder=service.folder)
        ended = time.monotonic()
        assert revoked.returncode == 0, revoked.stderr
        until(lambda: client.get("/api/v1/chats", headers=auth).status_code == 401, 1.0)
        assert time.monotonic() - ended < 1.1
    listed = parley("keys", "list", "--json", env=service.env, folder=service.folder)
    assert next(one for one in json.loads(listed.stdout) if one["id"] == key["id"])["revoked"]
    assert key["key"] not in listed.stdout


def test_no_log_line_holds_a_key_a_prompt_or_an_answer(service: Service) -> None:
    with service.client() as client:
        asked = question(f'{CANARY} @@{{"text": "canary-of-an-answer"}}')
        with client.stream("POST", chat_path(service), json=asked, headers=service.auth) as stream:
            assert "canary-of-an-answer" in list(pieces(stream.iter_lines()))
        failing = question(f'{CANARY} @@{{"status": 500}}')
        client.post(chat_path(service), json=failing, headers=service.auth)
        client.post("/api/v1/chats", json={"name": CANARY, "nonsense": CANARY}, headers=service.auth)
        client.get(f"/api/v1/{CANARY}", headers=service.auth)
    until(lambda: len(service.lines("turn_ended")) >= 2, 10)
    for secret in (CANARY, "canary-of-an-answer", service.key, "upstream-secret-canary"):
        assert secret not in service.log


def test_the_service_answers_on_the_wire_without_a_proxys_help(service: Service) -> None:
    answer = httpx.get(f"{service.address}/livez", trust_env=False)
    assert answer.json() == {"status": "ok"}
    assert "date" not in answer.headers
