"""One real run: keywords and a summary by the embedded chat model, which may say what it likes."""

from pathlib import Path
from typing import Any

import pytest

from app.llm.catalogue import ModelCatalogue
from app.llm.embedded_chat import EmbeddedChatModel, EmbeddedServer
from app.llm.entries import ModelEntry
from app.llm.tokens import ApproximateTokenCounter
from app.net.http import HttpClient, HttpConfig
from tests.chats.world import Api
from tests.knowledge.speaking import TALKER, talker, work_until_idle, world
from tests.knowledge.world import ENTRIES, World, api, assert_exact_counters, make_dataset, parsed

__all__ = ["api", "talker", "world"]

TEXT = b"""The tool library lends drills, saws and ladders for seven days; a late return costs two euros a day.
Members of the bicycle workshop repair their own bikes on Tuesdays with the help of volunteers."""


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.promise("5.10-keywords", "5.11-raptor-usage")
async def test_a_document_is_enriched_and_summarised_by_the_model_that_comes_with_the_service(
    world: World, api: Api, talker: object, tmp_path: Path
) -> None:
    async with HttpClient(HttpConfig()) as http:
        server = EmbeddedServer(tmp_path, http)
        chat: Any = EmbeddedChatModel(server, http, ApproximateTokenCounter())

        def built(entry: ModelEntry) -> Any:
            return chat if entry is TALKER else world.models[entry.name]

        world.catalogue = ModelCatalogue([*ENTRIES, TALKER], chat=built, embedding=built, rerank=built)
        try:
            config = {"chunk_token_num": 8, "delimiter": "\n", "auto_keywords": 3}
            dataset = await make_dataset(api, parser_config=config)
            (document,) = await parsed(world, api, dataset["id"], ("club.txt", TEXT))
            await api.ok("POST", f"/datasets/{dataset['id']}/run_raptor")
            await work_until_idle(world)
        finally:
            await server.aclose()
    assert document["run"] == "DONE", document["progress_msg"]
    task = await api.ok("GET", f"/datasets/{dataset['id']}/trace_raptor")
    assert task["progress"] == 1, task["progress_msg"]
    assert "nothing to say" not in task["progress_msg"], task["progress_msg"]
    rows = await world.rows(api, "SELECT layer, content, important_keywords, questions FROM chunks ORDER BY ordinal")
    assert [row.layer for row in rows] in ([0, 0, 1], [0, 0])  # so small a model may repeat a chunk word by word
    assert all(len(row.important_keywords) <= 3 for row in rows)
    usage = await world.rows(
        api,
        "SELECT purpose, count(*) AS n, min(completion_tokens) AS least FROM usage_ledger "
        "WHERE kind = 'chat' GROUP BY 1",
    )
    assert {row.purpose: row.n for row in usage} == {"keywords": 2, "raptor": 1}
    assert all(row.least > 0 for row in usage)
    await assert_exact_counters(world, api)
