"""What is optimised: the only place that knows the direction of a metric."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gbtune import scores
from gbtune.errors import InvalidArgument, UnknownName
from gbtune.records import Direction

Needs = Literal["labels", "proba", "raw"]

CLASSIFICATION = ("binary", "multiclass")
ALL_TASKS = ("binary", "multiclass", "regression")


@dataclasses.dataclass(frozen=True)
class Metric:
    """A score with a name, a direction and the kind of prediction it needs.

    Parameters
    ----------
    name : str
        Of the column in the study and in MLflow, e.g. ``"log_loss"``.
    function : callable
        ``function(y_true, y_pred, sample_weight=None) -> float`` in its natural sign. For
        classification `y_true` are the codes ``0..n_classes-1`` of the sorted labels. A function
        without the argument `sample_weight` is called without it.
    direction : {"minimize", "maximize"}
        Whether a smaller or a larger value is better.
    needs : {"labels", "proba", "raw"}
        What `y_pred` is. "labels": class codes, by the threshold 0.5 or the largest probability.
        "proba": probabilities, shape (n_rows,) of class 1 for binary, (n_rows, n_classes) for
        multiclass. "raw": the prediction as it is: values for regression, else probabilities.
    tasks : tuple of str, optional
        Where it makes sense. Default: "labels" and "proba" for classification, "raw" for all.
    loss : str, optional
        The training loss it equals, so that the booster's own validation curve can be read.

    Raises
    ------
    InvalidArgument
        If an argument breaks these rules.

    Examples
    --------
    >>> import numpy as np
    >>> from gbtune.metrics import Metric
    >>> def largest_error(y_true, y_pred):
    ...     return np.abs(y_true - y_pred).max()
    >>> metric = Metric("largest_error", largest_error, direction="minimize", needs="raw")
    >>> metric.score(np.array([1.0, 2.0]), np.array([1.5, 2.0]))
    0.5
    """

    name: str
    function: Callable[..., float]
    direction: Direction
    needs: Needs
    tasks: tuple[str, ...] = ()
    loss: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise InvalidArgument(f"Metric: name must be a text that is not empty, got {self.name!r}.")
        rule = f"Metric {self.name!r}:"
        if not callable(self.function):
            raise InvalidArgument(
                f"{rule} function must be callable as function(y_true, y_pred, sample_weight=None), "
                f"got {self.function!r}."
            )
        if self.direction not in ("minimize", "maximize"):
            raise InvalidArgument(f"{rule} direction must be 'minimize' or 'maximize', got {self.direction!r}.")
        if self.needs not in ("labels", "proba", "raw"):
            raise InvalidArgument(f"{rule} needs must be 'labels', 'proba' or 'raw', got {self.needs!r}.")
        possible = ALL_TASKS if self.needs == "raw" else CLASSIFICATION
        tasks = tuple(self.tasks) or possible
        if not set(tasks) <= set(possible):
            raise InvalidArgument(
                f"{rule} tasks must be among {', '.join(map(repr, possible))} with needs={self.needs!r}, "
                f"got {self.tasks!r}."
            )
        object.__setattr__(self, "tasks", tasks)

    @functools.cached_property
    def takes_weight(self) -> bool:
        """Whether the function has the argument `sample_weight`."""
        try:
            parameters = inspect.signature(self.function).parameters
        except (TypeError, ValueError):  # a builtin without signature
            return False
        return "sample_weight" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())

    @property
    def is_mean_over_rows(self) -> bool:
        """Whether it is known to be one (or the root of one), so that groups of rows can be compared by it."""
        return self.name in _MEANS_OVER_ROWS and METRICS[self.name] is self

    def score(
        self, y: NDArray[Any], prediction: NDArray[Any], sample_weight: NDArray[np.float64] | None = None
    ) -> float:
        """Return the metric in its natural sign.

        Parameters
        ----------
        y : numpy.ndarray, shape (n_rows,)
            Class codes or values, as `Dataset.y`.
        prediction : numpy.ndarray, shape (n_rows,) or (n_rows, n_classes)
            On the response scale: probability of class 1, probabilities, or values.
        sample_weight : numpy.ndarray, shape (n_rows,), optional
            Weights of the rows.

        Raises
        ------
        InvalidArgument
            If the value is not finite, or the shapes do not agree.
        """
        prediction = np.asarray(prediction, dtype=np.float64)
        if len(prediction) != len(y):
            raise InvalidArgument(f"Metric {self.name!r}: {len(y)} rows of y, {len(prediction)} of prediction.")
        if self.needs == "labels":
            prediction = prediction.argmax(axis=1) if prediction.ndim == 2 else (prediction > 0.5).astype(np.int64)
        elif self.needs == "proba" and prediction.ndim == 2:  # boosters answer in float32: rows sum to one only roughly
            prediction = prediction / prediction.sum(axis=1, keepdims=True)
        if sample_weight is not None and self.takes_weight:
            value = float(self.function(y, prediction, sample_weight=sample_weight))
        else:
            value = float(self.function(y, prediction))
        if not math.isfinite(value):
            raise InvalidArgument(
                f"Metric {self.name!r} must be finite; it is {value} on {len(y)} rows. "
                "Is it defined for these values of y and predictions?"
            )
        return value

    def loss_of(self, score: float) -> float:
        """Return the version of a score of which smaller is better.

        Examples
        --------
        >>> from gbtune.metrics import metric_named
        >>> metric_named("roc_auc").loss_of(0.9), metric_named("rmse").loss_of(0.9)
        (-0.9, 0.9)
        """
        return -score if self.direction == "maximize" else score


def _builtin() -> dict[str, Metric]:
    sklearn = scores.from_sklearn
    binary, multiclass = ("binary",), ("multiclass",)
    metrics = [
        Metric("log_loss", scores.log_loss, "minimize", "proba", loss="log_loss"),
        Metric("accuracy", sklearn("accuracy_score"), "maximize", "labels"),
        Metric("balanced_accuracy", scores.balanced_accuracy, "maximize", "labels"),
        Metric("matthews_corrcoef", sklearn("matthews_corrcoef"), "maximize", "labels"),
        Metric("roc_auc", scores.roc_auc, "maximize", "proba", binary),
        Metric("roc_auc_ovr", scores.roc_auc_ovr("macro"), "maximize", "proba", multiclass),
        Metric("roc_auc_ovr_weighted", scores.roc_auc_ovr("weighted"), "maximize", "proba", multiclass),
        Metric("average_precision", scores.average_precision, "maximize", "proba", binary),
        Metric("brier_score", sklearn("mean_squared_error"), "minimize", "proba", binary),
    ]
    for name in ("precision", "recall", "f1"):
        plain = sklearn(f"{name}_score", zero_division=0)
        metrics.append(Metric(name, plain, "maximize", "labels", binary))
        for average in ("macro", "micro", "weighted"):
            function = sklearn(f"{name}_score", average=average, zero_division=0)
            metrics.append(Metric(f"{name}_{average}", function, "maximize", "labels"))
    of_values: dict[str, tuple[Callable[..., float], Direction]] = {
        "rmse": (sklearn("root_mean_squared_error"), "minimize"),
        "mse": (sklearn("mean_squared_error"), "minimize"),
        "mae": (sklearn("mean_absolute_error"), "minimize"),
        "median_absolute_error": (sklearn("median_absolute_error"), "minimize"),
        "mape": (sklearn("mean_absolute_percentage_error"), "minimize"),
        "rmsle": (scores.rmsle, "minimize"),
        "r2": (sklearn("r2_score"), "maximize"),
        "mean_poisson_deviance": (scores.poisson_deviance, "minimize"),
    }
    for name, (function, direction) in of_values.items():
        loss = "rmse" if name == "rmse" else None
        metrics.append(Metric(name, function, direction, "raw", ("regression",), loss))
    return {metric.name: metric for metric in metrics}


METRICS: Mapping[str, Metric] = _builtin()
"""The built-in metrics by name."""

_MEANS_OVER_ROWS = {"log_loss", "brier_score", "accuracy", "f1_micro", "precision_micro", "recall_micro"}
_MEANS_OVER_ROWS |= {"rmse", "mse", "mae", "mape", "rmsle", "mean_poisson_deviance"}

_SKLEARN_NAMES = {
    "neg_log_loss": "log_loss",
    "neg_brier_score": "brier_score",
    "neg_root_mean_squared_error": "rmse",
    "neg_mean_squared_error": "mse",
    "neg_mean_absolute_error": "mae",
    "neg_median_absolute_error": "median_absolute_error",
    "neg_mean_absolute_percentage_error": "mape",
    "neg_root_mean_squared_log_error": "rmsle",
    "neg_mean_poisson_deviance": "mean_poisson_deviance",
}
ALIASES: Mapping[str, str] = {
    **_SKLEARN_NAMES,
    "root_mean_squared_error": "rmse",
    "mean_squared_error": "mse",
    "mean_absolute_error": "mae",
    "mean_absolute_percentage_error": "mape",
    "root_mean_squared_log_error": "rmsle",
}
"""scikit-learn's names of the built-in metrics (scorers with ``neg_``, and functions)."""


def metric_named(name: str, native_names: Mapping[str, str] | None = None) -> Metric:
    """Return the built-in metric of a name.

    Parameters
    ----------
    name : str
        Our name, scikit-learn's scorer name, or a booster's.
    native_names : mapping of str to str, optional
        A booster's name to ours, e.g. ``{"auc": "roc_auc"}``.

    Raises
    ------
    UnknownName
        If nothing answers to it; the message says the nearest.

    Examples
    --------
    >>> from gbtune.metrics import metric_named
    >>> metric_named("neg_log_loss").name, metric_named("neg_log_loss").direction
    ('log_loss', 'minimize')
    """
    native = native_names or {}
    ours = name if name in METRICS else native.get(name, name)
    ours = ours if ours in METRICS else ALIASES.get(ours, ours)
    if ours not in METRICS:
        raise UnknownName(
            "metric",
            name,
            [*METRICS, *_SKLEARN_NAMES, *native],
            hint="Any other: gbtune.Metric(name=..., function=..., direction=..., needs=...).",
        )
    return METRICS[ours]


_NEARLY_PERFECT = {"log_loss": 0.01, "brier_score": 0.002, "r2": 0.99}
_OF_LABELS, _OF_RANKS = 0.999, 0.9999


def is_nearly_perfect(name: str, score: float) -> bool:
    """Whether a score is as good as a metric can be, but for a trifle; False where a metric has no such score.

    The errors of values, such as `rmse`, have none: they depend on the unit of y. Ranks are easier than labels: areas
    under curves come near 1 on many honest problems.

    Parameters
    ----------
    name : str
        Of a metric; one that is not built in has no known best.
    score : float
        In its natural sign.

    Examples
    --------
    >>> from gbtune.metrics import is_nearly_perfect
    >>> is_nearly_perfect("accuracy", 0.9995), is_nearly_perfect("log_loss", 0.09), is_nearly_perfect("rmse", 1e-9)
    (True, False, False)
    """
    metric = METRICS.get(name)
    if metric is None:
        return False
    if name in _NEARLY_PERFECT:
        return metric.loss_of(score) <= metric.loss_of(_NEARLY_PERFECT[name])
    if metric.direction == "minimize":
        return False
    return score >= (_OF_RANKS if metric.needs == "proba" else _OF_LABELS)
