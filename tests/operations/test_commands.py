"""The commands beside `serve`: each says what it found, mends or names what is wrong, and ends with 0, 1 or 2."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import make_url

from app.db.roles import APP_ROLE, create_database, create_roles
from tests.operations.conftest import scripted
from tests.operations.running import Service, environment, own_folder, parley, serving, until
from tests.pg import DatabaseServer, run_async
from tests.processes import command_of
from tests.upstream.fixtures import ScriptedUpstream

COMMANDS = [
    *([], ["serve"], ["worker"], ["migrate"], ["ingest"], ["ask"], ["doctor"], ["demo"], ["openapi"]),
    *(
        ["keys"],
        ["keys", "create"],
        ["keys", "list"],
        ["keys", "revoke"],
        ["keys", "rotate"],
        ["tenants", "create"],
        ["tenants", "quota"],
        ["tenants", "list"],
    ),
]


def test_every_command_has_help(folder: Path) -> None:
    script = """
import sys
from typer.testing import CliRunner
from app.cli import build
import json
for command in json.loads(sys.argv[1]):
    answer = CliRunner().invoke(build(), [*command, "--help"])
    assert answer.exit_code == 0 and "Usage" in answer.output, command
"""
    arguments = [sys.executable, "-c", script, json.dumps(COMMANDS)]
    done = subprocess.run(
        arguments, env=environment(folder, {}), cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_an_unknown_option_is_a_usage_error(folder: Path) -> None:
    assert parley("serve", "--no-such-option", env=environment(folder, {}), folder=folder).returncode == 2


def test_the_schema_needs_no_database(folder: Path) -> None:
    done = parley(
        "openapi", env=environment(folder, {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x"}), folder=folder
    )
    schema = json.loads(done.stdout)
    assert schema["openapi"].startswith("3.1")
    assert {"/livez", "/readyz", "/api/v1/chats/{chat_id}/completions"} <= schema["paths"].keys()
    assert not (folder / "data").exists()


def test_commands_start_the_database_for_a_moment_when_no_service_runs(folder: Path) -> None:
    env = environment(folder, {})
    made = parley("tenants", "create", "acme", "--json", env=env, folder=folder)
    assert made.returncode == 0, made.stderr
    tenant = json.loads(made.stdout)
    listed = json.loads(parley("keys", "list", "--tenant", tenant["id"], "--json", env=env, folder=folder).stdout)
    assert [one["key_shown"] for one in listed] == [_shown(tenant["key"])]
    refused = parley("keys", "create", env=env, folder=folder)
    assert refused.returncode == 1
    assert "there is no tenant yet" in refused.stderr
    with serving(folder) as service, service.client() as client:
        assert client.get("/api/v1/chats", headers={"Authorization": f"Bearer {tenant['key']}"}).json()["data"] == []


def test_keys_are_made_listed_and_rotated_beside_a_running_service(service: Service) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return parley(*arguments, env=service.env, folder=service.folder)

    tenant = json.loads(run("tenants", "create", "acme", "--json").stdout)
    key = run(
        *("keys", "create", "--tenant", "acme", "--scope", "read", "--days", "3", "--tokens-per-day", "7", "--json")
    )
    assert (json.loads(key.stdout)["scopes"], json.loads(key.stdout)["tokens_per_day"]) == ("read", 7)
    listed = json.loads(run("keys", "list", "--tenant", tenant["id"], "--json").stdout)
    assert [one["key_shown"] for one in listed] == [_shown(tenant["key"]), _shown(json.loads(key.stdout)["key"])]
    pair = run("keys", "create", "--tenant", "acme", "--embed").stdout.split()
    rows = json.loads(run("keys", "list", "--tenant", "acme", "--json").stdout)[2:]
    assert [(one["kind"], one["key_shown"][-4:]) for one in rows] == [("api", pair[0][-4:]), ("embed", pair[1][-4:])]
    rotated = run("keys", "rotate", rows[0]["id"], "--tenant", "acme", "--overlap", "0")
    assert len(rotated.stdout.split()) == 2
    assert run("keys", "rotate", rows[0]["id"], "--tenant", "acme").returncode == 1
    with service.client() as client:
        found = [
            client.get("/api/v1/chats", headers={"Authorization": key}).status_code
            for key in (*pair, *rotated.stdout.split())
        ]
        assert found == [401, 401, 200, 403]


def _shown(key: str) -> str:
    return f"{key[:12]}…{key[-4:]}"


def test_doctor_finds_a_running_service_sound(service: Service) -> None:
    done = parley("doctor", "--json", env=service.env, folder=service.folder)
    assert done.returncode == 0, done.stdout + done.stderr
    findings = {one["name"]: one for one in json.loads(done.stdout)}
    assert {
        "settings",
        "disk",
        "database server",
        "extension vector",
        "database role",
        "tenant wall",
    } <= findings.keys()
    assert findings["migrations"]["told"] == "all have run"
    assert "answers (200)" in findings["model scripted@default (chat)"]["told"]


def test_doctor_names_each_fault_with_its_fix(service: Service) -> None:
    env = {
        **service.env,
        "PARLEY_LLM_BASE_URL": "http://127.0.0.1:9/v1",
        "PARLEY_RERANK_BASE_URL": "http://127.0.0.1:9/v1",
        "PARLEY_RERANK_MODEL": "r",
    }
    (service.data_dir / "secret-key").chmod(0o644)
    try:
        done = parley("doctor", env=env, folder=service.folder)
    finally:
        (service.data_dir / "secret-key").chmod(0o600)
    assert done.returncode == 1
    faults = [line for line in done.stdout.splitlines() if line.startswith("FAULT")]
    fixes = [line for line in done.stdout.splitlines() if line.startswith("      fix: ")]
    assert len(faults) == len(fixes) == 3, done.stdout
    assert "chmod 600" in done.stdout
    assert "upstream-secret-canary" not in done.stdout


@pytest.fixture(scope="module")
def outside() -> Iterator[DatabaseServer]:
    """A server that is not ours: its roles and databases are made by the command."""
    from tests.pg import run_server

    with run_server() as server:
        yield server


def test_an_outside_database_is_refused_until_it_is_migrated_and_then_served(
    outside: DatabaseServer, folder: Path, upstream: ScriptedUpstream
) -> None:
    urls = outside.urls("elsewhere")
    env = environment(folder, {"DATABASE_URL": urls.app, "DATABASE_OWNER_URL": outside.admin_url, **scripted(upstream)})
    assert "cannot be used" in parley("serve", env=env, folder=folder).stderr
    migrated = parley("migrate", env=env, folder=folder)
    assert migrated.returncode == 0, migrated.stderr
    del env["PARLEY_DATABASE_OWNER_URL"]
    assert parley("migrate", "--check", env=env, folder=folder).returncode == 0
    refused = parley("migrate", env=env, folder=folder)
    assert (refused.returncode, "PARLEY_DATABASE_OWNER_URL is needed" in refused.stderr) == (2, True)
    with serving(folder, DATABASE_URL=urls.app, **scripted(upstream)) as service, service.client() as client:
        assert client.get("/readyz").status_code == 200
        assert service.lines("serving")[0]["database"] == "the PostgreSQL of PARLEY_DATABASE_URL"

    async def go_back() -> None:
        connection = await asyncpg.connect(
            make_url(urls.superuser).set(drivername="postgresql").render_as_string(False)
        )
        await connection.execute("UPDATE alembic_version SET version_num = 'older'")
        await connection.close()

    run_async(go_back())
    behind = parley("serve", env=env, folder=folder)
    assert behind.returncode == 1
    assert "run `parley migrate`" in behind.stderr
    assert parley("migrate", "--check", env=env, folder=folder).returncode == 1
    doctor = parley("doctor", env=env, folder=folder)
    assert "FAULT migrations" in doctor.stdout


def test_a_role_that_sees_past_the_tenant_wall_is_refused(outside: DatabaseServer, folder: Path) -> None:
    run_async(create_roles(outside.admin_url))
    run_async(create_database(outside.admin_url, "another"))
    for user, fault in (("postgres", "is a superuser"), ("parley_owner", "is an owner")):
        url = outside.urls("another").superuser.replace("postgres@", f"{user}@")
        refused = parley("serve", env=environment(folder, {"DATABASE_URL": url}), folder=folder)
        assert refused.returncode == 1
        assert fault in refused.stderr
        assert APP_ROLE in refused.stderr


def test_a_password_is_never_shown(folder: Path) -> None:
    env = environment(folder, {"DATABASE_URL": "postgresql://parley_app:canary@127.0.0.1:1/parley"})
    for command in (("serve",), ("keys", "list"), ("doctor",)):
        done = parley(*command, env=env, folder=folder)
        assert done.returncode == 1
        assert "127.0.0.1:1" in done.stdout + done.stderr
        assert "canary" not in done.stdout + done.stderr


def test_files_are_ingested_by_a_worker_that_comes_when_it_is_needed(service: Service, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "one.txt").write_text("The otter sleeps on its back.")
    (tmp_path / "more" / "two.md").write_text("# Herons\n\nThe heron stands on one leg.")
    (tmp_path / ".hidden").write_text("no")
    assert "app.serving.worker_process" not in _commands(service)
    arguments = ["ingest", str(tmp_path), "--dataset", "animals", "--url", service.address, "--json"]
    done = parley(*arguments, env=service.env, folder=service.folder)
    assert done.returncode == 0, done.stderr + service.log[-2000:]
    told = json.loads(done.stdout)
    assert {(one["name"], one["run"]) for one in told["documents"]} == {("two.md", "DONE"), ("one.txt", "DONE")}
    assert _commands(service).count("app.serving.worker_process") == 1
    again = parley(*arguments[:-1], "--chat", "Zoo", env=service.env, folder=service.folder)
    assert again.stdout.startswith("2 documents, 2 chunks")
    asked = parley("ask", "Otter?", "--chat", "Zoo", "--url", service.address, env=service.env, folder=service.folder)
    assert asked.returncode == 0, asked.stderr
    assert "one.txt" in asked.stdout + asked.stderr  # its source


def _commands(service: Service) -> str:
    return " ".join(command_of(one) for one in service.family())


def test_ask_prints_the_answer(service: Service) -> None:
    done = parley(
        "ask", 'Well? @@{"text": "Quite well."}', "--url", service.address, env=service.env, folder=service.folder
    )
    assert (done.returncode, done.stdout) == (0, "Quite well.\n"), done.stderr
    arguments = ["ask", "x", "--chat", "No such one", "--url", service.address]
    missing = parley(*arguments, env=service.env, folder=service.folder)
    assert (missing.returncode, missing.stderr) == (1, "parley: there is no assistant called No such one\n")
    nobody = parley("ask", "x", "--url", "http://127.0.0.1:1", env=service.env, folder=service.folder)
    assert (nobody.returncode, "nobody answers" in nobody.stderr) == (1, True)


def test_the_service_runs_from_a_path_with_a_space_and_without_a_home(upstream: ScriptedUpstream) -> None:
    with own_folder() as folder:
        spaced = folder / "a folder"
        spaced.mkdir()
        spaced.chmod(0o755)
        with serving(spaced, **scripted(upstream)) as service, service.client() as client:
            until(lambda: client.get("/readyz").status_code == 200, 5)
            assert client.get("/readyz").json()["status"] == "ready"
