"""Pruners: names to Optuna pruners, our own plug-ins, and the schedule that fits each.

====================  ===================================================  ========  ==============================
name                  pruner                                               steps     value reported
====================  ===================================================  ========  ==============================
race                  `RacingPruner`                                       folds     score of the folds so far
median                `optuna.pruners.MedianPruner`                        folds     score of the folds so far
percentile            `optuna.pruners.PercentilePruner`, 25 %              folds     score of the folds so far
threshold             `BaselinePruner`                                     folds     score of the folds so far
wilcoxon              `optuna.pruners.WilcoxonPruner`, p <= 1/8            folds     the newest fold's own score
hyperband             `HyperbandPruner`, up to the round cap               rounds    mean of all folds
successive-halving    `optuna.pruners.SuccessiveHalvingPruner`             rounds    mean of all folds
patient               `optuna.pruners.PatientPruner` around a median       rounds    mean of all folds
(an object)           Median, Percentile, Threshold, Nop                   folds     score of the folds so far
(an object)           any other `optuna.pruners.BasePruner`                rounds    mean of all folds
====================  ===================================================  ========  ==============================

Where steps are folds, they are 1, 2, ...; where steps are rounds, all folds grow together and report every ten
rounds. `report_fold` serves the pruners of the first kind in anyone's own objective. ``docs/pruners.md`` has the
reasons, the sources and the measurements.
"""

from gbtune.pruners.baseline import BaselinePruner
from gbtune.pruners.hyperband import HyperbandPruner
from gbtune.pruners.names import NAMES, describe, resolve_pruner
from gbtune.pruners.protocol import Protocol, protocol_of, report_fold
from gbtune.pruners.racing import RacingPruner

__all__ = [
    "NAMES",
    "BaselinePruner",
    "HyperbandPruner",
    "Protocol",
    "RacingPruner",
    "describe",
    "protocol_of",
    "report_fold",
    "resolve_pruner",
]
