"""The manifest of the contract's promises, checked both ways: every promise has a test, every mark a promise."""

import ast
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

_TESTS = Path(__file__).resolve().parents[1]
_MANIFEST = Path(__file__).resolve().parent


def _promises() -> list[str]:
    found: list[str] = []
    for file in sorted(_MANIFEST.rglob("*.toml")):
        area = file.parent.name
        for promise in tomllib.loads(file.read_text())["promise"]:
            assert promise["text"].strip(), f"{file.name}: {promise['id']} says nothing"
            found.append(f"{area}:{promise['id']}")
    return found


def _marked(file: Path) -> Iterator[str]:
    """Yield the ids of the marks on tests of `file`; a mark anywhere else shows nothing and is refused."""
    tree = ast.parse(file.read_text())
    on_tests = {
        id(mark)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and node.name.lower().startswith("test")
        for mark in node.decorator_list
    }
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "promise"):
            continue
        assert id(node) in on_tests, f"{file}:{node.lineno}: a promise is marked on what is no test"
        for argument in node.args:
            assert isinstance(argument, ast.Constant), f"{file}:{node.lineno}: a promise is named by a literal"
            assert isinstance(argument.value, str)
            yield argument.value


def _all_marks() -> set[str]:
    marks: set[str] = set()
    for file in sorted(_TESTS.rglob("test_*.py")):
        marks.update(mark if ":" in mark else f"knowledge:{mark}" for mark in _marked(file))
    return marks


def test_no_promise_is_listed_twice() -> None:
    assert [promise for promise, times in Counter(_promises()).items() if times > 1] == []


def test_every_promise_has_a_test() -> None:
    assert sorted(set(_promises()) - _all_marks()) == []


def test_every_mark_names_a_promise() -> None:
    assert sorted(_all_marks() - set(_promises())) == []
