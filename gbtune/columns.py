"""Read a table of any library, column by column, into numbers or categories."""

from __future__ import annotations

import collections
import dataclasses
import functools
import numbers
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from gbtune.errors import InvalidData

_ADVICE = {
    "datetime": "split it into numbers, e.g. .dt.year, .dt.hour or days since a date",
    "timedelta": "convert it to a number, e.g. with .dt.total_seconds()",
    "complex": "give real and imaginary part as two columns",
    "mixed": "make it all numbers (pandas.to_numeric) or all text (.astype(str))",
    "other": "convert it to a number or to text (.astype(str)), or drop it",
}


@dataclasses.dataclass(frozen=True)
class Table:
    """X in one of two forms.

    Parameters
    ----------
    values : pandas.DataFrame or scipy.sparse.csr_matrix
        Column names of a frame are unique str. May share memory with the caller's object.
    named : bool
        The names are the caller's.
    """

    values: pd.DataFrame | sp.csr_matrix
    named: bool


@dataclasses.dataclass(frozen=True)
class Numbers:
    """A column of numbers: float64, or float32 where it came so; NaN is missing."""

    values: NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Factor:
    """A column of few distinct values.

    Parameters
    ----------
    codes : numpy.ndarray of int
        Position in `values`, -1 is missing.
    values : list of str, int, float or bool
        Distinct; some may not occur.
    ordered : bool
        `values` are in an order that somebody chose (a category dtype).
    """

    codes: NDArray[np.intp]
    values: list[Any]
    ordered: bool


@dataclasses.dataclass(frozen=True)
class Unreadable:
    """A column that no booster can use, and what to do about it."""

    dtype: str
    advice: str
    n_rows: int


@dataclasses.dataclass(frozen=True)
class Column:
    """How one column of X is encoded.

    Parameters
    ----------
    name : str
        The caller's name of it.
    encoded_name : str
        Its name in the encoded frame: without the characters that a booster refuses.
    kind : {"number", "category"}
        What it is for the booster.
    dtype : {"float64", "float32"}
        Of the encoded numbers; without meaning for a category.
    levels : tuple of str, int, float or bool
        The category's values in training, in the order of their codes; all of one type.
    all_missing : bool, default False
        It had no value in training: whatever comes later tells a booster nothing.

    Examples
    --------
    >>> from gbtune.columns import Column
    >>> Column("town", "town", "category", levels=("Bath", "York")).categories.categories.tolist()
    ['Bath', 'York']
    """

    name: str
    encoded_name: str
    kind: Literal["number", "category"]
    dtype: str = "float64"
    levels: tuple[Any, ...] = ()
    all_missing: bool = False

    @functools.cached_property
    def categories(self) -> pd.CategoricalDtype:
        """The encoded dtype. XGBoost takes str and int categories only: others are their text."""
        as_they_are = all(isinstance(level, str) for level in self.levels) or all(
            type(level) is int for level in self.levels
        )
        return pd.CategoricalDtype(pd.Index(self.levels if as_they_are else [str(v) for v in self.levels]))

    @functools.cached_property
    def codes_by_value(self) -> dict[Any, int]:
        """Level to code."""
        return {level: code for code, level in enumerate(self.levels)}

    @functools.cached_property
    def codes_by_text(self) -> dict[str, int]:
        """Text of the level to code, for values that come in another type."""
        return {text_of(level): code for code, level in enumerate(self.levels)}


def as_table(X: object) -> Table:
    """Return X as a frame with unique text names, or as a csr matrix.

    Parameters
    ----------
    X : pandas.DataFrame, 2-D array, scipy sparse matrix, list of rows, or anything with ``to_pandas()``
        Shape (n_rows, n_columns).

    Raises
    ------
    InvalidData
        If X is not two-dimensional, of an unknown type, or has duplicate column names.

    Examples
    --------
    >>> from gbtune.columns import as_table
    >>> as_table([[1, "a"], [2, "b"]]).values
       x0 x1
    0   1  a
    1   2  b
    """
    if sp.issparse(X):
        matrix = cast("Any", X)
        _check_dimensions(matrix.ndim)
        if matrix.dtype.kind not in "biuf":
            raise InvalidData(f"A sparse X must hold real numbers; its dtype is {matrix.dtype}.")
        return Table(sp.csr_matrix(matrix), named=False)
    if not isinstance(X, pd.DataFrame | pd.Series) and hasattr(X, "to_pandas"):
        # A block for each column: Arrow's numbers without missing values are then not copied.
        X = X.to_pandas(split_blocks=True) if type(X).__module__.startswith(("pyarrow", "polars")) else X.to_pandas()
    if isinstance(X, pd.DataFrame):
        names = [str(name) for name in X.columns]
        duplicates = sorted(name for name, count in collections.Counter(names).items() if count > 1)
        if duplicates:
            raise InvalidData(
                f"Column names of X must be unique (as text); duplicate: {', '.join(map(repr, duplicates))}. "
                "Rename or drop, e.g. X.loc[:, ~X.columns.duplicated()]."
            )
        return Table(X.set_axis(names, axis=1), named=True)
    if isinstance(X, list | tuple):
        X = _rows_to_frame(X)
    elif not isinstance(X, np.ndarray) and hasattr(X, "__array__"):
        X = np.asarray(X)
    if isinstance(X, np.ndarray):
        _check_dimensions(X.ndim)
        X = pd.DataFrame(X, copy=False)
    if not isinstance(X, pd.DataFrame):
        raise InvalidData(
            "X must be a pandas DataFrame, a 2-D array, a scipy sparse matrix, a list of rows, or have a "
            f"to_pandas() method; it is a {type(X).__name__}."
        )
    return Table(X.set_axis([f"x{i}" for i in range(X.shape[1])], axis=1), named=False)


def _rows_to_frame(rows: list[Any] | tuple[Any, ...]) -> pd.DataFrame:
    if not all(isinstance(row, list | tuple | np.ndarray) for row in rows):
        _check_dimensions(1)
    if len({len(row) for row in rows}) > 1:
        lengths = sorted({len(row) for row in rows})
        raise InvalidData(f"Every row of X must be equally long; found rows of length {lengths[:5]}.")
    return pd.DataFrame([list(row) for row in rows])


def _check_dimensions(ndim: int) -> None:
    if ndim != 2:
        raise InvalidData(
            f"X must have two dimensions, rows and columns; it has {ndim}. "
            "For one column give X.to_frame() or X.reshape(-1, 1)."
        )


def read_column(column: pd.Series[Any]) -> Numbers | Factor | Unreadable:
    """Read one column; the values may share memory with it.

    Examples
    --------
    >>> import pandas as pd
    >>> from gbtune.columns import read_column
    >>> read_column(pd.Series([True, None], dtype="boolean"))
    Numbers(values=array([ 1., nan]))
    >>> read_column(pd.Series(["b", None, "a"])).values
    ['b', 'a']
    """
    dtype = column.dtype
    if isinstance(dtype, pd.ArrowDtype) and "dictionary" in str(dtype):
        column = pd.Series(cast("Any", column.array).__arrow_array__().to_pandas())
        dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _read_category(column)
    if dtype.kind in "mMc":
        kind = {"m": "timedelta", "M": "datetime", "c": "complex"}[dtype.kind]
        return Unreadable(str(dtype), _ADVICE[kind], len(column))
    if pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype):
        width = np.float32 if str(dtype).lower().startswith(("float32", "float[pyarrow]")) else np.float64
        if isinstance(dtype, np.dtype):
            return Numbers(column.to_numpy().astype(width, copy=False))
        return Numbers(column.to_numpy(dtype=width, na_value=np.nan))
    if isinstance(dtype, np.dtype) and dtype.kind == "O":
        return _read_objects(column)
    if pd.api.types.is_string_dtype(dtype):
        codes, uniques = pd.factorize(column)
        return Factor(codes, uniques.tolist(), ordered=False)
    if column.isna().all():
        return Numbers(np.full(len(column), np.nan))
    return Unreadable(str(dtype), _ADVICE["other"], len(column))


def _read_category(column: pd.Series[Any]) -> Factor | Unreadable:
    values = column.cat.categories.tolist()
    types = {_simple_type(value) for value in values}
    if len(types) > 1:
        return Unreadable("category of mixed types", _ADVICE["mixed"], len(column))
    if None in types:  # intervals, dates: their text is unique and outlives JSON
        values = [str(value) for value in values]
    return Factor(column.cat.codes.to_numpy().astype(np.intp), values, ordered=True)


def _read_objects(column: pd.Series[Any]) -> Numbers | Factor | Unreadable:
    missing = column.isna().to_numpy()
    values = column.to_numpy(dtype=object)
    types = set(map(type, values[~missing] if missing.any() else values))
    if all(issubclass(kind, str) for kind in types) and types:
        codes, uniques = pd.factorize(values)
        return Factor(codes, list(map(str, uniques)), ordered=False)
    if all(_is_number(kind) for kind in types):
        numeric = np.full(len(values), np.nan)
        numeric[~missing] = values[~missing].astype(np.float64)
        return Numbers(numeric)
    names = ", ".join(sorted(kind.__name__ for kind in types))
    advice = "mixed" if all(_is_number(kind) or issubclass(kind, str) for kind in types) else "other"
    return Unreadable(f"object holding {names}", _ADVICE[advice], len(column))


def _is_number(kind: type) -> bool:
    """Whether values of this type are real numbers; Decimal is one but does not register as Real."""
    if issubclass(kind, np.timedelta64):  # numpy makes it a subclass of its integers
        return False
    real = issubclass(kind, numbers.Real | np.bool_)
    return real or (issubclass(kind, numbers.Number) and not issubclass(kind, numbers.Complex))


def _simple_type(value: object) -> type | None:
    """Return the type by which a category's values must agree; None: not one that JSON keeps."""
    if isinstance(value, bool):
        return bool
    if isinstance(value, str):
        return str
    if isinstance(value, int | float) and np.isfinite(value):
        return float
    return None


def text_of(value: object) -> str:
    """Return the text by which values of different types are compared: ``3.0`` and ``3`` are ``"3"``.

    Examples
    --------
    >>> from gbtune.columns import text_of
    >>> text_of(3.0), text_of(2.5), text_of("b")
    ('3', '2.5', 'b')
    """
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
