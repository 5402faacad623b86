"""The compose file cannot be run here, so what it says is checked: commands, settings, secrets, health, hardening."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are not in the lock

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("migrate", "api", "worker")


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("api", ["parley", "serve", "--workers", "${PARLEY_WORKERS:-1}"]),
        ("worker", ["parley", "worker"]),
        ("migrate", ["parley", "migrate"]),
    ],
)
def test_each_role_is_a_command_of_the_one_program(name: str, command: list[str]) -> None:
    assert SERVICES[name]["command"] == command


@pytest.mark.parametrize("name", OURS)
def test_our_services_run_one_image_unprivileged_on_a_read_only_root(name: str) -> None:
    service = SERVICES[name]
    assert service["image"] == SERVICES["api"]["image"]
    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert any(mount.startswith("/tmp") for mount in service["tmpfs"])  # noqa: S108  a mount point in the container


@pytest.mark.parametrize("name", ["api", "worker"])
def test_nothing_serves_before_the_migrations_have_run(name: str) -> None:
    assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def test_only_the_migrations_know_the_owner() -> None:
    holders = {name for name in OURS if "PARLEY_DATABASE_OWNER_URL" in SERVICES[name]["environment"]}
    assert holders == {"migrate"}
    assert all("//parley_app:" in SERVICES[name]["environment"]["PARLEY_DATABASE_URL"] for name in OURS)


@pytest.mark.parametrize("name", ["api", "postgres", "worker", "valkey"])
def test_long_running_services_have_a_health_check_without_curl(name: str) -> None:
    test = SERVICES[name]["healthcheck"]["test"]
    assert test[0] == "CMD"
    assert "curl" not in " ".join(test)


def test_the_api_is_healthy_when_it_is_ready() -> None:
    test = SERVICES["api"]["healthcheck"]["test"]
    assert test[1] == "python"
    assert "http://127.0.0.1:9380/readyz" in test[3]
    compile(test[3], "healthcheck", "exec")


def test_every_secret_must_be_given() -> None:
    secrets = re.findall(r"\$\{(\w*(?:PASSWORD|SECRET_KEY)|PARLEY_API_KEY)([^}]*)\}", TEXT)
    assert {name for name, _ in secrets} == {
        "POSTGRES_OWNER_PASSWORD",
        "POSTGRES_APP_PASSWORD",
        "PARLEY_SECRET_KEY",
        "PARLEY_API_KEY",
    }
    assert all(rest == f":?set {name}" for name, rest in secrets)


@pytest.mark.parametrize("name", OURS)
def test_every_setting_it_names_is_one_of_the_service(name: str) -> None:
    settings = pytest.importorskip("app.settings", reason="app/settings.py is not there yet")
    known = {f"PARLEY_{field}".upper() for field in settings.Settings.model_fields}
    assert set(SERVICES[name]["environment"]) <= known


def test_optional_parts_wait_for_their_profile() -> None:
    assert {name for name, service in SERVICES.items() if "profiles" in service} == {"valkey", "model"}


def test_the_image_is_built_from_the_lock_and_runs_as_an_ordinary_user() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "--require-hashes --no-deps -r requirements.lock" in dockerfile
    assert "USER 10001:10001" in dockerfile
    assert "http://127.0.0.1:9380/livez" in dockerfile
    assert 'CMD ["parley", "serve"]' in dockerfile
