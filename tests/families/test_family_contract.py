"""The families keep their contract: ours, and the fake one that other tests rely on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest

from benchmarks.counting import Work, counted_work
from gbtune import families
from gbtune.data import Dataset
from gbtune.families import ModelFamily
from gbtune.families.lightgbm import _native_params
from gbtune.records import Folds
from gbtune.resampling import make_folds
from gbtune.testing import FamilyContract, StubFamily, never

SAMPLED = {
    "xgboost": {"max_depth": 3, "subsample": 0.7, "colsample_bytree": 0.7},
    "lightgbm": {"num_leaves": 7, "subsample": 0.7, "subsample_freq": 1, "colsample_bytree": 0.7},
}
SCHEDULE = {
    "learning_rate_schedule": "step",
    "learning_rate_final": 0.2,
    "learning_rate_horizon": 4,
    "learning_rate_steps": 2,
}
SCHEDULES = {"learning_rate_schedule": {"learning_rate_schedule": "cosine"}} | {
    name: SCHEDULE for name in SCHEDULE if name != "learning_rate_schedule"
}
RISING = (1, 1, -1, -1, 0, 0, 0, 0, 0, 0)


class TestXGBoost(FamilyContract):
    params = SAMPLED["xgboost"]
    examples = {
        **SCHEDULES,
        "base_score": {"base_score": 0.4},
        "grow_policy": {"grow_policy": "lossguide", "max_leaves": 4, "max_depth": 4},
        "interaction_constraints": {"interaction_constraints": "[[0, 1], [2, 3]]"},
        "max_bin": {"max_bin": 8},
        "max_cat_threshold": {"max_cat_threshold": 2},
        "max_cat_to_onehot": {"max_cat_to_onehot": 20},
        "max_delta_step": {"max_delta_step": 0.2},
        "max_leaves": {"grow_policy": "lossguide", "max_leaves": 3},
        "monotone_constraints": {"monotone_constraints": RISING},
        "num_parallel_tree": {"num_parallel_tree": 3, "subsample": 0.5},
        "sampling_method": {"sampling_method": "gradient_based", "subsample": 0.5},
    }

    @pytest.fixture
    def family(self) -> ModelFamily:
        return families.get("xgboost")


class TestLightGBM(FamilyContract):
    params = SAMPLED["lightgbm"]
    examples = {
        **SCHEDULES,
        "boost_from_average": {"boost_from_average": False},
        # Gradient-based sampling begins after 1 / learning_rate rounds.
        "data_sample_strategy": {"data_sample_strategy": "goss", "learning_rate": 0.5},
        "feature_fraction_bynode": {"feature_fraction_bynode": 0.3},
        "interaction_constraints": {"interaction_constraints": "[0,1],[2,3]"},
        "is_unbalance": {"is_unbalance": True},
        "max_bin": {"max_bin": 8},
        "max_cat_threshold": {"max_cat_threshold": 1, "min_data_per_group": 5, "cat_smooth": 1.0},
        "max_delta_step": {"max_delta_step": 0.1},
        "min_data_in_bin": {"min_data_in_bin": 30},
        "monotone_constraints": {"monotone_constraints": RISING},
        "other_rate": {"data_sample_strategy": "goss", "learning_rate": 0.5, "other_rate": 0.3},
        "top_rate": {"data_sample_strategy": "goss", "learning_rate": 0.5, "top_rate": 0.4},
    }

    @pytest.fixture
    def family(self) -> ModelFamily:
        return families.get("lightgbm")


class TestStub(FamilyContract):
    examples = {"learning_rate": {"learning_rate": 0.5}, "split": {"split": 0.2}}
    gaps = {"missing_values_are_learned_from": never("it looks at the first column alone")}

    @pytest.fixture
    def family(self) -> ModelFamily:
        return StubFamily()


@pytest.fixture
def binary(breast_cancer: tuple[pd.DataFrame, pd.Series]) -> Dataset:
    return Dataset.from_arrays(*breast_cancer)


def test_the_written_out_defaults_are_the_librarys_own(family_name: str, binary: Dataset) -> None:
    import lightgbm
    import xgboost

    family = families.get(family_name)
    ours = family.fit(binary, family.default_params, family.default_rounds, 0, loss="log_loss_binary")
    plain = {"xgboost": xgboost.XGBClassifier, "lightgbm": lightgbm.LGBMClassifier}[family_name]
    quiet = {"verbosity": -1} if family_name == "lightgbm" else {}
    theirs = plain(n_jobs=1, **quiet).fit(binary.X, binary.y)
    np.testing.assert_allclose(ours.predict_proba(binary.X), theirs.predict_proba(binary.X), atol=1e-6)


def test_the_refit_equals_the_librarys_own_fit(family_name: str, binary: Dataset) -> None:
    import lightgbm
    import xgboost

    params = SAMPLED[family_name]
    ours = families.get(family_name).fit(binary, params, 30, 5, loss="log_loss_binary")
    if family_name == "xgboost":
        theirs = xgboost.XGBClassifier(
            **params, n_estimators=30, random_state=5, n_jobs=1, seed_per_iteration=True, tree_method="hist"
        )
    else:
        theirs = lightgbm.LGBMClassifier(
            **params, n_estimators=30, random_state=5, n_jobs=1, verbosity=-1, deterministic=True, force_col_wise=True
        )
    theirs.fit(binary.X, binary.y)
    np.testing.assert_array_equal(ours.predict_proba(binary.X), theirs.predict_proba(binary.X))
    assert ours.get_params()["n_estimators"] == 30
    assert list(ours.classes_) == [0, 1] and ours.n_features_in_ == 30
    assert len(ours.feature_importances_) == 30


def test_a_fold_is_trained_on_its_training_rows_alone(family_name: str, binary: Dataset) -> None:
    rows = np.arange(binary.n_rows)
    family = families.get(family_name)
    folds = Folds(((rows[:400], rows[400:]),), "hold-out", binary.n_rows)
    curve = family.prepare(binary, folds, "log_loss_binary").train_fold({}, 0, 20, 0).curve
    flipped = binary.y.copy()
    flipped[400:] = 1 - flipped[400:]
    import dataclasses

    other = dataclasses.replace(binary, y=flipped)
    fit = family.prepare(other, folds, "log_loss_binary").train_fold({}, 0, 20, 0)
    assert curve[-1] < 0.3 < fit.curve[-1], "the held-out labels differ, so the loss must"
    same = family.prepare(binary, folds, "log_loss_binary").train_fold({}, 0, 20, 0)
    np.testing.assert_array_equal(fit.predict(), same.predict())


@pytest.fixture
def work() -> Iterator[Work]:
    """The binned matrices built from raw columns, among other work, as it is done."""
    with counted_work() as counts:
        yield counts


def test_binning_does_not_grow_with_the_number_of_trials(
    family_name: str, breast_cancer: tuple[pd.DataFrame, pd.Series], work: Work
) -> None:
    import gbtune

    space = gbtune.SearchSpace.load("core", family=family_name).override(learning_rate=(0.1, 0.3))
    gbtune.tune(*breast_cancer, family=family_name, space=space, n_trials=12, cv=4, tracking=False, progress=False)
    limit = 1 + 2 * 4 if family_name == "xgboost" else 1
    assert work.binnings == limit, "the refit included"


def test_a_data_level_parameter_is_binned_once_per_value(family_name: str, binary: Dataset, work: Work) -> None:
    prepared = families.get(family_name).prepare(binary, make_folds(3, binary, seed=0), "log_loss_binary")
    for max_bin in (63, 255, 63, 255):
        prepared.train_fold({"max_bin": max_bin}, 0, 2, 0)
    assert work.binnings == (2 * 3 if family_name == "xgboost" else 2)


@pytest.mark.parametrize(
    "params", [{"min_child_samples": 30, "subsample": 0.5, "subsample_freq": 1}, {"min_child_weight": 5.0}]
)
def test_a_round_without_a_split_does_not_end_lightgbm(
    params: dict[str, float], diabetes: tuple[pd.DataFrame, pd.Series], breast_cancer: tuple[pd.DataFrame, pd.Series]
) -> None:
    import lightgbm

    X, y = diabetes if "subsample" in params else breast_cancer
    data = Dataset.from_arrays(X.iloc[:150], y.iloc[:150])
    loss = "squared_error" if data.task == "regression" else "log_loss_binary"
    family, folds = families.get("lightgbm"), make_folds(3, data, seed=0)
    prepared = family.prepare(data, folds, loss)
    fit = prepared.train_fold({**params, "colsample_bytree": 0.5}, 0, 120, 0)
    train, valid = folds.splits[0]
    # LightGBM's own training of as many rounds, on the same bins.
    native = _native_params({**params, "colsample_bytree": 0.5}, loss, data.n_classes, 0, 1)
    subset = prepared.full_dataset(native).subset(train)
    own = lightgbm.train(native, subset, 120)
    np.testing.assert_array_equal(fit.predict(), own.predict(data.X.iloc[valid]))
    np.testing.assert_array_equal(fit.predict(60), lightgbm.train(native, subset, 60).predict(data.X.iloc[valid]))


def test_every_native_metric_name_is_understood(family_name: str) -> None:
    from gbtune.metrics import metric_named

    native = families.get(family_name).capabilities.native_metrics
    for name in native:
        assert metric_named(name, native).direction in ("minimize", "maximize")
