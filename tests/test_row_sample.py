"""Trials on a sample of the rows: where the time is too short for all of many rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

import gbtune
from gbtune import families, planning
from gbtune.data import Dataset
from gbtune.evaluation import Evaluator
from gbtune.resampling import make_folds
from gbtune.rounds import Rounds
from gbtune.row_sample import on_sample
from gbtune.study_metrics import resolve_metrics


def test_a_sample_is_of_the_same_parts_and_the_same_every_time() -> None:
    data = Dataset.from_arrays(*load_diabetes(return_X_y=True))
    folds = make_folds(0.2, data, seed=0)
    one, again, other = (on_sample(folds, data, 100, seed=seed) for seed in (0, 0, 1))
    (train, valid), (all_train, all_valid) = one.splits[0], folds.splits[0]
    assert set(train) < set(all_train) and set(valid) < set(all_valid)
    assert len(set(train)) == 100 and len(set(valid)) == round(100 / len(all_train) * len(all_valid))
    assert one.fingerprint == again.fingerprint != other.fingerprint


def test_classes_keep_their_shares_and_none_is_lost() -> None:
    X, y = load_wine(return_X_y=True)
    labels = y.astype(str)
    labels[[3, 60]] = "rare"
    data = Dataset.from_arrays(X, labels)
    train, valid = on_sample(make_folds(0.3, data, seed=0), data, 20, seed=0).splits[0]
    assert np.bincount(data.y[train], minlength=4).min() >= 1
    shares = np.bincount(data.y)[:3] / len(y)
    assert np.abs(np.bincount(data.y[train])[:3] / len(train) - shares).max() < 0.1
    assert len(valid) > 1


@pytest.mark.parametrize("family", ["xgboost", "lightgbm"])
def test_other_folds_of_binned_data_train_as_if_prepared_anew(family: str) -> None:
    data = Dataset.from_arrays(*load_breast_cancer(return_X_y=True))
    plug_in, metrics = families.get(family), resolve_metrics(None, data.task, {})
    whole = Evaluator(plug_in, data, make_folds(5, data, seed=0), metrics, Rounds(20))
    whole.evaluate(plug_in.default_params, seed=0)
    folds = on_sample(whole.folds.first(1), data, 100, seed=0)
    sample, anew = whole.with_folds(folds), Evaluator(plug_in, data, folds, metrics, Rounds(20))
    assert sample.prepared is not whole.prepared and len(whole.folds) == 5
    found, wanted = (each.evaluate(plug_in.default_params, seed=0) for each in (sample, anew))
    assert (found.score, found.curve) == (wanted.score, wanted.curve)


@pytest.fixture
def small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a hundred rows were many, and a round took five milliseconds for each of them."""
    monkeypatch.setattr(planning, "SAMPLE_ROWS", 50)

    def probe(evaluator: Evaluator, *_: object) -> float:
        return 0.005 * len(evaluator.folds.splits[0][0])

    monkeypatch.setattr(planning, "probe", probe)


@pytest.mark.usefixtures("small_samples")
@pytest.mark.parametrize("family", ["xgboost", "lightgbm"])
def test_a_short_study_on_many_rows_learns_from_a_sample_and_its_model_from_all(
    family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    kept = {"study": "kept", "storage": tmp_path / "kept.journal", "tracking": False, "n_jobs": 1}
    result = gbtune.tune(X, y, family=family, timeout=60, n_trials=3, **kept)
    assert result.record.train_rows == 50 and "on a sample of" in result.record.folds
    assert "on a sample of 50 training rows" in capsys.readouterr().err
    assert np.isfinite(result.predict(X)).all()
    model = gbtune.families.get(family).fit(
        gbtune.Objective(family, X, y).data,
        {name: value for name, value in result.best_params.items() if name != "n_estimators"},
        result.best_trial.rounds,
        0,
        loss="squared_error",
    )
    assert pd.Series(model.predict(X)).corr(pd.Series(result.predict(X))) > 0.9, "it has seen all rows"
    more = gbtune.tune(X, y, family=family, timeout=60, n_trials=5, isolation="process", **kept)
    assert len(more.trials) == 5 and more.record.folds_fingerprint == result.record.folds_fingerprint
    assert set(more.trials["state"]) <= {"complete", "pruned"}, "processes get the sample"


@pytest.mark.usefixtures("small_samples")
def test_folds_that_the_user_chose_keep_all_their_rows() -> None:
    X, y = load_diabetes(return_X_y=True)
    result = gbtune.tune_xgb(X, y, cv=0.2, timeout=60, n_trials=2, tracking=False, n_jobs=1, progress=False)
    assert result.record.train_rows == 0 and "sample" not in result.record.folds
