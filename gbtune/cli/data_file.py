"""Reads a data file as the columns of a recipe say: a CSV file keeps neither types nor categories."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd

from gbtune.columns import text_of
from gbtune.encoding import Encoder
from gbtune.errors import InvalidArgument, InvalidData
from gbtune.recipe import RecipeDict

MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "<NA>", "#N/A")
"""Texts that mean a missing value, in a CSV file, unless the recipe knows them as values of the column."""


@dataclasses.dataclass(frozen=True)
class TableOfRecipe:
    """What a file holds.

    Parameters
    ----------
    X : pandas.DataFrame
        The columns of the recipe.
    y : pandas.Series
        The target.
    weight, group : pandas.Series or None
        As asked for.
    unused : tuple of str
        Names of the other columns.
    """

    X: pd.DataFrame
    y: pd.Series[Any]
    weight: pd.Series[Any] | None
    group: pd.Series[Any] | None
    unused: tuple[str, ...]


def read_file(
    recipe: RecipeDict, path: Path, *, target: str, weight: str | None = None, group: str | None = None
) -> TableOfRecipe:
    """Read a CSV or Parquet file.

    Parameters
    ----------
    recipe : mapping
        Its columns are looked for by name; one of unnamed columns takes all that are left, in their order.
    path : pathlib.Path
        Parquet if it ends with ``.parquet`` or ``.pq``; else CSV, compressed or not, with names in the first line.
    target, weight, group : str
        Names of columns.

    Raises
    ------
    InvalidArgument
        If the file cannot be read.
    InvalidData
        If a column is missing.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from gbtune.cli.data_file import read_file
    >>> from gbtune.encoding import Encoder
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "rows.csv"
    >>> _ = path.write_text("id,zip,rooms,sold\\n1,007,3,yes\\n2,,4,no\\n")
    >>> columns = Encoder.fit(pd.DataFrame({"zip": ["007", "008"], "rooms": [3, 4]})).to_dict()
    >>> table = read_file({"columns": columns, "classes": ["no", "yes"]}, path, target="sold")
    >>> table.X["zip"].tolist(), table.unused
    (['007', nan], ('id',))
    """
    encoder = Encoder.from_dict(recipe["columns"])
    named = {"--target": target, "--weight": weight, "--group": group}
    is_parquet = path.suffix.lower() in (".parquet", ".pq")
    frame = _parquet(path) if is_parquet else _csv(path, encoder, recipe, target, set(named.values()))
    frame = frame.set_axis([str(name) for name in frame.columns], axis="columns")
    features = [name for name in frame.columns if name not in named.values()]
    if encoder.named:
        features = list(encoder.names)
    lacking = [name for name in features if name not in frame.columns]
    lacking += [f"{name} ({option})" for option, name in named.items() if name and name not in frame.columns]
    if lacking:
        raise InvalidData(
            f"{path} must have the columns of the model. Missing: {', '.join(lacking[:20])}. It has "
            f"{', '.join(list(frame.columns)[:30])}."
        )
    unused = tuple(name for name in frame.columns if name not in {*features, *named.values()})
    return TableOfRecipe(
        frame[features],
        frame[target],
        None if weight is None else frame[weight],
        None if group is None else frame[group],
        unused,
    )


def _parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except Exception as error:  # pyarrow has an exception for each
        raise InvalidArgument(f"{path} cannot be read as Parquet: {type(error).__name__}: {error}") from error


def _csv(path: Path, encoder: Encoder, recipe: RecipeDict, target: str, named: set[str | None]) -> pd.DataFrame:
    """Read numbers as they were written, to the last digit, and categories and labels as text."""
    levels = {column.name: [text_of(level) for level in column.levels] for column in encoder.columns}
    levels[target] = [text_of(label) for label in recipe["classes"]]
    try:
        names = list(pd.read_csv(path, nrows=0).columns)
        if not encoder.named:
            features = [name for name in names if name not in named]
            levels |= dict(zip(features, [levels[column.name] for column in encoder.columns], strict=False))
        return pd.read_csv(
            path,
            dtype={name: "str" for name in names if levels.get(name)},
            na_values={name: [text for text in MISSING if text not in levels.get(name, ())] for name in names},
            keep_default_na=False,
        )
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"{path} cannot be read as CSV: {type(error).__name__}: {error}") from error
