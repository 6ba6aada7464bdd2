"""Recipes are enough to fit a model again; champion and challenger are compared on folds that neither search used."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.model_selection import GroupKFold, KFold, PredefinedSplit, TimeSeriesSplit

import gbtune
from gbtune import families
from gbtune.cli.data_file import read_file
from gbtune.comparison import compare, compare_on, why_not_comparable
from gbtune.data import Dataset
from gbtune.errors import InvalidArgument, InvalidData
from gbtune.evaluation import Evaluator
from gbtune.fresh_folds import fresh_folds
from gbtune.objective import Objective
from gbtune.outcome import bundle_model
from gbtune.recipe import fit_again, read_data
from gbtune.resampling import make_folds
from gbtune.rounds import Rounds
from gbtune.seeds import seed as derive_seed
from gbtune.study_metrics import resolve_metrics
from gbtune.tracking.model_registry import write_data

Frame = tuple[pd.DataFrame, pd.Series]
GOOD = {"max_depth": 4, "learning_rate": 0.1, "n_estimators": 40}
CRIPPLED = {"max_depth": 1, "learning_rate": 0.01, "n_estimators": 2}


def recipe_of(X: Any, y: Any, params: dict[str, Any] = GOOD, family: str = "lightgbm", **how: Any) -> dict[str, Any]:
    """What ``recipe.json`` holds of a model with these parameters, after a trip through JSON."""
    bundle = bundle_model(Objective(family, X, y, **how), None, None, params)
    return dict(json.loads(json.dumps(dict(bundle.recipe))))


# -- the recipe ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_the_recipe_and_the_data_give_the_same_model_again(
    family_name: str, weighted: bool, mixed: Frame, tmp_path: Path
) -> None:
    X, y = mixed
    weight = np.random.default_rng(0).random(len(X)) if weighted else None
    objective = Objective(family_name, X, y, sample_weight=weight, seed=11)
    params = {"max_depth": 5, "learning_rate": 0.2, "subsample": 0.8, "colsample_bytree": 0.7}
    if family_name == "lightgbm":
        params["subsample_freq"] = 1
    seed = derive_seed(11, "booster")
    evaluator = objective.evaluator
    original = objective.family.fit(
        objective.data, params, 25, seed, loss=evaluator.loss, threads=1, prepared=evaluator.prepared
    )
    write_data(bundle_model(objective, original, X.head(3), {**params, "n_estimators": 25}), tmp_path)
    recipe = json.loads((tmp_path / "recipe.json").read_text())
    again, encoder = fit_again(recipe, X, y, sample_weight=weight)
    expected = original.predict_proba(objective.data.X)
    np.testing.assert_array_equal(again.predict_proba(encoder.encode(X)), expected)
    assert encoder == objective.data.encoder
    other, encoder = fit_again({**recipe, "seed": seed + 1}, X, y, sample_weight=weight)
    assert not np.array_equal(other.predict_proba(encoder.encode(X)), expected), "the check can fail"


def test_a_recipe_of_unnamed_and_of_sparse_rows_is_enough_too(diabetes: Frame, family_name: str) -> None:
    matrix = diabetes[0].to_numpy()
    for X in (matrix, sp.csr_matrix(np.where(matrix > 0.03, matrix, 0))):
        objective = Objective(family_name, X, diabetes[1])
        original = objective.family.fit(objective.data, {}, 5, derive_seed(0, "booster"), loss="squared_error")
        again, encoder = fit_again(recipe_of(X, diabetes[1], {"n_estimators": 5}, family_name), X, diabetes[1])
        np.testing.assert_array_equal(again.predict(encoder.encode(X)), original.predict(objective.data.X))
        assert encoder == objective.data.encoder


def test_the_recipe_says_how_the_search_was_made(diabetes: Frame, wine: Frame) -> None:
    X, y = diabetes
    weight, groups = np.arange(len(X)) + 1.0, np.arange(len(X)) // 10
    plain = recipe_of(X, y)
    assert (plain["folds"], plain["folds_kind"], plain["n_folds"]) == ("5 folds", "plain", 5)
    assert (plain["metric"], plain["direction"], plain["loss"]) == ("rmse", "minimize", "squared_error")
    assert plain["rounds"] == 40 and plain["n_rows"] == 442 and plain["weight_fingerprint"] is None
    weighted = recipe_of(X, y, sample_weight=weight)
    assert (
        weighted["weighted"]
        and weighted["weight_fingerprint"] != recipe_of(X, y, sample_weight=weight * 2)["weight_fingerprint"]
    )
    assert recipe_of(X, y, groups=groups)["folds_kind"] == "group"
    assert recipe_of(*wine)["folds_kind"] == "stratified" and recipe_of(*wine)["classes"] == [0, 1, 2]
    assert recipe_of(*wine, cv=0.2)["n_folds"] == 1
    in_time = recipe_of(X, y, cv=TimeSeriesSplit(3, gap=7))
    assert (in_time["folds_kind"], in_time["folds_gap"]) == ("time", 7)
    assert recipe_of(X, y, cv=KFold(3))["folds_kind"] == "plain"
    with pytest.warns(UserWarning, match="ignored by KFold"):
        assert recipe_of(X, y, cv=KFold(3), groups=groups)["folds_kind"] == "group"
    assert recipe_of(X, y, cv=GroupKFold(3), groups=groups)["folds_kind"] == "group"
    assert recipe_of(*wine, cv=KFold(3, shuffle=True))["folds_kind"] == "stratified"


def own_folds(X: pd.DataFrame) -> list[Any]:
    """What only the caller knows how to deal: a panel's months, given in three ways."""
    month = np.arange(len(X)) % 6

    class ByMonth(KFold):
        """Leaves out whole months."""

        def split(self, X: Any, y: Any = None, groups: Any = None) -> Any:
            return PredefinedSplit(month % self.n_splits).split()

    return [ByMonth(3), PredefinedSplit(month), list(ByMonth(2).split(X))]


@pytest.mark.parametrize("way", range(3))
def test_folds_of_the_callers_own_are_never_replaced_by_random_ones(way: int, diabetes: Frame) -> None:
    X, y = diabetes
    cv = own_folds(X)[way]
    champion, challenger = recipe_of(X, y, CRIPPLED), recipe_of(X, y, cv=cv)
    assert challenger["folds_kind"] == "custom"
    with pytest.raises(InvalidArgument, match=r"a splitter or positions of its caller's own.*give cv.*--folds N"):
        compare(champion, challenger, X, y)
    found = compare_on(Dataset.from_arrays(X, y), champion, challenger)
    assert not found.comparable and "give cv to gbtune.promotion.promote" in found.words
    with pytest.raises(InvalidArgument, match="give cv"):
        fresh_folds(Dataset.from_arrays(X, y), challenger)
    assert compare(champion, challenger, X, y, cv=cv).better
    assert compare(champion, challenger, X, y, cv=3).folds == "3 folds", "asked for in so many words"


def test_weights_that_are_missing_or_too_many_are_refused(diabetes: Frame) -> None:
    weight = np.ones(len(diabetes[0]))
    with pytest.raises(InvalidArgument, match="fitted with weights: give sample_weight"):
        fit_again(recipe_of(*diabetes, sample_weight=weight), *diabetes)
    with pytest.raises(InvalidArgument, match="without weights"):
        fit_again(recipe_of(*diabetes), *diabetes, sample_weight=weight)


def test_a_recipe_of_old_or_of_tomorrow_is_refused(diabetes: Frame) -> None:
    recipe = recipe_of(*diabetes)
    with pytest.raises(InvalidArgument, match="schema 3"):
        fit_again({**recipe, "schema": 3}, *diabetes)
    del recipe["columns"]
    with pytest.raises(InvalidArgument, match="lacks columns"):
        fit_again(recipe, *diabetes)


def test_a_csv_file_of_the_training_data_is_the_training_data(mixed: Frame, tmp_path: Path) -> None:
    X, y = mixed
    X = X.assign(
        zone=np.where(np.arange(len(X)) % 3, "007", "NA"),
        floor=pd.Categorical(np.arange(len(X)) % 4, categories=[2, 0, 3, 1]),
        small=X["bmi"].astype("float32"),
        tenth=X["bmi"] / 10.0,
    )
    X.loc[3, "zone"] = None
    recipe = recipe_of(X, y)
    X.assign(target=y, row=1).to_csv(tmp_path / "rows.csv", index=False)
    table = read_file(recipe, tmp_path / "rows.csv", target="target")
    assert table.unused == ("row",)
    data = read_data(recipe, table.X, table.y)
    assert data.encoder == Dataset.from_arrays(X, y).encoder
    assert data.fingerprint == recipe["data_fingerprint"], "to the last digit and category"
    X.assign(target=y).to_parquet(tmp_path / "rows.parquet")
    table = read_file(recipe, tmp_path / "rows.parquet", target="target")
    assert read_data(recipe, table.X, table.y).fingerprint == recipe["data_fingerprint"]


def test_new_categories_come_after_the_recipes_and_labels_are_matched_by_text(mixed: Frame) -> None:
    X, y = mixed
    recipe = recipe_of(X, y.map({"low": 1, "middle": 2, "high": 3}))
    newer = X.assign(sex=X["sex"].fillna("three"))
    data = read_data(recipe, newer, y.map({"low": "1", "middle": "2", "high": "3"}))
    assert data.encoder.columns[3].levels == ("one", "two", "three")
    assert data.classes == (1, 2, 3)
    with pytest.raises(InvalidData, match="labels of the recipe, 1, 2, 3; it also holds '7'"):
        read_data(recipe, X, ["7", *["1"] * (len(X) - 1)])


def test_weight_and_group_are_no_columns_of_a_model_of_unnamed_ones(tmp_path: Path) -> None:
    X = np.array([["007", 3.0], ["008", 4.0], ["007", 5.0], ["008", 6.0]], dtype=object)
    recipe = recipe_of(X, [1.0, 2.0, 3.0, 4.0])
    rows = "weight,house,zip,rooms,price\n1.5,9,007,3,10\n2.5,9,008,4,20\n"
    (tmp_path / "rows.csv").write_text(rows)
    table = read_file(recipe, tmp_path / "rows.csv", target="price", weight="weight", group="house")
    assert table.X.columns.tolist() == ["zip", "rooms"] and table.X["zip"].tolist() == ["007", "008"]
    assert table.weight is not None and table.weight.tolist() == [1.5, 2.5]


def test_columns_that_do_not_match_are_named(mixed: Frame, tmp_path: Path) -> None:
    X, y = mixed
    recipe = recipe_of(X, y)
    with pytest.raises(InvalidData, match="'age' was numbers and now is a category"):
        read_data(recipe, X.assign(age="old"), y)
    X.drop(columns="bmi").assign(target=y).to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(InvalidData, match="Missing: bmi, gewicht"):
        read_file(recipe, tmp_path / "rows.csv", target="target", weight="gewicht")
    with pytest.raises(InvalidArgument, match="cannot be read as CSV"):
        read_file(recipe, tmp_path / "none.csv", target="target")
    (tmp_path / "rows.parquet").write_text("no parquet")
    with pytest.raises(InvalidArgument, match="cannot be read as Parquet"):
        read_file(recipe, tmp_path / "rows.parquet", target="target")


# -- fresh folds --------------------------------------------------------------------------------------------


def test_fresh_folds_are_none_that_a_search_used(breast_cancer: Frame) -> None:
    data = Dataset.from_arrays(*breast_cancer)
    recipes = [recipe_of(*breast_cancer, seed=seed) for seed in (0, 1)]
    folds = fresh_folds(data, *recipes)
    assert folds.description == "5 stratified folds"
    used = {recipe["folds_fingerprint"] for recipe in recipes}
    assert folds.fingerprint not in used
    # Folds that are taken are stepped over, however unlikely that is.
    taken = fresh_folds(data, {**recipes[0], "folds_fingerprint": folds.fingerprint}, recipes[1])
    assert taken.fingerprint not in used | {folds.fingerprint}
    assert fresh_folds(data, *recipes).fingerprint == folds.fingerprint, "the same again"


def test_a_few_groups_of_very_unlike_sizes_have_fresh_folds_too(diabetes: Frame) -> None:
    X, y = diabetes[0].iloc[:400], diabetes[1].iloc[:400]
    groups = np.repeat(np.arange(6), [203, 101, 50, 26, 13, 7])
    data = Dataset.from_arrays(X, y, groups=groups)
    recipe = recipe_of(X, y, groups=groups)
    folds = fresh_folds(data, recipe)
    assert folds.parts_fingerprint != recipe["folds_parts"]
    assert all(not set(groups[train]) & set(groups[valid]) for train, valid in folds.splits)


def test_fresh_folds_keep_groups_and_time(diabetes: Frame) -> None:
    X, y = diabetes
    groups = np.arange(len(X)) // 9
    data = Dataset.from_arrays(X, y, groups=groups)
    folds = fresh_folds(data, recipe_of(X, y, groups=groups))
    assert folds.description == "5 group folds"
    assert all(not set(groups[train]) & set(groups[valid]) for train, valid in folds.splits)
    few = np.arange(len(X)) % 4
    folds = fresh_folds(Dataset.from_arrays(X, y, groups=few), recipe_of(X, y, groups=few))
    assert len(folds) == 3, "each group alone is what the search used"
    recipe = recipe_of(X, y, cv=TimeSeriesSplit(5, gap=4))
    data = Dataset.from_arrays(X, y)
    windows = fresh_folds(data, recipe)
    assert (windows.description, windows.exchangeable) == ("6 windows in time", False)
    assert all(train[-1] + 4 < valid[0] for train, valid in windows.splits)
    with pytest.raises(InvalidData, match="no windows in time of 6 rows"):
        fresh_folds(Dataset.from_arrays(X[:6], y[:6]), recipe)


def test_a_number_of_folds_keeps_to_time_and_to_groups(diabetes: Frame) -> None:
    X, y = diabetes
    data, groups = Dataset.from_arrays(X, y), np.arange(len(X)) // 9
    recipe = recipe_of(X, y, cv=TimeSeriesSplit(5, gap=4))
    windows, last = fresh_folds(data, recipe, cv=3), fresh_folds(data, recipe, cv=0.25)
    assert (windows.description, last.description) == ("3 windows in time", "the last 25 %")
    assert (len(windows), len(last), len(last.splits[0][1])) == (3, 1, 110)
    for folds in (windows, last):
        assert all(train[-1] + 4 < valid[0] for train, valid in folds.splits)
    by_group = recipe_of(X, y, groups=groups)
    for cv in (3, 0.25):
        with pytest.raises(InvalidArgument, match="by group: give groups"):
            compare(recipe_of(X, y, CRIPPLED), by_group, X, y, cv=cv)
        with pytest.raises(InvalidArgument, match="by group: give groups"):
            fresh_folds(data, by_group, cv=cv)
        with_groups = fresh_folds(Dataset.from_arrays(X, y, groups=groups), by_group, cv=cv)
        assert all(not set(groups[train]) & set(groups[valid]) for train, valid in with_groups.splits)
    for cv in (1, 1.5, True):
        with pytest.raises(InvalidArgument, match="cv must be"):
            fresh_folds(data, recipe, cv=cv)


def test_the_same_folds_in_another_order_are_not_fresh(diabetes: Frame) -> None:
    X, y = diabetes
    two = np.arange(len(X)) % 2
    recipe, data = recipe_of(X, y, groups=two), Dataset.from_arrays(X, y, groups=two)
    with pytest.raises(InvalidData, match=r"no folds of 442 rows in 2 groups .*Give cv"):
        fresh_folds(data, recipe)
    folds = make_folds(5, Dataset.from_arrays(X, y), seed=0)
    turned = make_folds(folds.splits[::-1], Dataset.from_arrays(X, y), seed=0)
    assert folds.fingerprint != turned.fingerprint and folds.parts_fingerprint == turned.parts_fingerprint
    assert folds.parts_fingerprint != folds.first(4).parts_fingerprint


def test_rows_too_few_for_other_folds_are_said() -> None:
    X, y = [[1.0], [2.0]], [1.0, 2.5]
    with pytest.raises(InvalidData, match="no folds of 2 rows that"):
        fresh_folds(Dataset.from_arrays(X, y), recipe_of(X, y))


# -- the comparison -----------------------------------------------------------------------------------------


def test_a_better_recipe_wins_and_a_tiny_change_does_not(breast_cancer: Frame) -> None:
    crippled, good = recipe_of(*breast_cancer, CRIPPLED), recipe_of(*breast_cancer)
    found = compare(crippled, good, *breast_cancer)
    assert found.better and found.gain is not None and found.gain > 0.3
    assert "better by more than the standard error (5 stratified folds of 569 rows" in found.words
    back = compare(good, crippled, *breast_cancer)
    assert not back.better and back.gain == pytest.approx(-found.gain)
    assert back.worse and not found.worse and ", worse by more than the standard error" in back.words
    tiny = recipe_of(*breast_cancer, {**GOOD, "learning_rate": 0.1004})
    within = compare(good, tiny, *breast_cancer)
    assert not within.better and not within.worse and within.gain_se is not None and within.gain_se > 0
    assert "not better by more than the standard error" in within.words


def test_scores_are_those_of_the_recipes_on_the_folds(breast_cancer: Frame) -> None:
    X, y = breast_cancer
    champion, challenger = recipe_of(X, y, family="xgboost"), recipe_of(X, y)
    found = compare(champion, challenger, X, y)
    data = Dataset.from_arrays(X, y)
    folds = fresh_folds(data, champion, challenger)
    assert found.folds_fingerprint == folds.fingerprint
    params = {name: value for name, value in GOOD.items() if name != "n_estimators"}
    for recipe, scores in ((champion, found.champion_scores), (challenger, found.challenger_scores)):
        family = families.get(recipe["family"])
        # The search's own way: scores are read off the booster's validation loss.
        evaluator = Evaluator(family, data, folds, resolve_metrics(None, data.task), Rounds.exactly(40))
        expected = evaluator.evaluate(params, seed=0).fold_scores
        np.testing.assert_allclose(scores, expected, rtol=1e-5)
    differences = np.subtract(found.champion_scores, found.challenger_scores)
    assert found.gain == pytest.approx(differences.mean())
    assert found.gain_se == pytest.approx(differences.std(ddof=1) / np.sqrt(5))
    assert compare(champion, challenger, X, y, n_jobs=2).challenger_scores == found.challenger_scores
    assert compare(champion, challenger, X, y, n_jobs=4).challenger_scores == found.challenger_scores


def test_another_seed_is_the_same_recipe_and_nothing_is_trained(
    diabetes: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion, challenger = recipe_of(*diabetes, seed=0), recipe_of(*diabetes, seed=1)
    monkeypatch.setattr(families.get("lightgbm").__class__, "prepare", None)
    found = compare(champion, challenger, *diabetes)
    assert found.same and (found.gain, found.gain_se) == (0.0, 0.0) and not found.better


def test_a_champion_of_older_data_is_fitted_to_the_present_data(mixed: Frame) -> None:
    X, y = mixed
    older = X.iloc[:200].assign(s5=X["s5"].iloc[:200].cat.remove_unused_categories())
    champion, challenger = recipe_of(older, y[:200], CRIPPLED), recipe_of(X, y)
    assert champion["data_fingerprint"] != challenger["data_fingerprint"]
    found = compare(champion, challenger, X, y)
    assert found.better and found.n_rows == len(X) and found.data_fingerprint == challenger["data_fingerprint"]
    good_champion = recipe_of(older, y[:200], {**GOOD, "learning_rate": 0.0999})
    assert not compare(good_champion, challenger, X, y).better


def test_other_columns_classes_task_or_metric_are_not_comparable(mixed: Frame, diabetes: Frame) -> None:
    X, y = mixed
    challenger = recipe_of(X, y)

    def reason(champion: dict[str, Any]) -> str:
        found = compare(champion, challenger, X, y)
        assert not found.comparable and not found.better and found.gain is None
        return found.words

    assert "only the champion has more; only the challenger has bmi" in reason(
        recipe_of(X.drop(columns="bmi").assign(more=1), y)
    )
    assert "of another kind: age (category, now number)" in reason(recipe_of(X.assign(age="x"), y))
    assert "champion's classes are high, low, the challenger's" in reason(
        recipe_of(X, y.replace("middle", "low")) | {"task": "multiclass"}
    )
    assert "champion's task is binary" in reason(recipe_of(X, y.replace("middle", "low")))
    assert "champion's metric is accuracy" in reason(recipe_of(X, y, metric="accuracy"))
    assert "'catboost'" in reason({**challenger, "family": "catboost"})
    assert "lacks columns" in reason({name: value for name, value in challenger.items() if name != "columns"})
    weighted = recipe_of(X, y, {**GOOD, "max_depth": 3}, sample_weight=np.ones(len(X)))
    with pytest.raises(InvalidArgument, match=r"champion was fitted with weights: give sample_weight \(--weight"):
        compare(weighted, challenger, X, y)
    found = compare_on(Dataset.from_arrays(X, y), weighted, challenger)
    assert "fitted with weights, and none are given" in found.words and not found.comparable
    # A column that had no value says nothing about its kind; their order does not matter.
    empty = recipe_of(X.assign(sex=None)[list(X.columns[::-1])], y, CRIPPLED)
    assert compare(empty, challenger, X, y).better


def test_levels_in_another_order_are_no_comparison_where_they_are_taken_for_numbers(diabetes: Frame) -> None:
    X, y = diabetes[0][["age", "bmi"]], diabetes[1]
    names = pd.qcut(X["bmi"], 3, labels=["low", "middle", "high"])
    in_order, alphabetical = X.assign(level=names), X.assign(level=names.astype(str))
    as_numbers = {**GOOD, "enable_categorical": False}
    champion, challenger = (recipe_of(frame, y, as_numbers, "xgboost") for frame in (in_order, alphabetical))
    assert why_not_comparable(champion, challenger) == (
        "the champion takes categories for numbers (enable_categorical=False), and levels are in another order"
    )
    assert not why_not_comparable(champion, recipe_of(in_order.iloc[::2], y.iloc[::2], GOOD, "xgboost"))
    assert not why_not_comparable(recipe_of(in_order, y, GOOD, "xgboost"), challenger)


@pytest.mark.parametrize("value", [[1, -1, 0], "(1,-1,0)"])
def test_parameters_by_position_do_not_follow_columns_in_another_order(value: Any, diabetes: Frame) -> None:
    X, y = diabetes[0][["age", "bmi", "bp"]], diabetes[1]
    constrained = recipe_of(X, y) | {"params": {**GOOD, "monotone_constraints": value}}
    turned = recipe_of(X[["bp", "bmi", "age"]], y, {**GOOD, "max_depth": 2})
    assert why_not_comparable(constrained, turned) == (
        "the champion's monotone_constraints go by position, and the columns are in another order"
    )
    assert not why_not_comparable(constrained, recipe_of(X, y)), "the same order"
    assert not why_not_comparable(turned, constrained), "the data are in the challenger's order"
    by_name = constrained | {"params": {**GOOD, "monotone_constraints": {"bmi": 1}}}
    assert not why_not_comparable(by_name, turned)


def test_a_recipe_without_weights_is_fitted_without_and_scored_with_them(diabetes: Frame) -> None:
    X, y = diabetes
    weight = np.where(y > y.median(), 10.0, 0.1)
    plain, weighted = recipe_of(X, y), recipe_of(X, y, sample_weight=weight)
    found = compare(plain, weighted, X, y, sample_weight=weight)
    assert found.better, "rows that count are learnt better with their weights"
    unweighted = compare(plain, recipe_of(X, y, CRIPPLED), X, y, cv=pairs(X, y))
    again = compare(plain, recipe_of(X, y, CRIPPLED), X, y, cv=pairs(X, y), sample_weight=weight)
    assert unweighted.champion_scores != again.champion_scores, "the same models, other weights of their rows"
    with pytest.raises(InvalidArgument, match="give sample_weight"):
        compare(plain, weighted, X, y)


def pairs(X: pd.DataFrame, y: pd.Series) -> Any:
    return make_folds(3, Dataset.from_arrays(X, y), seed=5).splits


def test_a_hold_out_has_no_standard_error_and_promotes_nothing(breast_cancer: Frame) -> None:
    found = compare(recipe_of(*breast_cancer, CRIPPLED), recipe_of(*breast_cancer), *breast_cancer, cv=0.25)
    assert found.gain is not None and found.gain > 0.1 and found.gain_se is None
    assert not found.better and "one fold, so no standard error" in found.words


def test_groups_and_a_metric_of_ones_own_must_be_given(diabetes: Frame) -> None:
    X, y = diabetes
    groups = np.arange(len(X)) // 9
    champion, challenger = (recipe_of(X, y, params, groups=groups) for params in (CRIPPLED, GOOD))
    with pytest.raises(InvalidArgument, match="by group: give groups"):
        compare(champion, challenger, X, y)
    assert compare(champion, challenger, X, y, groups=groups).folds == "5 group folds"

    def largest(y_true: Any, y_pred: Any) -> float:
        return float(np.abs(y_true - y_pred).max())

    metric = gbtune.Metric("largest", largest, direction="minimize", needs="raw")
    champion, challenger = (recipe_of(X, y, params, metric=metric) for params in (CRIPPLED, GOOD))
    with pytest.raises(InvalidArgument, match=r"none of gbtune's own: give it, metric=gbtune\.Metric"):
        compare(champion, challenger, X, y)
    assert compare(champion, challenger, X, y, metric=metric).metric == "largest"
    with pytest.raises(InvalidArgument, match="must be the recipe's, 'largest'"):
        compare(champion, challenger, X, y, metric=gbtune.metrics.metric_named("rmse"))


def test_rare_classes_are_not_warned_about_again(wine: Frame) -> None:
    X, y = wine
    rare = y.where(y.index < len(y) - 3, 7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        recipes = [recipe_of(X, rare, params) for params in (CRIPPLED, GOOD)]
    assert compare(*recipes, X, rare).better
    with pytest.warns(gbtune.GbtuneWarning, match="Rare classes"):
        make_folds(5, Dataset.from_arrays(X, rare), seed=0)
