"""The evaluator: one common round, path-independent scores, honest pruning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from stub import stub_objective

from gbtune import families
from gbtune.data import Dataset
from gbtune.early_stopping import patience
from gbtune.errors import GbtuneError
from gbtune.evaluation import Evaluator
from gbtune.families import FoldFit
from gbtune.metrics import Metric
from gbtune.resampling import make_folds
from gbtune.rounds import Rounds
from gbtune.seeds import seed as derive_seed
from gbtune.study_metrics import resolve_metrics
from gbtune.testing.families import StubFamily

PARAMS = {
    "xgboost": {"max_depth": 3, "learning_rate": 0.1, "subsample": 0.8},
    "lightgbm": {"num_leaves": 7, "learning_rate": 0.1, "subsample": 0.8, "subsample_freq": 1},
}


def evaluator(
    family: str,
    data: tuple[pd.DataFrame, pd.Series],
    metric: object = None,
    *,
    rounds: Rounds | None = None,
    cv: int = 4,
) -> Evaluator:
    dataset = Dataset.from_arrays(*data)
    return Evaluator(
        families.get(family),
        dataset,
        make_folds(cv, dataset, seed=0),
        resolve_metrics(metric, dataset.task, {}),
        rounds or Rounds(400),
    )


def mean_curve(tool: Evaluator, params: dict[str, object], rounds: int) -> np.ndarray:
    """The mean validation loss, grown without any stopping."""
    curves = [
        tool.prepared.train_fold(params, fold, rounds, derive_seed(0, "booster", fold=fold)).curve
        for fold in range(len(tool.folds))
    ]
    return np.mean(curves, axis=0)


def test_the_score_is_the_minimum_of_the_mean_curve(
    family_name: str, breast_cancer: tuple[pd.DataFrame, pd.Series]
) -> None:
    tool, params = evaluator(family_name, breast_cancer), PARAMS[family_name]
    result = tool.evaluate(params, seed=0)
    mean = mean_curve(tool, params, 400)
    # The early stop: the first round that is `patience` past the best one before it.
    best = [int(mean[: r + 1].argmin()) + 1 for r in range(400)]
    stop = next((r + 1 for r in range(400) if r + 1 - best[r] >= patience(params)), 400)
    assert result.rounds == int(mean[:stop].argmin()) + 1
    assert result.score == pytest.approx(mean[:stop].min(), rel=1e-12)
    assert result.score == pytest.approx(np.mean(result.fold_scores), rel=1e-12)
    assert min(result.rounds_grown) >= stop, "no fold ends before the mean curve does"


def test_the_common_score_is_not_each_folds_own_best(breast_cancer: tuple[pd.DataFrame, pd.Series]) -> None:
    tool = evaluator("lightgbm", breast_cancer)
    result = tool.evaluate(PARAMS["lightgbm"], seed=0)
    own = [
        tool.prepared.train_fold(PARAMS["lightgbm"], fold, 400, derive_seed(0, "booster", fold=fold)).curve.min()
        for fold in range(4)
    ]
    assert result.score is not None and result.score > np.mean(own)


@pytest.mark.parametrize("metric", [None, "roc_auc", "f1"])
def test_lock_step_and_fold_by_fold_give_the_same_score(
    family_name: str, breast_cancer: tuple[pd.DataFrame, pd.Series], metric: str | None
) -> None:
    tool = evaluator(family_name, breast_cancer, metric)
    by_folds = tool.evaluate(PARAMS[family_name], seed=0)
    by_rounds = tool.evaluate(PARAMS[family_name], seed=0, schedule="rounds")
    assert by_folds.score == by_rounds.score
    assert by_folds.rounds == by_rounds.rounds
    assert by_folds.fold_scores == by_rounds.fold_scores


def test_a_metric_that_is_not_the_loss_is_that_of_scikit_learn_at_the_common_round(
    family_name: str, breast_cancer: tuple[pd.DataFrame, pd.Series]
) -> None:
    from sklearn.metrics import roc_auc_score

    tool = evaluator(family_name, breast_cancer, "roc_auc")
    result = tool.evaluate(PARAMS[family_name], seed=0)
    for fold, (_, valid) in enumerate(tool.folds.splits):
        fit = tool.prepared.train_fold(PARAMS[family_name], fold, result.rounds, derive_seed(0, "booster", fold=fold))
        expected = roc_auc_score(tool.data.y[valid], fit.predict())
        assert result.fold_scores[fold] == pytest.approx(expected, abs=1e-12)


def test_further_metrics_are_read_at_the_common_round(breast_cancer: tuple[pd.DataFrame, pd.Series]) -> None:
    plain = evaluator("xgboost", breast_cancer).evaluate(PARAMS["xgboost"], seed=0)
    watched = evaluator("xgboost", breast_cancer, ["neg_log_loss", "accuracy"]).evaluate(PARAMS["xgboost"], seed=0)
    assert plain.score == watched.score and not plain.extra
    assert 0.9 < watched.extra["accuracy"] <= 1


def test_steps_are_folds_reported_once_with_the_score_so_far(breast_cancer: tuple[pd.DataFrame, pd.Series]) -> None:
    reports: list[tuple[int, float, int]] = []

    def report(step: int, value: float, fold_scores: Sequence[float]) -> bool:
        reports.append((step, value, len(fold_scores)))
        return False

    result = evaluator("xgboost", breast_cancer).evaluate(PARAMS["xgboost"], seed=0, report=report)
    assert [step for step, _, _ in reports] == [1, 2, 3, 4]
    assert [count for _, _, count in reports] == [1, 2, 3, 4]
    assert reports[-1][1] == result.score


def test_a_pruned_evaluation_has_a_partial_score_and_no_score(breast_cancer: tuple[pd.DataFrame, pd.Series]) -> None:
    tool = evaluator("xgboost", breast_cancer)
    result = tool.evaluate(PARAMS["xgboost"], seed=0, report=lambda step, value, scores: step == 2)
    assert (result.state, result.reason) == ("pruned", "pruner")
    assert result.score is None and result.partial_score == pytest.approx(np.mean(result.fold_scores))
    assert len(result.fold_scores) == 2 == len(result.rounds_grown)


def test_in_lock_step_the_mean_curve_is_reported(breast_cancer: tuple[pd.DataFrame, pd.Series]) -> None:
    tool, reports = evaluator("lightgbm", breast_cancer), {}

    def report(step: int, value: float, fold_scores: Sequence[float]) -> bool:
        reports[step] = value
        return step >= 30

    result = tool.evaluate(PARAMS["lightgbm"], seed=0, schedule="rounds", report=report)
    assert list(reports) == [10, 20, 30]
    mean = mean_curve(tool, PARAMS["lightgbm"], 30)
    assert list(reports.values()) == pytest.approx([mean[9], mean[19], mean[29]])
    assert result.state == "pruned" and result.partial_score == pytest.approx(mean.min())


def test_fixed_rounds_are_scored_where_they_are(
    family_name: str, breast_cancer: tuple[pd.DataFrame, pd.Series]
) -> None:
    tool = evaluator(family_name, breast_cancer)
    result = tool.evaluate(PARAMS[family_name], seed=0, rounds=Rounds.exactly(7))
    assert result.rounds == 7 and set(result.rounds_grown) == {7}
    assert result.score == pytest.approx(mean_curve(tool, PARAMS[family_name], 7)[-1])


def test_a_grid_of_rounds_costs_one_training(breast_cancer: tuple[pd.DataFrame, pd.Series]) -> None:
    tool = evaluator("xgboost", breast_cancer, rounds=Rounds.among([10, 40, 160]))
    result = tool.evaluate(PARAMS["xgboost"], seed=0)
    mean = mean_curve(tool, PARAMS["xgboost"], 160)
    assert set(result.rounds_grown) == {160}
    assert result.rounds == min((10, 40, 160), key=lambda rounds: mean[rounds - 1])


def test_an_interrupt_is_noticed_between_rounds(breast_cancer: tuple[pd.DataFrame, pd.Series]) -> None:
    calls = iter(range(10_000))
    tool = evaluator("xgboost", breast_cancer)
    result = tool.evaluate(PARAMS["xgboost"], seed=0, interrupted=lambda: "deadline" if next(calls) > 250 else None)
    assert (result.state, result.reason) == ("stopped", "deadline")
    assert result.score is None and sum(result.rounds_grown) == 252


def test_an_interrupt_before_the_first_fold_is_done_leaves_no_score(
    breast_cancer: tuple[pd.DataFrame, pd.Series],
) -> None:
    tool = evaluator("xgboost", breast_cancer)
    result = tool.evaluate(PARAMS["xgboost"], seed=0, interrupted=lambda: "interrupt")
    assert result.state == "stopped" and result.partial_score is None and result.fold_scores == ()


def test_the_same_parameters_give_the_same_result(family_name: str, wine: tuple[pd.DataFrame, pd.Series]) -> None:
    first = evaluator(family_name, wine).evaluate(PARAMS[family_name], seed=0)
    second = evaluator(family_name, wine).evaluate(PARAMS[family_name], seed=0)
    assert first.score == second.score and first.curve == second.curve
    assert first.score != evaluator(family_name, wine).evaluate(PARAMS[family_name], seed=1).score


def test_curves_are_thinned_to_a_hundred_points(breast_cancer: tuple[pd.DataFrame, pd.Series]) -> None:
    result = evaluator("lightgbm", breast_cancer, cv=2).evaluate({"learning_rate": 0.01, "num_leaves": 4}, seed=0)
    assert max(result.rounds_grown) > 200 and len(result.curve) <= 100
    assert len(result.curve) == len(result.curve_rounds)
    assert result.curve_rounds[0] == 1


def test_a_loss_that_is_never_finite_is_an_error(diabetes: tuple[pd.DataFrame, pd.Series]) -> None:
    class Broken(StubFamily):
        def prepare(self, *args: object, **kwargs: object):  # type: ignore[no-untyped-def,override]
            prepared = super().prepare(*args, **kwargs)  # type: ignore[arg-type]
            train = prepared.train_fold

            def train_fold(*args: object, **kwargs: object) -> FoldFit:
                fit = train(*args, **kwargs)  # type: ignore[arg-type]
                fit.y = fit.y * np.nan  # type: ignore[attr-defined]
                return fit

            prepared.train_fold = train_fold  # type: ignore[assignment,method-assign]
            return prepared

    data = Dataset.from_arrays(*diabetes)
    tool = Evaluator(Broken(), data, make_folds(3, data, seed=0), resolve_metrics(None, data.task, {}), Rounds(50))
    with pytest.raises(GbtuneError, match="not finite"):
        tool.evaluate({"learning_rate": 0.1}, seed=0)


def test_weights_count_in_training_and_in_evaluation(
    family_name: str, breast_cancer: tuple[pd.DataFrame, pd.Series]
) -> None:
    X, y = breast_cancer
    weight = np.where(y == 1, 10.0, 1.0)
    data = Dataset.from_arrays(X, y, sample_weight=weight)
    folds, metrics = make_folds(3, data, seed=0), resolve_metrics(None, data.task, {})
    plain_data = Dataset.from_arrays(X, y)
    plain = Evaluator(families.get(family_name), plain_data, folds, metrics, Rounds.exactly(20))
    weighted = Evaluator(families.get(family_name), data, folds, metrics, Rounds.exactly(20))
    result = weighted.evaluate(PARAMS[family_name], seed=0)
    assert result.score != plain.evaluate(PARAMS[family_name], seed=0).score
    # In training: predictions differ. In evaluation: the score is the weighted log loss of these predictions.
    from sklearn.metrics import log_loss

    valid = folds.splits[0][1]
    fits = [e.prepared.train_fold(PARAMS[family_name], 0, 20, derive_seed(0, "booster")) for e in (plain, weighted)]
    assert fits[1].predict().mean() > fits[0].predict().mean()
    expected = log_loss(data.y[valid], fits[1].predict(), sample_weight=weight[valid])
    assert result.fold_scores[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("rounds", [Rounds.exactly(35), Rounds.among([15, 40])])
def test_lock_step_with_chosen_rounds_reports_once_they_are_reached(
    rounds: Rounds, breast_cancer: tuple[pd.DataFrame, pd.Series]
) -> None:
    steps: list[int] = []
    tool = evaluator("lightgbm", breast_cancer, "roc_auc", rounds=rounds)
    together = tool.evaluate(
        PARAMS["lightgbm"], seed=0, schedule="rounds", report=lambda step, value, scores: steps.append(step) is not None
    )
    assert together.score == tool.evaluate(PARAMS["lightgbm"], seed=0).score
    assert all(step >= rounds.choices[0] for step in steps)


def test_folds_side_by_side_give_the_same_score(breast_cancer: tuple[pd.DataFrame, pd.Series]) -> None:
    tool = evaluator("xgboost", breast_cancer, "f1")
    alone = tool.evaluate(PARAMS["xgboost"], seed=0, schedule="rounds")
    beside = tool.evaluate(PARAMS["xgboost"], seed=0, schedule="rounds", workers=3)
    assert alone.score == beside.score and alone.rounds_grown == beside.rounds_grown


@pytest.mark.parametrize("call", range(1, 60, 7))
def test_lock_step_can_be_interrupted_anywhere(call: int, breast_cancer: tuple[pd.DataFrame, pd.Series]) -> None:
    calls = iter(range(10_000))
    result = evaluator("xgboost", breast_cancer, "roc_auc").evaluate(
        PARAMS["xgboost"], seed=0, schedule="rounds", interrupted=lambda: "deadline" if next(calls) >= call else None
    )
    assert (result.state, result.reason, result.score) == ("stopped", "deadline", None)


def test_a_metric_that_is_not_a_number_at_some_rounds_is_not_the_best_there(
    breast_cancer: tuple[pd.DataFrame, pd.Series],
) -> None:
    def correlation(y: np.ndarray, prediction: np.ndarray) -> float:
        return float("nan") if np.ptp(prediction) < 0.5 else float(np.corrcoef(y, prediction)[0, 1])

    metric = Metric("correlation", correlation, "maximize", "proba")
    result = evaluator("xgboost", breast_cancer, metric).evaluate(PARAMS["xgboost"], seed=0)
    assert np.isnan(result.curve[0]) and result.score is not None and result.score > 0.8


def test_rounds_that_may_not_be_chosen_are_in_the_curve() -> None:
    evaluator = stub_objective().evaluator
    result = evaluator.evaluate({"learning_rate": 0.2}, seed=0, rounds=Rounds.among((5, 12)))
    assert result.rounds == 12 and result.curve_rounds == tuple(range(1, 13))
    assert result.curve[-1] == pytest.approx(result.score) and result.curve[4] > result.curve[11]
