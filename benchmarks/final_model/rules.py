"""The rules: from what a study has recorded to the prediction of its final model.

All means are plain ones, on the response scale: of probabilities or values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.final_model.recording import SCALES, Recording, loss

Prediction = NDArray[np.float64]
Rule = Callable[[Recording], Prediction]
"""Raises KeyError if a model that it takes was not recorded."""
Members = Callable[[Recording], Sequence[Mapping[str, Any]]]
"""From a recording to the trials whose configurations are taken, best first."""

# -- which configurations -------------------------------------------------------------------------------------------


def top(recording: Recording, count: int) -> Sequence[Mapping[str, Any]]:
    """Return the best complete trials."""
    return recording.ranking[:count]


def keeping_gain(recording: Recording, count: int, share: float) -> Sequence[Mapping[str, Any]]:
    """Return those of the best that keep a share of the best one's gain over the library's default."""
    baseline, best = recording.baseline, recording.ranking[0]
    if baseline is None or baseline is best:
        return [best]
    worst = baseline["loss"] - share * (baseline["loss"] - best["loss"])
    return [trial for trial in top(recording, count) if trial["loss"] <= worst]


def within_own_error(recording: Recording, count: int, z: float) -> Sequence[Mapping[str, Any]]:
    """Return those of the best that are within z standard errors of the best one, paired by fold, each by its own."""
    best, found = np.array(recording.ranking[0]["fold_losses"]), []
    for trial in top(recording, count):
        behind = np.array(trial["fold_losses"]) - best
        if behind.mean() <= z * behind.std(ddof=1) / np.sqrt(len(behind)):
            found.append(trial)
    return found


def within_common_error(recording: Recording, count: int, z: float) -> Sequence[Mapping[str, Any]]:
    """Return those of the best within z standard errors: the race's, one for all trials.

    It is the root mean square, over the complete trials, of the standard error of the difference to the best.
    """
    losses = np.array([trial["fold_losses"] for trial in recording.ranking])
    behind = losses - losses[0]
    variances = behind[1:].var(axis=1, ddof=1)
    if not len(variances):
        return recording.ranking[:1]
    margin = z * np.sqrt(variances.mean() / losses.shape[1])
    return [t for t, far in zip(top(recording, count), behind.mean(axis=1)[:count], strict=True) if far <= margin]


def by_out_of_fold(recording: Recording, counts: Sequence[int]) -> Sequence[Mapping[str, Any]]:
    """Return so many of the best, out of `counts`, as the mean of their out-of-fold predictions is best with."""
    trials = top(recording, max(counts))
    predictions = [recording.out_of_fold[trial["number"]] for trial in trials]
    losses = [_out_of_fold_loss(recording, np.mean(predictions[:count], axis=0)) for count in counts]
    return trials[: counts[int(np.argmin(losses))]]


def greedy(recording: Recording, most: int, steps: int = 20) -> Sequence[Mapping[str, Any]]:
    """Return the best chosen one by one, with replacement, each the one that lowers the out-of-fold loss the most.

    Caruana et al., "Ensemble selection from libraries of models", ICML 2004.
    """
    trials = top(recording, most)
    predictions = [recording.out_of_fold[trial["number"]] for trial in trials]
    chosen, total = [], np.zeros_like(predictions[0])
    for step in range(1, steps + 1):
        losses = [_out_of_fold_loss(recording, (total + each) / step) for each in predictions]
        chosen.append(trials[int(np.argmin(losses))])
        total = total + predictions[int(np.argmin(losses))]
    return chosen


def _out_of_fold_loss(recording: Recording, prediction: Prediction) -> float:
    known = ~np.isnan(prediction.reshape(len(prediction), -1)).any(axis=1)
    return loss(recording.about["kind"], recording.y_train[known], prediction[known])


# -- which of their models ------------------------------------------------------------------------------------------


def refits(recording: Recording, members: Members) -> Prediction:
    """Return the mean of the members, each fitted again on all rows."""
    return _mean([recording.refits[trial["number"]] for trial in members(recording)])


def fold_models(recording: Recording, members: Members) -> Prediction:
    """Return the mean of all fold models of the members."""
    return _mean([recording.folds[trial["number"]].mean(axis=0) for trial in members(recording)])


def both(recording: Recording, members: Members) -> Prediction:
    """Return the mean of the refits and the fold models of the members, each model as much as another."""
    models = []
    for trial in members(recording):
        number = trial["number"]
        models += [recording.refits[number], *recording.folds[number]]
    return _mean(models)


def seeds(recording: Recording) -> Prediction:
    """Return the mean of the best configuration's refits with several seeds."""
    number = recording.ranking[0]["number"]
    return _mean([recording.refits[number], *recording.seeds[number]])


def rounds(recording: Recording, members: Members, scale: float) -> Prediction:
    """Return the mean of the members, fitted again with other numbers of rounds."""
    return _mean([recording.scaled[trial["number"]][SCALES.index(scale)] for trial in members(recording)])


def _mean(predictions: Sequence[Prediction]) -> Prediction:
    return np.mean(predictions, axis=0)


def _refits(choose: Callable[..., Any], **arguments: Any) -> Rule:
    return partial(refits, members=partial(choose, **arguments))


ONE, FIVE, TEN = (partial(top, count=count) for count in (1, 5, 10))
BEST = "best, refit"
RULES: dict[str, Rule] = {
    BEST: partial(refits, members=ONE),
    **{f"top {count}, refits": _refits(top, count=count) for count in (2, 3, 5, 10, 20)},
    "best, refit + fold models": partial(both, members=ONE),
    "best, fold models": partial(fold_models, members=ONE),
    "top 5, refits + fold models": partial(both, members=FIVE),
    "top 5, fold models": partial(fold_models, members=FIVE),
    "top 10, refits + fold models": partial(both, members=TEN),
    "top 10, fold models": partial(fold_models, members=TEN),
    "best, 5 seeds": seeds,
    "top 10 that keep 80 % of the gain": _refits(keeping_gain, count=10, share=0.8),
    "top 10 that keep 90 % of the gain": _refits(keeping_gain, count=10, share=0.9),
    "top 10 within 1 own standard error": _refits(within_own_error, count=10, z=1.0),
    "top 10 within 2 own standard errors": _refits(within_own_error, count=10, z=2.0),
    "top 10 within 1 common standard error": _refits(within_common_error, count=10, z=1.0),
    "top 10 within 2 common standard errors": _refits(within_common_error, count=10, z=2.0),
    "top 1 or 5 by out-of-fold loss": _refits(by_out_of_fold, counts=(1, 5)),
    "top 1 or 10 by out-of-fold loss": _refits(by_out_of_fold, counts=(1, 10)),
    "top 1 to 10 by out-of-fold loss": _refits(by_out_of_fold, counts=range(1, 11)),
    "greedy among the top 10": _refits(greedy, most=10),
    **{f"best, rounds x {scale}": partial(rounds, members=ONE, scale=scale) for scale in SCALES if scale != 1},
    **{f"top 5, rounds x {scale}": partial(rounds, members=FIVE, scale=scale) for scale in SCALES if scale != 1},
}
"""Name to rule; the first is what the others are compared with."""
