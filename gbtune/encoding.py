"""The columns of X: read from whatever the caller has, encoded so that every booster takes them.

Numbers become float64 (float32 stays float32), text and categories become pandas ``category``
with the levels seen in training. LightGBM matches categories by code, XGBoost refuses unseen ones
and both refuse text (see Notes of `Encoder`), so gbtune encodes once and by value.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from gbtune.columns import Column, Factor, Numbers, Table, Unreadable, as_table, read_column, text_of
from gbtune.errors import InvalidData

Encoded = pd.DataFrame | sp.csr_matrix
"""What a booster gets: a frame of float and ``category`` columns, or a sparse matrix."""

_REFUSED_IN_NAMES = re.compile(r'[\[\]{}":,<>\s\x00-\x1f]')
_LARGEST = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True)
class Encoder:
    """Turns the caller's X into what a booster takes, always in the same way.

    Made by `Encoder.fit`; survives JSON by `to_dict` and `from_dict`.

    Parameters
    ----------
    columns : tuple of Column
        In training order; empty for sparse input.
    named : bool
        The training X had column names (a frame); otherwise they are ``x0, x1, ...``.
    n_columns : int
        Number of columns.
    sparse : bool, default False
        The training X was a scipy sparse matrix: encoded X is a `scipy.sparse.csr_matrix`.
    dtype : {"float64", "float32"}
        Of sparse values.
    classes : tuple
        Labels in the order of their codes; empty for regression.

    Notes
    -----
    Rules for new data: columns are matched by name (without names, by count) and put in training
    order; a category is matched by value, by its text where types differ (``1`` and ``"1"``);
    an unseen category is missing. In a sparse matrix an absent entry and a stored zero are the
    same: stored zeros are dropped.

    Examples
    --------
    >>> import pandas as pd
    >>> from gbtune.encoding import Encoder
    >>> encoder = Encoder.fit(pd.DataFrame({"town": ["York", "Bath"], "rooms": [3, 4]}))
    >>> encoder.kinds
    {'town': 'category', 'rooms': 'number'}
    >>> encoder.encode(pd.DataFrame({"rooms": [5, None], "town": ["Bath", "Hull"]}))
       town  rooms
    0  Bath    5.0
    1   NaN    NaN
    """

    columns: tuple[Column, ...]
    named: bool
    n_columns: int
    sparse: bool = False
    dtype: str = "float64"
    classes: tuple[Any, ...] = ()

    @classmethod
    def fit(cls, X: object) -> Encoder:
        """Read the columns of X.

        Parameters
        ----------
        X : frame, array, sparse matrix or list of rows, shape (n_rows, n_columns)
            See `gbtune.data.Dataset.from_arrays`.

        Raises
        ------
        InvalidData
            If X is empty, has duplicate column names, infinite values, or columns of a type
            that no booster can use (one error names them all).
        """
        return fit_encode(as_table(X))[0]

    @property
    def names(self) -> tuple[str, ...]:
        """The caller's column names, in training order."""
        if self.sparse:
            return tuple(f"x{i}" for i in range(self.n_columns))
        return tuple(column.name for column in self.columns)

    @property
    def kinds(self) -> dict[str, str]:
        """Column name to ``"number"`` or ``"category"``; empty for sparse input (all numbers)."""
        return {column.name: column.kind for column in self.columns}

    @property
    def categorical(self) -> tuple[str, ...]:
        """Names of the categorical columns in the encoded frame."""
        return tuple(column.encoded_name for column in self.columns if column.kind == "category")

    def encode(self, X: object) -> Encoded:
        """Encode X as the training data were.

        Parameters
        ----------
        X : frame, array, sparse matrix or list of rows, shape (n_rows, n_columns)
            New data with the columns of the training data, in any order if they have names.

        Returns
        -------
        pandas.DataFrame or scipy.sparse.csr_matrix, shape (n_rows, n_columns)
            A copy, with a fresh index.

        Raises
        ------
        InvalidData
            If columns are missing, unexpected or duplicate, or a column holds what it did not
            hold in training (text among numbers, a category of which nothing matches), or
            infinite values.
        """
        table = as_table(X)
        if self.sparse:
            self._check_count(table)
            return _as_matrix(table, self.dtype).copy()
        frame = self.in_order(table)
        fast = _encode_matrix(frame, self.columns)
        if fast is not None:
            return fast
        return _assemble(self.columns, [read_column(frame.iloc[:, i]) for i in range(frame.shape[1])])

    def decode(self, codes: NDArray[np.int64]) -> NDArray[Any]:
        """Return the labels of class codes.

        Examples
        --------
        >>> import numpy as np
        >>> from gbtune.encoding import Encoder
        >>> Encoder((), named=False, n_columns=0, classes=("no", "yes")).decode(np.array([1, 0]))
        array(['yes', 'no'], dtype='<U3')
        """
        return np.asarray(self.classes)[codes]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values: enough to encode without this class."""
        plain: dict[str, Any] = {
            "schema": 1,
            "named": self.named,
            "sparse": self.sparse,
            "n_columns": self.n_columns,
            "dtype": self.dtype,
            "classes": list(self.classes),
            "columns": [],
        }
        for column in self.columns:
            entry = {f.name: getattr(column, f.name) for f in dataclasses.fields(column)}
            plain["columns"].append({**entry, "levels": list(column.levels)})
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Encoder:
        """Rebuild what `to_dict` wrote, also after a trip through JSON.

        Examples
        --------
        >>> import json
        >>> from gbtune.encoding import Encoder
        >>> encoder = Encoder.fit([[1, "a"], [2, "b"]])
        >>> Encoder.from_dict(json.loads(json.dumps(encoder.to_dict()))) == encoder
        True
        """
        known = {f.name for f in dataclasses.fields(Column)}
        columns = []
        for entry in plain["columns"]:
            fields = {key: value for key, value in entry.items() if key in known}
            columns.append(Column(**{**fields, "levels": tuple(entry["levels"])}))
        return cls(
            columns=tuple(columns),
            named=plain["named"],
            n_columns=plain["n_columns"],
            sparse=plain["sparse"],
            dtype=plain["dtype"],
            classes=tuple(plain["classes"]),
        )

    def _check_count(self, table: Table) -> None:
        if table.values.shape[1] != self.n_columns:
            raise InvalidData(
                f"X must have the columns of the training data: {self.n_columns} columns; "
                f"it has {table.values.shape[1]}."
            )

    def in_order(self, table: Table) -> pd.DataFrame:
        """Return the columns of a table in the order of the training data, as they are.

        Raises
        ------
        InvalidData
            If columns are missing or more.
        """
        frame = table.values
        if isinstance(frame, sp.csr_matrix):
            frame = pd.DataFrame(frame.toarray())
        if not (self.named and table.named):  # without names on one side, only the position can tell
            self._check_count(table)
            if not (table.named and set(frame.columns) == set(self.names)):
                return frame
        missing = [name for name in self.names if name not in frame.columns]
        extra = sorted(set(frame.columns) - set(self.names))
        if missing or extra:
            raise InvalidData(
                "X must have the columns of the training data, in any order."
                + (f" Missing: {_listed(missing)}." if missing else "")
                + (f" Unexpected: {_listed(extra)}." if extra else "")
                + " Add the missing and drop the unexpected ones."
            )
        return frame if tuple(frame.columns) == self.names else frame[list(self.names)]


def fit_encode(table: Table) -> tuple[Encoder, Encoded]:
    """Return the encoder of a table and the encoded table, reading every column once.

    Columns of floats, and sparse matrices of them, are not copied: the encoded table shares memory with X.

    Raises
    ------
    InvalidData
        As `Encoder.fit`.
    """
    values = table.values
    if 0 in values.shape:
        raise InvalidData(
            f"X must have at least one row and one column; its shape is {values.shape}. "
            "Check the filter or the selection that made it."
        )
    if isinstance(values, sp.csr_matrix):
        dtype = "float32" if values.dtype == np.float32 else "float64"
        encoder = Encoder((), named=False, n_columns=values.shape[1], sparse=True, dtype=dtype)
        return encoder, _as_matrix(table, dtype)
    names = list(values.columns)
    matrix = _as_floats(values)
    if matrix is not None:
        columns = _float_columns(matrix, names)
        return Encoder(columns, named=table.named, n_columns=len(columns)), _frame_of(matrix, columns)
    reads = [read_column(values.iloc[:, i]) for i in range(len(names))]
    problems = [
        f"{name!r} ({read.dtype}): {read.advice}"
        for name, read in zip(names, reads, strict=True)
        if isinstance(read, Unreadable)
    ]
    if problems:
        raise InvalidData(
            "Every column of X must hold numbers, booleans, text or categories. Cannot be used: "
            + "; ".join(problems)
            + "."
        )
    columns = tuple(map(_column, names, _safe_names(names), reads))
    encoder = Encoder(columns, named=table.named, n_columns=len(columns))
    return encoder, _assemble(columns, reads, copy=False)


def _column(name: str, encoded_name: str, read: Numbers | Factor | Unreadable) -> Column:
    """Describe a column as it is in training."""
    if isinstance(read, Factor):
        observed = np.unique(read.codes[read.codes >= 0])
        levels = [read.values[code] for code in observed]
        if not levels:
            return Column(name, encoded_name, "number", all_missing=True)
        return Column(name, encoded_name, "category", levels=tuple(levels if read.ordered else sorted(levels)))
    assert isinstance(read, Numbers)
    all_missing = bool(np.isnan(read.values).all())
    return Column(name, encoded_name, "number", dtype=str(read.values.dtype), all_missing=all_missing)


def _as_floats(frame: pd.DataFrame) -> NDArray[Any] | None:
    """Return all columns as one array that is the frame's own memory; None where they are not all floats of one type.

    Column by column, a matrix stored row by row would be read from memory as often as it has columns.
    """
    if set(frame.dtypes) not in ({np.dtype(np.float32)}, {np.dtype(np.float64)}):
        return None
    values = frame.to_numpy(copy=False)
    return values if np.may_share_memory(values, frame.iloc[:, 0].to_numpy(copy=False)) else None


def _float_columns(matrix: NDArray[Any], names: Sequence[str]) -> tuple[Column, ...]:
    """Describe columns of floats."""
    _refuse_infinite(names, _too_large(matrix))
    empty = np.isnan(np.fmax.reduce(matrix, axis=0))
    return tuple(
        Column(name, encoded_name, "number", dtype=str(matrix.dtype), all_missing=bool(nothing))
        for name, encoded_name, nothing in zip(names, _safe_names(names), empty, strict=True)
    )


def _frame_of(matrix: NDArray[Any], columns: Sequence[Column]) -> pd.DataFrame:
    return pd.DataFrame(matrix, columns=[column.encoded_name for column in columns], copy=False)


def _encode_matrix(frame: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame | None:
    """Encode numbers of one type in one step; None where the columns need a look each."""
    dtypes = {column.dtype for column in columns}
    plain = all(isinstance(dtype, np.dtype) and dtype.kind in "biuf" for dtype in frame.dtypes)
    if not plain or len(dtypes) > 1 or any(column.kind == "category" for column in columns):
        return None
    # not straight to float32, which would turn large float64 into infinity, with a warning
    read_as = np.float32 if all(dtype == np.float32 for dtype in frame.dtypes) else np.float64
    values = frame.to_numpy(dtype=read_as, copy=True)
    _refuse_infinite([column.name for column in columns], _too_large(values))
    return _frame_of(values.astype(dtypes.pop(), copy=False), columns)


def _assemble(
    columns: Sequence[Column], reads: Sequence[Numbers | Factor | Unreadable], *, copy: bool = True
) -> pd.DataFrame:
    """Build the encoded frame; every column that does not fit is named in one error."""
    numbers = {
        column.name: read.values for column, read in zip(columns, reads, strict=True) if isinstance(read, Numbers)
    }
    _refuse_infinite(list(numbers), [*map(_too_large, numbers.values())])
    encoded: dict[str, Any] = {}
    problems = []
    for column, read in zip(columns, reads, strict=True):
        try:
            encode = _encode_number if column.kind == "number" else _encode_category
            encoded[column.encoded_name] = encode(column, read)
        except InvalidData as problem:
            problems.append(str(problem))
    if problems:
        raise InvalidData("X does not hold what it held in training. " + " ".join(problems))
    return pd.DataFrame(encoded, copy=copy)


def _encode_number(column: Column, read: Numbers | Factor | Unreadable) -> NDArray[Any]:
    if isinstance(read, Numbers):
        return read.values.astype(column.dtype, copy=False)
    if isinstance(read, Factor):
        if column.all_missing or not read.values or (read.codes < 0).all():
            return np.full(len(read.codes), np.nan, dtype=column.dtype)
        if not any(isinstance(value, str) for value in read.values):
            levels = np.append(np.asarray(read.values, dtype=np.float64), np.nan)
            return levels[read.codes].astype(column.dtype, copy=False)
        given = f"text such as {next(v for v in read.values if isinstance(v, str))!r}"
    else:
        given = f"{read.dtype} values"
        if column.all_missing:
            return np.full(read.n_rows, np.nan, dtype=column.dtype)
    raise InvalidData(
        f"Column {column.name!r} was numbers in training and now holds {given}: "
        "convert it, e.g. with pandas.to_numeric."
    )


def _encode_category(column: Column, read: Numbers | Factor | Unreadable) -> pd.Categorical:
    if isinstance(read, Unreadable):
        raise InvalidData(f"Column {column.name!r} was a category in training and now is {read.dtype}: {read.advice}.")
    if isinstance(read, Numbers):
        codes, uniques = pd.factorize(read.values)
        read = Factor(codes, uniques.tolist(), ordered=False)
    is_text = isinstance(column.levels[0], str)
    same_type = [isinstance(value, str) is is_text for value in read.values]
    if all(same_type):
        found = [column.codes_by_value.get(value, -1) for value in read.values]
    else:
        found = [
            column.codes_by_value.get(value, -1) if same else column.codes_by_text.get(text_of(value), -1)
            for value, same in zip(read.values, same_type, strict=True)
        ]
        if max(found) < 0 and (read.codes >= 0).any():
            raise InvalidData(
                f"Column {column.name!r} was a category with values such as {column.levels[0]!r} in training; "
                f"none of its values, such as {read.values[0]!r}, is one of them: convert it to the same type."
            )
    translation = np.append(np.asarray(found, dtype=np.intp), -1)  # the last one answers code -1, missing
    return pd.Categorical.from_codes(translation[read.codes], dtype=column.categories)


def _safe_names(names: Sequence[str]) -> list[str]:
    """Replace what LightGBM and XGBoost refuse in names; names stay unique, clean names stay."""
    clean = [_REFUSED_IN_NAMES.sub("_", name) or "_" for name in names]
    taken = {name for name, safe in zip(names, clean, strict=True) if name == safe}
    result = []
    for name, safe in zip(names, clean, strict=True):
        candidate, number = safe, 1
        while name != safe and candidate in taken:
            number += 1
            candidate = f"{safe}_{number}"
        taken.add(candidate)
        result.append(candidate)
    return result


def _as_matrix(table: Table, dtype: str) -> sp.csr_matrix:
    """Return a canonical csr matrix: sorted, no duplicates, no stored zeros; a copy only where it is not so yet."""
    values = table.values
    if isinstance(values, pd.DataFrame):
        _, values = fit_encode(table)
        if not isinstance(values, pd.DataFrame) or any(t.kind != "f" for t in values.dtypes):
            raise InvalidData("X was sparse in training: every column must hold numbers.")
        matrix = sp.csr_matrix(values.to_numpy(dtype=np.float64))
    else:
        matrix = sp.csr_matrix(values, dtype=np.float32 if values.dtype == np.float32 else np.float64, copy=False)
        if not (matrix.has_canonical_format and matrix.data.all()):
            matrix = matrix.copy()
            matrix.sum_duplicates()
            matrix.eliminate_zeros()
    _refuse_infinite(["its stored values"], [_too_large(matrix.data)])
    return sp.csr_matrix(matrix, dtype=np.float32 if dtype == "float32" else np.float64, copy=False)


def _too_large(values: NDArray[Any]) -> Any:
    """Return whether a column, or each of several, holds what XGBoost refuses: infinity, also as float32."""
    highest, lowest = (function.reduce(values, axis=0, initial=np.nan) for function in (np.fmax, np.fmin))
    return (highest > _LARGEST) | (lowest < -_LARGEST)


def _refuse_infinite(names: Sequence[str], bad: Sequence[Any]) -> None:
    if any(bad):
        raise InvalidData(
            f"X must be finite (within ±3.4e38, the range of float32) or missing; infinite or larger: "
            f"{_listed([name for name, is_bad in zip(names, bad, strict=True) if is_bad])}. "
            "Replace them, e.g. X.replace([numpy.inf, -numpy.inf], numpy.nan)."
        )


def _listed(names: Sequence[str], limit: int = 20) -> str:
    shown = ", ".join(map(repr, names[:limit]))
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
