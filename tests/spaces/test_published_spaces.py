"""Spaces for kinds of data, and reproductions of published ones: the ranges, the sources, and that they train."""

from __future__ import annotations

import json
import re
import warnings
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

import gbtune
from gbtune import families
from gbtune.data import Dataset
from gbtune.facts import read_records
from gbtune.resampling import make_folds
from gbtune.spaces import TASKS, FixedParameter, Parameter, RoundsParameter, SampledParameter, SearchSpace, available

Range = tuple[Any, ...]

# Written down a second time, from the sources and under the names that they use, so that a slip of the pen in a file
# shows. lin and log: real numbers; int and intlog: whole ones; "up to": the cap of early stopping.
PUBLISHED: dict[str, dict[str, Range]] = {
    "xgboost/tabarena-2025": {
        "learning_rate": ("log", 5e-3, 1e-1),
        "max_depth": ("intlog", 4, 10),
        "min_child_weight": ("log", 1e-3, 5.0),
        "subsample": ("lin", 0.6, 1.0),
        "colsample_bylevel": ("lin", 0.6, 1.0),
        "colsample_bynode": ("lin", 0.6, 1.0),
        "reg_alpha": ("lin", 1e-4, 5.0),
        "reg_lambda": ("lin", 1e-4, 5.0),
        "grow_policy": ("choice", "depthwise", "lossguide"),
        "max_cat_to_onehot": ("intlog", 8, 100),
        "max_leaves": ("intlog", 8, 1024),
        "n_estimators": ("up to", 10000),
    },
    "xgboost/tabrepo-2023": {
        "learning_rate": ("log", 5e-3, 0.1),
        "max_depth": ("int", 4, 10),
        "min_child_weight": ("lin", 0.5, 1.5),
        "colsample_bytree": ("lin", 0.5, 1.0),
        "n_estimators": ("up to", 10000),
    },
    "xgboost/autogluon-hpo": {
        "learning_rate": ("log", 5e-3, 0.2),
        "max_depth": ("int", 3, 10),
        "min_child_weight": ("int", 1, 5),
        "colsample_bytree": ("lin", 0.5, 1.0),
        "n_estimators": ("up to", 10000),
    },
    "xgboost/grinsztajn-2022": {
        "learning_rate": ("log", 1e-5, 0.7),
        "max_depth": ("int", 1, 11),
        "min_child_weight": ("intlog", 1, 100),
        "subsample": ("lin", 0.5, 1.0),
        "colsample_bytree": ("lin", 0.5, 1.0),
        "colsample_bylevel": ("lin", 0.5, 1.0),
        "gamma": ("log", 1e-8, 7),
        "reg_alpha": ("log", 1e-8, 1e2),
        "reg_lambda": ("log", 1, 4),
        "n_estimators": ("up to", 1000),
    },
    "xgboost/tabzilla-2023": {
        "learning_rate": ("log", 0.01, 0.3),
        "max_depth": ("intlog", 2, 12),
        "alpha": ("log", 1e-8, 1),
        "lambda": ("log", 1e-8, 1),
        "n_estimators": ("up to", 500),
    },
    "xgboost/pytabkit-large-v9": {
        "eta": ("log", 5e-3, 1e-1),
        "max_depth": ("int", 3, 10),
        "min_child_weight": ("log", 1e-3, 5.0),
        "subsample": ("lin", 0.5, 1),
        "colsample_bylevel": ("lin", 0.7, 1),
        "colsample_bynode": ("lin", 0.6, 1),
        "reg_alpha": ("log", 1e-4, 5.0),
        "reg_lambda": ("log", 1e-4, 5.0),
        "grow_policy": ("choice", "depthwise", "lossguide"),
        "max_leaves": ("intlog", 16, 1024),
        "n_estimators": ("up to", 10000),
    },
    "xgboost/mlr3-default": {
        "eta": ("log", 1e-4, 1),
        "nrounds": ("int", 1, 5000),
        "max_depth": ("int", 1, 20),
        "colsample_bytree": ("lin", 0.1, 1),
        "colsample_bylevel": ("lin", 0.1, 1),
        "lambda": ("log", 1e-3, 1e3),
        "alpha": ("log", 1e-3, 1e3),
        "subsample": ("lin", 0.1, 1),
    },
    "xgboost/mljar-grid": {
        "eta": ("choice", 0.05, 0.075, 0.1, 0.15),
        "max_depth": ("int", 4, 9),
        "min_child_weight": ("choice", 1, 5, 10, 25, 50),
        "subsample": ("step", 0.5, 1.0, 0.1),
        "colsample_bytree": ("step", 0.5, 1.0, 0.1),
        "n_estimators": ("up to", 10000),
    },
    "xgboost/mljar-optuna": {
        "eta": ("choice", 0.0125, 0.025, 0.05, 0.1),
        "max_depth": ("int", 2, 12),
        "min_child_weight": ("int", 1, 100),
        "subsample": ("lin", 0.3, 1),
        "colsample_bytree": ("lin", 0.3, 1),
        "alpha": ("log", 1e-8, 10),
        "lambda": ("log", 1e-8, 10),
        "n_estimators": ("up to", 1000),
    },
    "lightgbm/tabarena-2025": {
        "learning_rate": ("log", 5e-3, 1e-1),
        "feature_fraction": ("lin", 0.4, 1.0),
        "bagging_fraction": ("lin", 0.7, 1.0),
        "bagging_freq": ("fixed", 1),
        "num_leaves": ("intlog", 2, 200),
        "min_data_in_leaf": ("intlog", 1, 64),
        "extra_trees": ("choice", False, True),
        "min_data_per_group": ("intlog", 2, 100),
        "cat_l2": ("log", 5e-3, 2),
        "cat_smooth": ("log", 1e-3, 100),
        "max_cat_to_onehot": ("intlog", 8, 100),
        "lambda_l1": ("lin", 1e-4, 1.0),
        "lambda_l2": ("lin", 1e-4, 2.0),
        "n_estimators": ("up to", 10000),
    },
    "lightgbm/tabrepo-2023": {
        "learning_rate": ("log", 5e-3, 0.1),
        "num_leaves": ("int", 16, 255),
        "min_data_in_leaf": ("int", 2, 60),
        "feature_fraction": ("lin", 0.4, 1.0),
        "extra_trees": ("choice", False, True),
        "n_estimators": ("up to", 10000),
    },
    "lightgbm/autogluon-hpo": {
        "learning_rate": ("log", 5e-3, 0.2),
        "feature_fraction": ("lin", 0.75, 1.0),
        "min_data_in_leaf": ("int", 2, 60),
        "num_leaves": ("int", 16, 96),
        "n_estimators": ("up to", 10000),
    },
    "lightgbm/tabzilla-2023": {
        "learning_rate": ("log", 0.01, 0.3),
        "num_leaves": ("intlog", 2, 4096),
        "lambda_l1": ("log", 1e-8, 10),
        "lambda_l2": ("log", 1e-8, 10),
        "n_estimators": ("up to", 500),
    },
    "lightgbm/pytabkit-large-v9": {
        "learning_rate": ("log", 5e-3, 1e-1),
        "num_leaves": ("intlog", 2, 200),
        "feature_fraction": ("lin", 0.4, 1),
        "bagging_fraction": ("lin", 0.7, 1),
        "bagging_freq": ("fixed", 1),
        "min_data_in_leaf": ("intlog", 1, 64),
        "extra_trees": ("choice", False, True),
        "min_data_per_group": ("intlog", 1, 200),
        "cat_l2": ("log", 1e-3, 10),
        "cat_smooth": ("log", 1e-3, 100),
        "max_cat_to_onehot": ("intlog", 8, 100),
        "n_estimators": ("up to", 10000),
    },
    "lightgbm/mljar-grid": {
        "num_leaves": ("choice", 15, 31, 63, 95, 127),
        "learning_rate": ("choice", 0.05, 0.1, 0.2),
        "feature_fraction": ("choice", 0.5, 0.8, 0.9, 1.0),
        "bagging_fraction": ("choice", 0.5, 0.8, 0.9, 1.0),
        "min_data_in_leaf": ("choice", 5, 10, 15, 20, 30, 50),
        "n_estimators": ("up to", 10000),
    },
    "lightgbm/mljar-optuna": {
        "learning_rate": ("choice", 0.0125, 0.025, 0.05, 0.1),
        "num_leaves": ("int", 2, 2048),
        "lambda_l1": ("log", 1e-8, 10),
        "lambda_l2": ("log", 1e-8, 10),
        "feature_fraction": ("lin", 0.3, 1),
        "bagging_fraction": ("lin", 0.3, 1),
        "bagging_freq": ("int", 1, 7),
        "min_data_in_leaf": ("int", 1, 100),
        "extra_trees": ("choice", True, False),
        "cat_l2": ("lin", 1e-8, 100),
        "cat_smooth": ("lin", 1e-8, 100),
        "n_estimators": ("up to", 1000),
    },
    "lightgbm/optuna-example": {
        "lambda_l1": ("log", 1e-8, 10),
        "lambda_l2": ("log", 1e-8, 10),
        "num_leaves": ("int", 2, 256),
        "feature_fraction": ("lin", 0.4, 1),
        "bagging_fraction": ("lin", 0.4, 1),
        "bagging_freq": ("int", 1, 7),
        "min_child_samples": ("int", 5, 100),
        "learning_rate": ("fixed", 0.1),
        "n_estimators": ("fixed", 100),
    },
}

PROPOSED: dict[str, dict[str, Range]] = {
    "xgboost/small": {
        "max_depth": ("int", 1, 6),
        "min_child_weight": ("log", 0.01, 20),
        "learning_rate": ("log", 0.005, 0.2),
        "n_estimators": ("rounds", 50, 1000),
        "subsample": ("lin", 0.5, 1),
        "colsample_bytree": ("lin", 0.3, 1),
        "reg_lambda": ("log", 0.01, 100),
    },
    "xgboost/large": {
        "max_depth": ("int", 5, 14),
        "min_child_weight": ("log", 0.01, 300),
        "learning_rate": ("log", 0.02, 0.3),
        "n_estimators": ("rounds", 50, 5000),
        "subsample": ("lin", 0.5, 1),
        "colsample_bytree": ("lin", 0.3, 1),
        "grow_policy": ("fixed", "lossguide"),
        "max_leaves": ("intlog", 31, 1024),
    },
    "xgboost/regularized": {
        "max_depth": ("int", 1, 6),
        "min_child_weight": ("log", 1, 100),
        "learning_rate": ("log", 0.005, 0.1),
        "n_estimators": ("rounds", 100, 3000),
        "subsample": ("lin", 0.4, 0.9),
        "colsample_bytree": ("lin", 0.2, 0.9),
        "reg_lambda": ("log", 0.1, 100),
        "reg_alpha": ("log", 1e-3, 50),
        "gamma": ("log", 1e-3, 10),
    },
    "lightgbm/small": {
        "num_leaves": ("intlog", 2, 32),
        "min_child_samples": ("intlog", 2, 40),
        "learning_rate": ("log", 0.005, 0.2),
        "n_estimators": ("rounds", 50, 1000),
        "subsample": ("lin", 0.5, 1),
        "subsample_freq": ("fixed", 1),
        "colsample_bytree": ("lin", 0.4, 1),
        "extra_trees": ("choice", False, True),
        "reg_lambda": ("fixed", 1.0),
    },
    "lightgbm/large": {
        "num_leaves": ("intlog", 31, 2048),
        "min_child_samples": ("intlog", 20, 1000),
        "learning_rate": ("log", 0.02, 0.2),
        "n_estimators": ("rounds", 50, 5000),
        "subsample": ("lin", 0.5, 1),
        "subsample_freq": ("fixed", 1),
        "colsample_bytree": ("lin", 0.4, 1),
        "max_bin": ("choice", 255, 511),
        "reg_lambda": ("fixed", 1.0),
    },
    "lightgbm/regularized": {
        "num_leaves": ("intlog", 2, 64),
        "min_child_samples": ("intlog", 20, 500),
        "learning_rate": ("log", 0.005, 0.1),
        "n_estimators": ("rounds", 100, 3000),
        "subsample": ("lin", 0.4, 0.9),
        "subsample_freq": ("fixed", 1),
        "colsample_bytree": ("lin", 0.3, 0.9),
        "reg_lambda": ("log", 0.01, 100),
        "reg_alpha": ("log", 0.01, 50),
        "min_split_gain": ("log", 1e-8, 1),
        "path_smooth": ("log", 1e-3, 100),
    },
}

# Defaults that the sources name themselves.
PUBLISHED_DEFAULTS: dict[str, dict[str, Any]] = {
    "xgboost/tabrepo-2023": {"learning_rate": 0.1, "max_depth": 6, "min_child_weight": 1, "colsample_bytree": 1},
    "xgboost/autogluon-hpo": {"learning_rate": 0.1, "max_depth": 6, "min_child_weight": 1, "colsample_bytree": 1},
    "xgboost/tabzilla-2023": {"learning_rate": 0.08, "max_depth": 5, "alpha": 1e-4, "lambda": 1e-4},
    "xgboost/mljar-grid": {"eta": 0.075, "max_depth": 6, "min_child_weight": 1, "subsample": 1, "colsample_bytree": 1},
    "lightgbm/tabrepo-2023": {"learning_rate": 0.05, "num_leaves": 31, "min_data_in_leaf": 20, "feature_fraction": 1},
    "lightgbm/autogluon-hpo": {"learning_rate": 0.05, "num_leaves": 31, "min_data_in_leaf": 20, "feature_fraction": 1},
    "lightgbm/tabzilla-2023": {"learning_rate": 0.08, "num_leaves": 512, "lambda_l1": 1e-3, "lambda_l2": 1e-3},
    "lightgbm/mljar-grid": {
        "learning_rate": 0.05,
        "num_leaves": 63,
        "feature_fraction": 0.9,
        "bagging_fraction": 0.9,
        "min_data_in_leaf": 10,
    },
}

# With regression, Grinsztajn also searches a transformation of the target.
TASKS_OF = {"xgboost/grinsztajn-2022": ("binary", "multiclass")}

RECOMMENDED = {"tabarena-2025", "tabrepo-2023", "autogluon-hpo"}

# What the sources call by the native name; gbtune's names are those of the scikit-learn classes.
CANONICAL = {
    "eta": "learning_rate",
    "alpha": "reg_alpha",
    "lambda": "reg_lambda",
    "nrounds": "n_estimators",
    "lambda_l1": "reg_alpha",
    "lambda_l2": "reg_lambda",
    "feature_fraction": "colsample_bytree",
    "bagging_fraction": "subsample",
    "bagging_freq": "subsample_freq",
    "min_data_in_leaf": "min_child_samples",
}
ALL = {**PUBLISHED, **PROPOSED}


def canonical(table: dict[str, Any]) -> dict[str, Any]:
    return {CANONICAL.get(name, name): value for name, value in table.items()}


def transcribed(parameter: Parameter) -> Range:
    """Return what a parameter samples, in the words of the tables above."""
    if isinstance(parameter, FixedParameter):
        return ("fixed", parameter.value)
    if isinstance(parameter, RoundsParameter):
        return ("rounds", parameter.low, parameter.high)
    assert isinstance(parameter, SampledParameter)
    distribution: BaseDistribution = parameter.distribution()
    if isinstance(distribution, CategoricalDistribution):
        return ("choice", *distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution), distribution_to_json(distribution)
    ends = (distribution.low, distribution.high)
    if isinstance(distribution, IntDistribution):
        assert distribution.step == 1
        return ("intlog" if distribution.log else "int", *ends)
    if distribution.step is not None:
        return ("step", *ends, distribution.step)
    return ("log" if distribution.log else "lin", *ends)


def test_every_family_has_its_spaces() -> None:
    for family in ("xgboost", "lightgbm"):
        assert {f"{family}/{name}" for name in ("small", "large", "regularized")} <= set(available(family))
        assert sum(key.startswith(family) for key in PUBLISHED) >= 4
    everyday = {"core", "native", "diverse", "wide", "grid", "grid-mini"}
    assert {key for key in available() if key.partition("/")[2] not in everyday} == set(ALL)


@pytest.mark.parametrize("key", ALL)
def test_the_ranges_are_the_published_ones(key: str) -> None:
    space = SearchSpace.load(key)
    expected = {
        name: ("rounds", 1, value[1]) if value[0] == "up to" else value for name, value in canonical(ALL[key]).items()
    }
    assert {parameter.name: transcribed(parameter) for parameter in space.parameters} == expected
    assert space.tasks == TASKS_OF.get(key, TASKS)
    for parameter in space.parameters:
        kind = {"choice": type(None), "int": int, "intlog": int}.get(expected[parameter.name][0])
        assert kind is not int or type(parameter.default) is int
        assert not parameter.when, "no published space here has conditions"


@pytest.mark.parametrize("key", PUBLISHED_DEFAULTS)
def test_published_defaults_are_kept(key: str) -> None:
    expected = canonical(PUBLISHED_DEFAULTS[key])
    assert expected == {name: value for name, value in SearchSpace.load(key).defaults().items() if name in expected}


@pytest.mark.parametrize("key", PUBLISHED)
def test_a_reproduction_says_where_it_comes_from_and_what_it_is_for(key: str) -> None:
    space = SearchSpace.load(key)
    assert space.status == ("recommended" if space.name in RECOMMENDED else "comparison")
    assert re.search(r"\d", space.sources[0]) and re.search(r"\.(py|R)\b", space.sources[0]), "version or commit, path"
    assert "only numbers were taken" in space.license
    named = {text for text in ("Apache-2.0", "MIT", "LGPL-3") if text in space.license}
    assert named <= set(re.findall(r"Apache-2.0|MIT|LGPL-3", space.sources[0]))
    assert named or "no licence" in space.license


@pytest.mark.parametrize("key", PROPOSED)
def test_our_own_spaces_give_a_reason_for_each_range(key: str) -> None:
    space = SearchSpace.load(key)
    assert space.status == "recommended" and space.sources and space.license
    assert all(len(parameter.why) > 20 for parameter in space.parameters)
    assert space.portfolio[0].params == {}, "their defaults are tried first"
    assert space.grid(), "they can be searched by a grid"


@pytest.mark.parametrize("key", PUBLISHED)
def test_the_portfolio_of_a_reproduction_lies_in_its_space(key: str) -> None:
    space = SearchSpace.load(key)
    for entry in space.portfolio:
        assert {**space.project(entry.params), **entry.params} == space.project(entry.params)


def test_scales_that_copies_got_wrong_are_right() -> None:
    for family in ("xgboost", "lightgbm"):
        arena = SearchSpace.load("tabarena-2025", family=family).distributions()
        assert not arena["reg_alpha"].log and not arena["reg_lambda"].log  # type: ignore[attr-defined]
    repo = SearchSpace.load("xgboost/tabrepo-2023").distributions()
    assert not repo["min_child_weight"].log  # type: ignore[attr-defined]


def with_a_category(X: pd.DataFrame) -> pd.DataFrame:
    return X.assign(group=pd.Categorical(np.array(list("abcdefghijkl"))[np.arange(len(X)) % 12]))


@pytest.fixture(scope="module")
def data() -> dict[str, Dataset]:
    from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

    loaders = {"binary": load_breast_cancer, "multiclass": load_wine, "regression": load_diabetes}
    loaded = {task: loader(return_X_y=True, as_frame=True) for task, loader in loaders.items()}
    return {task: Dataset.from_arrays(with_a_category(X), y, task=task) for task, (X, y) in loaded.items()}


def xgboost_values(booster: Any) -> dict[str, Any]:
    """What the booster says its parameters are, by the library's names."""
    trees: dict[str, Any] = json.loads(booster.save_config())["learner"]["gradient_booster"]["tree_train_param"]
    return trees


def lightgbm_values(booster: Any) -> dict[str, Any]:
    text = booster.model_to_string().partition("\nparameters:\n")[2]
    native = dict(re.findall(r"\[(\w+): (.*?)\]", text))
    names = {
        **{ours: theirs for theirs, ours in CANONICAL.items() if theirs in native},
        "min_child_weight": "min_sum_hessian_in_leaf",
        "min_split_gain": "min_gain_to_split",
    }
    return native | {ours: native[theirs] for ours, theirs in names.items()}


XGBOOST_NAMES = {"reg_alpha": "alpha", "reg_lambda": "lambda", "gamma": "min_split_loss", "learning_rate": "eta"}


def reported(family: str, booster: Any, name: str) -> str:
    values = (xgboost_values if family == "xgboost" else lightgbm_values)(booster)
    found = values.get(name, values.get(XGBOOST_NAMES.get(name, name)))
    assert found is not None, f"{family} reports no {name}: {sorted(values)}"
    return str(found)


LOSSES = {"binary": "log_loss_binary", "multiclass": "log_loss_multiclass", "regression": "squared_error"}


@pytest.mark.parametrize(("key", "task"), [(key, task) for key in ALL for task in TASKS_OF.get(key, TASKS)])
def test_each_configuration_trains_and_the_library_honours_each_parameter(
    key: str, task: str, data: dict[str, Dataset]
) -> None:
    space = SearchSpace.load(key)
    prepared = families.get(space.family).prepare(data[task], make_folds(0.3, data[task], seed=0), LOSSES[task])
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=7))
    for params in (space.defaults(), space.suggest(study.ask()), space.suggest(study.ask())):
        wanted = {name: value for name, value in params.items() if name != "n_estimators"}
        fit = prepared.train_fold(wanted, 0, 3, 0)
        assert fit.rounds == 3 and np.isfinite(fit.curve).all()
        for name, value in wanted.items():
            if name == "max_bin":
                continue  # of the data, not of the trees: see the binning tests of the families
            told = reported(space.family, fit._booster, name)  # type: ignore[attr-defined]
            same = told == value if isinstance(value, str) else float(told) == pytest.approx(float(value), rel=1e-4)
            assert same, (name, value, told)


def test_mljars_grid_keeps_its_idle_dimension(data: dict[str, Dataset]) -> None:
    space = SearchSpace.load("lightgbm/mljar-grid")
    assert "subsample_freq" not in space.defaults()

    def predicted(subsample: float, **more: Any) -> Any:
        params = {**space.complete(space.project({"subsample": subsample})), "colsample_bytree": 1.0, **more}
        return (
            families.get("lightgbm")
            .fit(data["regression"], params, 5, 0, loss="squared_error")
            .predict(data["regression"].X)
        )

    np.testing.assert_array_equal(predicted(0.5), predicted(1.0))
    assert not np.array_equal(predicted(0.5, subsample_freq=1), predicted(1.0, subsample_freq=1))


@pytest.mark.parametrize(
    "key", ["xgboost/small", "lightgbm/regularized", "xgboost/mlr3-default", "lightgbm/optuna-example"]
)
def test_a_study_runs_with_each_way_to_count_rounds(key: str, diabetes: tuple[pd.DataFrame, pd.Series]) -> None:
    space = SearchSpace.load(key)
    if "n_estimators" in space.distributions():
        space = space.override(n_estimators=(3, 12))
    else:
        space = space.fix(n_estimators=9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gbtune.GbtuneWarning)  # so few rounds do not reach the optimum
        result = gbtune.tune(
            *diabetes, family=space.family, space=space, n_trials=3, cv=2, tracking=False, progress=False, n_jobs=1
        )
    records = read_records(result.study)[1]
    trained = [record for record in records if record.kind != "baseline" and record.state == "complete"]
    assert trained and all(3 <= record.rounds <= 12 for record in trained)
    if key == "lightgbm/optuna-example":
        assert all(record.rounds == 9 for record in trained)
