"""Groups dealt into parts: each one whole, the rows of each class in proportion.

What scikit-learn's ``StratifiedGroupKFold`` does, in time: that one weighs each group against each fold by itself, 26
seconds for the 54,000 patients of the hospital set. And what its ``GroupKFold`` does not when it shuffles: parts have
their share of the rows, not of the groups.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from gbtune.records import IntArray


def deal_groups(groups: IntArray, strata: IntArray, shares: Sequence[float], *, seed: int) -> IntArray:
    """Deal groups into parts.

    Groups that are alike, with as many rows of each class, are dealt evenly, by chance. The rest, fewer of each kind
    than there are parts, come one by one, the largest first (by powers of two, by chance among these), each where its
    classes lack most of their share: the greedy rule of multiprocessor scheduling (Graham 1969), for several classes.

    Parameters
    ----------
    groups : ndarray of int, shape (n_rows,)
        Group of each row: 0, 1, 2 and so on.
    strata : ndarray of int, shape (n_rows,)
        Class of each row; all 0 where there are none.
    shares : sequence of float
        What each part is to have of the rows of each class; together 1.
    seed : int
        Of chance.

    Returns
    -------
    ndarray of int, shape (n_groups,)
        The part of each group. None is empty if there are as many groups as parts.

    Examples
    --------
    >>> import numpy as np
    >>> from gbtune.group_folds import deal_groups
    >>> groups, classes = np.repeat([0, 1, 2, 3], [3, 3, 1, 1]), np.zeros(8, dtype=int)
    >>> part_of = deal_groups(groups, classes, [0.5, 0.5], seed=0)
    >>> np.bincount(part_of[groups])
    array([4, 4])
    """
    random, n_parts = np.random.default_rng(seed), len(shares)
    counts = sp.csr_matrix((np.ones(len(groups)), (groups, strata)))  # adds up what is repeated
    part_of, wanted = np.full(counts.shape[0], -1), np.asarray(shares)
    # Sums of random whole numbers: equal for equal counts, and for others only by a rare and harmless chance.
    kind = counts @ random.integers(1, 1 << 30, counts.shape[1])
    order = random.permutation(len(kind))
    order = order[np.argsort(kind[order], kind="stable")]
    _, first, n_alike = np.unique(kind[order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(first, n_alike)
    ends = np.cumsum(np.floor(n_alike[:, None] * wanted + 1e-9), axis=1)
    part_of[order] = (place[:, None] >= np.repeat(ends, n_alike, axis=0)).sum(axis=1)

    totals = np.asarray(counts.sum(axis=0)).ravel()
    lacking = np.array([share * totals - counts[part_of == part].sum(axis=0).A1 for part, share in enumerate(wanted)])
    sizes = np.asarray(counts.sum(axis=1)).ravel()
    left = random.permutation(np.flatnonzero(part_of == n_parts))
    for group in left[np.argsort(-np.floor(np.log2(sizes[left])), kind="stable")]:
        span = slice(counts.indptr[group], counts.indptr[group + 1])
        classes, rows = counts.indices[span], counts.data[span]
        gains = lacking[:, classes] @ (rows / totals[classes] ** 2)
        best = np.flatnonzero(gains >= gains.max() - 1e-12)
        part = best[lacking[best].sum(axis=1).argmax()]
        lacking[part, classes] -= rows
        part_of[group] = part
    _fill_empty_parts(part_of, sizes, n_parts)
    return part_of


def _fill_empty_parts(part_of: IntArray, sizes: NDArray[np.float64], n_parts: int) -> None:
    """Give each empty part the smallest group of the part that has most."""
    for part in range(n_parts):
        n_groups = np.bincount(part_of, minlength=n_parts)
        if n_groups[part] == 0 and n_groups.max() > 1:
            givers = np.flatnonzero(part_of == n_groups.argmax())
            part_of[givers[sizes[givers].argmin()]] = part
