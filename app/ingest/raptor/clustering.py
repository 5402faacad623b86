"""Which texts belong together: principal components, then a Gaussian mixture chosen by BIC (knowledge.md 5.11).

The components of the mixture have diagonal covariances. The same vectors and seed give the same clusters. Blocking.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST_DIMENSIONS = 12
_ROUNDS = 50
_TOLERANCE = 1e-3  # of the mean log-likelihood
_LEAST_VARIANCE = 0.05  # of the data's own: a component of one point must not win by being narrow
_SAMPLE = 1000  # points that the number of components is chosen with
_PATIENCE = 12  # more components are not tried when so many further ones did not lower the BIC


@dataclass(frozen=True, slots=True)
class Mixture:
    """A fitted mixture: weights `(k,)`, means and variances `(k, d)`, and what the data's likelihood is worth."""

    weights: Floats
    means: Floats
    variances: Floats
    bic: float

    def probabilities(self, points: Floats) -> Floats:
        """Return `(n, k)`: how likely each point comes from each component."""
        logs = _log_densities(points, self.weights, self.means, self.variances)
        return np.exp(logs - _log_sum(logs)[:, None])


def clusters(vectors: Floats, *, most: int, threshold: float, seed: int) -> list[list[int]]:
    """Return the indexes of the vectors in clusters, none empty, in the order of their first members.

    There are fewer clusters than vectors, and than `most` unless that is 1. Each vector is in the first cluster it
    belongs to with a probability over `threshold`, or in its likeliest.
    """
    count = len(vectors)
    if count <= 2:
        return [list(range(count))] if count else []
    points = reduced(vectors)
    mixture = best_mixture(points, most=min(most, count) - 1, seed=seed)
    chances = mixture.probabilities(points)
    over = chances > threshold
    labels = np.where(over.any(axis=1), over.argmax(axis=1), chances.argmax(axis=1))
    held: dict[int, list[int]] = {}
    for at, label in enumerate(labels.tolist()):
        held.setdefault(label, []).append(at)
    return list(held.values())


def reduced(vectors: Floats) -> Floats:
    """Return `(n, d)` principal components of the L2-normalised vectors, d = min(12, n - 2), at least 1."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(lengths == 0, 1.0, lengths)
    centred = unit - unit.mean(axis=0)
    wanted = max(1, min(MOST_DIMENSIONS, len(vectors) - 2, vectors.shape[1]))
    _, basis = np.linalg.eigh(centred.T @ centred)  # eigenvalues rise
    axes = basis[:, ::-1][:, :wanted]
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(wanted)])  # an axis may point either way: fix one
    components: Floats = centred @ (axes * np.where(signs == 0, 1.0, signs))
    return components


def best_mixture(points: Floats, *, most: int, seed: int) -> Mixture:
    """Return the mixture of 1 to `most` components with the lowest BIC, fitted to all points."""
    random = np.random.default_rng(seed)
    sample = points if len(points) <= _SAMPLE else points[np.sort(random.permutation(len(points))[:_SAMPLE])]
    best = fit(sample, 1, seed=seed)
    for count in range(2, min(most, len(sample) - 1) + 1):
        tried = fit(sample, count, seed=seed)
        best = min(best, tried, key=lambda each: each.bic)
        if count - len(best.weights) >= _PATIENCE:
            break
    return best if sample is points else fit(points, len(best.weights), seed=seed)


def fit(points: Floats, components: int, *, seed: int) -> Mixture:
    """Return a mixture fitted by expectation and maximisation, begun at means drawn as k-means++ does."""
    count, dimensions = points.shape
    floor = max(float(points.var(axis=0).mean()) * _LEAST_VARIANCE, 1e-12)
    means = _first_means(points, components, np.random.default_rng(seed))
    shares = np.zeros((count, components))
    shares[np.arange(count), _squared_distances(points, means).argmin(axis=1)] = 1.0
    before = -math.inf
    weights, means, variances = _maximised(points, shares, floor)
    for _ in range(_ROUNDS):
        logs = _log_densities(points, weights, means, variances)
        sums = _log_sum(logs)
        now = float(sums.mean())
        weights, means, variances = _maximised(points, np.exp(logs - sums[:, None]), floor)
        if abs(now - before) < _TOLERANCE:
            break
        before = now
    likelihood = float(_log_sum(_log_densities(points, weights, means, variances)).sum())
    parameters = 2 * components * dimensions + components - 1
    return Mixture(weights, means, variances, bic=parameters * math.log(count) - 2 * likelihood)


def _first_means(points: Floats, components: int, random: np.random.Generator) -> Floats:
    chosen = [int(random.integers(len(points)))]
    nearest = _squared_distances(points, points[chosen]).min(axis=1)
    while len(chosen) < components:
        total = float(nearest.sum())
        if total <= 0:  # all points left are where a mean is
            chosen.append(int(random.integers(len(points))))
            continue
        chosen.append(int(random.choice(len(points), p=nearest / total)))
        nearest = np.minimum(nearest, _squared_distances(points, points[chosen[-1:]])[:, 0])
    return points[chosen]


def _maximised(points: Floats, shares: Floats, floor: float) -> tuple[Floats, Floats, Floats]:
    sizes = shares.sum(axis=0) + 10 * np.finfo(np.float64).eps
    means = shares.T @ points / sizes[:, None]
    variances = np.maximum(shares.T @ points**2 / sizes[:, None] - means**2, floor)
    return sizes / len(points), means, variances


def _log_densities(points: Floats, weights: Floats, means: Floats, variances: Floats) -> Floats:
    """Return `(n, k)` logarithms of weight times density."""
    precise = 1.0 / variances
    distances = points**2 @ precise.T - 2 * points @ (means * precise).T + (means**2 * precise).sum(axis=1)
    scale = np.log(weights) - 0.5 * (np.log(variances).sum(axis=1) + points.shape[1] * math.log(2 * math.pi))
    densities: Floats = scale - 0.5 * distances
    return densities


def _log_sum(logs: Floats) -> Floats:
    most = logs.max(axis=1)
    total: Floats = most + np.log(np.exp(logs - most[:, None]).sum(axis=1))
    return total


def _squared_distances(points: Floats, means: Floats) -> Floats:
    apart: Floats = (points**2).sum(axis=1)[:, None] - 2 * points @ means.T + (means**2).sum(axis=1)
    return np.maximum(apart, 0.0)
