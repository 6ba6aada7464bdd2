"""The peers: what people use now, each behind one door.

A peer is a function in a file of this folder,

    fit(X, y, task, family, seconds, seed) -> Model

whose file imports at its top all that it needs: the clock starts after that. A new peer is a new file and a line below.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from collections.abc import Callable

from benchmarks.quality.task import Model

FAMILIES = ("lightgbm", "xgboost")


@dataclasses.dataclass(frozen=True)
class Peer:
    """One way to a model.

    Parameters
    ----------
    where : str
        ``"module:function"`` in this folder.
    about : str
        For people.
    needs : tuple of str
        Import names of packages, beside those of gbtune itself.
    families : tuple of str
        What it can tune.
    budgeted : bool
        False: it does one fixed thing, is run once, and stands beside the others at every budget.
    logs : bool
        Writes to MLflow: it gets an empty store of its own.
    """

    where: str
    about: str
    needs: tuple[str, ...] = ()
    families: tuple[str, ...] = FAMILIES
    budgeted: bool = True
    logs: bool = False

    @property
    def missing(self) -> tuple[str, ...]:
        """Packages that are not installed."""
        return tuple(name for name in self.needs if importlib.util.find_spec(name) is None)

    def load(self) -> Callable[..., Model]:
        """Import its file, and all that it uses; return its function."""
        module, function = self.where.split(":")
        found: Callable[..., Model] = getattr(importlib.import_module(f"{__name__}.{module}"), function)
        return found


INTEGRATION = ("optuna_integration",)
PEERS = {
    "gbtune": Peer("gbtune_tune:fit", "gbtune.tune(X, y, family=..., timeout=...), all else default", logs=True),
    "default": Peer("library:default", "the library's default", budgeted=False),
    "default_es": Peer("library:early_stopping", "default, stopped early on a fifth of the rows", budgeted=False),
    "script": Peer("script:fit", "hand-written: Optuna's TPE, cross_val_score, MLflow", INTEGRATION, logs=True),
    "tuner_cv": Peer("lightgbm_tuner_cv:fit", "LightGBMTunerCV of optuna-integration", INTEGRATION, ("lightgbm",)),
    "search_cv": Peer("optuna_search_cv:fit", "OptunaSearchCV of optuna-integration", INTEGRATION),
    "flaml_cv": Peer("flaml_automl:cv", "FLAML, eval_method='cv'", ("flaml",)),
    "flaml_auto": Peer("flaml_automl:auto", "FLAML, eval_method='auto'", ("flaml",)),
    "halving": Peer("halving:fit", "HalvingRandomSearchCV of scikit-learn"),
    "hyperopt": Peer("hyperopt_tpe:fit", "hyperopt's TPE, cross_val_score", ("hyperopt",)),
    "pytabkit_td": Peer("pytabkit_td:fit", "pytabkit's tuned defaults", ("pytabkit",), budgeted=False),
    "flaml_default": Peer("flaml_zero_shot:fit", "FLAML's zero-shot defaults", ("flaml",), budgeted=False),
}
"""In the order of tables."""
