"""PageRank against what is known of small graphs (knowledge.md 5.11)."""

import random
from itertools import pairwise

import numpy as np
import pytest

from app.ingest.graph.pagerank import pageranks


@pytest.mark.promise("5.11-pagerank")
def test_a_star_has_the_ranks_of_the_formula() -> None:
    """Centre c and n leaves: l = 0.15/(n+1) + 0.85·c/n, and c + n·l = 1."""
    leaves = ["1", "2", "3", "4"]
    centre = (0.15 / 5 + 0.85) / 1.85

    ranks = pageranks(["c", *leaves], {(leaf, "c"): 1.0 for leaf in leaves})

    assert ranks["c"] == pytest.approx(centre, abs=1e-9)
    assert [ranks[leaf] for leaf in leaves] == pytest.approx([(1 - centre) / 4] * 4, abs=1e-9)


@pytest.mark.promise("5.11-pagerank")
def test_a_weighted_graph_with_a_loner_has_the_ranks_of_the_linear_system() -> None:
    names = ["a", "b", "c", "d", "alone"]
    weights = {("a", "b"): 3.0, ("a", "c"): 1.0, ("b", "c"): 0.5, ("c", "d"): 2.0}
    links = np.zeros((5, 5))
    for (one, other), weight in weights.items():
        links[names.index(one), names.index(other)] = links[names.index(other), names.index(one)] = weight
    columns = links.sum(axis=0)
    steps = np.where(columns > 0, links / np.where(columns > 0, columns, 1), 1 / 5)
    exact = np.linalg.solve(np.eye(5) - 0.85 * steps, np.full(5, 0.15 / 5))

    ranks = pageranks(names, weights)

    assert [ranks[name] for name in names] == pytest.approx(exact.tolist(), abs=1e-8)
    assert sum(ranks.values()) == pytest.approx(1)


@pytest.mark.promise("5.11-pagerank", "5.11-merge-any-order")
def test_ranks_do_not_depend_on_any_order() -> None:
    names = [str(number) for number in range(50)]
    pairs = {pair: 1.0 + at for at, pair in enumerate(pairwise(sorted(names)))}
    shuffled = random.Random(1).sample(names, 50)  # noqa: S311 (no secret)

    assert pageranks(shuffled, dict(reversed(pairs.items()))) == pageranks(names, pairs)


def test_no_graph_has_no_ranks() -> None:
    assert pageranks([], {}) == {}


def test_things_without_relations_are_equal() -> None:
    assert pageranks(["a", "b"], {}) == pytest.approx({"a": 0.5, "b": 0.5})
