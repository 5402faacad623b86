"""PageRank of an undirected weighted graph, by power iteration."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from app.domain.graph import Pair

_DAMPING = 0.85
_ITERATIONS = 200
_TOLERANCE = 1e-10  # in all, in the L1 norm


def pageranks(names: Sequence[str], weights: Mapping[Pair, float]) -> dict[str, float]:
    """Return the rank of each name; they sum to 1. A name without relations gets what a random jump gives.

    Ends of relations must be among `names`; weights must be positive. The outcome does not depend on any order.
    """
    if not names:
        return {}
    ordered = sorted(names)
    at = {name: number for number, name in enumerate(ordered)}
    pairs = sorted(weights)
    one: Any = np.fromiter((at[pair[0]] for pair in pairs), dtype=np.int64, count=len(pairs))
    other: Any = np.fromiter((at[pair[1]] for pair in pairs), dtype=np.int64, count=len(pairs))
    weight: Any = np.fromiter((weights[pair] for pair in pairs), dtype=np.float64, count=len(pairs))
    sources, targets = np.concatenate([one, other]), np.concatenate([other, one])
    both = np.concatenate([weight, weight])
    strength: Any = np.bincount(sources, weights=both, minlength=len(ordered))
    share: Any = both / strength[sources] if len(both) else both
    is_alone: Any = strength == 0
    rank: Any = np.full(len(ordered), 1 / len(ordered))
    for _ in range(_ITERATIONS):
        flow: Any = np.bincount(targets, weights=rank[sources] * share, minlength=len(ordered))
        resting = float(rank[is_alone].sum()) / len(ordered)
        following: Any = _DAMPING * (flow + resting) + (1 - _DAMPING) / len(ordered)
        change = float(np.abs(following - rank).sum())
        rank = following
        if change < _TOLERANCE:
            break
    rank /= rank.sum()
    return dict(zip(ordered, (float(value) for value in rank), strict=True))
