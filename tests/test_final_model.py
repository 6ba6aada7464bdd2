"""A study ends with the mean of its best configurations' refits: one estimator that predicts, saves and registers."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_digits, load_wine
from sklearn.ensemble import VotingClassifier, VotingRegressor
from sklearn.metrics import log_loss

import gbtune
from gbtune import ensemble, families
from gbtune.comparison import compare
from gbtune.data import Dataset
from gbtune.errors import InvalidArgument
from gbtune.evaluation import Evaluator
from gbtune.facts import read_records
from gbtune.final_model import (
    DEFAULT_MEMBERS,
    ENOUGH,
    LEAST_GAIN,
    booster_params,
    checked_ensemble,
    fit_members,
    member_seed,
)
from gbtune.metrics import metric_named
from gbtune.narrowing import with_penalty
from gbtune.objective import Objective
from gbtune.outcome import bundle_model
from gbtune.recipe import fit_again, members_of
from gbtune.records import TrialRecord
from gbtune.resampling import make_folds
from gbtune.result import TuningResult
from gbtune.rounds import Rounds
from gbtune.seeds import seed as derive_seed
from gbtune.soundness import sound_rounds
from gbtune.testing import StubFamily
from gbtune.tracking import MLflowTracker
from gbtune.tracking.champions import Champions
from gbtune.tracking.model_registry import write_data
from gbtune.tracking.spool import _load_model
from tests.quick import quick_space
from tests.stub import SPACE

Frame = tuple[pd.DataFrame, pd.Series]
LOSSES = {"regression": "squared_error", "binary": "log_loss_binary", "multiclass": "log_loss_multiclass"}


def tuned(X: Any, y: Any, family: Any, **how: Any) -> TuningResult:
    arguments: dict[str, Any] = {"n_trials": 8, "pruner": None, "tracking": False, "progress": False}
    if isinstance(family, str):
        arguments["space"] = quick_space(family)
    return gbtune.tune(X, y, family=family, **{**arguments, **how})


def best_first(result: TuningResult) -> list[TrialRecord]:
    complete = result.trials[result.trials["state"] == "complete"].sort_values("score", kind="stable")
    records = {record.number: record for record in read_records(result.study)[1]}
    return [records[number] for number in complete["number"]]


def chosen(result: TuningResult, wanted: int) -> list[TrialRecord]:
    """The best ones that keep most of the best one's gain over the library's default; the best one again, if few do."""
    default, best = result.baseline_score, result.best_score
    assert default is not None
    kept = [
        trial
        for trial in best_first(result)
        if trial.score and (default - trial.score) >= LEAST_GAIN * (default - best)
    ]
    enough = min(wanted, ENOUGH)
    return kept[:wanted] if len(kept) >= enough else (kept[:1] * enough + kept[1:])[:wanted]


def raw(model: Any, X: Any) -> Any:
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)


@pytest.mark.parametrize("data", ["cancer_means", "diabetes", "mixed"])
def test_the_model_is_the_mean_of_the_best_configurations_each_fitted_on_all_rows(
    family_name: str, data: str, request: pytest.FixtureRequest
) -> None:
    X, y = request.getfixturevalue(data)
    result = tuned(X, y, family_name, ensemble=3)
    members = chosen(result, 3)
    assert result.members == tuple(trial.number for trial in members)
    objective = Objective(family_name, X, y, space=quick_space(family_name))
    expected = np.mean(
        [
            raw(
                objective.family.fit(
                    objective.data,
                    booster_params(trial),
                    trial.rounds,
                    member_seed(0, position),
                    loss=objective.evaluator.loss,
                ),
                objective.data.X,
            )
            for position, trial in enumerate(members)
        ],
        axis=0,
        dtype=np.float64,
    )
    np.testing.assert_allclose(raw(result.model, result.encode(X)), expected, rtol=1e-6)
    assert isinstance(result.model, VotingRegressor if data == "diabetes" else VotingClassifier)
    assert "mean of 3, fitted like trial" in repr(result)


def test_one_gives_the_librarys_ordinary_model(family_name: str, cancer_means: Frame) -> None:
    result = tuned(*cancer_means, family_name, ensemble=1)
    module = {"lightgbm": "lightgbm", "xgboost": "xgboost"}[family_name]
    assert type(result.model).__module__.startswith(module)
    assert result.members == (result.best_trial.number,)
    assert "mean of" not in repr(result)
    # It is the first of the several that the default averages.
    several = tuned(*cancer_means, family_name)
    first = ensemble.members(several.model)[0]
    np.testing.assert_array_equal(
        raw(first, several.encode(cancer_means[0])), raw(result.model, several.encode(cancer_means[0]))
    )


def test_the_default_takes_ten_of_those_that_keep_most_of_the_gain(diabetes: Frame) -> None:
    result = tuned(*diabetes, "lightgbm", n_trials=30)
    assert result.members == tuple(trial.number for trial in chosen(result, DEFAULT_MEMBERS))
    assert len(result.members) > 3
    assert 0 not in result.members, "the library's default gains nothing"


@pytest.mark.parametrize(("rows", "models"), [(0.7, ENOUGH), (1.0, 1)])
def test_where_few_are_good_enough_the_best_one_has_several_seeds_if_they_matter(
    rows: float, models: int, family_name: str, diabetes: Frame
) -> None:
    space = quick_space(family_name).fix(subsample=rows, colsample_bytree=1.0)
    result = tuned(*diabetes, family_name, space=space, n_trials=2)
    best = result.best_trial.number
    assert result.members == (best,) * models, "of the library's default and one trial, only the trial is good"
    rounds = {model.n_estimators for model in ensemble.members(result.model)}
    assert rounds == {result.best_params["n_estimators"]}
    predictions = {model.predict(result.encode(diabetes[0])).tobytes() for model in ensemble.members(result.model)}
    assert len(predictions) == models
    assert (f"fitted like trial {best} ({models} seeds)" in repr(result)) == (models > 1)


def test_a_configuration_that_was_tried_twice_counts_once(diabetes: Frame) -> None:
    space = quick_space("lightgbm").override(num_leaves=[5, 9])
    for name, value in space.defaults().items():
        if name in space.distributions(rounds=False) and name != "num_leaves":
            space = space.fix(**{name: value})
    result = tuned(*diabetes, "lightgbm", space=space, sampler="random", n_trials=9)
    assert result.trials["state"].eq("complete").sum() == 9
    table = result.trials.set_index("number").loc[sorted(set(result.members))]
    assert not table.duplicated([name for name in table if name.startswith("param_")]).any()
    assert len(set(result.members)) <= 3, "two in the space, and the library's default"


def test_estimators_that_are_not_scikit_learns_are_not_averaged(diabetes: Frame) -> None:
    X, y = diabetes[0][["bmi"]], diabetes[1]
    result = tuned(X, y, StubFamily(), space=SPACE, n_trials=4)
    assert result.members == (result.best_trial.number,) and result.predict(X).shape == (442,)


def test_a_number_of_numpys_is_a_number() -> None:
    assert checked_ensemble(np.int64(3)) == 3


@pytest.mark.parametrize("wrong", [0, -1, 2.5, "ten", True])
def test_what_is_no_number_of_configurations_is_refused(wrong: Any, diabetes: Frame) -> None:
    with pytest.raises(InvalidArgument, match="ensemble must be the number of models"):
        tuned(*diabetes, "lightgbm", ensemble=wrong)


def test_it_is_the_same_for_every_number_of_cores(family_name: str, cancer_means: Frame) -> None:
    X, _ = cancer_means
    one, two = (tuned(*cancer_means, family_name, n_jobs=n_jobs, ensemble=5) for n_jobs in (1, 2))
    assert one.members == two.members
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))


@pytest.mark.parametrize("data", ["diabetes", "mixed"])
def test_it_is_saved_as_native_files_and_loaded(
    family_name: str, data: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    X, y = request.getfixturevalue(data)
    result = tuned(X, y, family_name, ensemble=3, n_trials=20)
    folder = result.save(tmp_path / "result")
    assert len(list(folder.glob(f"*/{families.get(family_name).model_file}"))) == len(result.members) > 1
    assert not list(folder.rglob("*.pkl"))
    again = TuningResult.load(folder)
    np.testing.assert_array_equal(again.predict(X), result.predict(X))
    assert again.members == result.members
    copied = pickle.loads(pickle.dumps(result.model))
    np.testing.assert_array_equal(raw(copied, result.encode(X)), raw(result.model, result.encode(X)))


def test_the_registered_model_predicts_the_mean_and_its_recipe_fits_it_again(
    family_name: str, mixed: Frame, uri: str, tmp_path: Path
) -> None:
    X, y = mixed
    result = tuned(X, y, family_name, ensemble=3, tracking=MLflowTracker(uri), register="blend", n_trials=20)
    client = mlflow.MlflowClient(uri, uri)
    version = client.get_model_version_by_alias("blend", "champion")
    place = client.get_logged_model(version.tags["gbtune.model_id"]).artifact_location
    served = mlflow.pyfunc.load_model(place)
    np.testing.assert_allclose(served.predict(X, params={"proba": True}), result.predict_proba(X), rtol=1e-6)
    np.testing.assert_array_equal(served.predict(X), result.predict(X))
    recipe = Champions("blend", uri).recipe(version.version)
    assert [member["rounds"] for member in members_of(recipe)] == [t.rounds for t in chosen(result, 3)]
    again, encoder = fit_again(recipe, X, y)
    np.testing.assert_allclose(again.predict_proba(encoder.encode(X)), result.predict_proba(X), rtol=1e-6)


def test_what_waits_to_be_written_is_read_again_whole(diabetes: Frame, tmp_path: Path) -> None:
    X, y = diabetes
    result = tuned(X, y, "xgboost", ensemble=2)
    objective = Objective("xgboost", X, y)
    bundle = bundle_model(objective, result.model, X.head(2), *[t.all_params for t in chosen(result, 2)])
    write_data(bundle, tmp_path)
    (tmp_path / "requirements.json").write_text("[]")
    np.testing.assert_allclose(_load_model(tmp_path).estimator.predict(result.encode(X)), result.predict(X), rtol=1e-6)


def split(params: dict[str, Any]) -> tuple[dict[str, Any], int]:
    return {name: value for name, value in params.items() if name != "n_estimators"}, params["n_estimators"]


def test_means_are_compared_as_means(diabetes: Frame) -> None:
    X, y = diabetes
    objective = Objective("lightgbm", X, y)
    pair = [{"max_depth": 2, "n_estimators": 20}, {"num_leaves": 9, "learning_rate": 0.05, "n_estimators": 30}]
    mean, single = (
        json.loads(json.dumps(dict(bundle_model(objective, None, None, *members).recipe)))
        for members in (pair, pair[:1])
    )
    found = compare(single, mean, X, y, cv=3)
    folds = make_folds(3, objective.data, seed=derive_seed(0, "promotion"))
    evaluator = Evaluator(objective.family, objective.data, folds, [objective.metric], Rounds(30))
    scores = []
    for fold, (_, valid) in enumerate(folds.splits):
        seed = derive_seed(derive_seed(0, "promotion"), "booster", fold=fold)
        predictions = [
            evaluator.prepared.train_fold(
                booster_params(TrialRecord(0, "complete", each)), fold, each["n_estimators"], seed
            ).predict()
            for each in pair
        ]
        scores.append(metric_named("rmse").score(objective.data.y[valid], np.mean(predictions, axis=0), None))
    np.testing.assert_allclose(found.challenger_scores, scores, rtol=1e-9)
    assert found.champion_scores != found.challenger_scores
    assert compare(mean, mean, X, y).same
    assert not compare(mean, single, X, y, cv=3).same


# -- models that come apart -----------------------------------------------------------------------------------


def many_uneven_classes() -> Dataset:
    """Digits, of which every third one has a class of its own kind: fifty classes, some with five rows."""
    X, y = load_digits(return_X_y=True, as_frame=True)
    place = np.arange(len(y))
    return Dataset.from_arrays(X, np.where(place % 3 == 0, y + 10 * (place % 5), y), task="multiclass")


def loss_of(model: Any, data: Dataset) -> float:
    return log_loss(data.y, model.predict_proba(data.X).astype(float), labels=range(data.n_classes))


def test_a_classifier_that_came_apart_keeps_the_rounds_before(tmp_path: Path) -> None:
    data, family = many_uneven_classes(), families.get("lightgbm")
    model = family.fit(data, {"learning_rate": 0.3, "reg_lambda": 0.0}, 30, 0, loss="log_loss_multiclass")
    assert loss_of(model, data) > np.log(data.n_classes), "LightGBM's own zero lets leaf values grow without bound"
    sound, rounds, _ = sound_rounds(family, model, data, 30)
    assert rounds < 30 and loss_of(sound, data) < 3 < np.log(data.n_classes)
    family.save(sound, tmp_path / "model")
    assert np.array_equal(
        family.load(tmp_path / "model", "multiclass").predict_proba(data.X), sound.predict_proba(data.X)
    )


def test_a_sound_classifier_is_left_as_it_is(family_name: str) -> None:
    data, family = many_uneven_classes(), families.get(family_name)
    model = family.fit(data, {"learning_rate": 0.1, "reg_lambda": 1.0}, 5, 0, loss="log_loss_multiclass")
    assert sound_rounds(family, model, data, 5) == (model, 5, True)


def rare_classes() -> Dataset:
    """Ten thousand rows of three classes, two of which have a dozen rows where the first column is small."""
    generator = np.random.default_rng(4)
    X = generator.random((10_000, 5))
    y = np.where((X[:, 0] < 0.004) & (generator.random(10_000) < 0.35), generator.integers(1, 3, 10_000), 0)
    return Dataset.from_arrays(X, y, task="multiclass")


def test_a_model_that_is_unsure_of_a_rare_class_has_not_come_apart(
    family_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gbtune.soundness.ALARM_ROWS", 3)
    data, family = rare_classes(), families.get(family_name)
    params = {"learning_rate": 0.1, "reg_lambda": 1.0}
    model = family.fit(data, params, 40, 0, loss="log_loss_multiclass")
    for count in (1, 3, 10, 30, 100):  # whichever rows alarm, all together decide
        monkeypatch.setattr("gbtune.soundness.ALARM_ROWS", count)
        assert sound_rounds(family, model, data, 40) == (model, 40, True)


def test_a_model_that_the_deadline_cut_keeps_no_more_rounds_than_it_has(family_name: str) -> None:
    data = many_uneven_classes()
    objective = gbtune.Objective(family_name, data.X, data.y, task="multiclass", cv=2)
    record = TrialRecord(3, "complete", {"learning_rate": 0.3, "reg_lambda": 0.0}, score=1.0, rounds=40)
    asked: list[int] = []

    def enough(position: int, grown: int) -> bool:
        asked.append(grown)
        return grown >= 22

    model, (kept,) = fit_members(objective, [record], threads=2, workers=1, enough=enough)
    assert asked[-1] == 22
    assert model.n_estimators == (kept.rounds if kept.rounds < 40 else 22)


@pytest.mark.parametrize("task", ["regression", "binary", "multiclass"])
def test_the_first_rounds_of_a_model_are_the_model_of_so_many_rounds(family_name: str, task: str) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    data = Dataset.from_arrays(X, {"regression": y, "binary": y > 150, "multiclass": y // 100}[task], task=task)
    family, loss = families.get(family_name), LOSSES[task]
    whole, short = (family.fit(data, {"learning_rate": 0.2}, rounds, 0, loss=loss) for rounds in (12, 5))
    first = family.first_rounds(whole, 5)
    predict = "predict" if task == "regression" else "predict_proba"
    assert np.array_equal(getattr(first, predict)(data.X), getattr(short, predict)(data.X))
    assert first.get_params()["n_estimators"] == 5 and whole.get_params()["n_estimators"] == 12


def test_a_model_that_came_apart_and_cannot_be_cut_is_told_from_a_sound_one(monkeypatch: pytest.MonkeyPatch) -> None:
    data, family = many_uneven_classes(), families.get("lightgbm")
    model = family.fit(data, {"learning_rate": 0.3, "reg_lambda": 0.0}, 30, 0, loss="log_loss_multiclass")
    monkeypatch.setattr(type(family), "first_rounds", lambda *_: None)
    assert sound_rounds(family, model, data, 30) == (model, 30, False)


def test_a_model_that_came_apart_and_cannot_be_cut_is_handed_over_with_a_warning(
    cancer_means: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gbtune.final_model.sound_rounds", lambda family, model, data, rounds: (model, rounds, False))
    with pytest.warns(gbtune.GbtuneWarning, match=r"trial \d+'s model came apart.* no earlier rounds that are better"):
        tuned(*cancer_means, "lightgbm", n_trials=2, ensemble=1)


def test_a_members_record_has_the_rounds_that_its_model_keeps() -> None:
    data = many_uneven_classes()
    objective = gbtune.Objective("lightgbm", data.X, data.y, task="multiclass", cv=2)
    record = TrialRecord(3, "complete", {"learning_rate": 0.3, "reg_lambda": 0.0}, score=1.0, rounds=30)
    model, (kept,) = fit_members(objective, [record], threads=2, workers=1)
    assert kept.trial.number == 3 and kept.rounds == model.n_estimators < 30 and loss_of(model, data) < 3


def test_rounds_that_found_no_split_are_rounds_too(tmp_path: Path) -> None:
    data, family = rare_classes(), families.get("lightgbm")
    some = Dataset.from_arrays(data.X.iloc[:60], np.arange(60) % 3, task="multiclass")
    params = {"min_child_samples": 14, "subsample": 0.5, "subsample_freq": 1}
    model, short = (family.fit(some, params, rounds, 0, loss="log_loss_multiclass") for rounds in (40, 10))
    assert model.booster_.current_iteration() < 40
    first = family.first_rounds(model, 10)
    assert np.array_equal(first.predict_proba(some.X), short.predict_proba(some.X))
    family.save(model, tmp_path / "model")
    known = family.load(tmp_path / "model", "multiclass").set_params(n_estimators=40)
    assert family.first_rounds(known, 10) is None, "a file does not say which"


def test_a_study_says_which_model_came_apart(cancer_means: Frame, monkeypatch: pytest.MonkeyPatch) -> None:
    def apart(family: Any, model: Any, data: Dataset, rounds: int) -> tuple[Any, int, bool]:
        return family.first_rounds(model, 2), 2, True

    monkeypatch.setattr("gbtune.final_model.sound_rounds", apart)
    with pytest.warns(gbtune.GbtuneWarning, match=r"trial \d+'s model came apart.* It keeps 2 of its \d+ rounds"):
        result = tuned(*cancer_means, "lightgbm", n_trials=2, ensemble=1)
    assert result.model.n_estimators == 2


def test_coming_trials_get_a_penalty_where_the_librarys_default_came_apart(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = many_uneven_classes()
    monkeypatch.setattr("gbtune.narrowing.MANY_CLASSES", 99)
    monkeypatch.setattr("gbtune.soundness.FAR", 0.5)  # with eight rounds it is far from the worst
    result = gbtune.tune_lgbm(data.X, data.y, task="multiclass", timeout=15, cv=0.3, n_jobs=1, tracking=False)
    assert "gbtune: reg_lambda at least 1 from here: with the library's default the log_loss of" in (
        capsys.readouterr().err
    )
    later = result.trials[result.trials["kind"] != "baseline"]
    assert len(later) and (later["param_reg_lambda"] >= 1).all()


def test_a_study_that_must_be_the_same_every_time_keeps_its_space(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = load_wine(return_X_y=True, as_frame=True)
    monkeypatch.setattr("gbtune.narrowing.has_come_apart", lambda *_: True)
    result = gbtune.tune_lgbm(X, y, n_trials=3, cv=2, n_jobs=1, tracking=False, progress=False)
    later = result.trials[result.trials["kind"] != "baseline"]
    assert len(later) and (later["param_reg_lambda"] < 1).all()


@pytest.mark.parametrize(("classes", "floor"), [(20, 0.01), (21, 1.0)])
def test_with_many_classes_lightgbm_has_a_penalty_from_the_start(
    classes: int, floor: float, capsys: pytest.CaptureFixture[str]
) -> None:
    X = np.random.default_rng(0).normal(size=(20 * classes, 3))
    y = np.arange(len(X)) % classes
    space = gbtune.SearchSpace.load("lightgbm/diverse").fix(learning_rate=0.3).override(n_estimators=(1, 3))
    result = gbtune.tune_lgbm(X, y, task="multiclass", space=space, n_trials=3, cv=2, n_jobs=1, tracking=False)
    later = result.trials[result.trials["kind"] != "baseline"]
    assert later["param_reg_lambda"].min() == floor
    assert ("gbtune: reg_lambda at least 1: with 21 classes" in capsys.readouterr().err) is (floor == 1.0)


def many_classes() -> tuple[Any, Any]:
    X = np.random.default_rng(0).normal(size=(420, 3))
    return X, np.arange(len(X)) % 21


def test_the_cells_of_a_grid_have_the_penalty_that_they_have() -> None:
    space = gbtune.SearchSpace.load("lightgbm/grid-mini").override(
        reg_lambda={"kind": "float", "low": 0.0, "high": 10.0, "default": 1.0, "grid": [0.0]}, n_estimators=(1, 3)
    )
    result = gbtune.tune_lgbm(
        *many_classes(), task="multiclass", space=space, sampler="grid", n_trials=3, cv=2, n_jobs=1, tracking=False
    )
    cells = result.trials[result.trials["kind"] == "grid"]
    assert len(cells) == 2 and (cells["param_reg_lambda"] == 0.0).all()


def test_a_study_of_many_classes_goes_on(tmp_path: Path) -> None:
    space = gbtune.SearchSpace.load("lightgbm/diverse").fix(learning_rate=0.3).override(n_estimators=(1, 3))
    for n_trials in (2, 4):
        result = gbtune.tune_lgbm(
            *many_classes(),
            task="multiclass",
            space=space,
            study="many",
            storage=f"sqlite:///{tmp_path / 'many.db'}",
            n_trials=n_trials,
            cv=2,
            n_jobs=1,
            tracking=False,
        )
    later = result.trials[result.trials["kind"] != "baseline"]
    assert len(result.trials) == 4 and (later["param_reg_lambda"] >= 1.0).all()


def test_a_penalty_that_is_fixed_or_high_enough_stays(wine: Frame) -> None:
    xgboost, lightgbm = gbtune.Objective("xgboost", *wine), gbtune.Objective("lightgbm", *wine)
    assert with_penalty(xgboost.space, xgboost.family) is None
    penalized = with_penalty(lightgbm.space, lightgbm.family)
    assert penalized is not None and penalized.distributions()["reg_lambda"].low == 1.0
    assert with_penalty(penalized, lightgbm.family) is None
