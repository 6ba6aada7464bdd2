"""Folds that no search has used, for a fair comparison of what two searches found."""

from __future__ import annotations

import dataclasses
import numbers
import warnings
from typing import Any

import numpy as np
import pandas as pd

from gbtune.data import Dataset
from gbtune.errors import GbtuneWarning, InvalidArgument, InvalidData
from gbtune.recipe import RecipeDict
from gbtune.records import Folds
from gbtune.resampling import make_folds
from gbtune.seeds import seed as derive_seed
from gbtune.summary import plural

FOLDS = 5
"""As many as a search has by default, so that models learn from as large a share of the rows as there. Fewer give no
usable standard error, more share most of their training rows and cost more."""
OWN_FOLDS = (
    "the challenger's folds were a splitter or positions of its caller's own, and nothing says how to deal fresh ones: "
    "give cv to gbtune.promotion.promote (--folds N deals rows at random)"
)
GROUPS_MISSING = "The challenger's folds were by group: give groups (--group COLUMN), or cv as a splitter or positions."
_TRIES = 50


def is_number(cv: object) -> bool:
    """Return whether `cv` is a number of folds or a fraction, which leave it to gbtune how rows are dealt."""
    return isinstance(cv, numbers.Real) and not isinstance(cv, bool)


def fresh_folds(data: Dataset, *recipes: RecipeDict, cv: Any = None) -> Folds:
    """Return folds that no recipe's search used, dealt as the last recipe's were.

    Parameters
    ----------
    data : Dataset
        To be split.
    *recipes : mapping
        Their fingerprints are avoided; the last one says how rows are dealt.
    cv : optional
        Instead: as in `gbtune.tune`. A number of folds or a fraction keeps to how the recipe's rows were dealt: to
        groups, and to time.

    Raises
    ------
    InvalidArgument
        If the recipe's folds were its caller's own, or by group, and what it takes is not given.
    InvalidData
        If there are no others, as with very few rows or groups.

    Examples
    --------
    >>> from gbtune.data import Dataset
    >>> from gbtune.fresh_folds import fresh_folds
    >>> data = Dataset.from_arrays([[i] for i in range(20)], [0, 1] * 10)
    >>> fresh_folds(data, {"study_seed": 0, "folds_kind": "stratified"}).description
    '5 stratified folds'
    >>> fresh_folds(data, {"study_seed": 0, "folds_kind": "time"}, cv=3).description
    '3 windows in time'
    """
    latest = recipes[-1]
    kind, seed = latest.get("folds_kind"), latest["study_seed"]
    if kind == "custom" and cv is None:
        raise InvalidArgument(f"{OWN_FOLDS[0].upper()}{OWN_FOLDS[1:]}.")
    if kind == "group" and data.groups is None and (cv is None or is_number(cv)):
        raise InvalidArgument(GROUPS_MISSING)
    used = {recipe.get(key) for recipe in recipes for key in ("folds_parts", "folds_fingerprint")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GbtuneWarning)  # on rare classes: the search said it
        if cv is not None:
            in_time = _in_time(cv, data, latest) if kind == "time" else None
            return in_time or make_folds(cv, data, seed=derive_seed(seed, "promotion"))
        if kind == "time":
            return _fresh_windows(data, latest, used)
        n_groups = 0 if data.groups is None else len(pd.unique(data.groups))
        # Where each group was a fold of its own, dealing again gives the same folds in another order.
        count = n_groups - 1 if 2 < n_groups <= FOLDS else None
        # And a few groups of very unlike sizes can be dealt evenly in one way only.
        others = [other for other in (FOLDS - 1, FOLDS + 1, FOLDS - 2, FOLDS - 3) if other < n_groups and count is None]
        for number in (count, *others):
            for attempt in range(_TRIES):
                stream = derive_seed(seed, "promotion", slot=attempt)
                folds = make_folds(number, data, seed=stream, default_folds=FOLDS)
                if not {folds.parts_fingerprint, folds.fingerprint} & used:
                    return folds
    groups = f" in {plural(n_groups, 'group')}" if n_groups else ""
    raise InvalidData(f"There are no folds of {data.n_rows} rows{groups} that the searches have not used. Give cv.")


def _in_time(cv: object, data: Dataset, recipe: RecipeDict) -> Folds | None:
    """Return so many windows in time, or the last rows as a hold-out; None if `cv` is neither."""
    if isinstance(cv, bool) or not isinstance(cv, numbers.Real):
        return None
    number = float(cv)
    if isinstance(cv, numbers.Integral) and number >= 2:
        return _windows(data, recipe, int(cv))
    if 0 < number < 1:
        first = data.n_rows - round(number * data.n_rows)
        train, valid = np.arange(first - _gap(recipe)), np.arange(first, data.n_rows)
        folds = make_folds([(train, valid)], data, seed=0)
        return dataclasses.replace(folds, description=f"the last {100 * number:.3g} %")
    return None


def _gap(recipe: RecipeDict) -> int:
    return int(recipe.get("folds_gap", 0))


def _windows(data: Dataset, recipe: RecipeDict, count: int) -> Folds:
    """Return expanding windows in time: later rows are never learnt from."""
    from sklearn.model_selection import TimeSeriesSplit

    folds = make_folds(TimeSeriesSplit(count, gap=_gap(recipe)), data, seed=0)
    return dataclasses.replace(folds, description=f"{plural(count, 'window')} in time")


def _fresh_windows(data: Dataset, recipe: RecipeDict, used: set[Any]) -> Folds:
    """Return windows in another number than the searches': they cannot be shuffled."""
    for count in (FOLDS, FOLDS + 1, FOLDS - 1, FOLDS + 2, FOLDS - 2):
        try:
            folds = _windows(data, recipe, count)
        except InvalidArgument:  # too few rows before the first window, or of one class only
            continue
        if not {folds.parts_fingerprint, folds.fingerprint} & used:
            return folds
    raise InvalidData(f"There are no windows in time of {data.n_rows} rows that the searches have not used. Give cv.")
