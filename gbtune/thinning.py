"""What is kept of long curves, and shown of many rows: fewer points, fewer digits."""

from __future__ import annotations

import functools

import numpy as np

from gbtune.records import FloatArray, IntArray

MAX_CURVE_POINTS = 100
"""Enough for a picture; all of them are as text the larger part of a trial's record."""


@functools.lru_cache(maxsize=16)
def thin(n_points: int, limit: int = MAX_CURVE_POINTS) -> IntArray:
    """Return at most `limit` positions out of ``range(n_points)``: first and last kept, evenly spread.

    Examples
    --------
    >>> from gbtune.thinning import thin
    >>> thin(5, limit=3)
    array([0, 2, 4])
    """
    if n_points <= limit:
        positions = np.arange(n_points)
    else:
        positions = np.unique(np.linspace(0, n_points - 1, limit).round().astype(np.intp))
    positions.flags.writeable = False  # the same array for all
    return positions


def seven_digits(values: FloatArray) -> FloatArray:
    """Return numbers with seven significant digits: enough to draw a curve, and short as text.

    Examples
    --------
    >>> import numpy as np
    >>> from gbtune.thinning import seven_digits
    >>> seven_digits(np.array([1 / 3, 123456789.0, 0.0])).tolist()
    [0.3333333, 123456800.0, 0.0]
    """
    with np.errstate(all="ignore"):  # zero, infinity and what is not a number stay as they are
        power = 6 - np.floor(np.log10(np.abs(values)))  # up and down, so that powers of ten are exact
        up, down = 10.0 ** np.maximum(power, 0), 10.0 ** np.maximum(-power, 0)
        rounded = np.round(values * up / down) / up * down
    return np.where(np.isfinite(rounded), rounded, values)
