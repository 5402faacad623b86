"""The page at /docs (operations.md 4)."""

import re

from app.main import describe
from app.wire.reference_page import reference_page


def test_every_documented_route_is_on_the_page_and_nothing_is_loaded_from_elsewhere() -> None:
    schema = describe()
    page = reference_page(schema)
    paths = schema["paths"]
    assert isinstance(paths, dict)
    assert all(f"<code>{path}</code>" in page for path in paths)
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", page)


def test_texts_of_the_schema_are_escaped() -> None:
    operation = {"summary": "<script>alert(1)</script>", "responses": {}}
    page = reference_page({"info": {"title": "<b>", "version": "1"}, "paths": {"/x": {"get": operation}}})
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page
