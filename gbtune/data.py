"""X, y, weights and groups as every other part of gbtune sees them."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import numbers
import warnings
from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from gbtune.columns import as_table
from gbtune.encoding import Encoded, Encoder, fit_encode
from gbtune.errors import GbtuneWarning, InvalidArgument, InvalidData

Task = Literal["binary", "multiclass", "regression"]

TASKS = ("binary", "multiclass", "classification", "regression")
MAX_INFERRED_CLASSES = 20
"""Integer labels of more different values are taken for a quantity unless the task is given."""
MAX_HASHED_CELLS = 20_000_000
"""Of larger data, evenly spread rows of X are hashed (y, weights and groups always in full)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """The data of a study: encoded and checked.

    Made by `Dataset.from_arrays`. Floats of X are not copied where they can be used as they are: do not change them as
    long as a `gbtune.Objective` or a running study uses them. Nothing else is shared with the caller's objects, and
    nothing of the caller's is ever changed.

    Parameters
    ----------
    X : pandas.DataFrame or scipy.sparse.csr_matrix, shape (n_rows, n_columns)
        Encoded: float64, float32 and ``category`` columns with a fresh index; or sparse floats.
    y : numpy.ndarray, shape (n_rows,)
        Class codes ``0..n_classes-1`` (int64) or values (float64).
    task : {"binary", "multiclass", "regression"}
        What is predicted.
    classes : tuple of str, bool, int or float
        The caller's labels in the order of their codes (sorted); empty for regression.
    sample_weight : numpy.ndarray of float64, shape (n_rows,), or None
        Weight of each row, at least 0.
    groups : numpy.ndarray, shape (n_rows,), or None
        Rows of one group are never split between training and validation.
    encoder : Encoder
        How X was encoded.
    notes : tuple of str
        Sentences for people on what was decided.

    Examples
    --------
    >>> import pandas as pd
    >>> from gbtune.data import Dataset
    >>> X = pd.DataFrame({"rooms": [2, 3, None, 5], "town": ["York", "Bath", "York", None]})
    >>> data = Dataset.from_arrays(X, ["no", "yes", "no", "yes"])
    >>> data.task, data.classes, data.y, data.categorical
    ('binary', ('no', 'yes'), array([0, 1, 0, 1]), ('town',))
    """

    X: Encoded
    y: NDArray[Any]
    task: Task
    classes: tuple[Any, ...]
    sample_weight: NDArray[np.float64] | None
    groups: NDArray[Any] | None
    encoder: Encoder
    notes: tuple[str, ...] = ()

    @classmethod
    def from_arrays(
        cls,
        X: object,
        y: object,
        *,
        task: str | None = None,
        sample_weight: object = None,
        groups: object = None,
    ) -> Dataset:
        """Check and encode the caller's data, leaving them as they are.

        Parameters
        ----------
        X : frame, 2-D array, scipy sparse matrix or list of rows, shape (n_rows, n_columns)
            pandas, numpy, scipy, lists, or anything with ``to_pandas()`` (polars, pyarrow). Columns of
            numbers, booleans (0 and 1), text or categories, each with missing values.
        y : array-like, shape (n_rows,)
            Labels (str, bool, int, whole floats) or values.
        task : {"binary", "multiclass", "classification", "regression"}, optional
            Default: inferred. Two different values: binary. bool, text or category: multiclass.
            Integers of at most 20 different values, each five times on average: multiclass.
            Everything else: regression.
        sample_weight : array-like, shape (n_rows,), optional
            Finite and at least 0; not all 0.
        groups : array-like, shape (n_rows,), optional
            Any hashable values, none missing.

        Raises
        ------
        InvalidData
            If X, y, sample_weight or groups cannot be used: the message says which, the rule, and
            what to do.
        InvalidArgument
            If `task` is not one of the four.

        Warns
        -----
        GbtuneWarning
            If y's index is X's index in another order: rows are matched by position.
        """
        if task is not None and task not in TASKS:
            raise InvalidArgument(f"task must be one of {', '.join(map(repr, TASKS))} or None, got {task!r}.")
        table = as_table(X)
        n_rows = table.values.shape[0]
        target = _as_series("y", y)
        weight = None if sample_weight is None else _as_series("sample_weight", sample_weight)
        group = None if groups is None else _as_series("groups", groups)
        for name, given in {"y": target, "sample_weight": weight, "groups": group}.items():
            if given is not None and len(given) != n_rows:
                raise InvalidData(
                    f"X and {name} must be equally long: X has {n_rows} rows, {name} has {len(given)} values."
                )
            _warn_if_reordered(name, X, given)
        if n_rows == 1:
            raise InvalidData("X must have at least 2 rows to train on one and validate on another; it has 1.")
        encoder, encoded = fit_encode(table)
        values, found_task, classes, note = _read_target(target, task)
        notes = (note, *_like_identifiers(encoder, n_rows), *_without_values(encoder))
        return cls(
            X=encoded,
            y=values,
            task=found_task,
            classes=classes,
            sample_weight=None if weight is None else _read_weights(weight),
            groups=None if group is None else _read_groups(group),
            encoder=dataclasses.replace(encoder, classes=classes),
            notes=notes,
        )

    @property
    def n_rows(self) -> int:
        """Rows of X."""
        return int(self.X.shape[0])

    @property
    def n_columns(self) -> int:
        """Columns of X."""
        return int(self.X.shape[1])

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 for regression."""
        return len(self.classes)

    @property
    def categorical(self) -> tuple[str, ...]:
        """Names of the ``category`` columns of the encoded X."""
        return self.encoder.categorical

    @property
    def most_levels(self) -> int:
        """Levels of the categorical column that has most; 0 if there is none."""
        return max((len(column.levels) for column in self.encoder.columns), default=0)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of content, columns, labels, weights and groups: equal for equal data.

        Of more than 20 million cells, evenly spread rows of X are hashed, and all of the rest.
        """
        digest = hashlib.blake2b(digest_size=8)
        digest.update(repr((self.task, self.classes, self.X.shape, self.encoder.names)).encode())
        step = math.ceil(max(1, self.n_rows * self.n_columns) / MAX_HASHED_CELLS)
        if isinstance(self.X, pd.DataFrame):
            for i in range(self.n_columns):
                column = self.X.iloc[::step, i]
                if isinstance(column.dtype, pd.CategoricalDtype):
                    digest.update(repr(self.encoder.columns[i].levels).encode())
                    digest.update(_bytes(column.cat.codes.to_numpy(dtype=np.int64)))
                else:
                    digest.update(_bytes(column.to_numpy()))
        else:
            step = math.ceil(max(1, self.X.nnz) / MAX_HASHED_CELLS)
            rows = sp.csr_matrix(self.X[::step])
            digest.update(_bytes(rows.indptr.astype(np.int64)) + _bytes(rows.indices.astype(np.int64)))
            digest.update(_bytes(rows.data))
        digest.update(b"y" + _bytes(self.y))
        if self.sample_weight is not None:
            digest.update(b"sample_weight" + _bytes(self.sample_weight))
        if self.groups is not None:  # the partition counts, whatever the groups are called
            digest.update(b"groups" + _bytes(pd.factorize(self.groups)[0].astype(np.int64)))
        return digest.hexdigest()


def _bytes(values: NDArray[Any]) -> bytes:
    """Return the bytes of an array, every NaN in the same form."""
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), values.dtype.type(np.nan), values)
    return np.ascontiguousarray(values).tobytes()


def _as_series(name: str, values: object) -> pd.Series[Any]:
    """Return a vector as a series that keeps the caller's index if it has one."""
    if not isinstance(values, pd.Series | pd.DataFrame) and hasattr(values, "to_pandas"):
        values = values.to_pandas()
    if isinstance(values, pd.Series):
        return values
    if isinstance(values, list | tuple):
        nested = any(isinstance(value, list | tuple | np.ndarray) for value in values[:10])
        shape: tuple[int, ...] = np.shape(values) if nested else (len(values),)
    elif isinstance(values, pd.Index | pd.api.extensions.ExtensionArray):
        shape = (len(values),)
    else:
        if not isinstance(values, pd.DataFrame | np.ndarray) and not sp.issparse(values):
            values = np.asarray(values)
        shape = cast("Any", values).shape
    if len(shape) != 1:
        raise InvalidData(
            f"{name} must have one dimension, a value per row of X; its shape is {shape}. "
            f"For one column give {name}.squeeze() or {name}.ravel()."
        )
    return pd.Series(cast("Any", values))


def _warn_if_reordered(name: str, X: object, values: pd.Series[Any] | None) -> None:
    """Warn about the classic mistake: a shuffled X beside a y in the old order."""
    if values is None or not isinstance(X, pd.DataFrame) or X.index.equals(values.index):
        return
    if (
        X.index.is_unique
        and values.index.is_unique
        and not isinstance(values.index, pd.RangeIndex)
        and values.index.isin(X.index).all()
    ):
        warnings.warn(
            f"The index of {name} is the index of X in another order; rows are matched by position. "
            f"If they belong together by index, give {name}.loc[X.index].",
            GbtuneWarning,
            stacklevel=4,
        )


def _read_target(y: pd.Series[Any], task: str | None) -> tuple[NDArray[Any], Task, tuple[Any, ...], str]:
    """Return y as codes or values, the task, the labels, and a note on the decision."""
    _refuse_missing("y", y)
    kind, values = _target_values(y)
    if kind == "float":
        _refuse_infinite("y", values)
    codes, uniques = pd.factorize(values, sort=True)
    n_unique = len(uniques)
    as_labels = isinstance(y.dtype, pd.CategoricalDtype) or kind in ("text", "bool")
    if n_unique == 1:
        raise InvalidData(
            f"y must have at least two different values; all {len(y)} are {uniques.tolist()[0]!r}. "
            "Check the filter that made it."
        )
    whole = kind != "float" or bool((uniques == np.round(uniques)).all())
    found = task or _infer_task(kind, as_labels, n_unique, len(y), whole)
    if found == "regression":
        if as_labels:
            raise InvalidData(
                f"task='regression' needs a y of numbers; its dtype is {y.dtype}. Convert it, e.g. with "
                "astype(float), or use task='classification'."
            )
        _check_precision(values.astype(np.float64))
        why = "" if task else f" (inferred from {n_unique} different {kind} values)"
        hint = "" if task or not whole else "; task='classification' if they are labels"
        return values.astype(np.float64), "regression", (), f"Task: regression{why}{hint}."
    if not whole:
        raise InvalidData(
            f"task={found!r} needs labels: str, bool, int or whole floats; y holds fractions such as "
            f"{uniques[uniques != np.round(uniques)][0]}. Use task='regression', or bin y first."
        )
    expected = "binary" if n_unique == 2 else "multiclass"
    if found not in (expected, "classification"):
        raise InvalidData(
            f"task={found!r} needs {'two' if found == 'binary' else 'three or more'} different labels in y; "
            f"it has {n_unique}. Use task={expected!r}."
        )
    why = "" if task else f" (inferred from {n_unique} different {kind} values)"
    hint = "" if task or as_labels else "; task='regression' if they are a quantity"
    final: Task = "binary" if n_unique == 2 else "multiclass"
    return codes.astype(np.int64), final, tuple(uniques.tolist()), f"Task: {final}{why}{hint}."


def _check_precision(y: NDArray[np.float64]) -> None:
    """Refuse values that boosters cannot tell apart: they hold labels and predictions in single precision."""
    largest, spread = float(np.abs(y).max()), float(y.std())
    if largest > np.finfo(np.float32).max:
        return  # boosters say so themselves
    step = float(np.spacing(np.float32(largest)))
    if step <= spread / 10:
        return
    facts = (
        f"boosters hold it in single precision, in which numbers near {largest:.3g} are {step:.3g} apart, and the "
        f"standard deviation of y is {spread:.3g}. Give y - y.mean(), and add the mean to the predictions."
    )
    if step > spread:
        raise InvalidData(f"y must vary by more than its rounding: {facts}")
    warnings.warn(f"y is rounded noticeably: {facts}", GbtuneWarning, stacklevel=5)


def _infer_task(kind: str, as_labels: bool, n_unique: int, n_rows: int, whole: bool) -> str:
    if as_labels or (n_unique == 2 and whole):
        return "classification"
    if kind == "int" and n_unique <= MAX_INFERRED_CLASSES and n_unique < n_rows / 5:
        return "classification"
    return "regression"


def _target_values(y: pd.Series[Any]) -> tuple[Literal["text", "bool", "int", "float"], NDArray[Any]]:
    """Return the values of y, none missing, as one of four kinds."""
    if isinstance(y.dtype, pd.CategoricalDtype):
        y = pd.Series(y.cat.categories.take(y.cat.codes.to_numpy()))
    elif "dictionary" in str(y.dtype):  # Arrow's category
        y = y.astype(object)
    if isinstance(y.dtype, np.dtype) and y.dtype.kind == "O":
        y = y.infer_objects()
    dtype = y.dtype
    if isinstance(dtype, np.dtype) and dtype.kind == "O":
        types = set(map(type, y))
        if all(issubclass(kind, str) for kind in types):
            return "text", y.to_numpy(dtype=object)
        real = numbers.Real | np.floating
        if all(issubclass(kind, real) and not issubclass(kind, bool | np.bool_) for kind in types):
            return "float", y.to_numpy(dtype=np.float64)
        names = ", ".join(sorted(kind.__name__ for kind in types))
        raise InvalidData(
            f"y must hold values of one type: str, bool, int or float; it holds {names}. "
            "Convert it, e.g. with astype(str) or astype(float)."
        )
    if pd.api.types.is_bool_dtype(dtype):
        return "bool", y.to_numpy(dtype=bool)
    if pd.api.types.is_integer_dtype(dtype):
        return "int", y.to_numpy() if isinstance(dtype, np.dtype) else y.to_numpy(dtype=np.int64)
    if pd.api.types.is_numeric_dtype(dtype) and dtype.kind != "c":
        return "float", y.to_numpy(dtype=np.float64)
    if pd.api.types.is_string_dtype(dtype):
        return "text", y.to_numpy(dtype=object)
    raise InvalidData(
        f"y must hold str, bool, int or float values; its dtype is {dtype}. Convert it to numbers or text."
    )


def _read_weights(weight: pd.Series[Any]) -> NDArray[np.float64]:
    _refuse_missing("sample_weight", weight)
    if not (pd.api.types.is_numeric_dtype(weight.dtype) or pd.api.types.is_bool_dtype(weight.dtype)):
        raise InvalidData(f"sample_weight must hold numbers; its dtype is {weight.dtype}.")
    values = np.array(weight.to_numpy(dtype=np.float64))
    _refuse_infinite("sample_weight", values)
    if (values < 0).any():
        raise InvalidData(
            f"sample_weight must be at least 0; {_where(values < 0)} negative. Drop these rows or set them to 0."
        )
    if not values.any():
        raise InvalidData("sample_weight must have a value above 0; all are 0.")
    return values


def _read_groups(groups: pd.Series[Any]) -> NDArray[Any]:
    _refuse_missing("groups", groups)
    plain = isinstance(groups.dtype, np.dtype) and groups.dtype.kind in "biuf"
    values = np.array(groups.to_numpy() if plain else groups.to_numpy(dtype=object))
    try:
        pd.factorize(values)
    except TypeError as error:
        raise InvalidData(f"groups must hold hashable values such as str or int: {error}.") from error
    return values


def _refuse_missing(name: str, values: pd.Series[Any]) -> None:
    missing = values.isna().to_numpy()
    if missing.any():
        raise InvalidData(
            f"{name} must not be missing (NaN, None); {_where(missing)} missing. "
            "Drop these rows from X and from everything beside it."
        )


def _refuse_infinite(name: str, values: NDArray[Any]) -> None:
    infinite = np.isinf(values)
    if infinite.any():
        raise InvalidData(f"{name} must be finite; {_where(infinite)} infinite. Drop or clip these rows.")


def _where(mask: NDArray[np.bool_]) -> str:
    positions = np.flatnonzero(mask)
    first = ", ".join(map(str, positions[:5]))
    more = ", ..." if len(positions) > 5 else ""
    return f"{len(positions)} of {len(mask)} (at position {first}{more}) {'is' if len(positions) == 1 else 'are'}"


def _like_identifiers(encoder: Encoder, n_rows: int) -> Sequence[str]:
    names = [c.name for c in encoder.columns if len(c.levels) > max(50, n_rows / 2)]
    if not names:
        return ()
    return (
        f"Looks like an identifier (more than half of its values are different): "
        f"{', '.join(map(repr, names))}. Such a category is slow and rarely helps: consider dropping it.",
    )


def _without_values(encoder: Encoder) -> Sequence[str]:
    names = [column.name for column in encoder.columns if column.all_missing]
    if not names:
        return ()
    return (f"Has no value in any row: {', '.join(map(repr, names))}. No model can use such a column.",)
