"""The evaluator whose work is done in other processes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from gbtune.errors import InvalidArgument
from gbtune.evaluation import Evaluator, Report, Schedule
from gbtune.isolation.pool import Pool
from gbtune.isolation.worker import Call
from gbtune.records import CVResult
from gbtune.rounds import Rounds


class ProcessEvaluator:
    """Evaluates as an `Evaluator` does, in worker processes. Thread-safe.

    Results equal those of the evaluator it is made from, but for the seconds. Up to `size` calls run side by side;
    further ones wait. Nothing is started before `start` or the first call.

    Parameters
    ----------
    evaluator : Evaluator
        What each worker rebuilds. Its family and metrics must be picklable by cloudpickle: functions and classes
        of a script or a notebook are, open files and locks are not.
    size : int
        Number of worker processes, at least 1.

    Raises
    ------
    InvalidArgument
        If the family or a metric cannot be pickled, or `size` is below 1.

    Notes
    -----
    A worker's standard error is the caller's; what is printed in a worker goes there too. Workers ignore Ctrl-C, and
    end by themselves when this process is gone, in the middle of a training too. When the evaluator is closed or
    collected, or Python exits, they are killed: they have nothing to save.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from gbtune import families
    >>> from gbtune.data import Dataset
    >>> from gbtune.evaluation import Evaluator
    >>> from gbtune.rounds import Rounds
    >>> from gbtune.isolation import ProcessEvaluator
    >>> from gbtune.study_metrics import resolve_metrics
    >>> from gbtune.resampling import make_folds
    >>> data = Dataset.from_arrays(*load_breast_cancer(return_X_y=True))
    >>> evaluator = Evaluator(
    ...     families.get("xgboost"), data, make_folds(3, data, seed=0),
    ...     resolve_metrics(None, data.task, {}), Rounds(cap=50),
    ... )
    >>> params = {"max_depth": 3, "learning_rate": 0.3}
    >>> with ProcessEvaluator(evaluator, size=1) as isolated:
    ...     isolated.evaluate(params, seed=0).score == evaluator.evaluate(params, seed=0).score
    True
    """

    def __init__(self, evaluator: Evaluator, size: int) -> None:
        if size < 1:
            raise InvalidArgument(f"ProcessEvaluator: size must be at least 1, got {size}.")
        self.evaluator = evaluator
        self._pool = Pool(evaluator, size)
        self._alive = _Alive()  # shared with what `limited` returns
        weakref.finalize(self._alive, self._pool.close)

    def limited(self, n_folds: int, rounds: Rounds) -> ProcessEvaluator:
        """Return an evaluator of the first `n_folds` folds that shares this one's workers."""
        other = ProcessEvaluator.__new__(ProcessEvaluator)
        other.__dict__.update(self.__dict__, evaluator=self.evaluator.limited(n_folds, rounds))
        return other

    def start(self) -> None:
        """Start all workers in the background, if they are not: they need a second or two for their imports."""
        self._pool.start()

    def close(self) -> None:
        """End all workers, and with them the calls that still run. Calling it again does nothing."""
        self._pool.close()

    def __enter__(self) -> ProcessEvaluator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def process_ids(self) -> tuple[int, ...]:
        """The process ids of the workers that are running."""
        return self._pool.process_ids

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
        """Evaluate one configuration in a worker; arguments and result as `Evaluator.evaluate`.

        `report` and `interrupted` are called in this process, by the calling thread: `interrupted` about every
        50 ms, and it counts from the next round on.

        Raises
        ------
        WorkerDied
            If the worker ended before it answered: killed, out of memory, crashed. The next call has a new one.
        Exception
            What the family or a metric raised in the worker; its cause shows the traceback there.
        """
        limits, held_out = self.evaluator, self.evaluator.held_out
        bar = None if held_out is None else held_out.bar
        call = Call(
            dict(params), seed, len(limits.folds), rounds or limits.rounds, schedule, workers, bool(report), bar
        )
        worker, reason = self._pool.borrow(interrupted, params)
        if worker is None:  # before the first round
            return CVResult("stopped", reason, None, None, (), 0, ())
        try:
            return worker.run(call, report, interrupted, held_out)
        finally:
            self._pool.take_back(worker)


class _Alive:
    """The workers are ended when nobody refers to this any more."""
