"""The contract of a family: rows and weights, repetition, threads, kinds of data, and the refitted model."""

from __future__ import annotations

import copy
import dataclasses
import tempfile
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gbtune.data import Dataset
from gbtune.families import ModelFamily
from gbtune.records import FloatArray, Folds
from gbtune.testing.contract import must, must_equal
from gbtune.testing.family_case import CLOSE, FAMILY, FamilyCase, every_loss, response

_check = FAMILY.check


@_check(every_loss)
def a_fold_is_trained_on_its_training_rows_alone(case: FamilyCase) -> Iterator[str]:
    """Held-out targets and weights change the curve, never the trees."""
    for loss in case.losses:
        data = case.data(loss, weighted=True)
        folds = case.folds(data)
        valid = folds.splits[0][1]
        y, weight = data.y.copy(), np.array(data.sample_weight)
        y[valid] = np.roll(y[valid], 1) if data.classes else y[valid][::-1] * 2
        weight[valid] = weight[valid][::-1]
        other = dataclasses.replace(data, y=y, sample_weight=weight)
        ours, theirs = (
            case.family.prepare(each, folds, loss).train_fold(case.params, 0, 8, 0) for each in (data, other)
        )
        must_equal(theirs.predict(), ours.predict(), "The trees have seen the held-out targets or weights.")
        must(not np.array_equal(theirs.curve, ours.curve), "The curve does not look at the held-out targets.")
        yield loss


@_check(every_loss)
def weights_are_used_in_training(case: FamilyCase) -> Iterator[str]:
    """Equal weights are no weights; unequal ones change the trees, in a fold and in the refit."""
    for loss in case.losses:
        plain = case.data(loss, weighted=False)
        ones = dataclasses.replace(plain, sample_weight=np.ones(plain.n_rows))
        uneven = dataclasses.replace(plain, sample_weight=np.linspace(0.01, 5, plain.n_rows))
        for door, predict in (("train_fold", _by_fold), ("fit", _by_fit)):
            without = predict(case, plain, loss)
            must_equal(predict(case, ones, loss), without, f"{door}: weights of 1 change something.", rtol=CLOSE)
            must(not np.allclose(predict(case, uneven, loss), without), f"{door} does not use the weights.")
        yield loss


def _by_fold(case: FamilyCase, data: Dataset, loss: str) -> FloatArray:
    return case.fold_fit(data, loss, 8).predict()


def _by_fit(case: FamilyCase, data: Dataset, loss: str) -> FloatArray:
    return response(case.family.fit(data, case.params, 8, 0, loss=loss), data)


@_check(every_loss)
def the_same_seed_gives_the_same_model(case: FamilyCase) -> Iterator[str]:
    """A fit depends on parameters, rows and seed alone, not on what was trained before."""
    for loss in case.losses:
        data = case.data(loss)
        prepared = case.family.prepare(data, case.folds(data), loss)
        first = prepared.train_fold(case.params, 1, 8, 7)
        other = prepared.train_fold(case.family.default_params, 1, 8, 8)
        again = prepared.train_fold(case.params, 1, 8, 7)
        new = case.fold_fit(data, loss, 8, seed=7, fold=1)
        must(other.rounds == 8, "The default parameters must train.")
        for fit, when in ((again, "after another fit"), (new, "on newly prepared data")):
            must_equal(fit.curve, first.curve, f"The same seed gives another curve {when}.")
            must_equal(fit.predict(), first.predict(), f"The same seed gives other predictions {when}.")
        models = [response(case.family.fit(data, case.params, 8, 7, loss=loss), data) for _ in range(2)]
        must_equal(models[1], models[0], "The same seed gives another refit.")
        yield loss


@_check(every_loss)
def trials_in_threads_equal_trials_in_turn(case: FamilyCase) -> Iterator[str]:
    """Prepared data are shared by threads."""
    for loss in case.losses:
        data = case.data(loss)
        prepared = case.family.prepare(data, case.folds(data), loss)

        def curve(i: int, prepared: Any = prepared) -> FloatArray:
            params = case.params if i % 2 else case.family.default_params
            return np.asarray(prepared.train_fold(params, i % 3, 10, i // 3).curve)

        with ThreadPoolExecutor(4) as pool:  # the first touch, too, is in threads
            side_by_side = list(pool.map(curve, range(12)))
        for i, found in enumerate(side_by_side):
            must_equal(found, curve(i), f"Job {i} of 12 in four threads differs from the same job alone.")
        yield loss


@_check(every_loss)
def missing_values_are_learned_from(case: FamilyCase) -> Iterator[str]:
    """NaN is a value like any other: it trains, and predicts, and tells something."""
    for loss in case.losses:
        data = case.data(loss, "missing")
        _must_learn(case, data, loss)
        model = case.family.fit(data, case.params, 20, 0, loss=loss)
        X: Any = data.X
        filled = dataclasses.replace(data, X=X.fillna(X.min()))
        same = np.array_equal(response(model, data), response(model, filled))
        must(not same, "What is missing is treated as the smallest value, so its absence tells nothing.")
        yield loss


@_check(lambda case: case.losses if case.family.capabilities.sparse else ())
def sparse_data_train(case: FamilyCase) -> Iterator[str]:
    """A scipy-sparse X trains, and predicts."""
    for loss in case.losses:
        _must_learn(case, case.data(loss, "sparse"), loss)
        yield loss


@_check(lambda case: case.losses if case.family.capabilities.categories else ())
def categories_train(case: FamilyCase) -> Iterator[str]:
    """A pandas category trains, tells something, and may be missing."""
    for loss in case.losses:
        data = case.data(loss, "categories")
        _must_learn(case, data, loss)
        model = case.family.fit(data, case.params, 20, 0, loss=loss)
        X: Any = data.X.copy()
        X["s5"] = pd.Categorical.from_codes((X["s5"].cat.codes.to_numpy() + 1) % 3, dtype=X["s5"].dtype)
        must(
            not np.array_equal(response(model, data), response(model, dataclasses.replace(data, X=X))),
            "Another category changes no prediction: the column is not used.",
        )
        X["s5"] = X["s5"].where(np.arange(len(X)) % 2 == 0)
        found = response(model, dataclasses.replace(data, X=X))
        must(np.isfinite(found).all(), "A missing category must be predicted for.")
        yield loss


def _must_learn(case: FamilyCase, data: Dataset, loss: str) -> None:
    fit = case.fold_fit(data, loss, 20)
    must(np.isfinite(fit.curve).all(), f"The losses must be finite, got {fit.curve}.")
    must(fit.curve.min() < fit.curve[0], f"Twenty rounds learn nothing: the losses are {fit.curve}.")
    found = response(case.family.fit(data, case.params, 20, 0, loss=loss), data)
    must(len(found) == data.n_rows and np.isfinite(found).all(), "Predictions must be finite, one per row.")


@_check(every_loss)
def the_refit_trains_what_the_folds_trained(case: FamilyCase) -> Iterator[str]:
    """On the same rows, `fit` of k rounds predicts what a fold's `predict(k)` does."""
    for loss in case.losses:
        data = case.data(loss)
        rows = np.arange(data.n_rows)
        folds = Folds(((rows, rows),), "all rows, on both sides", data.n_rows)
        fold = case.family.prepare(data, folds, loss).train_fold(case.params, 0, 9, 5)
        for rounds in (4, 9):
            model = case.family.fit(data, case.params, rounds, 5, loss=loss)
            must_equal(
                response(model, data), fold.predict(rounds), f"{rounds} rounds differ from the fold's.", rtol=CLOSE
            )
        yield loss


@_check(every_loss)
def the_refit_is_the_same_with_and_without_the_prepared_data(case: FamilyCase) -> Iterator[str]:
    """`prepared` only saves time, and that of other data is not used."""
    for loss in case.losses:
        data, other = case.data(loss), case.data(loss, "missing")
        prepared = case.family.prepare(data, case.folds(data), loss)
        prepared.train_fold(case.params, 0, 1, 0)
        for each in (data, other):
            found = response(case.family.fit(each, case.params, 8, 0, loss=loss, prepared=prepared), each)
            plain = response(case.family.fit(each, case.params, 8, 0, loss=loss), each)
            must_equal(found, plain, f"With prepared= {'' if each is data else 'of other data '}the refit differs.")
        yield loss


@_check(lambda case: case.losses if case.family.capabilities.stoppable else ())
def a_refit_that_is_stopped_is_the_refit_of_so_many_rounds(case: FamilyCase) -> Iterator[str]:
    """`enough` is asked after each round, and the round at which it says so is the last."""
    for loss in case.losses:
        data, asked = case.data(loss), list[int]()

        def enough(grown: int, asked: list[int] = asked) -> bool:
            asked.append(grown)
            return grown >= 5

        stopped = response(case.family.fit(data, case.params, 9, 0, loss=loss, enough=enough), data)
        must(asked == [1, 2, 3, 4, 5], f"enough must be asked after each round, with their number; got {asked}.")
        whole = response(case.family.fit(data, case.params, 5, 0, loss=loss), data)
        must_equal(stopped, whole, "A refit that is stopped after 5 of 9 rounds differs from one of 5.", rtol=CLOSE)
        yield loss


def if_it_can_be_cut(case: FamilyCase) -> Collection[str]:
    """Imply one case per declared loss if the family has a way to cut a model."""
    return () if type(case.family).first_rounds is ModelFamily.first_rounds else case.losses


@_check(if_it_can_be_cut)
def the_first_rounds_of_a_model_are_the_model_of_so_many_rounds(case: FamilyCase) -> Iterator[str]:
    """`first_rounds` leaves the model that it is given as it was."""
    for loss in case.losses:
        data = case.data(loss)
        whole, short = (case.family.fit(data, case.params, rounds, 0, loss=loss) for rounds in (9, 5))
        before = response(whole, data)
        first = case.family.first_rounds(whole, 5)
        must_equal(
            response(first, data), response(short, data), "The first 5 of 9 rounds are not those of 5.", rtol=CLOSE
        )
        must_equal(response(whole, data), before, "first_rounds changed the model that it was given.")
        yield loss


@_check(every_loss)
def a_saved_model_predicts_the_same(case: FamilyCase) -> Iterator[str]:
    """`load` gives back what `save` wrote, to the one file it was told."""
    for loss in case.losses:
        data = case.data(loss)
        model = case.family.fit(data, case.params, 8, 0, loss=loss)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / case.family.model_file
            case.family.save(model, path)
            written = sorted(each.name for each in Path(folder).iterdir())
            must(written == [path.name], f"save must write {path.name!r} and nothing else; it wrote {written}.")
            again = case.family.load(path, data.task)
        must_equal(again.predict(data.X), model.predict(data.X), "The loaded model predicts something else.")
        must_equal(response(again, data), response(model, data), "The loaded model has other probabilities.")
        yield loss


@_check(every_loss)
def arguments_are_not_changed(case: FamilyCase) -> Iterator[str]:
    """Data, folds and parameters belong to the caller."""
    for loss in case.losses:
        data = case.data(loss, weighted=True)
        folds, params = case.folds(data), dict(case.params)
        before = copy.deepcopy((np.asarray(data.X), data.y, data.sample_weight, folds.splits, params))
        case.family.prepare(data, folds, loss).train_fold(params, 0, 3, 0)
        case.family.fit(data, params, 3, 0, loss=loss)
        must(params == before[4], f"params was {before[4]} and is {params}.")
        for name, now, then in (
            ("X", data.X, before[0]),
            ("y", data.y, before[1]),
            ("sample_weight", data.sample_weight, before[2]),
            (
                "The rows of the folds",
                np.hstack([*map(np.hstack, folds.splits)]),
                np.hstack([*map(np.hstack, before[3])]),
            ),
        ):
            must_equal(now, then, f"{name} was changed.")
        yield loss
