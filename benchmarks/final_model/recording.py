"""A recording: what the models of one study predict for rows that the study has never seen, in one file."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCALES = (0.8, 0.9, 1.0, 1.1, 1.25)
"""Rounds of a refit, as shares of the common round of the folds."""
KINDS = ("refits", "scaled", "folds", "out_of_fold", "seeds")
"""Of predictions that are kept; see `Recording`."""
Predictions = Mapping[int, NDArray[np.float64]]


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
    """One study and its models' held-out predictions.

    Predictions are on the response scale: probabilities of class 1 of shape (n,), of all classes of shape
    (n, n_classes), or values of shape (n,). Mappings go from a trial's number.

    Parameters
    ----------
    about : mapping
        JSON-able: what was run (see `record.record`); ``refits`` is how many of the best trials were all fitted again.
    trials : tuple of mapping
        The complete trials, each configuration once, in number order: ``number``, ``loss``, ``fold_losses``,
        ``rounds``, ``kind``.
    y : ndarray of shape (n_test,)
        Of the held-out rows: class codes or values.
    y_train : ndarray of shape (n_rows,)
        Of the rows of the study.
    refits : mapping of int to ndarray
        Held-out predictions of a configuration that is fitted on all rows of the study.
    scaled : mapping of int to ndarray
        The same with rounds x `SCALES`; the first axis is that of the scales.
    folds : mapping of int to ndarray
        Held-out predictions of a configuration's fold models; the first axis is that of the folds.
    out_of_fold : mapping of int to ndarray
        What these models predict for their validation rows, put together to all rows; NaN where no fold validates.
    seeds : mapping of int to ndarray
        As `refits`, with other seeds; the first axis is that of the seeds.
    """

    about: Mapping[str, Any]
    trials: tuple[Mapping[str, Any], ...]
    y: NDArray[Any]
    y_train: NDArray[Any]
    refits: Predictions
    scaled: Predictions
    folds: Predictions
    out_of_fold: Predictions
    seeds: Predictions

    @functools.cached_property
    def ranking(self) -> list[Mapping[str, Any]]:
        """The complete trials, best cross-validated loss first, of equals the earliest."""
        return sorted(self.trials, key=lambda trial: (trial["loss"], trial["number"]))

    @property
    def baseline(self) -> Mapping[str, Any] | None:
        """The trial of the library's default parameters."""
        return next((trial for trial in self.trials if trial["kind"] == "baseline"), None)

    def first(self, n_trials: int) -> Recording:
        """Return the study as it was after its first trials."""
        return dataclasses.replace(self, trials=tuple(trial for trial in self.trials if trial["number"] < n_trials))

    def loss(self, prediction: NDArray[np.float64]) -> float:
        """Return the held-out log loss, or the root of the mean squared error."""
        return loss(self.about["kind"], self.y, prediction)

    def save(self, path: Path) -> None:
        """Write one file, whole or not at all."""
        arrays = {f"{name}/{number}": values for name in KINDS for number, values in getattr(self, name).items()}
        text = json.dumps({"about": dict(self.about), "trials": [dict(trial) for trial in self.trials]})
        part = path.with_name(path.stem + ".part.npz")
        np.savez_compressed(part, y=self.y, y_train=self.y_train, text=np.array(text), **arrays)
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Read what `save` wrote."""
        groups: dict[str, dict[int, NDArray[np.float64]]] = {name: {} for name in KINDS}
        with np.load(path) as file:
            text = json.loads(str(file["text"]))
            for key in file.files:
                name, _, number = key.partition("/")
                if number:
                    groups[name][int(number)] = file[key]
            return cls(text["about"], tuple(text["trials"]), file["y"], file["y_train"], **groups)


def loss(kind: str, y: NDArray[Any], prediction: NDArray[np.float64]) -> float:
    """Return the log loss of class codes, or the root of the mean squared error of values."""
    from sklearn.metrics import log_loss, root_mean_squared_error

    if kind == "regression":
        return float(root_mean_squared_error(y, prediction))
    n_classes = 2 if prediction.ndim == 1 else prediction.shape[1]
    return float(log_loss(y, prediction, labels=np.arange(n_classes)))


def recordings(folder: Path) -> Iterator[Recording]:
    """Yield the recordings in a folder, in the order of their names."""
    for path in sorted(folder.glob("*.npz")):
        if not path.name.endswith(".part.npz"):
            yield Recording.load(path)
