"""Clusters of known graphs, and reports however they are written (knowledge.md 5.11)."""

import random
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.graph import Entity, Relation
from app.ingest.graph.communities import louvain, read_report, reported, worth_a_report
from tests.ingest.graph_models import asker


def _clique(names: str) -> dict[tuple[str, str], float]:
    return dict.fromkeys(combinations(sorted(names), 2), 1.0)


@pytest.mark.promise("5.11-communities")
def test_cliques_with_a_bridge_are_two_communities() -> None:
    weights = _clique("abcd") | _clique("efgh") | {("d", "e"): 1.0}

    assert louvain("abcdefgh", weights) == [list("abcd"), list("efgh")]


@pytest.mark.promise("5.11-communities")
def test_weights_decide_where_a_node_belongs() -> None:
    weights = _clique("abc") | _clique("xyz") | {("b", "m"): 1.0, ("m", "y"): 2.0}

    assert louvain("abcxyzm", weights) == [list("abc"), list("mxyz")]


@pytest.mark.promise("5.11-communities")
def test_a_ring_of_cliques_is_found_over_two_levels() -> None:
    groups = ["".join(chr(65 + 5 * at + each) for each in range(5)) for at in range(8)]
    weights: dict[tuple[str, str], float] = {}
    for group in groups:
        weights |= _clique(group)
    for at, group in enumerate(groups):
        one, other = sorted((group[4], groups[(at + 1) % 8][0]))
        weights[one, other] = 1.0

    assert louvain([name for group in groups for name in group], weights) == [list(group) for group in groups]


@pytest.mark.promise("5.11-communities", "5.11-merge-any-order")
def test_communities_do_not_depend_on_the_order_of_names() -> None:
    rng = random.Random(3)  # noqa: S311 (no secret)
    names = [f"n{number}" for number in range(80)]
    weights = {tuple(sorted(rng.sample(names, 2))): rng.random() for _ in range(200)}
    pairs = {(one, other): weight for (one, other), weight in weights.items()}

    found = louvain(names, pairs)

    assert louvain(names[::-1], dict(reversed(pairs.items()))) == found
    assert sorted(name for group in found for name in group) == sorted(names)


def test_loners_are_not_reported_on_and_the_highest_ranked_come_first() -> None:
    groups = [["a", "b"], ["c"], ["d", "e"]]

    assert worth_a_report(groups, {"a": 0.1, "b": 0.1, "c": 0.5, "d": 0.2, "e": 0.1}) == [["d", "e"], ["a", "b"]]


@pytest.mark.promise("5.11-communities")
async def test_a_community_has_title_report_findings_and_weight_of_the_model() -> None:
    entities = [
        Entity(name="ADA", type="person", description="Wrote."),
        Entity(name="BOB", type="person", description=""),
    ]
    model = asker()

    community = await reported(model, entities, [Relation(source="ADA", target="BOB", description="met, once")])

    assert (community.title, community.report) == ("The engine people", "They built it.")
    assert (community.findings, community.weight) == (["It ran."], 7.0)
    assert community.entities == ["ADA", "BOB"]
    asked = model.asked[0][0].content
    assert "ADA,person,Wrote.\n" in asked
    assert 'ADA,BOB,"met, once"\n' in asked


@given(
    st.text()
    | st.sampled_from(["{", "{}", "[1]", '{"title": 3, "rating": "x", "findings": {}}', '{"rating": NaN}', "{" * 5000])
)
@pytest.mark.promise("5.11-communities")
def test_no_answer_breaks_a_report(answer: str) -> None:
    community = read_report(answer, ["ADA", "BOB"])

    assert 0 <= community.weight <= 10
    assert community.title
    assert community.entities == ["ADA", "BOB"]


def test_findings_are_objects_or_texts() -> None:
    told = '{"findings": [{"summary": "A", "explanation": "because"}, "B", 3, {}], "rating": 99}'

    community = read_report(told, ["X"])

    assert (community.findings, community.weight) == (["A: because", "B"], 10.0)
