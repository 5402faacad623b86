"""Generated calls of everything our own OpenAPI page tells of (design.md 6); `make fuzz` makes many more."""

from pathlib import Path

import pytest

from tests.contract.fuzz import fuzz
from tests.service import parley_serve
from tests.upstream.fixtures import ScriptedUpstream


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_generated_calls_get_answers_of_the_page(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    """No 5xx, and no status, content type or body that the page does not tell of."""
    with parley_serve(tmp_path, upstream) as service:
        assert fuzz(service, examples=4, phases="examples,fuzzing") == 0
