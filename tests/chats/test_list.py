"""Listing assistants: conversations.md 2.5, GET /chats."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, literal_column, select, text, update

from app.db.conversations import chats
from app.db.engine import create_engine
from tests.chats.world import Api, MakeDataset, World, backdate, invalid, missing
from tests.pg import DatabaseUrls

PAGING = invalid("page and page_size must be non-negative integers")
ORDERING = invalid("orderby should be create_time or update_time")


async def three(api: Api, world: World) -> list[str]:
    """Three assistants a, B, c, a day apart, the oldest first; changed last are a, then c, then B."""
    ids: list[str] = []
    for day, name in enumerate(("a", "B", "c")):
        chat = await api.chat(name=name)
        await backdate(world, api, chats, chat["id"], datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=day))
        changed = datetime(2025, 2, "Bca".index(name) + 1, tzinfo=UTC)
        await world.sql(api, update(chats).where(chats.c.id == chat["id"]).values(updated_at=changed))
        ids.append(chat["id"])
    return ids


async def names(api: Api, **query: Any) -> list[str]:
    return [chat["name"] for chat in await api.ok("GET", "/chats", params=query)]


@pytest.mark.promise("conversations:2.5-list", "conversations:2.5-total")
async def test_2_5_the_list_shows_whole_objects(api: Api, make_dataset: MakeDataset) -> None:
    chat = await api.chat(dataset_ids=[await make_dataset(), await make_dataset()])

    answer = await api.raw("GET", "/chats")

    assert answer.json() == {"code": 0, "data": [chat]}
    assert answer.headers["X-Total-Count"] == "1"


@pytest.mark.promise(
    "conversations:2.5-paging",
    "conversations:2.5-order",
    "conversations:2.5-keywords",
    "conversations:2.5-unknown-parameters",
)
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, "cBa"),
        ({"desc": "False"}, "aBc"),
        ({"desc": "false"}, "aBc"),
        ({"desc": "FALSE"}, "cBa"),
        ({"desc": "0"}, "cBa"),
        ({"desc": ""}, "cBa"),
        ({"desc": "True"}, "cBa"),
        ({"orderby": ""}, "cBa"),
        ({"orderby": "create_time"}, "cBa"),
        ({"orderby": "update_time"}, "acB"),
        ({"orderby": "update_time", "desc": "false"}, "Bca"),
        ({"orderby": "name"}, "caB"),
        ({"orderby": "name", "desc": "False"}, "Bac"),
        ({"page": "0", "page_size": "2"}, "cB"),
        ({"page": "1", "page_size": "2"}, "cB"),
        ({"page": "2", "page_size": "2"}, "a"),
        ({"page": "3", "page_size": "2"}, ""),
        ({"page": "9" * 5000}, ""),
        ({"page_size": "0"}, ""),
        ({"page_size": "100000"}, "cBa"),
        ({"page_size": "9" * 5000}, "cBa"),
        ({"name": ""}, "cBa"),
        ({"id": ""}, "cBa"),
        ({"name": "B"}, "B"),
        ({"keywords": "B"}, "B"),
        ({"keywords": "b"}, "B"),
        ({"keywords": "%"}, ""),
        ({"keywords": "x", "name": "a"}, "a"),
        ({"owner_ids": "nobody"}, ""),
        ({"what": "ever", "user": "1"}, "cBa"),
    ],
)
async def test_2_5_query(api: Api, world: World, query: dict[str, str], expected: str) -> None:
    await three(api, world)

    answer = await api.raw("GET", "/chats", params=query)

    assert "".join(chat["name"] for chat in answer.json()["data"]) == expected
    if "owner_ids" not in query and "name" not in query and "keywords" not in query:
        assert answer.headers["X-Total-Count"] == "3"


@pytest.mark.promise("conversations:2.5-keywords", "conversations:2.5-total")
async def test_2_5_keywords_match_parts_and_what_matches_is_counted(api: Api) -> None:
    ferry, ferries, boats = [await api.chat(name=name) for name in ("The Ferry_1", "FERRIES", "Boats%")]

    for keywords, meant in (
        ("erR", {"The Ferry_1", "FERRIES"}),
        ("the", {"The Ferry_1"}),
        ("y_1", {"The Ferry_1"}),
        ("r_i", set[str]()),
        ("s%", {"Boats%"}),
        ("nothing", set[str]()),
    ):
        for size in ("30", "1"):
            answer = await api.raw("GET", "/chats", params={"keywords": keywords, "page_size": size})
            assert {chat["name"] for chat in answer.json()["data"]} <= meant
            assert (answer.headers["X-Total-Count"], len(answer.json()["data"])) == (
                str(len(meant)),
                min(int(size), len(meant)),
            )
    assert await names(api, keywords="boats", id=ferry["id"]) == ["The Ferry_1"]
    assert await names(api, keywords="boats", name="FERRIES") == ["FERRIES"]
    answer = await api.raw("GET", "/chats", params={"id": boats["id"]})
    assert (answer.json()["data"], answer.headers["X-Total-Count"]) == ([boats], "1")
    assert await names(api, id=ferries["id"]) == ["FERRIES"]


@pytest.mark.promise("conversations:2.5-list-refusals")
@pytest.mark.parametrize(
    ("query", "refusal"),
    [
        ({"page": "-1"}, PAGING),
        ({"page": "x"}, PAGING),
        ({"page": ""}, PAGING),
        ({"page": "1.5"}, PAGING),
        ({"page": "１"}, PAGING),
        ({"page_size": "-1"}, PAGING),
        ({"page_size": "ten"}, PAGING),
        ({"page_size": "\x00"}, PAGING),
        ({"orderby": "id"}, ORDERING),
        ({"orderby": "create_time; drop table chats"}, ORDERING),
        ({"orderby": "\x00"}, ORDERING),
        ({"name": "A"}, missing("The chat doesn't exist")),
        ({"name": "\x00"}, missing("The chat doesn't exist")),
        ({"id": "unknown"}, missing("The chat doesn't exist")),
        ({"id": "\x00"}, missing("The chat doesn't exist")),
    ],
)
async def test_2_5_refused_queries(api: Api, world: World, query: dict[str, str], refusal: Any) -> None:
    await three(api, world)

    assert await api.refusal("GET", "/chats", params=query) == refusal


@pytest.mark.promise("conversations:2.5-id-name")
async def test_2_5_id_and_name_must_both_match(api: Api, rival: Api, world: World) -> None:
    a, b, _ = await three(api, world)

    assert await names(api, id=a, name="a") == ["a"]
    assert await names(api, id=a) == ["a"]
    assert await rival.refusal("GET", "/chats", params={"id": a}) == missing("The chat doesn't exist")
    assert await api.refusal("GET", "/chats", params={"id": b, "name": "a"}) == missing("The chat doesn't exist")


@pytest.mark.promise("conversations:2.5-owners")
async def test_2_5_owner_ids_may_be_repeated(api: Api, world: World) -> None:
    await three(api, world)

    assert await names(api, owner_ids=["nobody", api.tenant_id]) == ["c", "B", "a"]
    assert await names(api, owner_ids=[api.tenant_id, "nobody"]) == ["c", "B", "a"]
    assert await names(api, owner_ids=["nobody", "nobody else"]) == []


async def test_2_5_a_list_takes_one_statement_and_another_to_count_what_it_does_not_show(
    api: Api, world: World, make_dataset: MakeDataset
) -> None:
    for _ in range(3):
        await api.chat(dataset_ids=[await make_dataset()])

    with world.recorded() as whole:
        assert len(await names(api)) == 3
    with world.recorded() as part:
        assert len(await names(api, page_size="2")) == 2

    assert (len(whole), len(part)) == (1, 2)


@pytest.mark.parametrize(
    ("method", "path", "body", "count"),
    [
        ("POST", "/chats", {"name": "x"}, 2),  # is the name free, insert
        ("GET", "/chats/{id}", None, 1),
        ("PATCH", "/chats/{id}", {"description": "x"}, 4),  # lock, update, detach, read
        ("DELETE", "/chats/{id}", None, 1),
        ("DELETE", "/chats", {"ids": ["a", "b"]}, 1),
    ],
)
async def test_how_many_statements_a_call_takes(
    api: Api, world: World, method: str, path: str, body: Any, count: int
) -> None:
    chat = await api.chat()

    with world.recorded() as statements:
        await api.raw(method, path.format(id=chat["id"]), json=body)

    assert len(statements) == count, statements


async def copies(api: Api, world: World, count: int) -> None:
    """Make so many assistants, each an hour after the one before."""
    chat = await api.chat()
    moved = [chats.c[name] + text("n * interval '1 hour'") for name in ("created_at", "updated_at")]
    rest = [column.name for column in chats.columns if column.name not in ("id", "name", "created_at", "updated_at")]
    named: tuple[Any, ...] = (literal_column("md5(n::text)"), literal_column("'copy ' || n"))
    copied = (
        select(*named, *moved, *[chats.c[name] for name in rest])
        .select_from(chats, text(f"generate_series(1, {count}) AS n"))
        .where(chats.c.id == chat["id"])
    )
    await world.sql(api, insert(chats).from_select(["id", "name", "created_at", "updated_at", *rest], copied))


@pytest.mark.promise("conversations:2.5-paging")
async def test_2_5_a_page_holds_a_thousand_at_most(api: Api, world: World) -> None:
    await copies(api, world, 1100)

    answer = await api.raw("GET", "/chats", params={"page_size": "100000"})

    assert len(answer.json()["data"]) == 1000
    assert answer.headers["X-Total-Count"] == "1101"
    assert len(await names(api)) == 30
    assert await names(api) == await names(api, page="1", page_size="30")


@pytest.mark.promise("conversations:2.5-fast")
async def test_2_5_a_page_of_many_is_read_from_an_index(api: Api, world: World, fresh_database: DatabaseUrls) -> None:
    """Twenty thousand assistants: no page sorts or reads them all."""
    await copies(api, world, 20_000)
    owner = create_engine(fresh_database.owner, pool_size=1)  # autovacuum would do it in a minute
    async with owner.begin() as connection:
        await connection.execute(text("ANALYZE chats"))
    await owner.dispose()
    asked: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    for query in ({}, {"desc": "false"}, {"orderby": "update_time"}, {"orderby": "name"}, {"name": "copy 77"}):
        asked.clear()
        event.listen(world.engine.sync_engine, "before_cursor_execute", note)
        assert await names(api, **query)
        event.remove(world.engine.sync_engine, "before_cursor_execute", note)
        [(page, values)] = [one for one in asked if "LIMIT" in one[0]]
        async with world.database.unit(api.tenant_id) as unit:
            found = await unit._connection.exec_driver_sql(f"EXPLAIN {page}", values)
            plan = "\n".join(found.scalars())
        outer = plan.split("SubPlan")[0]
        assert "Seq Scan on chats" not in plan, plan
        assert query == {"name": "copy 77"} or "Sort" not in outer, plan
