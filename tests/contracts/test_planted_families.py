"""Families with a fault each, and the check that sees it."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import threading
from typing import Any

import numpy as np
import pytest
from contracts.planted import failures

from gbtune import families
from gbtune.families import ModelFamily
from gbtune.families.base import FoldFit, Prepared, frozen
from gbtune.testing import StubFamily, check_family, never
from gbtune.testing.families import FAMILY, FamilyCase
from gbtune.testing.stub import StubModel

EXAMPLES = {"learning_rate": {"learning_rate": 0.5}, "split": {"split": 0.2}}
BLIND = "missing_values_are_learned_from"
"""The stub looks at one column, which is never missing."""


CUTTING = "the_first_rounds_of_a_model_are_the_model_of_so_many_rounds"


def failing(family: ModelFamily) -> set[str]:
    return set(failures(FAMILY, lambda: FamilyCase(family, examples=EXAMPLES))) - {BLIND}


def test_the_stub_passes_but_for_its_declared_gap() -> None:
    assert failing(StubFamily()) == set()
    report = check_family(StubFamily(), examples=EXAMPLES, gaps={BLIND: never("it looks at the first column alone")})
    # Every check but the gap, sparse data, categories and cutting; one loss; two parameters.
    assert report.count == len(FAMILY.checks) - 4 + 1
    assert report.not_implied == ("sparse_data_train", "categories_train", CUTTING)


def test_a_family_that_cuts_as_it_should_passes() -> None:
    assert failing(Cuts()) == set()


class Wrapped(StubFamily):
    """The stub with its parts replaceable."""

    def prepare(self, data: Any, folds: Any, loss: str, *, threads: int = 1) -> Prepared:
        return self.Prepared(self, data, folds)

    class Prepared(Prepared):
        def __init__(self, family: Any, data: Any, folds: Any) -> None:
            self.family, self.data, self.folds = family, data, folds
            self.inner = StubFamily().prepare(data, folds, "squared_error")

        def train_fold(self, params: Any, fold: int, rounds: int, seed: int, on_round: Any = None) -> FoldFit:
            return self.inner.train_fold(params, fold, rounds, seed, on_round)


class AcceptsAnyName(Wrapped):
    class Prepared(Wrapped.Prepared):
        def train_fold(self, params: Any, *details: Any, **more: Any) -> FoldFit:
            known = {name: value for name, value in params.items() if name in self.family.capabilities.parameters}
            return super().train_fold(known, *details, **more)


class FitAcceptsAnyName(Wrapped):
    def fit(self, data: Any, params: Any, *details: Any, **more: Any) -> StubModel:
        known = {name: value for name, value in params.items() if name in self.capabilities.parameters}
        return super().fit(data, known, *details, **more)


class DeclaresTooMuch(Wrapped):
    capabilities = dataclasses.replace(
        StubFamily.capabilities, parameters=frozenset({"learning_rate", "split", "depth"})
    )


class IgnoresAParameter(Wrapped):
    class Prepared(Wrapped.Prepared):
        def train_fold(self, params: Any, *details: Any, **more: Any) -> FoldFit:
            rest = {name: value for name, value in params.items() if name != "split"}
            return super().train_fold(rest, *details, **more)

    def fit(self, data: Any, params: Any, *details: Any, **more: Any) -> StubModel:
        return super().fit(data, {name: v for name, v in params.items() if name != "split"}, *details, **more)


class RefitIgnoresAParameter(Wrapped):
    def fit(self, data: Any, params: Any, *details: Any, **more: Any) -> StubModel:
        return super().fit(data, {name: v for name, v in params.items() if name != "split"}, *details, **more)


class OtherDefaults(Wrapped):
    default_params = frozen({"learning_rate": 0.3, "split": 0.5})


class RatesFollowTheRounds(Wrapped):
    class Prepared(Wrapped.Prepared):
        def train_fold(self, params: Any, fold: int, rounds: int, *details: Any, **more: Any) -> FoldFit:
            rate = params.get("learning_rate", 0.1) * 10 / (10 + rounds)
            return super().train_fold({**params, "learning_rate": rate}, fold, rounds, *details, **more)


class Fit(FoldFit):
    """A fold's fit around the stub's."""

    def __init__(self, inner: FoldFit) -> None:
        self.inner = inner

    @property
    def curve(self) -> Any:
        return self.inner.curve

    def grow(self, rounds: int, on_round: Any = None) -> None:
        self.inner.grow(rounds, None if on_round is None else lambda _: on_round(self))

    def predict(self, rounds: int | None = None) -> Any:
        return self.inner.predict(rounds)


def with_fit(kind: type[Fit]) -> ModelFamily:
    class Family(Wrapped):
        class Prepared(Wrapped.Prepared):
            def train_fold(self, params: Any, fold: int, rounds: int, seed: int, on_round: Any = None) -> FoldFit:
                fit = kind(self.inner.train_fold(params, fold, 0, seed))
                fit.grow(rounds, on_round)
                return fit

    return Family()


class StartsAnew(Fit):
    """Growing further begins again at a faster rate."""

    def grow(self, rounds: int, on_round: Any = None) -> None:
        if 0 < self.rounds < rounds:
            self.inner.model.rate *= 1.5  # type: ignore[attr-defined]
        super().grow(rounds, on_round)


class CannotGrow(Fit):
    def grow(self, rounds: int, on_round: Any = None) -> None:
        if self.rounds and rounds > self.rounds:
            raise RuntimeError("trained already")
        super().grow(rounds, on_round)


class NeverStops(Fit):
    def grow(self, rounds: int, on_round: Any = None) -> None:
        super().grow(rounds, None if on_round is None else lambda fit: on_round(fit) and False)


class CallsOnceAtTheEnd(Fit):
    def grow(self, rounds: int, on_round: Any = None) -> None:
        super().grow(rounds)
        if on_round is not None:
            on_round(self)


class CurveOfSomethingElse(Fit):
    @property
    def curve(self) -> Any:
        return self.inner.curve**2


class PredictsNonsenseBeforeTheEnd(Fit):
    def predict(self, rounds: int | None = None) -> Any:
        return self.inner.predict()


class PredictsAColumn(Fit):
    def predict(self, rounds: int | None = None) -> Any:
        return self.inner.predict(rounds)[:, None]


class Counts(Wrapped):
    """Its random stream is one for all."""

    class Prepared(Wrapped.Prepared):
        stream = itertools.count()

        def train_fold(self, params: Any, *details: Any, **more: Any) -> FoldFit:
            split = params.get("split", 0.5) * (1 - 0.05 * (next(self.stream) % 7))
            return super().train_fold({**params, "split": split}, *details, **more)


class KnowsItsThread(Wrapped):
    class Prepared(Wrapped.Prepared):
        def train_fold(self, params: Any, *details: Any, **more: Any) -> FoldFit:
            split = params.get("split", 0.5) if threading.current_thread() is threading.main_thread() else 0.3
            return super().train_fold({**params, "split": split}, *details, **more)


class TrainsOnEverything(Wrapped):
    class Prepared(Wrapped.Prepared):
        def __init__(self, family: Any, data: Any, folds: Any) -> None:
            super().__init__(family, data, folds)
            rows = np.arange(data.n_rows)
            leaky = dataclasses.replace(folds, splits=tuple((rows, valid) for _, valid in folds.splits))
            self.inner = StubFamily().prepare(data, leaky, "squared_error")


class IgnoresWeights(Wrapped):
    def fit(self, data: Any, *details: Any, **more: Any) -> StubModel:
        return super().fit(dataclasses.replace(data, sample_weight=None), *details, **more)


class RefitsOneRoundMore(Wrapped):
    def fit(self, data: Any, params: Any, rounds: int, *details: Any, **more: Any) -> StubModel:
        return super().fit(data, params, rounds + 1, *details, **more)


class TrustsPrepared(Wrapped):
    def fit(self, data: Any, *details: Any, prepared: Any = None, **more: Any) -> StubModel:
        if prepared is not None:
            data = dataclasses.replace(data, y=prepared.data.y * (1 + prepared.data.X.isna().to_numpy().sum()))
            data = dataclasses.replace(data, y=data.y + 1)
        return super().fit(data, *details, **more)


class NeverHasEnough(Wrapped):
    def fit(self, *details: Any, enough: Any = None, **more: Any) -> StubModel:
        return super().fit(*details, **more)


class StopsARoundLate(Wrapped):
    def fit(self, data: Any, params: Any, rounds: int, *details: Any, enough: Any = None, **more: Any) -> StubModel:
        if enough is not None:
            rounds = next((grown + 1 for grown in range(1, rounds) if enough(grown)), rounds)
        return super().fit(data, params, rounds, *details, **more)


class Cuts(Wrapped):
    def first_rounds(self, estimator: Any, rounds: int) -> StubModel:
        shorter = copy.copy(estimator)
        shorter.rounds = rounds
        return shorter


class CutsOffTheFirst(Cuts):
    def first_rounds(self, estimator: Any, rounds: int) -> StubModel:
        return super().first_rounds(estimator, estimator.rounds - rounds)


class CutsInPlace(Cuts):
    def first_rounds(self, estimator: Any, rounds: int) -> StubModel:
        estimator.rounds = rounds
        return estimator


class SavesHalf(Wrapped):
    def load(self, path: Any, task: str) -> StubModel:
        model = super().load(path, task)
        model.rounds //= 2
        return model


class SavesBeside(Wrapped):
    def save(self, estimator: Any, path: Any) -> None:
        super().save(estimator, path)
        path.with_suffix(".meta").write_text("{}", encoding="utf-8")


class WritesIntoParams(Wrapped):
    class Prepared(Wrapped.Prepared):
        def train_fold(self, params: Any, *details: Any, **more: Any) -> FoldFit:
            if isinstance(params, dict):
                params.setdefault("split", 0.5)
            return super().train_fold(params, *details, **more)


class ScalesTheTarget(Wrapped):
    def fit(self, data: Any, *details: Any, **more: Any) -> StubModel:
        model = super().fit(data, *details, **more)
        data.y[:1] += 1.0
        return model


class SaysSparse(Wrapped):
    capabilities = dataclasses.replace(StubFamily.capabilities, sparse=True)


class SaysCategories(Wrapped):
    capabilities = dataclasses.replace(StubFamily.capabilities, categories=True)


class SaysPoisson(Wrapped):
    capabilities = dataclasses.replace(StubFamily.capabilities, losses=frozenset({"squared_error", "poisson"}))


class SaysNothing(Wrapped):
    capabilities = dataclasses.replace(StubFamily.capabilities, losses=frozenset(), parameters=frozenset())


@pytest.mark.parametrize(
    ("family", "sees"),
    [
        (AcceptsAnyName(), {"an_unknown_parameter_raises"}),
        (FitAcceptsAnyName(), {"an_unknown_parameter_raises"}),
        (DeclaresTooMuch(), {"each_declared_parameter_is_honoured"}),
        (IgnoresAParameter(), {"each_declared_parameter_is_honoured"}),
        (RefitIgnoresAParameter(), {"each_declared_parameter_is_honoured"}),
        (OtherDefaults(), {"the_written_out_defaults_are_the_librarys"}),
        (RatesFollowTheRounds(), {"more_rounds_never_change_earlier_ones", "growing_in_steps_equals_growing_at_once"}),
        (with_fit(StartsAnew), {"growing_in_steps_equals_growing_at_once"}),
        (with_fit(CannotGrow), {"growing_in_steps_equals_growing_at_once"}),
        (with_fit(NeverStops), {"the_callback_is_called_after_each_round_and_can_stop"}),
        (with_fit(CallsOnceAtTheEnd), {"the_callback_is_called_after_each_round_and_can_stop"}),
        (with_fit(CurveOfSomethingElse), {"the_curve_is_the_loss_of_the_predictions"}),
        (with_fit(PredictsNonsenseBeforeTheEnd), {"more_rounds_never_change_earlier_ones"}),
        (with_fit(PredictsAColumn), {"predictions_are_on_the_response_scale"}),
        (Counts(), {"the_same_seed_gives_the_same_model"}),
        (KnowsItsThread(), {"trials_in_threads_equal_trials_in_turn"}),
        (TrainsOnEverything(), {"a_fold_is_trained_on_its_training_rows_alone"}),
        (IgnoresWeights(), {"weights_are_used_in_training"}),
        (RefitsOneRoundMore(), {"the_refit_trains_what_the_folds_trained"}),
        (TrustsPrepared(), {"the_refit_is_the_same_with_and_without_the_prepared_data"}),
        (NeverHasEnough(), {"a_refit_that_is_stopped_is_the_refit_of_so_many_rounds"}),
        (StopsARoundLate(), {"a_refit_that_is_stopped_is_the_refit_of_so_many_rounds"}),
        (CutsOffTheFirst(), {CUTTING}),
        (CutsInPlace(), {CUTTING}),
        (SavesHalf(), {"a_saved_model_predicts_the_same"}),
        (SavesBeside(), {"a_saved_model_predicts_the_same"}),
        (WritesIntoParams(), {"arguments_are_not_changed"}),
        (ScalesTheTarget(), {"arguments_are_not_changed"}),
        (SaysSparse(), {"sparse_data_train"}),
        (SaysCategories(), {"categories_train"}),
        (SaysPoisson(), {"the_curve_is_the_loss_of_the_predictions"}),
        (SaysNothing(), {"the_description_is_complete"}),
    ],
    ids=lambda value: "" if isinstance(value, set) else type(value).__name__,
)
def test_the_check_that_is_meant_for_a_fault_sees_it(family: ModelFamily, sees: set[str]) -> None:
    assert sees <= failing(family)


def test_margins_instead_of_probabilities_are_seen() -> None:
    lightgbm = families.get("lightgbm")
    broken = copy.copy(lightgbm)

    class Margins(Prepared):
        def __init__(self, inner: Prepared) -> None:
            self.inner = inner

        def train_fold(self, *details: Any, **more: Any) -> FoldFit:
            fit = self.inner.train_fold(*details, **more)
            proba = fit.predict
            fit.predict = lambda rounds=None: np.log(proba(rounds) / (1 - proba(rounds)))  # type: ignore[method-assign]
            return fit

    broken.prepare = lambda *a, **k: Margins(lightgbm.prepare(*a, **k))  # type: ignore[method-assign,assignment]
    broken.capabilities = dataclasses.replace(lightgbm.capabilities, losses=frozenset({"log_loss_binary"}))
    case = FamilyCase(broken, {"num_leaves": 7})
    with pytest.raises(AssertionError, match="must be probabilities"):
        FAMILY.run_check("predictions_are_on_the_response_scale", case)
