"""What is XGBoost's alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from xgboost import XGBRegressor

import gbtune
from benchmarks.counting import counted_work
from gbtune import families
from gbtune.data import Dataset
from gbtune.errors import InvalidArgument
from gbtune.resampling import make_folds

TREES = {"max_depth": 3, "learning_rate": 0.3, "min_child_weight": 1.0}
AS_NUMBERS = {**TREES, "enable_categorical": False}


@pytest.fixture
def towns(diabetes: tuple[pd.DataFrame, pd.Series]) -> Dataset:
    """The body mass index by name of its decile, shuffled and sometimes missing, beside numbers."""
    X, y = diabetes
    random = np.random.default_rng(0)
    names = random.permutation(list("abcdefghij"))
    town = pd.Series(names[pd.qcut(X["bmi"], 10, labels=False)]).where(random.random(len(X)) < 0.8, None)
    return Dataset.from_arrays(X[["age", "bp"]].assign(town=town.to_numpy()), y)


def codes_of(data: Dataset) -> NDArray[Any]:
    """The columns as numbers: of categories the place of the level, not a number where it is missing."""
    assert isinstance(data.X, pd.DataFrame)
    codes = data.X["town"].cat.codes.to_numpy(float)
    return data.X.assign(town=np.where(codes < 0, np.nan, codes)).to_numpy()


def test_without_enable_categorical_categories_are_taken_for_numbers(towns: Dataset) -> None:
    ours = families.get("xgboost").fit(towns, AS_NUMBERS, 20, 0, loss="squared_error")
    by_hand = XGBRegressor(**AS_NUMBERS, n_estimators=20, random_state=0, tree_method="hist", n_jobs=1)
    by_hand.fit(codes_of(towns), towns.y)
    np.testing.assert_allclose(ours.predict(towns.X), by_hand.predict(codes_of(towns)), rtol=1e-5)
    as_sets = families.get("xgboost").fit(towns, TREES, 20, 0, loss="squared_error")
    assert not np.allclose(ours.predict(towns.X), as_sets.predict(towns.X), rtol=1e-3)


def test_a_fold_and_the_refit_take_them_alike_whatever_the_other_matrix_is(towns: Dataset) -> None:
    family, folds = families.get("xgboost"), make_folds(3, towns, seed=0)
    prepared = family.prepare(towns, folds, "squared_error")
    prepared.train_fold(TREES, 0, 5, 0)
    with counted_work() as work:
        of_fold = [prepared.train_fold(AS_NUMBERS, fold, 5, 0).last_loss for fold in (0, 1, 2, 0)]
        shared = family.fit(towns, AS_NUMBERS, 5, 0, loss="squared_error", prepared=prepared)
    assert work.binnings == 1 + 2 * len(folds.splits), "each matrix once"
    alone = family.prepare(towns, folds, "squared_error").train_fold(AS_NUMBERS, 0, 5, 0)
    assert of_fold[0] == of_fold[3] == alone.last_loss
    fresh = family.fit(towns, AS_NUMBERS, 5, 0, loss="squared_error")
    np.testing.assert_array_equal(shared.predict(towns.X), fresh.predict(towns.X))


def test_without_categories_it_changes_nothing_and_bins_nothing_anew(diabetes: tuple[pd.DataFrame, pd.Series]) -> None:
    data = Dataset.from_arrays(*diabetes)
    family = families.get("xgboost")
    prepared = family.prepare(data, make_folds(3, data, seed=0), "squared_error")
    loss = prepared.train_fold(TREES, 0, 5, 0).last_loss
    with counted_work() as work:
        assert prepared.train_fold(AS_NUMBERS, 0, 5, 0).last_loss == loss
    assert work.binnings == 0


def test_its_clone_its_file_and_its_first_rounds_predict_as_it_does(towns: Dataset, tmp_path: Path) -> None:
    family = families.get("xgboost")
    fitted = family.fit(towns, AS_NUMBERS, 20, 0, loss="squared_error")
    expected = fitted.predict(towns.X)
    np.testing.assert_allclose(clone(fitted).fit(towns.X, towns.y).predict(towns.X), expected, rtol=1e-5)
    family.save(fitted, tmp_path / family.model_file)
    loaded = family.load(tmp_path / family.model_file, "regression")
    np.testing.assert_array_equal(loaded.predict(towns.X), expected)
    np.testing.assert_array_equal(loaded.apply(towns.X), fitted.apply(towns.X))
    shorter = family.fit(towns, AS_NUMBERS, 8, 0, loss="squared_error")
    np.testing.assert_array_equal(family.first_rounds(fitted, 8).predict(towns.X), shorter.predict(towns.X))


def with_towns(diabetes: tuple[pd.DataFrame, pd.Series], n_levels: int) -> tuple[pd.DataFrame, pd.Series]:
    X, y = diabetes
    names = np.array([f"town {n:03}" for n in range(n_levels)])  # in order, so that both ways are good ones
    places = np.argsort(np.argsort(X["bmi"], kind="stable")) * n_levels // len(X)
    return X[["age", "bp"]].assign(town=names[places]), y


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_a_study_tries_both_and_its_model_predicts_rows_as_the_caller_has_them(
    diabetes: tuple[pd.DataFrame, pd.Series], tmp_path: Path, isolation: Any
) -> None:
    X, y = with_towns(diabetes, 80)
    space = gbtune.SearchSpace.load("xgboost/core").override(learning_rate=(0.1, 0.3), n_estimators=(10, 60))
    result = gbtune.tune_xgb(
        X, y, space=space, n_trials=12, ensemble=10, isolation=isolation, seed=0, tracking=False, progress=False
    )
    assert {True, False} <= set(result.trials["param_enable_categorical"])
    made_of = result.trials.set_index("number").loc[list(result.members), "param_enable_categorical"]
    assert {True, False} == set(made_of), "the final model has both"
    some = X.iloc[[3, 1, 400]]
    expected = result.predict(X)[[3, 1, 400]]
    np.testing.assert_allclose(result.predict(some), expected, rtol=1e-6)
    reordered = some.assign(town=pd.Categorical(some["town"], categories=sorted(set(X["town"]), reverse=True)))
    np.testing.assert_allclose(gbtune.TuningResult.load(result.save(tmp_path)).predict(reordered), expected, rtol=1e-6)


def test_where_levels_are_few_only_who_asks_for_it_has_it(diabetes: tuple[pd.DataFrame, pd.Series]) -> None:
    core = gbtune.SearchSpace.load("xgboost/core")
    for n_levels, tried in ((64, False), (65, True)):
        space = gbtune.Objective("xgboost", *with_towns(diabetes, n_levels)).space
        assert ("enable_categorical" in space.distributions()) == tried
    for asked in (core.fix(enable_categorical=False), core.override(enable_categorical=[False])):
        space = gbtune.Objective("xgboost", *with_towns(diabetes, 5), space=asked).space
        assert space.complete(space.defaults())["enable_categorical"] is False
        assert "enable_categorical" not in gbtune.Objective("xgboost", *diabetes, space=asked).space.defaults()


def test_constraints_by_name_hold_in_the_fitted_model_and_its_file(
    diabetes: tuple[pd.DataFrame, pd.Series], tmp_path: Path
) -> None:
    family, data = families.get("xgboost"), Dataset.from_arrays(*diabetes)
    fitted = family.fit(data, {**TREES, "monotone_constraints": {"bmi": 1}}, 20, 0, loss="squared_error")
    assert isinstance(data.X, pd.DataFrame)
    rising = pd.concat([data.X.iloc[[0]]] * 50, ignore_index=True).assign(bmi=np.linspace(-0.1, 0.2, 50))
    assert (np.diff(fitted.predict(rising)) >= 0).all()
    family.save(fitted, tmp_path / family.model_file)
    loaded = family.load(tmp_path / family.model_file, "regression")
    np.testing.assert_array_equal(loaded.predict(rising), fitted.predict(rising))


@pytest.mark.parametrize("wrong", ["false", 0.5, None])
def test_what_is_neither_true_nor_false_is_refused(towns: Dataset, wrong: Any) -> None:
    with pytest.raises(InvalidArgument, match="enable_categorical must be True or False, got"):
        families.get("xgboost").fit(towns, {"enable_categorical": wrong}, 5, 0, loss="squared_error")
