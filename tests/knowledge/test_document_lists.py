"""Lists of documents: filtered, ordered, paged (knowledge.md 2.4)."""

from typing import Any

import pytest

from app.domain.datasets import RUN_DIGITS
from repositories.documents import ORDERINGS
from tests.chats.world import Api, missing
from tests.knowledge.world import World, make_dataset, parse, shown, upload

FILES = (("One.txt", b"4444"), ("two.md", b"22"), ("three.txt", b"333"))


class Listed:
    """A dataset of three documents that were made a second after one another, and what lists of it show."""

    def __init__(self, api: Api, dataset_id: str, documents: list[Any]) -> None:
        self.api = api
        self.path = f"/datasets/{dataset_id}/documents"
        self.documents = documents

    async def __call__(self, **params: Any) -> tuple[int, list[str]]:
        found = await self.api.ok("GET", self.path, params=params)
        return found["total"], [each["name"] for each in found["docs"]]


@pytest.fixture
async def listed(world: World, api: Api) -> Listed:
    dataset_id = (await make_dataset(api))["id"]
    made = await upload(api, dataset_id, *FILES)
    for number, document in enumerate(made):
        await world.rows(
            api,
            "UPDATE documents SET created_at = to_timestamp(:at) WHERE id = :id RETURNING 1",
            at=1_700_000_000 + number,
            id=document["id"],
        )
    return Listed(api, dataset_id, [await shown(api, dataset_id, document["id"]) for document in made])


@pytest.mark.promise("2.4-filters", "2.4-unknown-id-or-name")
async def test_lists_are_filtered(listed: Listed) -> None:
    """knowledge.md 2.4."""
    all_three = (3, ["three.txt", "two.md", "One.txt"])
    two = listed.documents[1]

    assert await listed(id=two["id"]) == await listed(name="two.md") == (1, ["two.md"])
    assert await listed(id=two["id"], name="two.md") == (1, ["two.md"])
    assert await listed(id=two["id"], name="One.txt") == (0, [])
    assert await listed(id=two["id"], suffix="txt") == (0, [])
    assert await listed(id="", name="", keywords="", odd="x") == all_three
    assert await listed(keywords="O") == (2, ["two.md", "One.txt"])
    assert await listed(keywords="%") == await listed(keywords="t_o") == (0, [])
    assert await listed(suffix=["md", "pdf"]) == (1, ["two.md"])
    assert await listed(suffix=["md", "txt"]) == all_three
    assert await listed(suffix=["m"]) == await listed(suffix=["MD"]) == (0, [])
    assert (await listed.api.ok("GET", listed.path))["docs"][0]["title"] is None


@pytest.mark.promise("2.4-filters")
async def test_lists_are_filtered_by_run_state(world: World, listed: Listed) -> None:
    """By word, by digit, or both at once."""
    one, two, three = (document["id"] for document in listed.documents)
    assert await listed(run=["0", "DONE", "odd"]) == (3, ["three.txt", "two.md", "One.txt"])
    states = dict(zip("01234", ("UNSTART", "RUNNING", "CANCEL", "DONE", "FAIL"), strict=True))
    for digit, word in states.items():
        other = "FAIL" if word == "UNSTART" else "UNSTART"
        for document_id, run in ((one, word), (two, other), (three, other)):
            await world.rows(
                listed.api, "UPDATE documents SET run = :run WHERE id = :id RETURNING 1", run=run, id=document_id
            )
        assert await listed(run=digit) == await listed(run=word) == (1, ["One.txt"])
        assert await listed(run=[digit, other]) == (3, ["three.txt", "two.md", "One.txt"])
        assert await listed(run=["odd", word.lower(), "5"]) == (0, [])
    assert states == RUN_DIGITS


@pytest.mark.promise("2.4-order")
async def test_lists_are_ordered(world: World, listed: Listed) -> None:
    ascending, descending = ["One.txt", "two.md", "three.txt"], ["three.txt", "two.md", "One.txt"]

    for anything in ("true", "x", "0", "no", ""):
        assert await listed(desc=anything) == (3, descending)
    for false in ("false", " False ", "FALSE"):
        assert await listed(desc=false) == (3, ascending)
    assert await listed(orderby="size") == (3, ["One.txt", "three.txt", "two.md"])
    assert await listed(orderby="name", desc="false") == (3, ["One.txt", "three.txt", "two.md"])
    # now everything that has an order has this one, whatever was made first
    for number, name in enumerate(("two.md", "One.txt", "three.txt")):
        await world.rows(
            listed.api,
            """
            UPDATE documents SET updated_at = to_timestamp(n), size_bytes = n, chunk_count = n, token_count = n,
                progress = n / 10.0, process_begin_at = to_timestamp(n), process_duration_s = n, type = 'x' || n,
                suffix = 'x' || n, run = (ARRAY['CANCEL', 'DONE', 'FAIL'])[n + 1]
            FROM (SELECT CAST(:number AS int) AS n) AS its WHERE name = :name RETURNING 1
            """,
            number=number,
            name=name,
        )
    others = set(ORDERINGS) - {"create_time", "create_date", "name"}
    for name in others:
        assert await listed(orderby=name, desc="false") == (3, ["two.md", "One.txt", "three.txt"]), name
    assert {"create_time", "update_time", "name", "size"} <= set(ORDERINGS)


@pytest.mark.promise("2.4-paging", "2.4-total-ignores-times", "2.4-filters")
async def test_lists_are_paged_and_times_filter_before_that(world: World, listed: Listed) -> None:
    one, two, three = (document["create_time"] for document in listed.documents)
    assert [two - one, three - two] == [1000, 1000]

    assert await listed(page=1, page_size=2) == await listed(page=0, page_size=2) == (3, ["three.txt", "two.md"])
    assert await listed(page=2, page_size=2) == (3, ["One.txt"])
    assert await listed(page=3, page_size=2) == await listed(page=10**30) == (3, [])
    assert await listed(page_size=0) == await listed(page=0, page_size=0) == (3, [])
    assert await listed(create_time_from=two) == (3, ["three.txt", "two.md"])
    assert await listed(create_time_from=two + 1) == (3, ["three.txt"])
    assert await listed(create_time_to=two) == (3, ["two.md", "One.txt"])
    assert await listed(create_time_to=two - 1) == (3, ["One.txt"])
    assert await listed(create_time_from=two, create_time_to=two) == (3, ["two.md"])
    assert await listed(create_time_from=0, create_time_to=0) == (3, ["three.txt", "two.md", "One.txt"])
    assert await listed(create_time_to=one, page_size=1) == (3, ["One.txt"]), "filtered before the page is cut"
    assert await listed(create_time_to=two, page_size=1, page=2) == (3, ["One.txt"])
    await world.rows(
        listed.api,
        """
        INSERT INTO documents (tenant_id, id, dataset_id, name, location, blob_key, type, suffix, size_bytes,
            chunk_method, parser_config)
        SELECT tenant_id, id || n, dataset_id, n || name, n || name, blob_key, type, suffix, size_bytes, chunk_method,
            parser_config FROM documents, generate_series(1, 30) AS n WHERE name = 'One.txt' RETURNING 1
        """,
    )
    total, names = await listed()
    assert (total, len(names)) == (33, 30)


ODD: list[tuple[dict[str, Any], tuple[int, int, str] | None]] = [
    ({"id": "nope"}, missing("You don't own the document nope.")),
    ({"name": "one.txt"}, missing("You don't own the document one.txt.")),
    ({"name": "\x00"}, missing("You don't own the document \ufffd.")),
    ({"name": "theirs.txt"}, missing("You don't own the document theirs.txt.")),
    ({"name": "nope", "run": "odd", "create_time_to": "1"}, missing("You don't own the document nope.")),
    ({"orderby": "blob_key; --"}, None),
    ({"orderby": ""}, None),
    ({"page": "x"}, None),
    ({"page": "1.5"}, None),
    ({"page_size": "x"}, None),
    ({"page_size": ""}, None),
    ({"create_time_from": "x"}, None),
    ({"create_time_to": "x"}, None),
]


@pytest.mark.promise("2.4-unknown-id-or-name", "2.4-orderby", "2.4-numbers")
async def test_odd_lists_are_told_what_is_wrong(api: Api) -> None:
    """knowledge.md 2.4."""
    dataset, other = await make_dataset(api), await make_dataset(api)
    await upload(api, dataset["id"], ("One.txt", b"1"))
    [theirs] = await upload(api, other["id"], ("theirs.txt", b"1"))
    path = f"/datasets/{dataset['id']}/documents"
    for params, refusal in ODD:
        found = await api.refusal("GET", path, params=params)
        assert found == refusal if refusal else found[:2] == (400, 102), params
    unknown = missing(f"You don't own the document {theirs['id']}.")
    assert await api.refusal("GET", path, params={"id": theirs["id"]}) == unknown


@pytest.mark.promise("2.4-access")
async def test_an_unknown_datasets_documents_are_missing(api: Api, rival: Api) -> None:
    """knowledge.md 2.4: the trailing blank is literal."""
    assert await api.refusal("GET", "/datasets/nope/documents") == missing("You don't own the dataset nope. ")
    theirs = (await make_dataset(api))["id"]
    assert await rival.refusal("GET", f"/datasets/{theirs}/documents") == missing(
        f"You don't own the dataset {theirs}. "
    )


@pytest.mark.promise("2.8-queue")
async def test_a_document_that_waits_tells_how_many_are_before_it(world: World, api: Api) -> None:
    """knowledge.md 2.8: before any log."""
    dataset_id, other_id = (await make_dataset(api))["id"], (await make_dataset(api))["id"]
    a, b, c = await upload(api, dataset_id, ("a.txt", b"x"), ("b.txt", b"x"), ("c.txt", b"x"))
    [first] = await upload(api, other_id, ("first.txt", b"x"))
    await parse(api, other_id, first["id"])
    for document in (b, a, c):
        await parse(api, dataset_id, document["id"])

    async def told() -> list[str]:
        return [(await shown(api, dataset_id, each["id"]))["progress_msg"] for each in (b, a, c)]

    assert await told() == [f"{number} tasks are ahead in the queue..." for number in (1, 2, 3)]
    await api.ok("DELETE", f"/datasets/{other_id}/documents")
    assert await told() == [
        "Task is queued...", "1 tasks are ahead in the queue...", "2 tasks are ahead in the queue...",
    ]  # fmt: skip
    await world.work()
    assert all("queue" not in line for line in await told())


async def test_lists_of_documents_cost_the_same_however_many_there_are(world: World, api: Api) -> None:
    """No query per row, and no content is read."""
    dataset = await make_dataset(api)
    path = f"/datasets/{dataset['id']}/documents"
    await upload(api, dataset["id"], ("a.txt", b"1"))
    await api.ok("GET", path)
    with world.queries() as one:
        await api.ok("GET", path)
    await upload(api, dataset["id"], *[(f"{number}.txt", b"1") for number in range(5)])
    with world.queries() as many:
        await api.ok("GET", path)

    # the key may be looked up again in between: that is not of the list
    listed = [[each for each in seen if "api_keys" not in each] for seen in (one, many)]
    assert len(listed[0]) == len(listed[1]) <= 4
    assert not any("chunks " in statement or "sections" in statement for statement in many)
