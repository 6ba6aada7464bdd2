"""Exact counts of the work that code does while a block runs: the same on every machine, however busy it is.

`counted_work` counts what the boosting libraries and our metrics do, `counted_bookkeeping` what a study costs beside
that. Both wrap methods of classes while the block runs, so they see all threads of this process, and no other process:
with ``isolation="process"`` boosters grow out of their sight.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import optuna

from gbtune.metrics import Metric
from gbtune.records import TRIAL_KEY, TrialRecord

_LOCK = threading.Lock()
QUIETING_SHAPE = (2, 1)
"""Of the empty rows from which `gbtune.families.lightgbm` makes a Dataset to set a thread's verbosity."""


@dataclasses.dataclass
class Work:
    """What the libraries and our metrics did.

    Parameters
    ----------
    binnings : int
        Binned matrices built from raw columns: ``QuantileDMatrix``, and ``Dataset`` that is no subset of another.
    rounds : int
        Calls of ``Booster.update``: of trials, of a probe, of the final model.
    evaluations, rows_evaluated : int
        Calls of the libraries' own validation loss, and the rows they looked at.
    predictions, rows_predicted : int
        Calls of the libraries' prediction, and rows; also where the library answers from its cache.
    scorings, rows_scored : int
        Calls of `gbtune.Metric.score`, and rows.
    """

    binnings: int = 0
    rounds: int = 0
    evaluations: int = 0
    rows_evaluated: int = 0
    predictions: int = 0
    rows_predicted: int = 0
    scorings: int = 0
    rows_scored: int = 0


@dataclasses.dataclass
class Bookkeeping:
    """What a study did beside training and scoring.

    Parameters
    ----------
    records_written, record_bytes : int
        Records of trials given to the storage, and the length of the texts.
    records_read : int
        Calls of ``TrialRecord.from_json``.
    storage : Counter of str to int
        Calls of the public methods of the study's storage, by name.
    trials_listed : int
        Trials in the answers of ``get_all_trials``.
    """

    records_written: int = 0
    record_bytes: int = 0
    records_read: int = 0
    storage: Counter[str] = dataclasses.field(default_factory=Counter)
    trials_listed: int = 0

    @property
    def storage_calls(self) -> int:
        """Calls of the storage, of whatever kind."""
        return self.storage.total()


@contextlib.contextmanager
def noticing(owner: type, method: str, note: Callable[..., None]) -> Iterator[None]:
    """Tell `note` the result and the arguments (self first) of each call of a method while the block runs.

    It is told after the call, by one thread at a time, so that it may add to a number. A call that raises is not noted.
    """
    original = getattr(owner, method)

    @functools.wraps(original)
    def noticed(*args: Any, **kwargs: Any) -> Any:
        found = original(*args, **kwargs)
        with _LOCK:
            note(found, *args, **kwargs)
        return found

    with mock.patch.object(owner, method, noticed):
        yield


@contextlib.contextmanager
def counted_work() -> Iterator[Work]:
    """Count what the boosting libraries and our metrics do while the block runs.

    Yields
    ------
    Work
        Grows as the block runs.

    Examples
    --------
    >>> import gbtune
    >>> from sklearn.datasets import load_diabetes
    >>> from benchmarks.counting import counted_work
    >>> X, y = load_diabetes(return_X_y=True)
    >>> with counted_work() as work:
    ...     result = gbtune.tune(X, y, family="lightgbm", n_trials=1, tracking=False, progress=False)
    >>> work.binnings, work.rounds  # 100 rounds on five folds, and of the final model
    (1, 600)
    """
    import lightgbm
    import xgboost

    work = Work()

    def binned(_: Any, *__: Any, **___: Any) -> None:
        work.binnings += 1

    def binned_dataset(_: Any, __: Any, data: Any = None, *___: Any, **____: Any) -> None:
        work.binnings += np.shape(data) != QUIETING_SHAPE

    def grown(_: Any, *__: Any, **___: Any) -> None:
        work.rounds += 1

    def evaluated(rows: int) -> None:
        work.evaluations += 1
        work.rows_evaluated += rows

    def predicted(rows: int) -> None:
        work.predictions += 1
        work.rows_predicted += rows

    def evaluated_xgboost(_: Any, __: Any, evals: Any, *___: Any, **____: Any) -> None:
        if evals:  # XGBoost's own training asks after each round, also where there is nothing to look at
            evaluated(sum(matrix.num_row() for matrix, _ in evals))

    def evaluated_lightgbm(_: Any, booster: Any, feval: Any = None) -> None:
        # With a function of its own it is the way to the validation rows' predictions.
        (evaluated if feval is None else predicted)(sum(part.num_data() for part in booster.valid_sets))

    def predicted_rows(_: Any, __: Any, data: Any, *___: Any, **____: Any) -> None:
        predicted(data.num_row() if isinstance(data, xgboost.DMatrix) else np.shape(data)[0])

    def scored(_: Any, __: Any, y: Any, *___: Any, **____: Any) -> None:
        work.scorings += 1
        work.rows_scored += len(y)

    with contextlib.ExitStack() as stack:
        for owner, method, note in (
            (xgboost.QuantileDMatrix, "__init__", binned),
            (lightgbm.Dataset, "_lazy_init", binned_dataset),
            (xgboost.Booster, "update", grown),
            (lightgbm.Booster, "update", grown),
            (xgboost.Booster, "eval_set", evaluated_xgboost),
            (lightgbm.Booster, "eval_valid", evaluated_lightgbm),
            (xgboost.Booster, "predict", predicted_rows),
            (xgboost.Booster, "inplace_predict", predicted_rows),
            (lightgbm.Booster, "predict", predicted_rows),
            (Metric, "score", scored),
        ):
            stack.enter_context(noticing(owner, method, note))
        yield work


STORAGE_METHODS = tuple(
    name for name, value in vars(optuna.storages.BaseStorage).items() if callable(value) and not name.startswith("_")
)


@contextlib.contextmanager
def counted_bookkeeping(storage: type = optuna.storages.InMemoryStorage) -> Iterator[Bookkeeping]:
    """Count what studies cost beside training and scoring while the block runs.

    Parameters
    ----------
    storage : type, default InMemoryStorage
        The class of the studies' storage.

    Yields
    ------
    Bookkeeping
        Grows as the block runs.

    Examples
    --------
    >>> import optuna
    >>> from benchmarks.counting import counted_bookkeeping
    >>> with counted_bookkeeping() as books:
    ...     study = optuna.create_study()
    ...     trial = study.ask()
    >>> books.storage["create_new_trial"], books.records_written
    (1, 0)
    """
    books = Bookkeeping()

    def called(name: str) -> Callable[..., None]:
        def note(found: Any, *arguments: Any, **named: Any) -> None:
            books.storage[name] += 1
            if name == "get_all_trials":
                books.trials_listed += len(found)
            if name == "set_trial_user_attr" and TRIAL_KEY in (*arguments, *named.values()):
                books.records_written += 1
                books.record_bytes += len(named.get("value", arguments[-1]))

        return note

    reading = TrialRecord.from_json.__func__  # type: ignore[attr-defined]  # a class method's function

    def read(cls: type[TrialRecord], text: str) -> TrialRecord:
        with _LOCK:
            books.records_read += 1
        return reading(cls, text)  # type: ignore[no-any-return]  # it is from_json

    with contextlib.ExitStack() as stack:
        for name in STORAGE_METHODS:
            stack.enter_context(noticing(storage, name, called(name)))
        stack.enter_context(mock.patch.object(TrialRecord, "from_json", classmethod(read)))
        yield books
