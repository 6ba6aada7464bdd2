"""The metrics of a study: chosen by name or given, and checked against its task and data."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from gbtune.data import Dataset
from gbtune.errors import GbtuneWarning, InvalidArgument, InvalidData
from gbtune.metrics import METRICS, Metric, metric_named
from gbtune.records import Folds


def resolve_metrics(
    metric: object, data_task: str, native_names: Mapping[str, str] | None = None
) -> tuple[Metric, ...]:
    """Return the metrics of a study; the first is optimised, the others are watched.

    Parameters
    ----------
    metric : str, Metric, sequence of these, or None
        None: log loss for classification, root mean squared error for regression.
    data_task : {"binary", "multiclass", "regression"}
        Of the data.
    native_names : mapping of str to str, optional
        The booster's names of metrics to ours.

    Raises
    ------
    UnknownName
        If a name is unknown.
    InvalidArgument
        If a metric does not fit the task, is given twice, or is a function without a direction.

    Examples
    --------
    >>> from gbtune.study_metrics import resolve_metrics
    >>> [metric.name for metric in resolve_metrics(["auc", "f1"], "binary", {"auc": "roc_auc"})]
    ['roc_auc', 'f1']
    """
    if metric is None:
        metric = "rmse" if data_task == "regression" else "log_loss"
    given: Sequence[object] = metric if isinstance(metric, list | tuple) else (metric,)
    if not given:
        raise InvalidArgument("metric must name at least one metric, got an empty list. None is the default.")
    found: list[Metric] = []
    for entry in given:
        chosen = metric_named(entry, native_names) if isinstance(entry, str) else entry
        if not isinstance(chosen, Metric):
            raise InvalidArgument(_without_direction(entry))
        if data_task not in chosen.tasks:
            fitting = sorted(name for name, other in METRICS.items() if data_task in other.tasks)
            near = [name for name in fitting if name.startswith(chosen.name)]
            raise InvalidArgument(
                f"metric {chosen.name!r} is for {' and '.join(chosen.tasks)}; the task is {data_task}."
                f"{f' Did you mean {near[0]!r}?' if near else ''} Fitting: {', '.join(fitting)}."
            )
        if any(chosen.name == other.name for other in found):
            raise InvalidArgument(f"Each metric must be given once; {chosen.name!r} is given twice.")
        found.append(chosen)
    return tuple(found)


def _without_direction(given: object) -> str:
    if not callable(given):
        return f"metric must be a name, a gbtune.Metric or a list of these, got {type(given).__name__}: {given!r}."
    scorer = getattr(given, "_score_func", None)  # what sklearn.metrics.make_scorer keeps
    what = "a scikit-learn scorer" if scorer is not None else "a function"
    name = getattr(scorer or given, "__name__", "my_metric")
    return (
        f"metric must say whether larger is better and what it needs; got {what}, {name}. "
        f"Wrap its score function: gbtune.Metric(name={name!r}, function={name}, "
        "direction='maximize', needs='labels')."
    )


def training_loss(task: str, metric: Metric) -> str:
    """Return the loss to train with for a task and the optimised metric.

    Returns
    -------
    str
        ``"log_loss_binary"``, ``"log_loss_multiclass"``, ``"squared_error"``, or ``"poisson"``
        when the mean Poisson deviance is optimised.

    Examples
    --------
    >>> from gbtune.metrics import metric_named
    >>> from gbtune.study_metrics import training_loss
    >>> training_loss("binary", metric_named("f1"))
    'log_loss_binary'
    """
    if task == "regression":
        return "poisson" if metric.name == "mean_poisson_deviance" else "squared_error"
    return f"log_loss_{task}"


def check_metric_fits_data(metric: Metric, data: Dataset, folds: Folds | None = None) -> None:
    """Refuse, before the first tree, a metric that is not defined on these values of y.

    Parameters
    ----------
    metric : Metric
        A metric that fits the task.
    data : Dataset
        The data.
    folds : Folds, optional
        Then every validation part is checked as well.

    Raises
    ------
    InvalidData
        If the metric would not be a number.

    Warns
    -----
    GbtuneWarning
        If there are weights and the metric's function has no argument for them.

    Examples
    --------
    >>> from gbtune.data import Dataset
    >>> from gbtune.metrics import metric_named
    >>> from gbtune.study_metrics import check_metric_fits_data
    >>> data = Dataset.from_arrays([[1], [2], [3]], [-1.5, 0.0, 2.0])
    >>> check_metric_fits_data(metric_named("rmsle"), data)
    Traceback (most recent call last):
    ...
    gbtune.errors.InvalidData: metric 'rmsle' needs y >= 0; 1 of 3 values is below. Use 'rmse' or shift y.
    """
    y = data.y
    negative = int((y < 0).sum())
    if metric.name in ("rmsle", "mean_poisson_deviance") and negative:
        raise InvalidData(
            f"metric {metric.name!r} needs y >= 0; {negative} of {len(y)} values {'is' if negative == 1 else 'are'} "
            "below. Use 'rmse' or shift y."
        )
    if metric.name == "mape" and (y == 0).any():
        raise InvalidData(
            f"metric 'mape' divides by y, which must not be 0; {int((y == 0).sum())} of {len(y)} values are. Use 'mae'."
        )
    for k, (train, valid) in enumerate(folds.splits if folds else ()):
        part = y[valid]
        if metric.name == "mean_poisson_deviance" and not y[train].any():
            raise InvalidData(f"metric {metric.name!r} needs a y above 0 in the training part of fold {k}; all are 0.")
        where = f"in the validation part of fold {k} ({len(part)} rows)"
        if metric.name.startswith("roc_auc") and np.all(part == part[0]):
            raise InvalidData(
                f"metric {metric.name!r} needs two classes {where}; there is one. "
                "Use fewer folds, stratified folds, or 'log_loss'."
            )
        if metric.name == "average_precision" and not part.any():
            raise InvalidData(
                f"metric 'average_precision' needs class {data.classes[1]!r} {where}; it is absent. "
                "Use fewer folds, stratified folds, or 'log_loss'."
            )
        if metric.name == "r2" and np.all(part == part[0]):
            raise InvalidData(f"metric 'r2' needs different values of y {where}. Use fewer folds or 'rmse'.")
    if data.sample_weight is not None and not metric.takes_weight:
        warnings.warn(
            f"metric {metric.name!r} has no argument sample_weight: it is computed without the weights.",
            GbtuneWarning,
            stacklevel=2,
        )
