"""The embedded PostgreSQL is given memory by the size of the machine, or of the container it is in."""

from pathlib import Path

import pytest

from app.db.embedded_memory import memory_settings


@pytest.mark.parametrize(
    ("limit", "buffers", "cache"),
    [(str(512 << 20), "64MB", "256MB"), (str(4 << 30), "256MB", "2048MB")],
)
def test_a_container_counts_and_not_its_machine(tmp_path: Path, limit: str, buffers: str, cache: str) -> None:
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    assert memory_settings(tmp_path / "memory.max") == {"shared_buffers": buffers, "effective_cache_size": cache}


def test_without_a_limit_the_machine_counts(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_settings(tmp_path / "memory.max") == memory_settings(tmp_path / "none")
    assert 64 <= int(memory_settings(tmp_path / "none")["shared_buffers"].removesuffix("MB")) <= 1024
