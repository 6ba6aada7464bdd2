"""The evaluator: parameters in, cross-validated result out. No Optuna here.

One training answers every number of rounds up to the cap. After k folds the score is the best value of
the **mean** curve of those k folds, read at one common round; never each fold's own best, which is
optimistic. Growth ends when the mean curve of the native training loss has not improved for
``max(20, 1 / learning_rate)`` rounds (a fold that stopped earlier on its own is extended), so a score
depends on the parameters alone, whatever the schedule.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gbtune.early_stopping import patience, stopping_round
from gbtune.errors import GbtuneError, InvalidArgument
from gbtune.families.base import FoldFit, ModelFamily, Prepared, check_data
from gbtune.held_out import BestHeldOut
from gbtune.metrics import Metric
from gbtune.records import CVResult, FloatArray, Folds
from gbtune.rounds import Rounds
from gbtune.seeds import seed as derive_seed
from gbtune.study_metrics import training_loss
from gbtune.thinning import seven_digits, thin

if TYPE_CHECKING:
    from gbtune.data import Dataset

Schedule = Literal["folds", "rounds"]
_MEASURED_BY = {
    "log_loss_binary": "log_loss",
    "log_loss_multiclass": "log_loss",
    "squared_error": "rmse",
    "poisson": "poisson_log_likelihood",  # no metric of ours: the deviance is read at checkpoints
}
ROUNDS_PER_STEP = 10
"""Lock-step reports the mean curve every so many rounds."""

Report = Callable[[int, float, Sequence[float]], bool]
"""Takes step (folds done, or rounds grown), score so far and fold scores; returns True to prune."""


class Evaluator:
    """Evaluates configurations of one family on fixed folds of one data set. Thread-safe.

    Parameters
    ----------
    family : ModelFamily
        The boosting library.
    data : Dataset
        What to learn.
    folds : Folds
        The rows of every evaluation.
    metrics : sequence of Metric
        The first is optimised; the others are read once, at the common round.
    rounds : Rounds
        The policy of an ordinary evaluation.
    threads : int, default 1
        Threads of each booster.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from gbtune import families
    >>> from gbtune.data import Dataset
    >>> from gbtune.evaluation import Evaluator
    >>> from gbtune.resampling import make_folds
    >>> from gbtune.rounds import Rounds
    >>> from gbtune.study_metrics import resolve_metrics
    >>> data = Dataset.from_arrays(*load_breast_cancer(return_X_y=True))
    >>> evaluator = Evaluator(
    ...     families.get("xgboost"), data, make_folds(3, data, seed=0),
    ...     resolve_metrics(None, data.task, {}), Rounds(cap=50),
    ... )
    >>> result = evaluator.evaluate({"max_depth": 3, "learning_rate": 0.3}, seed=0)
    >>> result.state, len(result.fold_scores), result.score < 0.15
    ('complete', 3, True)
    """

    def __init__(
        self,
        family: ModelFamily,
        data: Dataset,
        folds: Folds,
        metrics: Sequence[Metric],
        rounds: Rounds,
        *,
        threads: int = 1,
    ) -> None:
        self.family, self.data, self.folds, self.rounds, self.threads = family, data, folds, rounds, threads
        self.metric, self.extra_metrics = metrics[0], tuple(metrics[1:])
        self.loss = training_loss(data.task, self.metric)
        check_data(family, data, self.loss)
        self.prepared: Prepared = family.prepare(data, folds, self.loss, threads=threads)
        self.held_out: BestHeldOut | None = None
        """Where the predictions of the best evaluation are kept; None: nowhere."""

    def limited(self, n_folds: int, rounds: Rounds) -> Evaluator:
        """Return an evaluator of the first `n_folds` folds that shares this one's binned data."""
        other = Evaluator.__new__(Evaluator)
        other.__dict__.update(self.__dict__, folds=self.folds.first(n_folds), rounds=rounds)
        return other

    def with_folds(self, folds: Folds) -> Evaluator:
        """Return an evaluator of other folds of the same data, which shares what is binned already."""
        other, shared = self.limited(0, self.rounds), self.prepared.with_folds(folds)
        other.folds = folds
        other.prepared = shared or self.family.prepare(self.data, folds, self.loss, threads=self.threads)
        return other

    def evaluate(
        self,
        params: Mapping[str, Any],
        *,
        seed: int,
        report: Report | None = None,
        rounds: Rounds | None = None,
        schedule: Schedule = "folds",
        interrupted: Callable[[], str | None] = lambda: None,
        workers: int = 1,
    ) -> CVResult:
        """Evaluate one configuration.

        Parameters
        ----------
        params : mapping
            Keyword arguments of the library's scikit-learn class, without the number of rounds.
        seed : int
            The study's seed. A configuration's boosters have the same streams in every trial, so that a
            score is a function of the parameters.
        report : callable, optional
            Told the score so far after each fold ("folds") or every ten rounds ("rounds");
            answers whether to prune.
        rounds : Rounds, optional
            Instead of the evaluator's own policy.
        schedule : {"folds", "rounds"}, default "folds"
            Fold after fold, or all folds in lock-step.
        interrupted : callable, optional
            Asked after every round; a reason ends the evaluation.
        workers : int, default 1
            In lock-step, so many folds grow side by side.

        Returns
        -------
        CVResult
            Complete, pruned or stopped.

        Raises
        ------
        UnknownName
            For a parameter the family does not know.
        GbtuneError
            If the validation loss is not finite.
        """
        run = _Evaluation(self, params, seed, report, rounds or self.rounds, interrupted, workers)
        return run.by_folds() if schedule == "folds" else run.by_rounds()


def _mean(values: FloatArray) -> FloatArray:
    """Return ``values.mean(axis=0)``, which takes as long again for what it could be asked besides."""
    return np.asarray(np.add.reduce(values, axis=0) / len(values))


class _Interrupted(Exception):
    """Unwinds a growing booster; carries the reason."""


class _Evaluation:
    """One configuration being evaluated: the boosters of its folds and their scores."""

    def __init__(
        self,
        evaluator: Evaluator,
        params: Mapping[str, Any],
        seed: int,
        report: Report | None,
        rounds: Rounds,
        interrupted: Callable[[], str | None],
        workers: int,
    ) -> None:
        self.owner, self.params, self.seed, self.workers = evaluator, params, seed, workers
        self.report, self.rounds, self.interrupted = report, rounds, interrupted
        self.patience = patience(params)
        self.native = evaluator.metric.loss is not None and evaluator.metric.loss == _MEASURED_BY[evaluator.loss]
        self.checkpoints = rounds.checkpoints
        self.fits: list[FoldFit] = []
        self.curves: list[FloatArray] = []
        self.last_losses: tuple[int, int, FloatArray, FloatArray] = (0, 0, np.empty((0, 0)), np.empty(0))
        self.checked: list[dict[int, float]] = []
        self.score_seconds, self.started = 0.0, time.perf_counter()
        self.reason: str | None = None

    # -- the two schedules ----------------------------------------------------------------------------------

    def by_folds(self) -> CVResult:
        """Grow fold after fold, each to its own early stop; extend where the mean curve needs it."""
        n_folds, finished = len(self.owner.folds), 0
        try:
            for fold in range(n_folds):
                self._start_fold(fold)
                self._grow(fold, self.rounds.cap, own_stop=not self.rounds.choices)
                stop = self._settle(fold + 1)
                finished = fold + 1
                if self._reported(finished, stop, finished) and finished < n_folds:
                    return self._result("pruned", finished, stop, "pruner")
        except _Interrupted as interruption:
            return self._result("stopped", finished, self._settled(finished), str(interruption))
        return self._result("complete", n_folds, stop, None)

    def by_rounds(self) -> CVResult:
        """Grow all folds together, `ROUNDS_PER_STEP` rounds at a time."""
        n_folds, grown = len(self.owner.folds), 0
        try:
            for fold in range(n_folds):
                self._start_fold(fold)
            while True:
                grown = min(self.rounds.cap, grown + ROUNDS_PER_STEP)
                self._grow_together(grown)
                stop = self._early_stop(n_folds)
                if stop is not None or grown == self.rounds.cap:
                    return self._result("complete", n_folds, stop or grown, None)
                if self._reported(grown, grown, n_folds, latest=True):
                    return self._result("pruned", n_folds, grown, "pruner")
        except _Interrupted as interruption:
            common = min((fit.rounds for fit in self.fits), default=0)
            return self._result("stopped", n_folds if common else 0, common, str(interruption))

    # -- growing --------------------------------------------------------------------------------------------

    def _start_fold(self, fold: int) -> None:
        booster_seed = derive_seed(self.seed, "booster", fold=fold)
        self.checked.append({})
        self.curves.append(np.empty(0))
        self.fits.append(self.owner.prepared.train_fold(self.params, fold, 0, booster_seed))

    def _grow(self, fold: int, rounds: int, *, own_stop: bool = False) -> None:
        checked, valid_rows = self.checked[fold], self.owner.folds.splits[fold][1]
        native, checkpoints, interrupted, longest = self.native, self.checkpoints, self.interrupted, self.patience
        best, best_round = math.inf, 0

        def on_round(fit: FoldFit) -> bool:
            nonlocal best, best_round
            done = fit.rounds
            if not native and done in checkpoints:
                checked[done] = self._score(self.owner.metric, fit.predict(), valid_rows)
            if (reason := interrupted()) is not None:
                raise _Interrupted(reason)
            if own_stop:
                loss = fit.last_loss
                if loss < best:
                    best, best_round = loss, done
                return done - best_round >= longest
            return False

        try:
            self.fits[fold].grow(rounds, on_round)
        finally:  # interrupted, it counts as far as it came
            self.curves[fold] = self.fits[fold].curve

    def _grow_together(self, rounds: int) -> None:
        folds = range(len(self.fits))
        if self.workers == 1:
            for fold in folds:
                self._grow(fold, rounds)
            return
        with ThreadPoolExecutor(self.workers) as pool:
            list(pool.map(lambda fold: self._grow(fold, rounds), folds))

    def _score(self, metric: Metric, prediction: FloatArray, rows: Any) -> float:
        started = time.perf_counter()
        weight = self.owner.data.sample_weight
        try:
            return metric.score(self.owner.data.y[rows], prediction, None if weight is None else weight[rows])
        except InvalidArgument:  # not a number on this fold, at these rounds: it cannot be the best
            return math.nan
        finally:
            self.score_seconds += time.perf_counter() - started

    # -- the mean curve -------------------------------------------------------------------------------------

    def _losses(self, n_folds: int) -> tuple[FloatArray, FloatArray]:
        """Validation losses of the first folds over their common rounds, shape (n_folds, rounds), and their mean."""
        common = min(map(len, self.curves[:n_folds]))
        if self.last_losses[:2] != (n_folds, common):  # stopping, reporting and the result look at the same ones
            losses = np.array([curve[:common] for curve in self.curves[:n_folds]])
            self.last_losses = n_folds, common, losses, _mean(losses)
        return self.last_losses[2:]

    def _early_stop(self, n_folds: int) -> int | None:
        """Return the round at which the mean loss curve has been past its best for long enough."""
        if self.rounds.choices:
            return None
        mean = self._losses(n_folds)[1]
        if not np.isfinite(mean).any():
            raise GbtuneError(
                f"The validation loss is not finite after {len(mean)} rounds with {dict(self.params)}. "
                "Lower the learning rate, or raise min_child_weight."
            )
        return stopping_round(mean, self.patience)

    def _settle(self, n_folds: int) -> int:
        """Grow the first folds until their mean curve stops; return its stop."""
        while True:
            common = min(map(len, self.curves[:n_folds]))
            stop = self._early_stop(n_folds)
            if stop is not None or common == self.rounds.cap:
                return stop or common
            best_round = int(np.nanargmin(self._losses(n_folds)[1])) + 1
            target = min(self.rounds.cap, max(best_round + self.patience, common + 1))
            for fold in range(n_folds):
                self._grow(fold, target)

    def _settled(self, n_folds: int) -> int:
        """Return the stop of the first folds' mean curve as far as it was grown before an interruption."""
        if not n_folds:
            return 0
        return self._early_stop(n_folds) or len(self._losses(n_folds)[1])

    def _scores(self, n_folds: int, stop: int) -> tuple[Sequence[int], FloatArray, FloatArray]:
        """Rounds at which the metric is known, its values, shape (n_folds, len(rounds)), and their mean."""
        if self.native:
            losses, mean = self._losses(n_folds)
            choices = [r for r in self.rounds.choices if r <= stop]
            if not choices:
                return range(1, stop + 1), losses[:, :stop], mean[:stop]
            at = np.asarray(choices) - 1
            return choices, losses[:, at], mean[at]
        rounds = [r for r in sorted(self.checked[0]) if r <= stop]
        values = np.array([[checked[r] for r in rounds] for checked in self.checked[:n_folds]])
        return rounds, values, _mean(values)

    def _best(self, mean: FloatArray) -> int:
        """Return the position of the common round in mean scores of shape (len(rounds),)."""
        losses = mean if self.owner.metric.direction == "minimize" else -mean
        best = int(losses.argmin())
        if not math.isnan(losses[best]):
            return best
        if np.isnan(losses).all():
            raise GbtuneError(f"The metric {self.owner.metric.name} is not a number with {dict(self.params)}.")
        return int(np.nanargmin(losses))

    def _reported(self, step: int, stop: int, n_folds: int, *, latest: bool = False) -> bool:
        if self.report is None:
            return False
        rounds, values, mean = self._scores(n_folds, stop)
        if not rounds:  # before the first choice
            return False
        best = self._best(mean)
        at = len(rounds) - 1 if latest else best
        return self.report(step, float(_mean(values[:, at])), values[:, at].tolist())

    def _result(
        self, state: Literal["complete", "pruned", "stopped"], n_folds: int, stop: int, reason: str | None
    ) -> CVResult:
        grown = tuple(fit.rounds for fit in self.fits)
        seconds = {
            "train": time.perf_counter() - self.started - self.score_seconds,
            "score": self.score_seconds,
        }
        rounds, values, mean = self._scores(n_folds, stop) if n_folds and stop else ((), np.empty(0), np.empty(0))
        if not rounds:
            return CVResult(state, reason, None, None, (), 0, grown, seconds=seconds)
        best = self._best(mean)
        # Where only some rounds may be chosen, the curve has the others, too.
        curve = self._losses(n_folds)[1][:stop] if self.native else mean
        at, shown = range(1, stop + 1) if self.native else rounds, thin(len(curve))
        score = float(_mean(values[:, best]))
        complete = state == "complete"
        extra = self._after(rounds[best], score) if complete else {}
        seconds["score"] = self.score_seconds
        return CVResult(
            state,
            reason,
            score=score if complete else None,
            partial_score=None if complete else score,
            fold_scores=tuple(values[:, best].tolist()),
            rounds=rounds[best],
            rounds_grown=grown,
            curve_rounds=tuple(at[i] for i in shown.tolist()),
            curve=tuple(seven_digits(curve[shown]).tolist()),
            seconds=seconds,
            extra=extra,
        )

    def _after(self, rounds: int, score: float) -> dict[str, float]:
        """Use the held-out predictions at the common round of a complete evaluation; return the further metrics.

        These are means over folds.
        """
        owner, started, scored = self.owner, time.perf_counter(), self.score_seconds
        predictions = functools.cache(lambda: [fit.predict(rounds) for fit in self.fits])  # by whoever asks first
        extra = {}
        for metric in owner.extra_metrics:
            parts = zip(predictions(), owner.folds.splits, strict=True)
            extra[metric.name] = float(np.mean([self._score(metric, p, valid) for p, (_, valid) in parts]))
        if owner.held_out is not None:
            owner.held_out.offer(self.params, rounds, owner.metric.loss_of(score), predictions)
        self.score_seconds = scored + time.perf_counter() - started
        return extra
