"""The argument `cv` becomes fixed folds: the same rows for every trial of a study."""

from __future__ import annotations

import copy
import numbers
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gbtune.data import Dataset
from gbtune.errors import GbtuneWarning, InvalidArgument, InvalidData
from gbtune.group_folds import deal_groups
from gbtune.records import Folds, IntArray
from gbtune.seeds import seed as seed_of

HOLD_OUT = 0.2
"""Fraction of rows that a hold-out keeps for validation, unless `cv` says another."""

Splits = list[tuple[IntArray, IntArray]]


def make_folds(cv: object, data: Dataset, *, seed: int, default_folds: int = 5) -> Folds:
    """Fix the rows that every trial trains on and is validated on.

    Parameters
    ----------
    cv : None, int, float, scikit-learn splitter, or iterable of (train, valid)
        None: `default_folds` folds (fewer if there are fewer groups, rows, or rows of the rarer of
        two classes). int, at least 2: so many folds. float in (0, 1): one hold-out of that fraction.
        All three are shuffled; by group if the data have groups; stratified for classification.
        Pairs hold row positions or boolean masks.
    data : Dataset
        Rows, classes, groups.
    seed : int
        Seed of the study. A splitter that shuffles without a random state of its own gets one
        from it (on a copy).
    default_folds : int, default 5
        For `cv` None; 1 is a hold-out of 20 %.

    Returns
    -------
    Folds
        Positions in increasing order.

    Raises
    ------
    InvalidArgument
        If `cv` is out of range, of an unknown type, or its pairs break a rule.
    InvalidData
        If the data have too few rows or groups for it, or a training part has one class only.

    Warns
    -----
    GbtuneWarning
        If classes have fewer rows than there are folds. They are spread over as many folds as they
        have rows; the row of a class with one row is in no validation part.

    Examples
    --------
    >>> from gbtune.data import Dataset
    >>> from gbtune.resampling import make_folds
    >>> data = Dataset.from_arrays([[i] for i in range(10)], [0, 1] * 5)
    >>> folds = make_folds(5, data, seed=0)
    >>> folds.description, len(folds), [len(valid) for _, valid in folds.splits]
    ('5 stratified folds', 5, [2, 2, 2, 2, 2])
    """
    if isinstance(cv, bool | str | bytes):
        raise InvalidArgument(_RULE.format(given=repr(cv)))
    if cv is None:
        cv = _default(data, default_folds)
    stream = seed_of(seed, "folds")
    exchangeable, kind = True, "plain" if data.task == "regression" else "stratified"
    if data.groups is not None:
        kind = "group"
    if isinstance(cv, numbers.Integral):
        splits, description = _folds(int(cv), data, stream)
    elif isinstance(cv, numbers.Real):
        splits, description = _hold_out(float(cv), data, stream)
    else:
        if hasattr(cv, "split") and hasattr(cv, "get_n_splits"):
            pairs = _split(cv, data, stream)
            splits = _checked(pairs, data.n_rows)
            description = f"{type(cv).__name__}, {_count(len(splits), 'fold')}"
        elif isinstance(cv, Iterable):
            splits = _checked(cv, data.n_rows)
            description = f"{_count(len(splits), 'fold')}, given as positions"
        else:
            raise InvalidArgument(_RULE.format(given=f"{type(cv).__name__}: {cv!r}"))
        # each training part before its validation part: windows in time, never fold against fold
        in_time = all(train[-1] < valid[0] for train, valid in splits)
        exchangeable = len(splits) == 1 or not in_time
        kind = "time" if in_time else _kind(cv, kind)
    _check_parts(splits, data)
    _warn_about_rare_classes(splits, data)
    return Folds(tuple(splits), description, data.n_rows, exchangeable, kind)


_RULE = (
    "cv must be None, an int of at least 2 (folds), a float between 0 and 1 (hold-out), a scikit-learn "
    "splitter, or (train, valid) pairs of positions; got {given}."
)


_BY_CHANCE = frozenset(
    ("KFold", "RepeatedKFold", "ShuffleSplit", "StratifiedKFold", "RepeatedStratifiedKFold", "StratifiedShuffleSplit")
)
_BY_GROUP = frozenset(
    ("GroupKFold", "StratifiedGroupKFold", "GroupShuffleSplit", "LeaveOneGroupOut", "LeavePGroupsOut")
)


def _kind(cv: object, ours: str) -> str:
    """Return how a splitter deals rows, if it is one of scikit-learn's; `ours` is how gbtune would deal them."""
    name = type(cv).__name__ if type(cv).__module__.startswith("sklearn.") else ""
    return ours if name in _BY_CHANCE else "group" if name in _BY_GROUP else "custom"


def _default(data: Dataset, default_folds: int) -> int | float:
    if default_folds < 2:
        return HOLD_OUT
    limits = [default_folds, data.n_rows]
    if data.groups is not None:
        limits.append(len(np.unique(_group_codes(data))))
    elif data.task == "binary":
        limits.append(int(np.bincount(data.y).min()))
    return max(2, min(limits))


def _group_codes(data: Dataset) -> IntArray:
    assert data.groups is not None
    return pd.factorize(data.groups)[0].astype(np.intp)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _singles(data: Dataset) -> NDArray[np.bool_]:
    """Whether a row is the only one of its class: held out, nothing could have learnt it."""
    if data.task == "regression":
        return np.zeros(data.n_rows, dtype=bool)
    return np.isin(data.y, np.flatnonzero(np.bincount(data.y) == 1))


def _shuffled(data: Dataset, stream: int) -> IntArray:
    """Return the rows that may be held out, shuffled, then ordered by class."""
    order = np.random.default_rng(stream).permutation(data.n_rows)
    order = order[~_singles(data)[order]]
    if data.task != "regression":
        order = order[np.argsort(data.y[order], kind="stable")]
    return order


def _folds(n_folds: int, data: Dataset, stream: int) -> tuple[Splits, str]:
    if n_folds < 2:
        raise InvalidArgument(
            f"cv must be at least 2 folds, got {n_folds}. For a hold-out give its fraction, e.g. cv=0.2."
        )
    if n_folds > data.n_rows:
        raise InvalidData(f"cv={n_folds} folds need at least as many rows; X has {data.n_rows}.")
    stratified = "" if data.task == "regression" else "stratified "
    if data.groups is not None:
        return _group_folds(n_folds, data, stream), f"{n_folds} {stratified}group folds"
    # Dealt like cards, class after class: fold sizes and class counts differ by one at most. As
    # scikit-learn's StratifiedKFold allocates, which warns or fails where classes are rare.
    order = _shuffled(data, stream)
    if len(order) < n_folds:
        raise InvalidData(
            f"cv={n_folds} folds need at least as many rows of classes with two or more rows; "
            f"there are {len(order)} of {data.n_rows}. Merge rare classes or use fewer folds."
        )
    fold_of = np.full(data.n_rows, -1)
    fold_of[order] = np.arange(len(order)) % n_folds
    splits = [(np.flatnonzero(fold_of != k), np.flatnonzero(fold_of == k)) for k in range(n_folds)]
    return splits, f"{n_folds} {stratified}folds"


def _group_folds(n_folds: int, data: Dataset, stream: int) -> Splits:
    groups = _group_codes(data)
    n_groups = int(groups.max()) + 1
    if n_groups < n_folds:
        raise InvalidData(
            f"cv={n_folds} group folds need at least as many groups; there are {n_groups}. "
            f"Use cv={n_groups} or fewer." if n_groups > 1 else
            "groups must hold at least two different groups to hold one out; there is 1."
        )  # fmt: skip
    fold_of = deal_groups(groups, _strata(data, 1 / n_folds), [1 / n_folds] * n_folds, seed=stream)[groups]
    splits = [(np.flatnonzero(fold_of != k), np.flatnonzero(fold_of == k)) for k in range(n_folds)]
    return _without_singles(splits, data)


def _strata(data: Dataset, share: float) -> IntArray:
    """Return each row's class; where its share would be less than a row, the largest class, with which it goes."""
    if data.task == "regression":
        return np.zeros(data.n_rows, dtype=np.intp)
    counts = np.bincount(data.y)
    return np.where((counts * share < 1 - 1e-9)[data.y], counts.argmax(), data.y).astype(np.intp)


def _hold_out(fraction: float, data: Dataset, stream: int) -> tuple[Splits, str]:
    if not 0 < fraction < 1:
        raise InvalidArgument(_RULE.format(given=repr(fraction)))
    percent = f"hold-out of {100 * fraction:.3g} %"
    if data.groups is not None:
        return _group_hold_out(fraction, data, stream), f"{percent}, by group"
    order = _shuffled(data, stream)
    # every (1 / fraction)-th row of the rows in order of class: each class within one row of its share
    steps = np.floor(np.arange(len(order) + 1) * fraction + 0.5)
    held_out = np.zeros(data.n_rows, dtype=bool)
    held_out[order[np.diff(steps) > 0]] = True
    if data.task != "regression":
        counts, held = np.bincount(data.y), np.bincount(data.y[held_out], minlength=data.n_classes)
        for lost in np.flatnonzero(held == counts):  # a class must keep a row to learn from
            held_out[np.flatnonzero(data.y == lost)[0]] = False
    if not held_out.any() or held_out.all():
        raise InvalidData(f"cv={fraction:g} leaves an empty part of {data.n_rows} rows. Use another fraction or folds.")
    stratified = "" if data.task == "regression" else ", stratified"
    return [(np.flatnonzero(~held_out), np.flatnonzero(held_out))], f"{percent}{stratified}"


def _group_hold_out(fraction: float, data: Dataset, stream: int) -> Splits:
    groups = _group_codes(data)
    if groups.max() == 0:
        raise InvalidData("groups must hold at least two different groups to hold one out; there is 1.")
    strata = _strata(data, min(fraction, 1 - fraction))
    held_out = deal_groups(groups, strata, [1 - fraction, fraction], seed=stream)[groups] == 1
    if data.task != "regression":
        held_out = _with_every_class(held_out, groups, data.y)
    return _without_singles([(np.flatnonzero(~held_out), np.flatnonzero(held_out))], data)


def _with_every_class(held_out: NDArray[np.bool_], groups: IntArray, y: IntArray) -> NDArray[np.bool_]:
    """Return what is held out without groups that have all rows of a class: something must have learned it.

    Where nothing is left, another group that has not, the smallest; where there is none, it stays as it was.
    """
    kept = held_out.copy()
    for lost in np.setdiff1d(y, y[~held_out]):
        kept[groups == groups[np.flatnonzero(y == lost)[0]]] = False
    if not kept.any():
        for group in np.argsort(np.bincount(groups), kind="stable"):
            kept = np.asarray(groups == group, dtype=bool)
            if len(np.unique(y[~kept])) == len(np.unique(y)):
                return kept
        return held_out
    return kept


def _without_singles(splits: Splits, data: Dataset) -> Splits:
    """Take rows that are alone in their class out of validation, but not across the groups into training."""
    singles = _singles(data)
    kept = [(train, valid[~singles[valid]]) for train, valid in splits]
    return [new if len(new[1]) else old for new, old in zip(kept, splits, strict=True)]


def _split(cv: Any, data: Dataset, stream: int) -> Splits:
    """Ask somebody's splitter, leaving it as it is."""
    name = type(cv).__name__
    if "Group" in name and data.groups is None:
        raise InvalidArgument(f"cv={name} needs groups: give groups=, one value per row of X.")
    splitter = copy.deepcopy(cv)
    if getattr(splitter, "random_state", 0) is None and getattr(splitter, "shuffle", True):
        splitter.random_state = stream
    try:
        with warnings.catch_warnings():  # our own warning says it once, and what is done about it
            warnings.filterwarnings("ignore", "The least populated class", UserWarning)
            groups = {} if data.groups is None else {"groups": data.groups}
            return list(splitter.split(data.X, data.y, **groups))
    except (ValueError, TypeError) as error:
        hint = " If it needs groups, give groups=." if data.groups is None else ""
        raise InvalidArgument(
            f"cv={name} could not split {data.n_rows} rows of a {data.task} task: {error}{hint}"
        ) from error


def _checked(pairs: Iterable[Any], n_rows: int) -> Splits:
    """Check positions that somebody gave."""
    splits = []
    for k, pair in enumerate(pairs):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InvalidArgument(
                f"cv must hold (train, valid) pairs; number {k} is {type(pair).__name__}"
                f"{f' of length {len(pair)}' if hasattr(pair, '__len__') else ''}. "
                "For one hold-out give cv=[(train, valid)]."
            )
        train, valid = (
            _positions(part, n_rows, f"cv, fold {k}, {side}")
            for part, side in zip(pair, ("train", "valid"), strict=True)
        )
        common = np.intersect1d(train, valid)
        if len(common):
            raise InvalidArgument(
                f"cv, fold {k}: train and valid must not overlap; {_count(len(common), 'row')} in both, "
                f"e.g. position {common[0]}."
            )
        splits.append((train, valid))
    if not splits:
        raise InvalidArgument("cv must hold at least one (train, valid) pair; it is empty (a used-up generator?).")
    return splits


def _positions(part: object, n_rows: int, where: str) -> IntArray:
    positions = np.asarray(part)
    if positions.ndim != 1:
        raise InvalidArgument(f"{where} must be a vector of positions or a mask; its shape is {positions.shape}.")
    if positions.dtype == bool:
        if len(positions) != n_rows:
            raise InvalidArgument(f"{where}: a mask must have {n_rows} values, one per row; it has {len(positions)}.")
        positions = np.flatnonzero(positions)
    if not len(positions):
        raise InvalidArgument(f"{where} must hold at least one row; it is empty.")
    if positions.dtype.kind not in "iu":
        raise InvalidArgument(f"{where} must hold int positions or be a bool mask; its dtype is {positions.dtype}.")
    if positions.min() < 0 or positions.max() >= n_rows:
        wrong = positions[(positions < 0) | (positions >= n_rows)][0]
        raise InvalidArgument(
            f"{where} must hold positions from 0 to {n_rows - 1} (not index labels); it holds {wrong}."
        )
    unique = np.unique(positions)
    if len(unique) < len(positions):
        raise InvalidArgument(f"{where} must hold each row once; {len(positions) - len(unique)} are repeated.")
    return unique.astype(np.intp)


def _check_parts(splits: Splits, data: Dataset) -> None:
    """Refuse parts on which nothing can be learnt or measured."""
    for k, (train, valid) in enumerate(splits):
        if len(np.unique(data.y[train])) == 1 and data.task != "regression":
            raise InvalidData(
                f"The training part of fold {k} has class {data.classes[data.y[train[0]]]!r} only; it must have "
                "two or more. Use stratified folds (cv an int), fewer folds, or other groups."
            )
        for side, part in (("training", train), ("validation", valid)):
            if data.sample_weight is not None and not data.sample_weight[part].any():
                raise InvalidData(
                    f"sample_weight must not be 0 in the whole {side} part of fold {k}. Drop the rows of weight 0."
                )


def _warn_about_rare_classes(splits: Splits, data: Dataset) -> None:
    if data.task == "regression":
        return
    counts = np.bincount(data.y)
    enough = max(2, len(splits))
    rare, single = int((counts < enough).sum()), int((counts == 1).sum())
    n_untrained = sum((np.bincount(data.y[train], minlength=len(counts)) == 0).any() for train, _ in splits)
    said = []
    if rare:
        said.append(f"{rare} of {len(counts)} classes {'has' if rare == 1 else 'have'} fewer than {enough} rows")
    if single and not any(_singles(data)[valid].any() for _, valid in splits):
        said.append(f"{single} with one row, which is never held out")
    if n_untrained:
        said.append(f"{_count(n_untrained, 'training part')} without any row of some class")
    if said:
        warnings.warn(
            f"Rare classes: {', '.join(said)}. Scores on them are rough: consider merging them.",
            GbtuneWarning,
            stacklevel=3,
        )
