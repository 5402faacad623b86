"""Query keys as official clients write them (openai.md 1.1)."""

import pytest
from starlette.requests import Request

from routers.v1.bodies import query_map, query_values


@pytest.mark.promise("openai:1.1-brackets")
def test_arrays_and_maps_in_a_query() -> None:
    query = b"include%5B%5D=a&include%5B%5D=b&include=c&metadata[topic]=x&metadata%5Bof%20it%5D=%C3%BC&after=z"
    request = Request({"type": "http", "method": "GET", "path": "/", "query_string": query, "headers": []})
    assert query_values(request, "include") == ["a", "b", "c"]
    assert query_map(request, "metadata") == {"topic": "x", "of it": "ü"}
    assert query_values(request, "order") == []
