"""Predict from raw columns with a model tuned by gbtune, without gbtune.

This file is copied into each logged model and is its loader: it needs MLflow, pandas, numpy and the
boosting library, and reads from the model's data folder

- ``model.json``: family, native model files (the prediction is the mean of theirs), task, labels;
- ``schema.json``: the columns of the training data and how they are encoded;
- ``recipe.json``: how the model was fitted (for people).
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

_LARGEST = float(np.finfo(np.float32).max)


def _load_pyfunc(data_path: str) -> Predictor:
    """Return the predictor; MLflow calls this."""
    return Predictor(Path(data_path))


class Predictor:
    """Encodes raw columns as in training and predicts.

    Parameters
    ----------
    folder : pathlib.Path
        The model's data folder.
    """

    def __init__(self, folder: Path) -> None:
        self.model: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        self.schema: dict[str, Any] = json.loads((folder / "schema.json").read_text(encoding="utf-8"))
        self._boosters = [_load_booster(self.model, folder / file) for file in self.model["files"]]

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> np.ndarray[Any, Any]:
        """Predict labels, values or probabilities.

        Parameters
        ----------
        model_input : frame, array or sparse matrix, shape (n_rows, n_columns)
            Raw columns as in training; an unseen category counts as missing.
        params : dict, optional
            ``{"proba": True}``: probabilities, one column per class in the order of the classes.

        Returns
        -------
        numpy.ndarray, shape (n_rows,) or (n_rows, n_classes)
            Labels (classification), values (regression) or probabilities.

        Raises
        ------
        mlflow.exceptions.MlflowException
            If the rows are not such as in training. MLflow's scoring server answers 400 with the exception's words; of
            other exceptions it shows a traceback, and not what they say.
        """
        try:
            return self._predict(model_input, bool((params or {}).get("proba", False)))
        except ValueError as error:
            from mlflow.exceptions import MlflowException

            raise MlflowException.invalid_parameter_value(str(error)) from error

    def _predict(self, model_input: Any, proba: bool) -> np.ndarray[Any, Any]:
        encoded = encode(model_input, self.schema)
        predictions = [np.asarray(predict(encoded)) for predict in self._boosters]
        if self.model["task"] == "regression":
            if proba:
                raise ValueError("This model predicts numbers: there are no probabilities; leave out proba.")
            return np.asarray(np.mean(predictions, axis=0), dtype=np.float64)
        columns = [each if each.ndim == 2 else np.column_stack([1 - each, each]) for each in predictions]
        prediction: np.ndarray[Any, Any] = np.mean(columns, axis=0)
        if proba:
            return prediction.astype(np.float64)
        labels: np.ndarray[Any, Any] = np.asarray(self.model["classes"])[prediction.argmax(axis=1)]
        return labels


def _load_booster(model: dict[str, Any], path: Path) -> Any:
    """Return a function from an encoded frame to predictions on the response scale."""
    if model["family"] in ("xgboost", "lightgbm"):
        library = importlib.import_module(model["family"])
        booster = library.Booster(model_file=str(path))
        if model["family"] == "lightgbm":
            return booster.predict
        return lambda X: booster.predict(library.DMatrix(X, enable_categorical=True))
    import gbtune.families  # a plug-in family knows its own file

    estimator = gbtune.families.get(model["family"]).load(path, model["task"])
    return estimator.predict if model["task"] == "regression" else estimator.predict_proba


def encode(X: Any, schema: dict[str, Any]) -> Any:
    """Encode raw columns as in training: the same as ``gbtune.encoding.Encoder.encode``."""
    if schema["sparse"]:
        import scipy.sparse

        values = X.to_numpy(dtype=np.float64) if isinstance(X, pd.DataFrame) else X
        matrix = scipy.sparse.csr_matrix(values, dtype=np.float64, copy=True)
        _check_count(matrix.shape[1], schema)
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        return scipy.sparse.csr_matrix(matrix, dtype=schema["dtype"])
    frame = _in_order(X, schema)
    encoded = {}
    for position, column in enumerate(schema["columns"]):
        series = frame.iloc[:, position]
        encode_column = _encode_number if column["kind"] == "number" else _encode_category
        encoded[column["encoded_name"]] = encode_column(series, column)
    return pd.DataFrame(encoded)


def _check_count(n_columns: int, schema: dict[str, Any]) -> None:
    if n_columns != schema["n_columns"]:
        raise ValueError(f"The model was trained on {schema['n_columns']} columns; the data have {n_columns}.")


def _in_order(X: Any, schema: dict[str, Any]) -> pd.DataFrame:
    names = [column["name"] for column in schema["columns"]]
    if not isinstance(X, pd.DataFrame):
        frame = pd.DataFrame(X.toarray() if hasattr(X, "toarray") else X)
        _check_count(frame.shape[1], schema)
        return frame
    frame = X.set_axis([str(name) for name in X.columns], axis=1)
    if set(frame.columns) == set(names) and frame.shape[1] == len(names):
        return frame[names]
    if schema["named"]:
        missing = [name for name in names if name not in frame.columns]
        extra = [name for name in frame.columns if name not in names]
        raise ValueError(f"The data must have the training columns. Missing: {missing}; unexpected: {extra}.")
    _check_count(frame.shape[1], schema)
    return frame


def _encode_number(series: pd.Series[Any], column: dict[str, Any]) -> np.ndarray[Any, Any]:
    codes, values = _distinct(series) if not _is_numeric(series) else (None, [])
    if codes is None:
        numbers = series.to_numpy(dtype=np.float64, na_value=np.nan)
    elif column["all_missing"] or (codes < 0).all():
        numbers = np.full(len(series), np.nan)
    elif any(isinstance(value, str) for value in values):
        raise ValueError(f"Column {column['name']!r} was numbers in training and now holds text.")
    else:
        numbers = np.append(np.asarray(values, dtype=np.float64), np.nan)[codes]
    if numbers.size and (np.fmax.reduce(numbers) > _LARGEST or np.fmin.reduce(numbers) < -_LARGEST):
        raise ValueError(f"Column {column['name']!r} holds infinite values: replace them by missing ones.")
    return numbers.astype(column["dtype"], copy=False)


def _encode_category(series: pd.Series[Any], column: dict[str, Any]) -> pd.Categorical:
    """Match by value; by text where the types differ (``1`` and ``"1"``)."""
    levels = column["levels"]
    by_value = {level: code for code, level in enumerate(levels)}
    by_text = {_text_of(level): code for code, level in enumerate(levels)}
    codes, values = _distinct(series)
    same = [isinstance(value, str) is isinstance(levels[0], str) for value in values]
    found = [
        by_value.get(value, -1) if alike else by_text.get(_text_of(value), -1)
        for value, alike in zip(values, same, strict=True)
    ]
    if values and not all(same) and max(found) < 0 and (codes >= 0).any():
        raise ValueError(
            f"Column {column['name']!r} held values such as {levels[0]!r} in training; "
            f"none of its values, such as {values[0]!r}, is one of them."
        )
    plain = all(isinstance(level, str) for level in levels) or all(type(level) is int for level in levels)
    dtype = pd.CategoricalDtype(pd.Index(levels if plain else [str(level) for level in levels]))
    return pd.Categorical.from_codes(np.append(np.asarray(found, dtype=np.intp), -1)[codes], dtype=dtype)


def _is_numeric(series: pd.Series[Any]) -> bool:
    return bool(pd.api.types.is_numeric_dtype(series.dtype) or pd.api.types.is_bool_dtype(series.dtype)) and not (
        isinstance(series.dtype, pd.CategoricalDtype)
    )


def _distinct(series: pd.Series[Any]) -> tuple[np.ndarray[Any, Any], list[Any]]:
    """Return codes (-1 is missing) and the distinct values."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        values = series.cat.categories.tolist()
        simple = all(isinstance(value, str | int | float) for value in values)
        return series.cat.codes.to_numpy().astype(np.intp), values if simple else [str(v) for v in values]
    if _is_numeric(series):
        codes, numbers = pd.factorize(series.to_numpy(dtype=np.float64, na_value=np.nan))
        return codes, numbers.tolist()
    if series.dtype.kind in "mMc":
        raise ValueError(f"Column {series.name!r} holds {series.dtype}; the model takes numbers, text and categories.")
    objects = series.to_numpy(dtype=object)
    missing = series.isna().to_numpy()
    present = objects[~missing]
    if not all(isinstance(value, str) for value in present):
        if any(isinstance(value, str) for value in present):
            raise ValueError(f"Column {series.name!r} mixes text and numbers: make it all of one kind.")
        numeric = np.full(len(objects), np.nan)
        numeric[~missing] = present.astype(np.float64)
        codes, numbers = pd.factorize(numeric)
        return codes, numbers.tolist()
    codes, texts = pd.factorize(series.astype(object))
    return codes, [str(text) for text in texts]


def _text_of(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
