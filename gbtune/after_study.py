"""Decides, when a study has registered its model, whether that is the new champion."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

from gbtune.comparison import Comparison, compare_on
from gbtune.errors import GbtuneWarning
from gbtune.progress import Progress
from gbtune.promotion import Policy, Promotion, as_written, decide
from gbtune.records import Receipt
from gbtune.tracking import MLflowTracker
from gbtune.tracking.champions import Champions, how_to_promote
from gbtune.tracking.model_registry import DECISION
from gbtune.tracking.store import Store

if TYPE_CHECKING:
    from gbtune.objective import Objective

_REGISTERED = re.compile(r"models:/(?P<name>[^/]+)/(?P<version>\d+)")


def after_study(
    objective: Objective,
    receipt: Receipt,
    policy: Policy,
    *,
    n_jobs: int,
    tracker: object,
    progress: bool,
    interrupted: bool = False,
) -> Promotion | None:
    """Decide about the version that a study has registered; whatever goes wrong is a warning.

    Parameters
    ----------
    objective : Objective
        Of the study, whose data are compared on.
    receipt : Receipt
        What the tracker wrote.
    policy : {"if_better", "unless_worse", "always", "never"} or callable
        As in `promote`; "never" does not even compare.
    n_jobs : int
        Boosters that grow side by side, in this process.
    tracker : Tracker or None
        That registered it; only an `MLflowTracker` has champions.
    progress : bool
        Print the decision on stderr.
    interrupted : bool, default False
        Ctrl-C has ended the search: nothing is decided, and the command that does is printed.

    Returns
    -------
    Promotion or None
        None if nothing was registered, or nothing decided.
    """
    found = _REGISTERED.fullmatch(receipt.model_uri or "")
    if policy == "never" or not isinstance(tracker, MLflowTracker):
        return None
    if found is None:
        if (receipt.model_uri or "").count("/") > 1:  # models:/<id> is not registered
            warnings.warn(f"{receipt.model_uri} is no version of a model: not promoted.", GbtuneWarning, stacklevel=3)
        return None
    name, version = found["name"], found["version"]
    data, folds = objective.data, objective.evaluator.folds
    needs = {"weighted": data.sample_weight is not None, "folds_kind": folds.kind, "metric": objective.metric.name}
    how = how_to_promote(name, version, Store(tracker.tracking_uri, tracker.registry_uri), needs)
    if interrupted:
        Progress(progress).say(f"gbtune: interrupted, so version {version} of {name!r} was not compared: {how}")
        return None

    def run(champion: dict[str, Any], challenger: dict[str, Any]) -> Comparison:
        return compare_on(data, champion, challenger, metric=objective.metric, n_jobs=n_jobs)

    try:
        champions = Champions(name, tracker.tracking_uri, tracker.registry_uri)
        if champions.tags(version).get(DECISION) == "rolled back":  # a person's decision stands
            decided = as_written(champions, version, complete=False)
        else:
            decided = decide(champions, version, policy, run)
        Progress(progress).say(f"gbtune: {decided.words}")
        return decided
    except (Exception, KeyboardInterrupt) as error:
        reason = f"{type(error).__name__}: {error}".rstrip(":. ")
        warnings.warn(
            f"Version {version} of {name!r} is registered; whether it is to be champion was not decided ({reason}). "
            f"Repeat: {how}",
            GbtuneWarning,
            stacklevel=3,
        )
        return None
