"""Fewer rows for the trials of a short study on many rows. The final model is fitted on all of them."""

from __future__ import annotations

import dataclasses

import numpy as np

from gbtune.data import Dataset
from gbtune.records import Folds, IntArray
from gbtune.seeds import seed as seed_of


def on_sample(folds: Folds, data: Dataset, train_rows: int, *, seed: int) -> Folds:
    """Return the same folds with fewer rows: a random sample of each part.

    Parameters
    ----------
    folds : Folds
        Of the data.
    data : Dataset
        Classes keep their shares, and in each part at least one row.
    train_rows : int
        So many rows of each training part, where it has more; of its validation part as large a share.
    seed : int
        Of the study.

    Examples
    --------
    >>> from gbtune.data import Dataset
    >>> from gbtune.resampling import make_folds
    >>> from gbtune.row_sample import on_sample
    >>> data = Dataset.from_arrays([[i] for i in range(1000)], [0, 1] * 500)
    >>> folds = on_sample(make_folds(0.2, data, seed=0), data, 100, seed=0)
    >>> folds.description, [len(part) for part in folds.splits[0]]
    ('hold-out of 20 %, stratified, on a sample of 125 rows', [100, 25])
    """
    generator = np.random.default_rng(seed_of(seed, "sample"))
    splits = []
    for train, valid in folds.splits:
        share = min(1.0, train_rows / len(train))
        splits.append((_some(train, share, data, generator), _some(valid, share, data, generator)))
    rows = sum(map(len, splits[0]))
    description = f"{folds.description}, on a sample of {rows:,} rows"
    return dataclasses.replace(folds, splits=tuple(splits), description=description)


def _some(part: IntArray, share: float, data: Dataset, generator: np.random.Generator) -> IntArray:
    order = generator.permutation(part)
    if data.task != "regression":
        order = order[np.argsort(data.y[order], kind="stable")]
    chosen = order[np.linspace(0, len(order), max(1, round(share * len(order))), endpoint=False).astype(np.intp)]
    if data.task == "regression":
        return chosen
    classes, first = np.unique(data.y[order], return_index=True)
    return np.concatenate([chosen, order[first[~np.isin(classes, data.y[chosen])]]])
