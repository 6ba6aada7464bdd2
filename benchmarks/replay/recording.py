"""A recording: the validation curves of many configurations of one family on one data set, in one compact file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gbtune.records import FloatArray

CURVES = Path(__file__).with_name("curves")


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
    """Curves of one family on one data set.

    Parameters
    ----------
    about : mapping
        JSON-able: name of the set, half, family, task, loss, rows, columns, cap on rounds, versions, source, licence.
    configs : tuple of mapping
        One per configuration: ``kind`` ("default", "cell" or "portfolio"), ``params`` as the booster got them,
        and, of a portfolio entry, ``space``, ``provenance`` and ``tasks``.
    curves : tuple of tuple of array
        ``curves[config][fold]``: validation loss after each round, shape (rounds,); whole multiples of `step`.
    step : float
        Resolution of the losses.
    """

    about: Mapping[str, Any]
    configs: tuple[Mapping[str, Any], ...]
    curves: tuple[tuple[FloatArray, ...], ...]
    step: float

    @property
    def name(self) -> str:
        """Data set and family."""
        return f"{self.about['set']}-{self.about['family']}"

    def save(self, path: Path) -> None:
        """Write one file: differences from round to round, in steps, one byte plane after the other."""
        whole = [np.round(fold / self.step).astype(np.int64) for folds in self.curves for fold in folds]
        deltas = np.concatenate([np.diff(values, prepend=0) for values in whole])
        zigzag = ((deltas << 1) ^ (deltas >> 63)).astype("<u4")
        planes = zigzag.view(np.uint8).reshape(-1, 4).T  # the last planes are nearly all zero
        lengths = np.array([[len(fold) for fold in folds] for folds in self.curves], dtype=np.int32)
        text = json.dumps({"about": dict(self.about), "configs": [dict(c) for c in self.configs]})
        part = path.with_suffix(".part.npz")
        np.savez_compressed(part, planes=planes, lengths=lengths, step=np.float64(self.step), text=np.array(text))
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Read what `save` wrote."""
        with np.load(path) as file:
            text = json.loads(str(file["text"]))
            lengths, step, planes = file["lengths"], float(file["step"]), file["planes"]
        zigzag = np.ascontiguousarray(planes.T).view("<u4")[:, 0].astype(np.int64)
        deltas = (zigzag >> 1) ^ -(zigzag & 1)
        parts = np.split(deltas, np.cumsum(lengths.ravel())[:-1])
        values = iter([np.cumsum(part) * step for part in parts])
        curves = tuple(tuple(next(values) for _ in row) for row in lengths)
        return cls(text["about"], tuple(text["configs"]), curves, step)


def recordings(folder: Path = CURVES, only: Sequence[str] = ()) -> Iterator[Recording]:
    """Yield the recordings in a folder, in the order of their names; `only` those of these names, if given."""
    for path in sorted(folder.glob("*.npz")):
        if not path.name.endswith(".part.npz") and (not only or path.stem in only):
            yield Recording.load(path)
