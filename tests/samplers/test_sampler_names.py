"""Every name through `tune`, on both families."""

from __future__ import annotations

from typing import Any

import optuna
import pandas as pd
import pytest

import gbtune
from gbtune.samplers import NAMES
from gbtune.samplers.names import EXTRAS

Frame = tuple[pd.DataFrame, pd.Series]
QUIET: dict[str, Any] = {"tracking": False, "progress": False}
MIXTURE = {"max_depth": "grid", "subsample": "random", "*": "tpe"}


def quick(family: str, name: str) -> gbtune.SearchSpace:
    """A shipped space whose trials are short."""
    return gbtune.SearchSpace.load(name, family=family).override(learning_rate=(0.1, 0.3), n_estimators=(5, 20))


def few(frame: Frame) -> Frame:
    return frame[0].iloc[:150], frame[1].iloc[:150]


NAMED = [pytest.param(name, marks=pytest.mark.nightly if name == "gp" else ()) for name in NAMES if name != "grid"]


@pytest.mark.parametrize("sampler", [*NAMED, pytest.param(MIXTURE, id="mixture")])
@pytest.mark.parametrize("space", ["core", "wide"])
def test_every_sampler_runs_on_both_families(sampler: Any, space: str, family_name: str, diabetes: Frame) -> None:
    if isinstance(sampler, str) and sampler in EXTRAS:
        pytest.importorskip(EXTRAS[sampler])
    chosen = sampler
    if space == "wide" and not isinstance(sampler, str):
        names = gbtune.SearchSpace.load(space, family=family_name).distributions(rounds=False)
        chosen = {name: value for name, value in sampler.items() if name == "*" or name in names}
    result = gbtune.tune(
        *few(diabetes),
        family=family_name,
        space=quick(family_name, space),
        sampler=chosen,
        pruner=None,
        n_trials=26,
        cv=0.3,
        n_jobs=1,
        **QUIET,
    )
    assert len(result.trials) == 26
    assert set(result.trials["state"]) == {"complete"}
    assert result.record.sampler == (
        chosen if isinstance(chosen, str) else ", ".join(f"{k}: {v}" for k, v in chosen.items())
    )
    sampled = [trial.params for trial in result.study.trials if trial.user_attrs.get("gbtune:point") is None]
    assert len(sampled) >= 5
    assert len({tuple(sorted(params.items())) for params in sampled}) == len(sampled)


def test_the_grid_runs_on_both_families(family_name: str, diabetes: Frame) -> None:
    space = quick(family_name, "grid-mini")
    result = gbtune.tune(
        *few(diabetes), family=family_name, space=space, sampler="grid", n_trials=5, cv=2, n_jobs=1, **QUIET
    )
    assert len(result.trials) == 5


def test_a_mixture_of_objects_goes_on_where_it_stopped(diabetes: Frame, tmp_path: Any) -> None:
    """A sampler object made anew would repeat its first draws."""
    sampled = []
    for n_trials in (20, 24):
        chosen = {"max_depth": optuna.samplers.RandomSampler(seed=0), "*": optuna.samplers.TPESampler(seed=0)}
        result = gbtune.tune_xgb(
            *few(diabetes),
            space=quick("xgboost", "core"),
            sampler=chosen,
            n_trials=n_trials,
            cv=2,
            n_jobs=1,
            study="mixed",
            storage=tmp_path / "mixed.journal",
            **QUIET,
        )
        sampled = [tuple(trial.params.values()) for trial in result.study.trials]
    assert len(set(sampled)) == 24
