"""Fold pruners in a stranger's own objective: two lines."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error, r2_score
from sklearn.model_selection import KFold

from gbtune.errors import GbtuneWarning, InvalidArgument
from gbtune.pruners import BaselinePruner, RacingPruner, report_fold, resolve_pruner

X, Y = load_diabetes(return_X_y=True)
SPLITS = list(KFold(5, shuffle=True, random_state=0).split(X))
DOCS = Path(__file__).parents[2] / "docs" / "pruners.md"
METRICS: dict[str, Callable[..., float]] = {"minimize": mean_squared_error, "maximize": r2_score}


def ridge(direction: str = "minimize") -> Callable[[optuna.Trial], float]:
    """A stranger's objective: nothing of gbtune but the two lines."""

    def objective(trial: optuna.Trial) -> float:
        alpha = trial.suggest_float("alpha", 1e-4, 1e4, log=True)
        scores: list[float] = []
        for train, valid in SPLITS:
            model = Ridge(alpha=alpha).fit(X[train], Y[train])
            scores.append(METRICS[direction](Y[valid], model.predict(X[valid])))
            report_fold(trial, scores, n_folds=len(SPLITS))
            if trial.should_prune():
                raise optuna.TrialPruned()
        return float(np.mean(scores))

    return objective


def run(pruner: Any, *, direction: str = "minimize", storage: Any = None, **arguments: Any) -> optuna.Study:
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(direction=direction, sampler=sampler, pruner=pruner, storage=storage, study_name="own")
    study.optimize(ridge(direction), n_trials=24, **arguments)
    return study


def outcomes(study: optuna.Study) -> list[tuple[Any, ...]]:
    return [(trial.state, trial.value, tuple(trial.intermediate_values.items())) for trial in study.trials]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_race_stops_what_is_behind_and_keeps_the_best(direction: str) -> None:
    raced, plain = run(RacingPruner(), direction=direction), run(optuna.pruners.NopPruner(), direction=direction)
    pruned = raced.get_trials(states=(TrialState.PRUNED,))
    assert len(pruned) >= 8 and all(0 < len(trial.intermediate_values) < 5 for trial in pruned)
    assert raced.best_params == plain.best_params and raced.best_value == plain.best_value
    for trial, unpruned in zip(raced.trials, plain.trials, strict=True):
        assert trial.state == TrialState.PRUNED or trial.value == unpruned.value


def test_every_storage_gives_the_same_study(tmp_path: Path) -> None:
    expected = outcomes(run(RacingPruner()))
    journal = JournalStorage(JournalFileBackend(str(tmp_path / "own.journal")))
    assert outcomes(run(RacingPruner(), storage=journal)) == expected
    assert outcomes(run(RacingPruner(), storage=f"sqlite:///{tmp_path}/own.db")) == expected


def test_it_works_in_threads() -> None:
    study = run(RacingPruner(), n_jobs=3)
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE, TrialState.PRUNED}


@pytest.mark.parametrize("name", ["median", "percentile", "wilcoxon", "threshold"])
def test_the_pruner_can_be_changed_without_changing_the_objective(name: str) -> None:
    study = run(resolve_pruner(name, n_rows=len(X), n_folds=5, max_rounds=100))
    assert study.get_trials(states=(TrialState.PRUNED,)) and study.get_trials(states=(TrialState.COMPLETE,))
    plain = run(optuna.pruners.NopPruner())
    for trial in study.get_trials(states=(TrialState.COMPLETE,)):
        assert trial.value == plain.trials[trial.number].value


def test_the_value_reported_is_the_one_that_fits_the_pruner() -> None:
    whole = run(optuna.pruners.NopPruner()).trials[0].intermediate_values
    assert list(whole) == [1, 2, 3, 4, 5]
    wilcoxon = resolve_pruner("wilcoxon", n_rows=len(X), n_folds=5, max_rounds=100)
    own = list(run(wilcoxon).trials[0].intermediate_values.values())
    assert [np.mean(own[:k]) for k in range(1, 6)] == pytest.approx(list(whole.values()))


def test_telling_the_same_again_changes_nothing_and_warns_of_nothing() -> None:
    study = optuna.create_study(pruner=RacingPruner())
    trial = study.ask()
    for _ in range(3):
        report_fold(trial, [0.5, 0.7], n_folds=5)
    assert study.trials[0].intermediate_values == {2: 0.6}
    report_fold(trial, np.array([0.4, 0.6, 0.8], dtype=np.float32), n_folds=5)
    assert list(study.trials[0].intermediate_values) == [2, 3]


def test_scores_that_change_with_later_folds_are_the_ones_that_count() -> None:
    study = optuna.create_study(pruner=BaselinePruner())
    first = study.ask()
    report_fold(first, [0.5, 0.5, 0.5], n_folds=3)
    study.tell(first, 0.5)
    trial = study.ask()
    report_fold(trial, [0.6], n_folds=3)
    assert trial.should_prune()
    report_fold(trial, [0.4], n_folds=3)
    assert not trial.should_prune()


def test_the_objective_can_be_called_again_with_the_best_trial_and_with_fixed_parameters() -> None:
    study = run(RacingPruner())
    assert ridge()(study.best_trial) == study.best_value  # type: ignore[arg-type]
    assert ridge()(optuna.trial.FixedTrial(study.best_params)) == study.best_value  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scores", "n_folds"),
    [([], 5), ([1.0] * 6, 5), (["a"], 5), (0.3, 5), ([[0.1], [0.2]], 5), ([0.1], 0)],
)
def test_scores_that_are_none_are_refused(scores: Any, n_folds: int) -> None:
    with pytest.raises(InvalidArgument, match="report_fold: scores must be"):
        report_fold(optuna.create_study().ask(), scores, n_folds=n_folds)


def test_the_number_of_folds_is_that_of_all_folds() -> None:
    trial = optuna.create_study().ask()
    report_fold(trial, [0.1], n_folds=1)
    with pytest.raises(InvalidArgument, match="got 1 and then 2"):
        report_fold(trial, [0.1, 0.2], n_folds=2)


def test_a_forgotten_line_is_heard() -> None:
    def forgetful(trial: optuna.Trial) -> float:
        trial.report(1.0, 1)
        if trial.should_prune():
            raise optuna.TrialPruned()
        return 1.0

    study = optuna.create_study(pruner=RacingPruner())
    with pytest.warns(GbtuneWarning, match="report_fold"):
        study.optimize(forgetful, n_trials=1)


def test_what_the_documentation_shows_runs_as_it_stands(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    own = [block for block in blocks if "report_fold" in block]
    assert len(own) == 1
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", own[0]], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    stopped, of = map(int, re.findall(r"\d+", done.stdout.splitlines()[-1])[:2])
    assert 0 < stopped < of
