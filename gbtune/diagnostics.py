"""Where the best trial is right and where it is wrong: from its predictions of rows that it was not trained on.

Computed once at the end of a study and stored in it, without rows of the data: counts, bins, a few hundred residuals
and the metric on slices. The report reads only this.
"""

from __future__ import annotations

import dataclasses
import math
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray

from gbtune.errors import InvalidArgument
from gbtune.held_out import HeldOut
from gbtune.json_record import JsonRecord
from gbtune.metrics import METRICS, is_nearly_perfect
from gbtune.records import Folds, TrialRecord
from gbtune.summary import short
from gbtune.thinning import thin

if TYPE_CHECKING:
    from gbtune.data import Dataset
    from gbtune.metrics import Metric

DIAGNOSTICS_KEY = "gbtune:diagnostics"
MAX_CLASSES = 10
"""Rows and columns of the confusion matrix; smaller classes are taken together."""
MAX_RESIDUALS = 400
MAX_ROWS_READ = 50_000
"""Of more rows, evenly spread ones give calibration, residuals and slices: enough for three digits."""
MAX_SECONDS = 5.0
"""After which nothing more is begun that the report can do without: telling columns and slices."""
MAX_TEXT = 60
"""Names of classes, columns and categories are cut after so many characters."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
CALIBRATION_BINS, ROWS_PER_BIN = 10, 20
MIN_SLICE = 30
"""Rows below which a slice says nothing: its standard error is of the size of the score."""
MAX_COLUMNS, MAX_CATEGORIES, NUMERIC_COLUMNS, NUMERIC_BINS, MAX_SLICES = 12, 8, 3, 4, 10
JACKKNIFE_GROUPS = 8
OTHER = "all other classes"
SUSPICIOUS = 0.95
"""Share explained from which on single columns are looked at: is there one that tells the answer?"""
TELLING, MAX_TELLING_ROWS = 0.95, 5_000
"""A column is telling if a tree on it alone removes this share of the errors of always guessing the same."""


class Slice(NamedTuple):
    """A metric on some of the rows.

    Parameters
    ----------
    column, where : str
        The rows: column and category, or range of values.
    rows : int
        How many there are.
    score : float
        `Diagnostics.slice_metric` in its natural sign, of all these rows at once.
    error : float
        Its standard error (delete-a-group jackknife).
    """

    column: str
    where: str
    rows: int
    score: float
    error: float


@dataclasses.dataclass(frozen=True)
class Diagnostics(JsonRecord):
    """What the out-of-fold predictions of the best trial show. JSON in the study's attribute `DIAGNOSTICS_KEY`.

    Parameters
    ----------
    trial : int
        Number of the trial.
    task : {"binary", "multiclass", "regression"}
        What is predicted.
    n_rows : int, default 0
        Predictions there are: a row counts once for every fold that held it out.
    missing : str, default ""
        Why there are no predictions, a sentence; then all below is empty.
    score : float or None
        The metric of all rows at once, each by its first prediction (`TrialRecord.score` is the mean over folds).
    classes : tuple of str
        The largest classes, perhaps `OTHER` at the end.
    confusion : tuple of tuple of int, shape (n_classes, n_classes)
        Rows of each class, by predicted class.
    calibration : tuple of (float, float, int)
        Of rows with similar predictions: mean predicted probability, share of class 1, rows. Binary tasks only.
    residuals : tuple of (float, float)
        Prediction and residual (value less prediction) of at most `MAX_RESIDUALS` rows. Regression only.
    quantiles : tuple of float
        `QUANTILES` of all residuals. Regression only.
    explained : float or None
        R squared of the same predictions (regression), or the same of the log loss: one less its share in the log loss
        of always predicting the class frequencies (McFadden 1974). Weighted like the score.
    telling : tuple of str
        Columns that predict nearly everything alone; looked for where `explained` is nearly one.
    slices : tuple of (str, str, int, float, float)
        The fields of `Slice`, the worst first.
    n_slices : int
        How many slices were looked at.
    slice_metric : str
        Name of the metric by which slices are compared: the study's, if it is a mean over rows, else log loss or root
        mean squared error.
    slice_score : float or None
        Its value on all rows at once.
    unfinished : str, default ""
        What was left out for want of time, a sentence.
    refit_seconds : float or None
        What fitting the final model on all rows took.

    Examples
    --------
    >>> from gbtune.diagnostics import Diagnostics
    >>> told = Diagnostics(7, "regression", 442, residuals=((150.0, -3.5),))
    >>> Diagnostics.from_json(told.to_json()) == told
    True
    """

    trial: int
    task: str
    n_rows: int = 0
    missing: str = ""
    score: float | None = None
    classes: tuple[str, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    calibration: tuple[tuple[float, float, int], ...] = ()
    residuals: tuple[tuple[float, float], ...] = ()
    quantiles: tuple[float, ...] = ()
    explained: float | None = None
    telling: tuple[str, ...] = ()
    slices: tuple[tuple[str, str, int, float, float], ...] = ()
    n_slices: int = 0
    slice_metric: str = ""
    slice_score: float | None = None
    unfinished: str = ""
    refit_seconds: float | None = None

    @property
    def worst_slices(self) -> list[Slice]:
        """The slices with their names."""
        return [Slice(*values) for values in self.slices]


def stored_diagnostics(study: optuna.Study, best: TrialRecord | None = None) -> Diagnostics | None:
    """Return what a study has stored, or None; with `best`, only what it has stored of this trial's predictions."""
    text = study.user_attrs.get(DIAGNOSTICS_KEY)
    found = None if text is None else Diagnostics.from_json(text)
    if found is None or best is None:
        return found
    return found if found.trial == best.number and not found.missing else None


def diagnose(
    best: TrialRecord,
    held_out: HeldOut,
    data: Dataset,
    folds: Folds,
    metric: Metric,
    importances: Sequence[float] | None = None,
    *,
    seconds: float = MAX_SECONDS,
) -> Diagnostics:
    """Return what the predictions of the best trial show.

    Parameters
    ----------
    best : TrialRecord
        The best trial.
    held_out : HeldOut
        Its predictions.
    data : Dataset
        What was learnt.
    folds : Folds
        What the predictions are of.
    metric : Metric
        The optimised one.
    importances : sequence of float, optional
        Of the columns in the final model: the most important numeric ones are cut into slices.
    seconds : float, default `MAX_SECONDS`
        After which no telling column and no slice is looked for any more.

    Examples
    --------
    >>> import numpy as np
    >>> from gbtune.data import Dataset
    >>> from gbtune.diagnostics import diagnose
    >>> from gbtune.held_out import HeldOut
    >>> from gbtune.metrics import metric_named
    >>> from gbtune.records import TrialRecord
    >>> from gbtune.resampling import make_folds
    >>> data = Dataset.from_arrays([[1], [2], [3], [4]], ["no", "yes", "no", "yes"])
    >>> folds = make_folds(2, data, seed=0)
    >>> right = HeldOut({}, 10, 0.1, tuple(data.y[valid] * 0.8 + 0.1 for _, valid in folds.splits))
    >>> diagnose(TrialRecord(3, "complete", {}), right, data, folds, metric_named("log_loss")).confusion
    ((2, 0), (0, 2))
    """
    rows = np.concatenate([valid for _, valid in folds.splits])
    predictions = np.concatenate(held_out.predictions).astype(np.float64, copy=False)
    # Each row once, in the order of the folds: repeats of a row are no evidence of their own.
    once = np.sort(np.unique(rows, return_index=True)[1])
    read = once[thin(len(once), MAX_ROWS_READ)]
    few = _Rows(data, metric, rows[read], predictions[read], time.monotonic() + seconds)
    found: dict[str, Any] = {"explained": few.explained()}
    if data.task == "regression":
        found |= _residuals(data.y[rows], predictions)
    else:
        found |= _confusion(data.y[rows], predictions, data.classes)
    if data.task == "binary":
        found["calibration"] = _calibration(few.y, few.predictions)
    score = few.score(metric)
    perfect = score is not None and is_nearly_perfect(metric.name, score)
    if perfect or (found["explained"] or 0.0) >= SUSPICIOUS:
        found["telling"] = few.telling(importances)
    slices, n_slices = few.worst_slices(importances)
    slice_score = few.score(few.slice_metric)
    return Diagnostics(
        best.number,
        data.task,
        len(rows),
        score=None if score is None else _rounded(score),
        slices=tuple((each.column, each.where, each.rows, each.score, each.error) for each in slices),
        n_slices=n_slices,
        slice_metric=few.slice_metric.name,
        slice_score=None if slice_score is None else _rounded(slice_score),
        unfinished=few.unfinished,
        **found,
    )


def _residuals(y: NDArray[Any], predictions: NDArray[np.float64]) -> dict[str, Any]:
    residuals = y - predictions
    order = np.argsort(predictions, kind="stable")  # evenly spread over the predictions
    shown = order[thin(len(order), MAX_RESIDUALS)]
    pairs = zip(predictions[shown], residuals[shown], strict=True)
    return {
        "residuals": tuple((_rounded(a), _rounded(b)) for a, b in pairs),
        "quantiles": tuple(_rounded(q) for q in np.quantile(residuals, QUANTILES)),
    }


def _confusion(y: NDArray[Any], predictions: NDArray[np.float64], classes: Sequence[Any]) -> dict[str, Any]:
    predicted = predictions.argmax(axis=1) if predictions.ndim == 2 else (predictions > 0.5).astype(np.int64)
    n_classes, names = len(classes), [short(label, MAX_TEXT) for label in classes]
    if n_classes > MAX_CLASSES:  # before counting: the matrix of thousands of classes is large
        largest = np.sort(np.argsort(-np.bincount(y, minlength=n_classes), kind="stable")[: MAX_CLASSES - 1])
        place = np.full(n_classes, MAX_CLASSES - 1)
        place[largest] = np.arange(MAX_CLASSES - 1)
        y, predicted = place[y], place[predicted]
        n_classes, names = MAX_CLASSES, [*(names[i] for i in largest), OTHER]
    counts = np.bincount(y * n_classes + predicted, minlength=n_classes**2).reshape(n_classes, n_classes)
    return {"classes": tuple(names), "confusion": tuple(tuple(int(n) for n in row) for row in counts)}


def _calibration(y: NDArray[Any], predictions: NDArray[np.float64]) -> tuple[tuple[float, float, int], ...]:
    """Bins of equally many rows: those of equal width would be almost empty in the middle."""
    order = np.argsort(predictions, kind="stable")
    n_bins = min(CALIBRATION_BINS, len(order) // ROWS_PER_BIN)
    bins = np.array_split(order, n_bins) if n_bins > 1 else []
    return tuple((_rounded(predictions[b].mean()), _rounded(y[b].mean()), len(b)) for b in bins)


def _slice_metric(metric: Metric, task: str) -> Metric:
    """Return what tells in which slices the predictions are worse: the metric itself, if it is a mean over rows.

    Others compare more than predictions: R squared depends on the spread of y in the slice, F1 and average precision
    on its share of class 1, and an area under the curve is smaller within groups than across them; with one class some
    are 0 and some are not defined. What a user's own function does is not known, nor how long it takes. In their place
    stand log loss or root mean squared error: proper (Gneiting and Raftery, J. Am. Stat. Assoc. 102, 2007).
    """
    return metric if metric.is_mean_over_rows else METRICS["rmse" if task == "regression" else "log_loss"]


class _Rows:
    """Rows with their predictions, to be scored as a whole and, until a reading of `time.monotonic`, in slices."""

    def __init__(
        self, data: Dataset, metric: Metric, rows: NDArray[Any], predictions: NDArray[np.float64], until: float
    ) -> None:
        self.data, self.rows, self.predictions, self.until = data, rows, predictions, until
        self.slice_metric, self.unfinished = _slice_metric(metric, data.task), ""
        self.y = data.y[rows]
        self.weight = None if data.sample_weight is None else data.sample_weight[rows]

    def out_of_time(self) -> bool:
        late = time.monotonic() >= self.until
        if late:
            self.unfinished = "No time was left to look at all columns and slices of the data."
        return late

    def score(self, metric: Metric, at: NDArray[Any] | None = None) -> float | None:
        """Return a metric of some of the rows, or None where it is not defined."""
        chosen = slice(None) if at is None else at
        weight = None if self.weight is None else self.weight[chosen]
        try:
            return metric.score(self.y[chosen], self.predictions[chosen], weight)
        except (InvalidArgument, ValueError, ZeroDivisionError):  # of one class, of weights of 0
            return None

    def explained(self) -> float | None:
        weight = np.ones(len(self.y)) if self.weight is None else np.asarray(self.weight, dtype=float)
        if not weight.any():
            return None
        if self.data.task == "regression":
            spread = float(np.average(np.square(self.y - np.average(self.y, weights=weight)), weights=weight))
            left = float(np.average(np.square(self.y - self.predictions), weights=weight))
            return _rounded(1 - left / spread) if spread else None
        matrix = self.predictions if self.predictions.ndim == 2 else np.c_[1 - self.predictions, self.predictions]
        chosen = np.clip(matrix[np.arange(len(self.y)), self.y], 1e-15, 1)
        shares = np.bincount(self.y, weights=weight) / weight.sum()
        entropy = -float((shares[shares > 0] * np.log(shares[shares > 0])).sum())
        return _rounded(1 + float(np.average(np.log(chosen), weights=weight)) / entropy) if entropy else None

    def telling(self, importances: Sequence[float] | None) -> tuple[str, ...]:
        """Return the columns that predict nearly everything alone, by a small tree of each on other rows."""
        from sklearn.model_selection import cross_val_predict
        from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

        few = thin(len(self.rows), MAX_TELLING_ROWS)
        labels, X, y = self.data.task != "regression", self.data.X, self.y[few]
        alike = np.bincount(y).max() < 2 if labels else False
        if not isinstance(X, pd.DataFrame) or np.all(y == y[0]) or alike:  # nothing to tell, or too few to split
            return ()
        tree = (DecisionTreeClassifier if labels else DecisionTreeRegressor)(min_samples_leaf=5, random_state=0)
        found = []
        for i in self._by_importance(X, importances)[:MAX_COLUMNS]:
            if self.out_of_time():
                break
            values = X.iloc[:, i]
            numbers = values.cat.codes if isinstance(values.dtype, pd.CategoricalDtype) else values
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # classes of one row
                alone = cross_val_predict(tree, numbers.to_numpy()[self.rows[few], None].astype(np.float32), y, cv=2)
            if labels:
                left = (alone != y).mean() / (1 - np.bincount(y).max() / len(y))
            else:
                left = np.square(alone - y).mean() / y.var()
            if left <= 1 - TELLING:
                found.append(short(self.data.encoder.names[i], MAX_TEXT))
        return tuple(found)

    @staticmethod
    def _by_importance(X: pd.DataFrame, importances: Sequence[float] | None) -> NDArray[np.intp]:
        known = importances is not None and len(importances) == X.shape[1]
        return np.argsort(-np.asarray(importances), kind="stable") if known else np.arange(X.shape[1])

    def worst_slices(self, importances: Sequence[float] | None) -> tuple[list[Slice], int]:
        """Return the slices with the worst scores, and how many there were."""
        if not isinstance(self.data.X, pd.DataFrame):  # the columns of a sparse matrix have no names
            return [], 0
        scored, metric = [], self.slice_metric
        for column, where, at in self._slices(self.data.X, importances):
            if self.out_of_time():
                break
            score = self.score(metric, at) if MIN_SLICE <= len(at) < len(self.rows) else None
            if score is not None:
                scored.append((metric.loss_of(score), column, where, at, score))
        scored.sort(key=lambda each: -each[0])
        found: list[Slice] = []
        for _, column, where, at, score in scored:
            if len(found) == MAX_SLICES or self.out_of_time():
                break
            error = self._error(at)
            if error is not None:
                names = short(column, MAX_TEXT), short(where, MAX_TEXT)
                found.append(Slice(*names, len(at), _rounded(score), error))
        return found, len(scored)

    def _slices(self, X: pd.DataFrame, importances: Sequence[float] | None) -> Iterator[tuple[str, str, NDArray[Any]]]:
        columns, ordered = self.data.encoder.columns, self._by_importance(X, importances)
        numeric = [] if importances is None else [i for i in ordered if columns[i].kind != "category"]
        for i in [i for i in ordered if columns[i].kind == "category"][:MAX_COLUMNS]:
            codes, levels = X.iloc[:, i].cat.codes.to_numpy()[self.rows], columns[i].levels
            counts = np.bincount(codes + 1, minlength=len(levels) + 1)  # the first counts missing values
            for code in np.argsort(-counts, kind="stable")[:MAX_CATEGORIES] - 1:
                where = "missing" if code < 0 else str(levels[code])
                yield columns[i].name, where, np.flatnonzero(codes == code)
        for i in numeric[:NUMERIC_COLUMNS]:
            yield from _bins(columns[i].name, X.iloc[:, i].to_numpy(dtype=np.float64)[self.rows])

    def _error(self, at: NDArray[Any]) -> float | None:
        """Return the standard error of the score of some rows: delete-a-group jackknife (Kott 2001).

        It needs nothing of the metric but its value, so it serves roots of means too. Where all rows are equally wrong
        it is 0: of a mean over rows that is a finding, such as no row right.
        """
        groups = np.arange(len(at)) % JACKKNIFE_GROUPS  # consecutive rows may be alike, so none are grouped
        scores = [self.score(self.slice_metric, at[groups != group]) for group in range(JACKKNIFE_GROUPS)]
        known = np.asarray([score for score in scores if score is not None])
        if len(known) < JACKKNIFE_GROUPS:
            return None
        return _rounded(math.sqrt((len(known) - 1) * float(known.var())))


def _bins(name: str, values: NDArray[np.float64]) -> Iterator[tuple[str, str, NDArray[Any]]]:
    """Cut a column into bins of about equally many rows, or into its values where those are few."""
    known = np.isfinite(values)
    different = np.unique(values[known])
    yield name, "missing", np.flatnonzero(~known)
    if len(different) <= MAX_CATEGORIES:
        for value in different:
            yield name, f"{value:.4g}", np.flatnonzero(values == value)
        return
    edges = np.unique(np.quantile(values[known], np.linspace(0, 1, NUMERIC_BINS + 1)))
    places = np.clip(np.searchsorted(edges, values, side="left") - 1, 0, len(edges) - 2)
    for i in range(len(edges) - 1):
        where = f"{'from' if i == 0 else 'above'} {edges[i]:.4g} to {edges[i + 1]:.4g}"
        yield name, where, np.flatnonzero((places == i) & known)


def _rounded(value: float) -> float:
    """Six digits are enough to read and to draw."""
    return float(f"{value:.6g}")
