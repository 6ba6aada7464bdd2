"""Shipped spaces, cut down to trials that take milliseconds: for tests of what happens around the trees."""

from __future__ import annotations

import gbtune


def quick_space(family: str, name: str = "core") -> gbtune.SearchSpace:
    """Fast learning rates and at most sixty rounds; portfolio, conditions and all else as they are shipped."""
    space = gbtune.SearchSpace.load(name, family=family)
    return space.override(learning_rate=(0.1, 0.3), n_estimators=(10, 60))
