"""The contract of a family: what it declares, and what its folds do."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from gbtune.errors import UnknownName
from gbtune.families.base import FoldFit
from gbtune.metrics import metric_named
from gbtune.records import FloatArray, Folds
from gbtune.testing.contract import ONCE, must, must_equal, must_raise
from gbtune.testing.family_case import (
    CLOSE,
    FAMILY,
    TASK_OF,
    FamilyCase,
    every_loss,
    if_resumable,
    response,
    settings_of,
)

_check = FAMILY.check


@_check()
def the_description_is_complete(case: FamilyCase) -> Iterator[str]:
    """Names, defaults and capabilities are declared."""
    family, can = case.family, case.family.capabilities
    for what in ("name", "extra", "default_space", "model_file"):
        must(isinstance(getattr(family, what), str) and getattr(family, what), f"{what} must be a text.")
    must(can.parameters, "capabilities.parameters must name the parameters it takes.")
    must(can.losses, "capabilities.losses must name at least one training loss.")
    unknown = set(can.losses) - set(TASK_OF)
    must(not unknown, f"capabilities.losses holds {sorted(unknown)}; known are {sorted(TASK_OF)}.")
    must("n_estimators" not in can.parameters, "n_estimators is the number of rounds, not a parameter of the trees.")
    stray = set(can.binned_by) - set(can.parameters)
    must(not stray, f"capabilities.binned_by holds {sorted(stray)}, which capabilities.parameters lacks.")
    stray = set(family.default_params) - set(can.parameters)
    must(not stray, f"default_params holds {sorted(stray)}, which capabilities.parameters lacks.")
    must(family.default_rounds >= 1, f"default_rounds must be at least 1, got {family.default_rounds}.")
    for native in can.native_metrics:
        direction = metric_named(native, can.native_metrics).direction
        must(direction in ("minimize", "maximize"), f"native metric {native!r} has no direction.")
    yield ONCE


@_check(every_loss)
def an_unknown_parameter_raises(case: FamilyCase) -> Iterator[str]:
    """Libraries ignore unknown names, a family does not."""
    for loss in case.losses:
        data = case.data(loss)
        wrong: dict[str, Any] = {"learning_rat": 0.1}
        doors = {
            "train_fold": functools.partial(case.fold_fit, data, loss, 1, **wrong),
            "fit": functools.partial(case.family.fit, data, wrong, 1, 0, loss=loss),
        }
        for door, call in doors.items():
            error = must_raise(UnknownName, call, f"{door} must raise UnknownName for the parameter 'learning_rat'.")
            must("learning_rat" in str(error), f"The message of {door} must have the unknown name, got: {error}")
        yield loss


@_check(lambda case: sorted(case.family.capabilities.parameters))
def each_declared_parameter_is_honoured(case: FamilyCase) -> Iterator[str]:
    """A parameter that is declared changes the trees, and the refit in the same way."""
    kind = "categories" if case.family.capabilities.categories else "numbers"
    worlds = []
    for loss in case.losses:
        data = case.data(loss, kind)
        rows = np.arange(data.n_rows)
        folds = Folds(((rows, rows),), "all rows, on both sides", data.n_rows)
        worlds.append((loss, data, case.family.prepare(data, folds, loss)))
    for name in sorted(case.family.capabilities.parameters):
        settings = settings_of(case, name)
        must(
            settings,
            f"{name!r} is declared, but no space of the family has it. Give a setting in which it makes a "
            f"difference: examples = {{{name!r}: {{{name!r}: ...}}}}.",
        )
        for (loss, data, prepared), setting in ((world, setting) for world in worlds for setting in settings):
            others = {other: value for other, value in setting.items() if other != name}
            with_it = prepared.train_fold(setting, 0, 8, 0).predict()
            if not np.array_equal(with_it, prepared.train_fold(others, 0, 8, 0).predict()):
                refit = response(case.family.fit(data, setting, 8, 0, loss=loss), data)
                must_equal(refit, with_it, f"fit must do with {setting} what train_fold does.", rtol=CLOSE)
                break
        else:
            raise AssertionError(f"{name!r} is declared, but the trees are the same without it: tried {settings}.")
        yield name


@_check(every_loss)
def the_written_out_defaults_are_the_librarys(case: FamilyCase) -> Iterator[str]:
    """`default_params`, the baseline, is what the library does when it is given nothing."""
    for loss in case.losses:
        data = case.data(loss)
        bare = case.family.fit(data, {}, 10, 0, loss=loss)
        written = case.family.fit(data, case.family.default_params, 10, 0, loss=loss)
        must_equal(response(written, data), response(bare, data), "Default parameters differ.", rtol=CLOSE)
        yield loss


@_check(every_loss)
def a_curve_has_one_value_per_round(case: FamilyCase) -> Iterator[str]:
    """`rounds`, `curve` and `last_loss` agree, and growing lowers the loss."""
    for loss in case.losses:
        fit = case.fold_fit(case.data(loss), loss, 12)
        must(fit.rounds == 12 == len(fit.curve), f"12 rounds asked, {fit.rounds} grown, {len(fit.curve)} losses.")
        must(np.isfinite(fit.curve).all(), f"Losses must be finite, got {fit.curve}.")
        must(fit.last_loss == fit.curve[-1], f"last_loss is {fit.last_loss}, the curve ends with {fit.curve[-1]}.")
        must(fit.curve.min() < fit.curve[0], f"Twelve rounds learn nothing from real data: the losses are {fit.curve}.")
        yield loss


@_check(every_loss)
def more_rounds_never_change_earlier_ones(case: FamilyCase) -> Iterator[str]:
    """Curve and predictions of a short fit are the beginning of a long one's."""
    for loss in case.losses:
        data = case.data(loss)
        short, long = (case.fold_fit(data, loss, rounds, seed=3) for rounds in (5, 12))
        must_equal(long.curve[:5], short.curve, "The first five losses depend on the rounds that follow.")
        must_equal(long.predict(5), short.predict(), "predict(5) is not what five rounds predict.", rtol=CLOSE)
        must_equal(short.predict(5), short.predict(), "predict(5) and predict() differ after 5 rounds.", rtol=CLOSE)
        yield loss


@_check(if_resumable)
def growing_in_steps_equals_growing_at_once(case: FamilyCase) -> Iterator[str]:
    """A resumable fit does not depend on where it paused."""
    for loss in case.losses:
        data = case.data(loss)
        prepared = case.family.prepare(data, case.folds(data), loss)
        whole = prepared.train_fold(case.params, 0, 12, 3)
        steps = prepared.train_fold(case.params, 0, 0, 3)
        must(steps.rounds == 0, f"train_fold(rounds=0) must only set the booster up; it has {steps.rounds} rounds.")
        for rounds in (1, 5, 3, 12):  # 3 is behind: nothing to do
            steps.grow(rounds)
        must_equal(steps.curve, whole.curve, "The curve depends on where growing paused.")
        must_equal(steps.predict(), whole.predict(), "Predictions depend on where growing paused.")
        yield loss


@_check(every_loss)
def the_callback_is_called_after_each_round_and_can_stop(case: FamilyCase) -> Iterator[str]:
    """`on_round` sees every round once, in order."""
    for loss in case.losses:
        seen: list[tuple[int, float]] = []

        def stop_at_four(fit: FoldFit, seen: list[tuple[int, float]] = seen) -> bool:
            seen.append((fit.rounds, fit.last_loss))
            return fit.rounds == 4

        data = case.data(loss)
        prepared = case.family.prepare(data, case.folds(data), loss)
        fit = prepared.train_fold(case.params, 0, 50, 0, stop_at_four)
        rounds = [number for number, _ in seen]
        must(rounds == [1, 2, 3, 4], f"Called after rounds {rounds}, and told to stop after 4.")
        must(fit.rounds == 4, f"It was told to stop after round 4 and has {fit.rounds} rounds.")
        must_equal([value for _, value in seen], fit.curve, "last_loss in the callback is not the round's loss.")
        yield loss


@_check(every_loss)
def the_curve_is_the_loss_of_the_predictions(case: FamilyCase) -> Iterator[str]:
    """The curve is the training loss on the held-out rows, weighted, of `predict(rounds)`."""
    for loss in case.losses:
        for weighted in (False, True):
            data = case.data(loss, weighted=weighted)
            fit = case.fold_fit(data, loss, 9)
            valid = case.folds(data).splits[0][1]
            weight = None if data.sample_weight is None else data.sample_weight[valid]
            scores = np.array([_loss_of(loss, data.y[valid], fit.predict(rounds), weight) for rounds in (4, None)])
            found = fit.curve[[3, 8]]
            if loss == "poisson":  # libraries leave out constants of their own: what it gained is comparable
                scores, found = np.diff(scores), np.diff(found)
            words = "with weights" if weighted else "without weights"
            must_equal(found, scores, f"The curve is not the loss of the predictions, {words}.", rtol=10 * CLOSE)
        yield loss


@_check(every_loss)
def predictions_are_on_the_response_scale(case: FamilyCase) -> Iterator[str]:
    """Probabilities of class 1, a row of probabilities that sum to one, or values; estimators likewise."""
    for loss in case.losses:
        data = case.data(loss)
        n_valid = len(case.folds(data).splits[0][1])
        shape: tuple[int, ...] = (n_valid, data.n_classes) if loss == "log_loss_multiclass" else (n_valid,)
        for rounds in (None, 3):
            found = case.fold_fit(data, loss, 6).predict(rounds)
            must(found.shape == shape, f"predict({rounds}) must have the shape {shape}, got {found.shape}.")
            _must_be_responses(loss, found)
        model = case.family.fit(data, case.params, 6, 0, loss=loss)
        _must_be_responses(loss, response(model, data))
        if data.classes:
            whole = np.asarray(model.predict_proba(data.X))
            must(whole.shape == (data.n_rows, data.n_classes), f"predict_proba has the shape {whole.shape}.")
            must_equal(model.predict(data.X), whole.argmax(axis=1), "predict must give codes, the likeliest class.")
        yield loss


def _must_be_responses(loss: str, values: FloatArray) -> None:
    must(np.isfinite(values).all(), "Predictions must be finite.")
    if loss.startswith("log_loss"):
        must(((values >= 0) & (values <= 1)).all(), "Predictions of a classifier must be probabilities.")
    if loss == "log_loss_multiclass":
        must_equal(values.sum(axis=1), np.ones(len(values)), "Probabilities must sum to one.", rtol=CLOSE)
    if loss == "poisson":
        must((values > 0).all(), "Predicted counts must be positive.")


def _loss_of(loss: str, y: FloatArray, predicted: FloatArray, weight: FloatArray | None) -> float:
    if loss == "poisson":
        return float(np.average(predicted - y * np.log(predicted), weights=weight))
    metric = metric_named("rmse" if loss == "squared_error" else "log_loss")
    return metric.score(y, predicted, weight)
