"""Clusters of vectors: the same every time, few, and where the data has them (knowledge.md 5.11)."""

import numpy as np
import pytest

from app.ingest.raptor.clustering import best_mixture, clusters, fit, reduced


def blobs(sizes: list[int], *, dimensions: int = 64, spread: float = 0.05, seed: int = 7) -> np.ndarray:
    random = np.random.default_rng(seed)
    centres = random.normal(size=(len(sizes), dimensions))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    parts = [
        centre + spread * random.normal(size=(size, dimensions)) for centre, size in zip(centres, sizes, strict=True)
    ]
    return np.concatenate(parts)


@pytest.mark.promise("5.11-clusters-by-bic")
def test_groups_that_are_apart_are_found() -> None:
    found = clusters(blobs([12, 20, 8]), most=64, threshold=0.1, seed=0)
    assert sorted(map(sorted, found)) == [list(range(12)), list(range(12, 32)), list(range(32, 40))]


@pytest.mark.promise("5.11-clusters-by-bic")
@pytest.mark.parametrize(("spread", "components"), [(0.05, 3), (0.1, 4), (0.15, 1)])
def test_the_number_of_components_is_that_of_the_lowest_bic(spread: float, components: int) -> None:
    points = reduced(blobs([12, 20, 8], spread=spread))
    lowest = min(range(1, 13), key=lambda count: fit(points, count, seed=0).bic)
    assert len(best_mixture(points, most=12, seed=0).weights) == lowest == components


@pytest.mark.promise("5.11-seed")
def test_the_same_vectors_and_seed_give_the_same_clusters() -> None:
    vectors = np.random.default_rng(3).normal(size=(80, 384))
    assert clusters(vectors, most=64, threshold=0.1, seed=5) == clusters(vectors, most=64, threshold=0.1, seed=5)


@pytest.mark.promise("5.11-layer-shrinks")
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 12, 13, 14, 40])
@pytest.mark.parametrize("most", [1, 2, 64])
@pytest.mark.parametrize("kind", ["noise", "same", "zero", "pairs"])
def test_every_vector_is_in_one_cluster_and_there_are_fewer_clusters_than_vectors(
    count: int, most: int, kind: str
) -> None:
    random = np.random.default_rng(count)
    vectors = {
        "noise": random.normal(size=(count, 32)),
        "same": np.ones((count, 32)),
        "zero": np.zeros((count, 32)),
        "pairs": np.repeat(random.normal(size=(count // 2 + 1, 32)), 2, axis=0)[:count],
    }[kind]
    found = clusters(vectors, most=most, threshold=0.1, seed=0)
    assert sorted(at for group in found for at in group) == list(range(count))
    assert all(found)
    assert len(found) < count or count == 1
    assert len(found) <= max(1, most - 1) or count <= 2


@pytest.mark.promise("5.11-threshold")
def test_a_vector_goes_to_the_first_component_over_the_threshold_or_to_its_likeliest() -> None:
    vectors = blobs([10, 10], spread=0.3)
    mixture = best_mixture(reduced(vectors), most=19, seed=0)
    chances = mixture.probabilities(reduced(vectors))
    assert np.allclose(chances.sum(axis=1), 1.0)
    everything = clusters(vectors, most=64, threshold=0.0, seed=0)
    assert len(everything) == 1  # each is over 0 in the first
    assert len(clusters(vectors, most=64, threshold=1.0, seed=0)) == len(set(chances.argmax(axis=1).tolist()))


def test_components_keep_what_tells_the_vectors_apart() -> None:
    points = reduced(blobs([5, 5]))
    assert points.shape == (10, 8)
    assert abs(points[:5, 0].mean() - points[5:, 0].mean()) > 10 * points[:5, 0].std()
    assert reduced(np.ones((3, 8))).shape == (3, 1)


def test_a_better_fit_has_a_lower_bic() -> None:
    points = reduced(blobs([30, 30, 30]))
    assert fit(points, 3, seed=0).bic < fit(points, 1, seed=0).bic
    assert fit(points, 3, seed=0).bic < fit(points, 12, seed=0).bic
