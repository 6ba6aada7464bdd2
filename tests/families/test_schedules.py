"""Learning-rate schedules: the same rates in folds, lock-step, extensions, refits and the libraries' own training."""

from __future__ import annotations

import dataclasses
import math
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone

from gbtune import families
from gbtune.data import Dataset
from gbtune.early_stopping import patience
from gbtune.errors import InvalidArgument, UnknownName
from gbtune.evaluation import Evaluator
from gbtune.families import ModelFamily
from gbtune.families.lightgbm import LightGBMFamily
from gbtune.families.schedules import KINDS, PARAMETERS, Schedule, after_each_round, middle_rate, split
from gbtune.families.xgboost import XGBoostFamily
from gbtune.isolation import ProcessEvaluator
from gbtune.records import CVResult, Folds
from gbtune.resampling import make_folds
from gbtune.rounds import Rounds
from gbtune.study_metrics import resolve_metrics
from gbtune.testing.families import FAMILY, FamilyCase

FALLING = [kind for kind in KINDS if kind != "constant"]
RATE, FINAL, HORIZON, STEPS = 0.3, 0.05, 20, 4
# Rows and columns are drawn: a reset that disturbed the streams would show.
TREES: dict[str, dict[str, Any]] = {
    "xgboost": {"max_depth": 3, "subsample": 0.7, "colsample_bytree": 0.5},
    "lightgbm": {"num_leaves": 7, "subsample": 0.7, "subsample_freq": 1, "colsample_bytree": 0.5},
}


def params_with(family: str, kind: str, **others: Any) -> dict[str, Any]:
    steps = {"learning_rate_steps": STEPS} if kind == "step" else {}
    schedule = {"learning_rate_schedule": kind, "learning_rate_final": FINAL, "learning_rate_horizon": HORIZON}
    return {**TREES[family], "learning_rate": RATE, **schedule, **steps, **others}


def by_the_book(kind: str) -> Callable[[int], float]:
    """The rates as the definitions say, written a second time."""

    def rate(round: int) -> float:
        if round >= HORIZON:
            return RATE * FINAL
        if kind == "cosine":
            return RATE * (FINAL + (1 - FINAL) * (1 + math.cos(math.pi * round / HORIZON)) / 2)
        if kind == "exponential":
            return RATE * FINAL ** (round / HORIZON)
        return RATE * FINAL ** ((round // (HORIZON // STEPS)) / STEPS)

    return rate


@pytest.fixture
def binary(breast_cancer: tuple[pd.DataFrame, pd.Series]) -> Dataset:
    return Dataset.from_arrays(*breast_cancer)


def evaluator_of(family: str | ModelFamily, data: Dataset, rounds: Rounds, metric: str | None = None) -> Evaluator:
    metrics = resolve_metrics(metric, data.task, {})
    return Evaluator(families.get(family), data, make_folds(3, data, seed=0), metrics, rounds)


# -- the rates ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FALLING)
def test_each_schedule_has_the_rates_of_its_definition(kind: str) -> None:
    schedule = Schedule(kind, RATE, FINAL, HORIZON, STEPS)
    found = [schedule(round) for round in range(60)]
    np.testing.assert_allclose(found, [by_the_book(kind)(round) for round in range(60)], rtol=1e-14)
    assert found[0] == RATE and found[HORIZON:] == [RATE * FINAL] * 40
    assert len(set(found)) == (STEPS + 1 if kind == "step" else HORIZON + 1)


@given(
    st.sampled_from(FALLING),
    st.floats(1e-3, 1.0),
    st.floats(1e-3, 1.0),
    st.integers(1, 400),
    st.integers(1, 6),
)
def test_a_rate_never_rises_and_ends_at_its_share(kind: str, rate: float, final: float, horizon: int, n: int) -> None:
    schedule = Schedule(kind, rate, final, horizon, n)
    table = np.array(schedule.table())
    assert table[0] == rate and table[-1] == schedule.lowest == schedule(10**6) == rate * final
    assert (np.diff(table) <= 1e-15).all() and (table > 0).all()
    following = after_each_round(schedule)
    assert [float(following(round)) for round in range(horizon + 3)] == [schedule(r + 1) for r in range(horizon + 3)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"learning_rate_schedule": "cosin"}, "Did you mean 'cosine'"),
        ({"learning_rate_schedule": "cosine", "learning_rate_final": 0.0}, "learning_rate_final must be above 0"),
        ({"learning_rate_schedule": "cosine", "learning_rate_final": 1.5}, "at most 1"),
        ({"learning_rate_schedule": "cosine", "learning_rate_horizon": 0}, "learning_rate_horizon must be a whole"),
        ({"learning_rate_schedule": "step", "learning_rate_steps": 2.5}, "learning_rate_steps must be a whole"),
        ({"learning_rate_schedule": "cosine", "learning_rate": -1}, "learning_rate must be a number above 0"),
        ({"learning_rate_final": 0.1}, "learning_rate_final does nothing with learning_rate_schedule = 'constant'"),
        ({"learning_rate_schedule": "cosine", "learning_rate_steps": 2}, "learning_rate_steps does nothing"),
    ],
)
def test_what_no_schedule_can_use_is_refused(
    family_name: str, wrong: dict[str, Any], message: str, binary: Dataset
) -> None:
    family = families.get(family_name)
    prepared = family.prepare(binary, make_folds(3, binary, seed=0), "log_loss_binary")
    for call in (
        lambda: prepared.train_fold(wrong, 0, 1, 0),
        lambda: family.fit(binary, wrong, 1, 0, loss="log_loss_binary"),
        lambda: family.estimator_arguments(wrong),
    ):
        with pytest.raises(InvalidArgument, match=message):
            call()


def test_constant_is_the_library_untouched(family_name: str, binary: Dataset) -> None:
    assert split({"learning_rate_schedule": "constant", "max_depth": 3}, 0.3) == ({"max_depth": 3}, None)
    family = families.get(family_name)
    plain, named = (
        family.fit(binary, {**TREES[family_name], **more}, 10, 0, loss="log_loss_binary")
        for more in ({}, {"learning_rate_schedule": "constant"})
    )
    np.testing.assert_array_equal(plain.predict_proba(binary.X), named.predict_proba(binary.X))
    assert plain.get_params() == named.get_params()


def test_patience_follows_the_rate_halfway_down() -> None:
    falling = {"learning_rate": 0.04, "learning_rate_schedule": "cosine", "learning_rate_final": 0.25}
    assert patience({"learning_rate": 0.04}) == 25 and patience(falling) == 50
    assert middle_rate({}, 0.3) == 0.3


# -- what is trained ----------------------------------------------------------------------------------------


def own_training(prepared: Any, params: Mapping[str, Any], rounds: int, rate: Callable[[int], float]) -> np.ndarray:
    """Train the library itself, with its own callback, on the first fold; predict the held-out rows."""
    trees = {name: value for name, value in params.items() if not name.startswith("learning_rate_")}
    if isinstance(prepared.data.X, pd.DataFrame) and hasattr(prepared, "full_matrix"):
        import xgboost

        from gbtune.families.xgboost import _Binning

        fixed = {"objective": "binary:logistic", "seed": 7, "seed_per_iteration": True, "nthread": 1, "max_bin": 256}
        train, valid = prepared._matrices(_Binning(256, as_numbers=False), 0)
        # Its scheduler sets the rate after a round: what follows round r is the rate of round r + 1.
        scheduler = xgboost.callback.LearningRateScheduler(lambda done: rate(done + 1))
        return xgboost.train({**trees, **fixed}, train, rounds, callbacks=[scheduler]).predict(valid)
    import lightgbm

    fixed = {"objective": "binary", "seed": 7, "num_threads": 1, "deterministic": True, "force_col_wise": True}
    native = {**trees, **fixed, "verbosity": -1}
    train = prepared.full_dataset(native).subset(prepared.folds.splits[0][0])
    booster = lightgbm.train(native, train, rounds, callbacks=[lightgbm.reset_parameter(learning_rate=rate)])
    return booster.predict(prepared.data.X.iloc[prepared.folds.splits[0][1]])


@pytest.mark.parametrize("kind", FALLING)
def test_one_training_answers_every_number_of_rounds_as_the_library_itself(
    family_name: str, kind: str, binary: Dataset
) -> None:
    params = params_with(family_name, kind)
    rate = Schedule(kind, RATE, FINAL, HORIZON, STEPS)
    prepared = families.get(family_name).prepare(binary, make_folds(3, binary, seed=0), "log_loss_binary")
    fit = prepared.train_fold(params, 0, 35, 7)
    for rounds in (1, 2, 9, 20, 35):
        np.testing.assert_array_equal(fit.predict(rounds), own_training(prepared, params, rounds, rate))
    constant = prepared.train_fold({**TREES[family_name], "learning_rate": RATE}, 0, 35, 7)
    assert np.abs(constant.predict() - fit.predict()).max() > 0.01, "the schedule makes a difference"


@pytest.mark.parametrize("kind", FALLING)
def test_a_fit_that_pauses_ends_as_one_that_does_not(family_name: str, kind: str, binary: Dataset) -> None:
    params = params_with(family_name, kind)
    prepared = families.get(family_name).prepare(binary, make_folds(3, binary, seed=0), "log_loss_binary")
    whole = prepared.train_fold(params, 1, 30, 3)
    paused = prepared.train_fold(params, 1, 0, 3)
    for rounds in (1, 4, 5, 19, 20, 21, 30):
        paused.grow(rounds)
    np.testing.assert_array_equal(whole.curve, paused.curve)
    np.testing.assert_array_equal(whole.predict(), paused.predict())


def test_extra_trees_try_other_thresholds_in_each_round(binary: Dataset) -> None:
    """LightGBM's reset begins their random stream anew; without a new seed each round would try the same ones."""
    import lightgbm

    family = families.get("lightgbm")
    params = {"num_leaves": 2, "extra_trees": True, "learning_rate": 1e-4, "learning_rate_schedule": "cosine"}
    folds = make_folds(3, binary, seed=0)
    model = family.fit(binary, params, 20, 0, loss="log_loss_binary")
    roots = [
        (tree["tree_structure"]["split_feature"], tree["tree_structure"]["threshold"])
        for tree in model.booster_.dump_model()["tree_info"]
    ]
    assert len(set(roots)) > 10
    fit = family.prepare(binary, folds, "log_loss_binary").train_fold(params, 0, 20, 0)
    init, more = family.estimator_arguments(params)
    train, valid = folds.splits[0]
    steady = {"deterministic": True, "force_col_wise": True, "verbosity": -1, "random_state": 0, "n_jobs": 1}
    shared = family.prepare(binary, folds, "log_loss_binary").full_dataset({}).subset(train)
    native = {**init, "objective": "binary", "seed": 0, "num_threads": 1, **steady}
    own = lightgbm.train(native, shared, 20, **more)
    np.testing.assert_array_equal(fit.predict(), own.predict(binary.X.iloc[valid]))


def outcome(result: CVResult) -> tuple[Any, ...]:
    return result.score, result.fold_scores, result.rounds


@pytest.mark.parametrize("metric", [None, "roc_auc"])
def test_folds_in_turn_lock_step_and_other_processes_agree(
    family_name: str, metric: str | None, binary: Dataset
) -> None:
    evaluator = evaluator_of(family_name, binary, Rounds(60), metric)
    params = params_with(family_name, "cosine", learning_rate_final=0.5)
    in_turn = evaluator.evaluate(params, seed=0)
    assert outcome(evaluator.evaluate(params, seed=0, schedule="rounds")) == outcome(in_turn)
    assert outcome(evaluator.evaluate(params, seed=0, schedule="rounds", workers=3)) == outcome(in_turn)
    if metric is None:
        with ProcessEvaluator(evaluator, 1) as pool:
            assert outcome(pool.evaluate(params, seed=0)) == outcome(in_turn)
    longer = evaluator.evaluate(params, seed=0, rounds=Rounds(90))
    exact = evaluator.evaluate(params, seed=0, rounds=Rounds.exactly(longer.rounds))
    assert outcome(exact) == outcome(longer), "what is grown beyond a round does not change it"


# -- the refit ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FALLING)
def test_the_refit_is_the_librarys_own_class_with_the_arguments_we_name(
    family_name: str, kind: str, binary: Dataset
) -> None:
    import lightgbm
    import xgboost

    family, params = families.get(family_name), params_with(family_name, kind)
    model = family.fit(binary, params, 30, 5, loss="log_loss_binary")
    init, fit = family.estimator_arguments({**params, "n_estimators": 30})
    if family_name == "xgboost":
        assert list(fit) == []
        own = xgboost.XGBClassifier(**init, random_state=5, n_jobs=1, seed_per_iteration=True)
    else:
        assert "callbacks" not in init
        steady = {"deterministic": True, "force_col_wise": True, "verbosity": -1}
        own = lightgbm.LGBMClassifier(**init, **steady, random_state=5, n_jobs=1)
    own.fit(binary.X, binary.y, **fit)
    np.testing.assert_array_equal(model.predict_proba(binary.X), own.predict_proba(binary.X))
    assert not [name for name in model.get_params() if name.startswith("learning_rate_")]


def test_a_fold_of_all_rows_is_the_refit(family_name: str, binary: Dataset) -> None:
    family, params, rows = families.get(family_name), params_with(family_name, "cosine"), np.arange(binary.n_rows)
    folds = Folds(((rows, rows),), "all rows, on both sides", binary.n_rows)
    prepared = family.prepare(binary, folds, "log_loss_binary")
    fit = prepared.train_fold(params, 0, 30, 5)
    model = family.fit(binary, params, 30, 5, loss="log_loss_binary", prepared=prepared)
    np.testing.assert_allclose(fit.predict(), model.predict_proba(binary.X)[:, 1], rtol=1e-6)


def test_a_clone_of_the_xgboost_model_keeps_the_schedule_and_its_pickle_needs_no_gbtune(
    binary: Dataset, tmp_path: Path
) -> None:
    model = families.get("xgboost").fit(binary, params_with("xgboost", "cosine"), 30, 5, loss="log_loss_binary")
    again = clone(model).fit(binary.X, binary.y)
    np.testing.assert_array_equal(model.predict_proba(binary.X), again.predict_proba(binary.X))
    (tmp_path / "model.pickle").write_bytes(pickle.dumps(model))
    (tmp_path / "X.pickle").write_bytes(pickle.dumps(binary.X))
    script = """
import pickle, sys
sys.modules["gbtune"] = None
model, X = (pickle.load(open(name, "rb")) for name in ("model.pickle", "X.pickle"))
print(repr(float(model.predict_proba(X)[:, 1].sum())))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=120
    )
    assert float(done.stdout) == float(model.predict_proba(binary.X)[:, 1].sum())


class ForgetsInTheRefit(XGBoostFamily):
    """A planted error: the folds follow the schedule, the final model does not."""

    def fit(self, data: Any, params: Any, *args: Any, **kwargs: Any) -> Any:
        return super().fit(data, split(params, 0.3)[0], *args, **kwargs)


class ForgetsInTheFolds(LightGBMFamily):
    """A planted error: the final model follows the schedule, the folds do not."""

    def prepare(self, *args: Any, **kwargs: Any) -> Any:
        prepared = super().prepare(*args, **kwargs)
        honest = prepared.train_fold
        prepared.train_fold = lambda params, *more: honest(split(params, 0.1)[0], *more)  # type: ignore[method-assign]
        return prepared


@pytest.mark.parametrize("forgetful", [ForgetsInTheRefit, ForgetsInTheFolds])
def test_the_contract_catches_a_schedule_that_one_side_ignores(
    forgetful: type[ModelFamily], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the contract this is the check of declared parameters, here of these four and one loss alone."""
    few = dataclasses.replace(forgetful.capabilities, parameters=PARAMETERS, losses=frozenset({"squared_error"}))
    monkeypatch.setattr(forgetful, "capabilities", few, raising=False)
    honest = type(f"Honest{forgetful.__name__}", forgetful.__bases__, {"capabilities": few})
    step = {"learning_rate_schedule": "step", "learning_rate_final": 0.2, "learning_rate_steps": 2}
    whole = {**step, "learning_rate_horizon": 4}
    examples = dict.fromkeys(PARAMETERS, whole) | {"learning_rate_schedule": {"learning_rate_schedule": "cosine"}}
    check = "each_declared_parameter_is_honoured"
    assert set(FAMILY.run_check(check, FamilyCase(honest(), examples=examples))) == PARAMETERS
    with pytest.raises(AssertionError, match="learning_rate_"):
        FAMILY.run_check(check, FamilyCase(forgetful(), examples=examples))


def test_unknown_names_are_still_unknown(family_name: str) -> None:
    with pytest.raises(UnknownName, match="learning_rate_final"):
        families.get(family_name).estimator_arguments({"learning_rate_finale": 0.1})
