"""One line tunes a gradient-boosting model well; every piece of that line is an ordinary Optuna part.

>>> import gbtune
>>> result = gbtune.tune_xgb(X, y)  # doctest: +SKIP

Public names are imported when they are first used, so that ``import gbtune`` costs little and imports no
booster, no MLflow and no scikit-learn.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gbtune import families, promotion, pruners, samplers, warm_start
    from gbtune.api import tune, tune_lgbm, tune_xgb
    from gbtune.errors import GbtuneError, GbtuneWarning
    from gbtune.metrics import Metric
    from gbtune.objective import Objective
    from gbtune.result import TuningResult
    from gbtune.spaces import SearchSpace
    from gbtune.tracking import MLflowTracker, Tracker

__all__ = [
    "GbtuneError",
    "GbtuneWarning",
    "MLflowTracker",
    "Metric",
    "Objective",
    "SearchSpace",
    "Tracker",
    "TuningResult",
    "__version__",
    "families",
    "promotion",
    "pruners",
    "samplers",
    "tune",
    "tune_lgbm",
    "tune_xgb",
    "warm_start",
]

_HOME = {
    "GbtuneError": "errors",
    "GbtuneWarning": "errors",
    "MLflowTracker": "tracking",
    "Metric": "metrics",
    "Objective": "objective",
    "SearchSpace": "spaces",
    "Tracker": "tracking",
    "TuningResult": "result",
    "tune": "api",
    "tune_lgbm": "api",
    "tune_xgb": "api",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"gbtune.{_HOME[name]}"), name)
    if name in __all__:
        return importlib.import_module(f"gbtune.{name}")
    raise AttributeError(f"module 'gbtune' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
