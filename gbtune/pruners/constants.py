"""Every constant of the pruners that names stand for, in one place. docs/pruners.md says how they were chosen."""

from __future__ import annotations

RACE_Z = 1.5
RACE_SAFE_Z = 2.0
RACE_SAFE_BELOW_ROWS = 1000
"""Below so many rows trials cost little and folds say little: the race is the safe one."""
RACE_STARTUP_TRIALS = 3

STARTUP_TRIALS = 5
"""Complete trials before a median or percentile means anything: Optuna's own default."""
PERCENTILE = 25.0
"""Of the trials, the best quarter goes on: the value of Optuna's example."""

WILCOXON_FOLDS = 3
"""After k folds no p-value is below 2 ** -k. The threshold lets the pruner act after so many folds."""

REDUCTION_FACTOR = 3
HALVINGS = 3
"""Successive halving begins at the round cap divided by REDUCTION_FACTOR ** HALVINGS."""

PATIENCE = 0
"""Steps without an improvement before the newest one, which has none either: ten rounds in all. Early stopping ends a
trial after twenty: one step more, and it would come first."""
