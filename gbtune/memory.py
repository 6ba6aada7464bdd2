"""How much memory a study needs, and how much there is: asked before the first tree.

The estimate counts what grows with the data: binned matrices, the boosters' histograms, gradients and predictions. It
is meant to be right within a factor of 1.5, rather above than below. Peaks of one evaluation in a thread, in a fresh
process, beyond imports and raw data, and what is estimated (MiB; XGBoost 3.2, LightGBM 4.7, float64, 5 folds, 64 leaves
where not said otherwise):

=========================================  =====================  =====================
data                                       XGBoost                LightGBM
=========================================  =====================  =====================
200,000 x 50, binary                       275, estimated 315     198, estimated 263
20,000 x 500, binary                       796, estimated 833     723, estimated 797
50,000 x 20, 20 classes                    118, estimated 146     122, estimated 140
100,000 x 50 float32, regression           142, estimated 178     115, estimated 167
100,000 x 50, a fifth missing              233, estimated 265     133, estimated 167
500,000 x 20, 256 leaves                   353, estimated 413     335, estimated 292
20,000 x 100, 10 folds, 256 leaves         1127, estimated 1118   1069, estimated 1058
20,000 x 2000, 5 % stored, 3 folds         422, estimated 796     858, estimated 813
=========================================  =====================  =====================

A worker process peaked at 389 and 901 MiB of its own in the first two rows with XGBoost, estimated 435 and 953.

Every fold's booster keeps its histograms until the evaluation ends: with many columns they are most of it. XGBoost
allocates them as nodes are split, so that its estimate is too high where trees stay below the depth they may have.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import scipy.sparse as sp

from gbtune.data import Dataset
from gbtune.evaluation import Evaluator
from gbtune.families.base import BinningCosts, ModelFamily
from gbtune.spaces import CategoricalParameter, FixedParameter, SearchSpace

MEMINFO = Path("/proc/meminfo")
CGROUPS_OF_SELF = Path("/proc/self/cgroup")
CGROUP_ROOT = Path("/sys/fs/cgroup")
MIB = 1 << 20

HISTOGRAM_BIN_BYTES = 16
"""Both libraries sum gradient and hessian of a bin in double precision."""
ROW_BYTES = 16
"""Per row and fold: positions of the rows in the tree, labels, weights, and buffers of the same size."""
ROW_CLASS_BYTES = 18
"""Per row, class and fold: gradient, hessian, prediction; 17 measured with 20 classes."""
FIXED_BYTES = 10 * MIB
"""Of a trial on tiny data."""
PROCESS_BYTES = 120 * MIB
"""Not shared by a worker process that has imported everything (116 with XGBoost, 123 with LightGBM)."""
SAMPLED_COLUMN_ROWS = 2_000
"""Rows that are looked at to see how many bins a column has."""
_NO_LIMIT = 1 << 60
"""A version 1 control group without a limit says a number near 2**63."""


_BIN_SAMPLE_ROWS = 200_000


@dataclasses.dataclass(frozen=True)
class MemoryEstimate:
    """What a study needs, in bytes.

    Parameters
    ----------
    shared : int
        Needed once, however many trials run side by side.
    per_worker : int
        Needed by each trial that runs.
    present : int, default 0
        The part of `shared` that this process holds already, so that it is not in `usable_memory` any more.
    """

    shared: int
    per_worker: int
    present: int = 0

    def total(self, workers: int) -> int:
        """Return what `workers` trials side by side need beyond what is held already.

        Examples
        --------
        >>> from gbtune.memory import MemoryEstimate
        >>> MemoryEstimate(shared=100, per_worker=50, present=80).total(2)
        120
        """
        return self.shared - self.present + workers * self.per_worker


def estimate_memory(
    evaluator: Evaluator,
    *,
    isolation: Literal["thread", "process"],
    params: Mapping[str, Any] | None = None,
    binnings: int = 1,
) -> MemoryEstimate:
    """Estimate what evaluations need.

    Threads share the binned matrices. Processes share the raw data, in a file, and bin for themselves; the calling
    process bins too, for the final fit.

    Parameters
    ----------
    evaluator : Evaluator
        With the folds and data of the study.
    isolation : {"thread", "process"}
        What a trial runs in.
    params : mapping, optional
        Of the largest trees to expect: ``max_depth``, ``max_leaves``, ``num_leaves``, ``max_bin``. Default: the
        library's own.
    binnings : int, default 1
        Kept side by side: see `count_binnings`.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from gbtune import families
    >>> from gbtune.data import Dataset
    >>> from gbtune.evaluation import Evaluator
    >>> from gbtune.rounds import Rounds
    >>> from gbtune.memory import estimate_memory
    >>> from gbtune.study_metrics import resolve_metrics
    >>> from gbtune.resampling import make_folds
    >>> data = Dataset.from_arrays(*load_breast_cancer(return_X_y=True))
    >>> evaluator = Evaluator(
    ...     families.get("xgboost"), data, make_folds(3, data, seed=0),
    ...     resolve_metrics(None, data.task, {}), Rounds(cap=50),
    ... )
    >>> estimate = estimate_memory(evaluator, isolation="thread")
    >>> estimate.shared < estimate.per_worker < 100 * 2**20
    True
    """
    data, raw = evaluator.data, raw_bytes(evaluator)
    params = {**evaluator.family.default_params, **(params or {})}
    costs = evaluator.family.capabilities.binning
    full, cell_bytes = _cells(data, costs)
    fold_rows = [len(train) + len(valid) for train, valid in evaluator.folds.splits]
    folds = sum(fold_rows) / data.n_rows
    while_binning = costs.sampled * full * min(1.0, _BIN_SAMPLE_ROWS / data.n_rows) + costs.copied * raw
    binned = round(binnings * full * (1 + folds) * cell_bytes + while_binning)

    histogram = _bins(data, int(params.get("max_bin", 256))) * HISTOGRAM_BIN_BYTES
    largest_fold = max((len(train) for train, _ in evaluator.folds.splits), default=data.n_rows)
    per_row = ROW_BYTES + ROW_CLASS_BYTES * max(1, data.n_classes if data.task == "multiclass" else 1)
    # The boosters of all folds live until the evaluation ends: any of them may have to grow further.
    boosters = len(fold_rows) * _histograms(params, largest_fold) * histogram + sum(fold_rows) * per_row
    trial = boosters + FIXED_BYTES
    if isolation == "thread":
        return MemoryEstimate(shared=raw + binned, per_worker=trial, present=raw)
    own = round(binnings * full * 2 * cell_bytes + while_binning)
    return MemoryEstimate(shared=2 * raw + own, per_worker=PROCESS_BYTES + binned + trial, present=raw)


def count_binnings(family: ModelFamily, space: SearchSpace) -> int:
    """Return how many times a study bins the data: for each choice of what decides about it, and as the library does.

    Of a range every value would be one more; they are not counted.

    Examples
    --------
    >>> from gbtune import families
    >>> from gbtune.memory import count_binnings
    >>> from gbtune.spaces import SearchSpace
    >>> count_binnings(families.get("lightgbm"), SearchSpace.load("lightgbm/wide"))  # max_bin: 127, 255 or 511
    3
    >>> fixed = SearchSpace.load("xgboost/core").fix(enable_categorical=False)
    >>> count_binnings(families.get("xgboost"), fixed)  # the default and the probe have True
    2
    """
    count = 1
    for parameter in space.parameters:
        if parameter.name in family.capabilities.binned_by:
            values = parameter.choices if isinstance(parameter, CategoricalParameter) else ()
            values = (parameter.value,) if isinstance(parameter, FixedParameter) else values
            default = family.default_params.get(parameter.name)
            count *= max(1, len({*values} if default is None else {*values, default}))
    return count


def fitting_workers(estimate: MemoryEstimate, n_jobs: int, usable: int | None) -> tuple[int, str]:
    """Return how many trials may run side by side, and a warning if that is fewer than wanted, or too many.

    Parameters
    ----------
    estimate : MemoryEstimate
        Of the study.
    n_jobs : int
        Trials wanted side by side, at least 1.
    usable : int or None
        Bytes, see `usable_memory`. None: not known, nothing is reduced.

    Returns
    -------
    workers : int
        From 1 to `n_jobs`.
    warning : str
        Empty when all is well.

    Examples
    --------
    >>> from gbtune.memory import MemoryEstimate, fitting_workers
    >>> gib = 2**30
    >>> fitting_workers(MemoryEstimate(shared=gib, per_worker=gib), 4, 8 * gib)
    (4, '')
    >>> workers, warning = fitting_workers(MemoryEstimate(shared=gib, per_worker=gib), 4, 3 * gib)
    >>> workers, warning.partition(":")[0]
    (2, '2 trials run side by side instead of 4')
    """
    if usable is None or estimate.total(n_jobs) <= usable:
        return n_jobs, ""
    room = usable - estimate.total(0)
    workers = max(1, min(n_jobs, room // max(1, estimate.per_worker)))
    needs = (
        f"about {in_words(estimate.total(0))} once and {in_words(estimate.per_worker)} per trial are needed, "
        f"{in_words(max(0, usable))} of memory are usable"
    )
    smaller = "fewer columns, float32 values, a sample of the rows, fewer folds or a smaller max_bin"
    if estimate.total(1) > usable:
        cut = "" if n_jobs == 1 else f" Trials run one by one instead of {n_jobs} side by side."
        return 1, f"Memory may not suffice even for one trial: {needs}.{cut} It helps to give {smaller}."
    return workers, (
        f"{workers} trial{'s' if workers > 1 else ''} run{'' if workers > 1 else 's'} side by side instead of "
        f"{n_jobs}: {needs}. n_jobs={workers} says so without this warning; for more, give {smaller}."
    )


def in_words(size: float) -> str:
    """Return a number of bytes for people.

    Examples
    --------
    >>> from gbtune.memory import in_words
    >>> in_words(3 * 2**29), in_words(10 * 2**20)
    ('1.5 GiB', '10 MiB')
    """
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size / MIB:.0f} MiB"


def raw_bytes(evaluator: Evaluator) -> int:
    """Return the bytes of the encoded data and of the folds' row numbers."""
    data = evaluator.data
    if isinstance(data.X, pd.DataFrame):
        values = int(data.X.memory_usage(index=False).sum())
    else:
        values = data.X.data.nbytes + data.X.indices.nbytes + data.X.indptr.nbytes
    beside = [data.y, *(part for part in (data.sample_weight, data.groups) if part is not None)]
    rows = [part for split in evaluator.folds.splits for part in split]
    return int(values + sum(part.nbytes for part in (*beside, *rows)))


# -- what the libraries allocate ----------------------------------------------------------------------------


def _cells(data: Dataset, costs: BinningCosts) -> tuple[int, float]:
    """Return the cells that are binned, and the bytes of each."""
    if isinstance(data.X, sp.csr_matrix):
        return int(data.X.nnz), costs.sparse
    complete = all(column.notna().all() for _, column in data.X.items())
    return data.n_rows * data.n_columns, costs.dense if complete else costs.missing


def _bins(data: Dataset, max_bin: int) -> int:
    """Return the bins of all columns: columns of few different values have few of them."""
    if isinstance(data.X, sp.csr_matrix):
        stored = np.bincount(data.X.indices, minlength=data.n_columns)
        return int(np.minimum(stored + 1, max_bin).sum())
    step = math.ceil(data.n_rows / SAMPLED_COLUMN_ROWS)
    total = 0
    for _, column in data.X.items():
        if isinstance(column.dtype, pd.CategoricalDtype):
            total += len(column.cat.categories)
        else:
            sample = column.iloc[::step]
            different = sample.nunique()
            # Hardly ever twice the same in a sample: a continuous column.
            total += max_bin if different > min(max_bin, len(sample)) / 4 else different + 1
    return total


def _histograms(params: Mapping[str, Any], rows: int) -> int:
    """Return how many histograms one booster holds: LightGBM one per leaf, XGBoost one per inner node."""
    if params.get("num_leaves"):
        return int(params["num_leaves"])
    if params.get("max_leaves"):
        return 2 * int(params["max_leaves"])
    depth = int(params.get("max_depth") or 0)
    most = max(1, rows // 4)  # a node is split only where both sides have a hessian of min_child_weight
    return min(2**depth - 1, most) if 0 < depth < 32 else most


# -- what there is ------------------------------------------------------------------------------------------


def usable_memory() -> int | None:
    """Return the bytes this process and its children may still take, or None where nothing tells.

    The least of what the system has available and of what each control group (version 1 or 2: containers, batch
    systems) leaves below its limit. Page cache counts as free: it is given back under pressure.

    Examples
    --------
    >>> from gbtune.memory import usable_memory
    >>> usable_memory() is None or usable_memory() > 0
    True
    """
    found = [size for size in (_available_in_system(), *_left_in_control_groups()) if size is not None]
    return max(0, min(found)) if found else None


def _available_in_system() -> int | None:
    for line in _lines(MEMINFO):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    for name in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES"):  # macOS knows only the second, all there is
        try:
            return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, ValueError, OSError):  # Windows has no sysconf
            continue
    return None


def _left_in_control_groups() -> Iterator[int]:
    """What the limits of this process's control groups and their parents leave."""
    for line in _lines(CGROUPS_OF_SELF):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            yield from _left(CGROUP_ROOT, path, ("memory.max", "memory.high"), "memory.current", "")
        elif "memory" in controllers.split(","):
            root = CGROUP_ROOT / "memory"
            yield from _left(root, path, ("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_")


def _left(root: Path, path: str, limits: tuple[str, ...], usage: str, prefix: str) -> Iterator[int]:
    group = root / path.lstrip("/")
    # Inside a container the path may be the host's, and only the root is there.
    for folder in (group, *group.parents):
        if folder == root or root in folder.parents:
            limit = min((_number(folder / name) for name in limits), default=_NO_LIMIT)
            used = _number(folder / usage)
            if limit < _NO_LIMIT and used < _NO_LIMIT:
                yield limit - used + _page_cache(folder / "memory.stat", prefix)


def _page_cache(file: Path, prefix: str) -> int:
    names = (f"{prefix}inactive_file", f"{prefix}active_file")
    return sum(int(line.split()[1]) for line in _lines(file) if line.split()[0] in names)


def _number(file: Path) -> int:
    """Return the number in a file; what is missing or says "max" is no limit."""
    text = "".join(_lines(file)).strip()
    return int(text) if text.isdigit() else _NO_LIMIT


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
