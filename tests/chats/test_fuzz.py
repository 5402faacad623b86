"""Random bodies on every route: any answer but a 500 (design.md 6)."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.services.chat_fields import COLUMNS, STORED_NAMES
from app.services.chat_readers import LLM_SETTING
from tests.chats.test_bodies import ROUTES
from tests.chats.world import Api

PLAIN = ("name", "avatar", "icon", "description", "language", "do_refer", "show_quotation", "tenant_id", "user_id")
NESTED = ("dataset_ids", "llm", "llm_id", "llm_setting", "prompt", "prompt_config", "meta_data_filter", "ids")
INNER = ("model_name", "system", "empty_response", "tts", "cross_languages", "reasoning", "tavily_api_key", "optional")
WORDS = (*PLAIN, *NESTED, *INNER, "delete_all", "key", "knowledge", *COLUMNS, *LLM_SETTING)
KEYS = st.sampled_from([*WORDS, *STORED_NAMES, *STORED_NAMES.values()]) | st.text(max_size=5)
LEAVES = (  # surrogates and NUL among the texts, integers of any size, NaN
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=300)
    | st.sampled_from(["gpt-4o", "ranker", "***", "{a}", "{knowledge}"])
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
BODIES = st.dictionaries(KEYS, VALUES, max_size=6)


async def test_no_body_makes_a_500(api: Api) -> None:
    chat = (await api.chat(name="fuzzed"))["id"]
    session = (await api.session(chat))["id"]
    bodies: list[dict[str, Any]] = []

    @settings(
        max_examples=150,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(BODIES)
    def collect(body: dict[str, Any]) -> None:
        bodies.append(body)

    collect()
    for body in bodies:
        content = json.dumps(body)  # NaN, lone surrogates and all
        for method, path in ROUTES:
            at = path.format(chat=chat, session=session)
            if method == "DELETE" and not body.get("ids"):
                continue  # it would delete everything
            answer = await api.raw(method, at, content=content, headers={"Content-Type": "application/json"})
            assert answer.status_code in (200, 400, 404), (method, path, body, answer.text)
            assert answer.json()["code"] in (0, 102, 105)
    assert (await api.raw("GET", f"/chats/{chat}")).status_code == 200
    assert (await api.raw("GET", f"/chats/{chat}/sessions")).status_code == 200
