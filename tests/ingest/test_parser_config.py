from app.ingest.parser_config import RAPTOR_PROMPT, default_config, merge, merge_on_create


def test_naive_stores_exactly_these_keys_when_nothing_was_sent() -> None:
    config = default_config("naive")
    assert sorted(config) == [
        "auto_keywords", "auto_questions", "chunk_token_num", "delimiter", "graphrag", "html4excel",
        "layout_recognize", "raptor", "topn_tags",
    ]  # fmt: skip
    assert (config["topn_tags"], config["delimiter"], config["raptor"]["use_raptor"]) == (3, "\n", True)
    assert sorted(config["raptor"]) == ["max_cluster", "max_token", "prompt", "random_seed", "threshold", "use_raptor"]
    assert sorted(config["graphrag"]) == ["entity_types", "method", "use_graphrag"]


def test_an_empty_object_counts_as_nothing_sent() -> None:
    assert merge_on_create("naive", {}) == merge_on_create("naive", None) == default_config("naive")


def test_other_methods_have_their_own_defaults() -> None:
    assert default_config("qa") == {"raptor": {"use_raptor": False}, "graphrag": {"use_graphrag": False}}
    assert default_config("table") == {}
    assert default_config("knowledge_graph")["chunk_token_num"] == 8192


def test_what_was_sent_wins_over_the_schema_which_wins_over_the_method() -> None:
    config = merge_on_create("naive", {"chunk_token_num": 64, "raptor": {"threshold": 0.5}})
    assert config["chunk_token_num"] == 64
    assert config["topn_tags"] == 1
    assert config["delimiter"] == "\\n!"
    assert config["raptor"] == {
        "use_raptor": False, "prompt": RAPTOR_PROMPT, "max_token": 256, "threshold": 0.5, "max_cluster": 64,
        "random_seed": 0,
    }  # fmt: skip


def test_merging_changes_neither_side_and_shares_nothing() -> None:
    below = {"a": {"b": [1]}, "c": 1}
    merged = merge(below, {"a": {"d": 2}})
    merged["a"]["b"].append(2)
    default_config("naive")["raptor"]["threshold"] = 9
    assert below == {"a": {"b": [1]}, "c": 1}
    assert default_config("naive")["raptor"]["threshold"] == 0.1


def test_the_raptor_prompt_has_its_place() -> None:
    assert "{cluster_content}" in RAPTOR_PROMPT
