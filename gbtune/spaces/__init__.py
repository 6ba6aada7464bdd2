"""Search spaces: which parameters are tuned, between which bounds, and where to begin.

A space is data, a TOML file ``<family>/<name>.toml``; this package reads it into a frozen
`SearchSpace` of Optuna distributions. The format is described in the README.md of the folder
`builtin_folder`.
"""

from __future__ import annotations

from gbtune.spaces.base import Parameter, SampledParameter
from gbtune.spaces.folders import available, builtin_folder
from gbtune.spaces.numeric import FloatParameter, IntParameter, RoundsParameter
from gbtune.spaces.parameters import CategoricalParameter, Derived, FixedParameter
from gbtune.spaces.portfolio import TASKS, PortfolioEntry
from gbtune.spaces.space import SearchSpace

__all__ = [
    "TASKS",
    "CategoricalParameter",
    "Derived",
    "FixedParameter",
    "FloatParameter",
    "IntParameter",
    "Parameter",
    "PortfolioEntry",
    "RoundsParameter",
    "SampledParameter",
    "SearchSpace",
    "available",
    "builtin_folder",
]
