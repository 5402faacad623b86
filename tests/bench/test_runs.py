"""Each run in its tiniest form, as a person would start it: it ends well, and its JSON has what is promised."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from bench.__main__ import main

KEYS = {"name", "machine", "settings", "figures", "goals", "places", "notes", "problems", "details"}


def run(what: str, folder: Path, *more: str) -> dict[str, Any]:
    """Run `python -m bench <what> --tiny` and return its report."""
    status = main([what, "--tiny", "--results", str(folder), "--json", str(folder / "all.json"), *more])
    whole: dict[str, dict[str, Any]] = orjson.loads((folder / "all.json").read_bytes())
    report = whole[what]
    assert report["problems"] == [], report["details"].get("service_said")
    assert status == 0
    assert report == orjson.loads((folder / f"{what}.json").read_bytes())
    assert report.keys() >= KEYS
    assert {"cpu", "cores", "python", "packages"} <= report["machine"].keys()
    return report


def names(report: dict[str, Any]) -> set[str]:
    for figure in report["figures"]:
        assert figure["unit"], figure
        assert figure["runs"] >= 1, figure
    return {figure["name"] for figure in report["figures"]}


@pytest.mark.slow
def test_overhead_measures_upstream_relay_and_service(tmp_path: Path) -> None:
    report = run("overhead", tmp_path)

    assert names(report) >= {
        f"{what}, {name}{word}"
        for name in ("upstream", "relay", "service", "session")
        for what, word in (
            ("first token, 1 stream", " p50"),
            ("first token, 4 streams", " p99"),
            ("token events, 16 a stream", ""),
            ("short answers", ""),
        )
    }
    assert names(report) >= {
        "added to first token, 4 streams, service p50",
        "token events, 16 a stream, service / relay",
    }
    assert {place["what"] for place in report["places"]} == {"upstream and load", "relay", "service", "Postgres"}
    details = report["details"]
    assert details["turns_read_back_after_kill"] > 20
    assert details["turns_not_done"] == 0
    assert set(details["cores_busy"]["short answers"]["service"]) >= {"server", "postgres", "upstream_and_load"}


@pytest.mark.slow
def test_memory_measures_every_process_idle_open_and_closed(tmp_path: Path) -> None:
    report = run("memory", tmp_path)

    moments = ("idle", "after a first stream", "streams open", "streams closed")
    assert names(report) >= {f"{moment}, {of}, PSS" for moment in moments for of in ("service", "Postgres")}
    assert names(report) >= {"service per open stream, PSS", "service after closing, more than before, PSS"}
    processes = report["details"]["processes"]["idle"]
    assert any(one["role"].startswith("parley") and one["rss_mib"] > one["pss_mib"] > 20 for one in processes)
    assert [goal["figure"] for goal in report["goals"]] == ["idle, service and Postgres, PSS"]


@pytest.mark.slow
def test_start_measures_cold_warm_and_after_a_kill(tmp_path: Path) -> None:
    report = run("start", tmp_path)

    assert names(report) == {"cold start", "stop", "warm start", "start after kill -9"}
    assert all(0 < figure["value"] < 60 for figure in report["figures"])


@pytest.mark.slow
def test_limits_measures_calls_with_and_without(tmp_path: Path) -> None:
    report = run("limits", tmp_path)

    sorts = ("no key", "key", "key and limits")
    assert names(report) >= {f"call, {name}, {word}" for name in sorts for word in ("p50", "p99")}
    assert names(report) >= {"key and limits, p50", "limits alone, p50", "calls at once, key and limits"}
    passed = "calls let through with a budget of 100"
    assert [goal["figure"] for goal in report["goals"]] == ["key and limits, p50", passed]
    assert report["goals"][1]["value"] == 100
    assert report["details"]["burst"] == {"statuses": {"400": 100, "429": 50}, "processes": 2}


def test_what_is_not_a_run_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["sideways"])

    assert refused.value.code == 2
    assert "sideways" in capsys.readouterr().err


@pytest.mark.slow
def test_passthrough_measures_upstream_raw_and_assistant(tmp_path: Path) -> None:
    assert names(run("passthrough", tmp_path)) >= {
        f"{what}, {name}{word}"
        for name in ("upstream", "raw", "assistant")
        for what, word in (
            ("first token, 1 stream", " p50"),
            ("first token, 4 streams", " p99"),
            ("token events, 16 a stream", ""),
            ("token events, 16 a stream per processor second", ""),
        )
    }


@pytest.mark.slow
def test_sessions_measures_lists_searches_and_long_sessions(tmp_path: Path) -> None:
    report = run("sessions", tmp_path, "--data-dir", str(tmp_path))

    assert names(report) >= {
        f"{what}, {word}"
        for what in ("first page", "last page", "keywords, rare", "last messages of a long session")
        for word in ("p50", "p99")
    }
