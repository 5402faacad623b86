"""Every setting has its row in docs/settings.md, with its default and the words of the code."""

import re
from pathlib import Path

import pytest

from app.settings import PREFIX, Settings

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "settings.md").read_text()
ROWS = {
    name: (default, meaning)
    for name, default, meaning in re.findall(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", DOCUMENT, re.M)
}


def test_every_setting_has_a_row_and_every_row_a_setting() -> None:
    assert list(ROWS) == [PREFIX + name.upper() for name in Settings.model_fields]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_row_says_what_the_code_says(name: str) -> None:
    field = Settings.model_fields[name]
    default, meaning = ROWS[PREFIX + name.upper()]
    assert meaning == field.description
    match field.default:
        case None | ():
            assert default == "–"
        case bool(value):
            assert default == str(value).lower()
        case float(value):
            assert default == f"{value:g} s"
        case value:
            assert default.strip("`").split(" ")[0] == str(value)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"PARLEY_[A-Z_]+", DOCUMENT)) - {PREFIX}))
def test_no_setting_is_named_that_does_not_exist(name: str) -> None:
    assert name.removeprefix(PREFIX).lower() in Settings.model_fields
