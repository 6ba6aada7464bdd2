"""The recipe of a model: with the same X and y, all that fitting it again needs.

It is plain JSON, in each logged model at ``data/model/recipe.json``. Its keys:

=====================================  ==================================================================
``schema``                             Version of this format: 2 with ``more``, otherwise 1.
``family``, ``params``, ``rounds``     Keyword arguments of the library's scikit-learn class (``n_estimators``
                                       among them); the number of boosting rounds once more.
``more``                               Of a mean of several models: ``params``, ``rounds`` and ``seed`` of each
                                       further one. Missing for a single model.
``task``, ``classes``                  What is predicted; labels in the order of their codes.
``loss``, ``metric``, ``direction``    What the booster trains on; what it was tuned by, and which way.
``seed``, ``study_seed``, ``threads``  Of the booster that was fitted on all rows; of the study; its threads.
``weighted``, ``weight_fingerprint``   Whether rows had weights; a hash of these.
``columns``                            `gbtune.encoding.Encoder.to_dict`: names, kinds, category levels.
``n_rows``, ``data_fingerprint``       Of the training data.
``folds``, ``n_folds``                 The search's folds, for people; their number (1 is a hold-out).
``folds_kind``, ``folds_gap``          "plain", "stratified", "group", "time", or "custom": a splitter or positions
                                       of the caller's own; rows left out between the two parts of a window in
                                       time.
``folds_fingerprint``,                 Hash of their positions; the same, whatever their order.
``folds_parts``
``versions``                           Of Python, gbtune and the libraries.
=====================================  ==================================================================
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gbtune import ensemble, families
from gbtune.columns import Column, Factor, Unreadable, as_table, read_column, text_of
from gbtune.data import Dataset
from gbtune.encoding import Encoder
from gbtune.errors import InvalidArgument, InvalidData
from gbtune.records import Folds

if TYPE_CHECKING:
    from gbtune.evaluation import Evaluator

SCHEMA = 2
ROUNDS = "n_estimators"
RecipeDict = Mapping[str, Any]
_NEEDED = (
    *("family", "params", "task", "classes", "loss", "metric", "direction"),
    *("seed", "study_seed", "weighted", "columns"),
)


def describe_recipe(
    evaluator: Evaluator,
    params: Mapping[str, Any],
    *,
    study_seed: int,
    seed: int,
    threads: int,
    versions: Any,
    more: Sequence[tuple[Mapping[str, Any], int]] = (),
) -> dict[str, Any]:
    """Return the recipe of a model that was fitted on all rows.

    Parameters
    ----------
    evaluator : Evaluator
        Of the study: family, data, folds, metric.
    params : mapping
        What it was fitted with, ``n_estimators`` among them.
    study_seed, seed : int
        Of the study, and of the booster.
    threads : int
        Of the booster: sums of floats depend on them in some libraries.
    versions : mapping of str to str
        Of the libraries.
    more : sequence of (params, seed), default ()
        Of further models: what was fitted is the mean of all.

    Returns
    -------
    dict
        JSON-able; see the module's table.
    """
    data, folds = evaluator.data, evaluator.folds
    weight = data.sample_weight
    default_rounds = evaluator.family.default_rounds
    others = [
        {"params": dict(other), "rounds": other.get(ROUNDS, default_rounds), "seed": its_seed}
        for other, its_seed in more
    ]
    return {
        "schema": SCHEMA if others else 1,
        "family": evaluator.family.name,
        "params": dict(params),
        "rounds": params.get(ROUNDS, default_rounds),
        **({"more": others} if others else {}),
        "task": data.task,
        "classes": list(data.classes),
        "loss": evaluator.loss,
        "metric": evaluator.metric.name,
        "direction": evaluator.metric.direction,
        "seed": seed,
        "study_seed": study_seed,
        "threads": threads,
        "weighted": weight is not None,
        "weight_fingerprint": None if weight is None else hashlib.sha256(weight.tobytes()).hexdigest()[:16],
        "columns": data.encoder.to_dict(),
        "n_rows": data.n_rows,
        "data_fingerprint": data.fingerprint,
        "folds": folds.description,
        "n_folds": len(folds),
        "folds_kind": folds.kind,
        "folds_gap": _gap(folds),
        "folds_fingerprint": folds.fingerprint,
        "folds_parts": folds.parts_fingerprint,
        "versions": dict(versions),
    }


def _gap(folds: Folds) -> int:
    if folds.kind != "time":
        return 0
    return min(int(valid[0] - train[-1]) - 1 for train, valid in folds.splits)


def check_recipe(recipe: RecipeDict) -> None:
    """Raise `InvalidArgument` if it lacks what fitting again needs, or is of a newer format."""
    lacking = [key for key in _NEEDED if key not in recipe]
    if lacking or recipe.get("schema", 0) > SCHEMA:
        raise InvalidArgument(
            f"A recipe has schema {SCHEMA} and {', '.join(_NEEDED)}; this one has schema {recipe.get('schema')}"
            + (f" and lacks {', '.join(lacking)}" if lacking else "")
            + f", by gbtune {recipe.get('versions', {}).get('gbtune', 'of old')}."
        )


def fit_again(recipe: RecipeDict, X: Any, y: Any, *, sample_weight: Any = None) -> tuple[Any, Encoder]:
    """Fit a model as its recipe says.

    On the data of the original, and with its library's version, the model is the same.

    Parameters
    ----------
    recipe : mapping
        What ``recipe.json`` holds.
    X : array-like of shape (n_samples, n_features)
        With the columns that the recipe names.
    y : array-like of shape (n_samples,)
        Labels or values.
    sample_weight : array-like of shape (n_samples,), optional
        If the recipe is ``weighted``, and only then.

    Returns
    -------
    estimator : object
        The library's own scikit-learn estimator, or the mean of several (`gbtune.ensemble`); its classes are codes.
    encoder : Encoder
        Gives it X: ``estimator.predict(encoder.encode(X))``.

    Raises
    ------
    InvalidArgument
        If the recipe cannot be read, or weights are missing or too many.
    InvalidData
        If X and y are not what the recipe was made for.

    Examples
    --------
    >>> import gbtune
    >>> from gbtune.recipe import describe_recipe, fit_again
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> objective = gbtune.Objective("lightgbm", X, y)
    >>> params = {"max_depth": 3, "n_estimators": 5}
    >>> recipe = describe_recipe(objective.evaluator, params, study_seed=0, seed=7, threads=1, versions={})
    >>> estimator, encoder = fit_again(recipe, X, y)
    >>> estimator.predict(encoder.encode(X)).shape
    (442,)
    """
    check_recipe(recipe)
    if recipe["weighted"] != (sample_weight is not None):
        raise InvalidArgument(
            "The model was fitted with weights: give sample_weight."
            if recipe["weighted"]
            else "The model was fitted without weights: leave sample_weight out."
        )
    data = read_data(recipe, X, y, sample_weight=sample_weight)
    family = families.get(recipe["family"])
    prepared = family.prepare(data, Folds((), "none", data.n_rows), recipe["loss"], threads=recipe.get("threads", 1))
    fitted = [
        family.fit(
            data,
            tree_params(member),
            rounds_of(member),
            member["seed"],
            loss=recipe["loss"],
            threads=recipe.get("threads", 1),
            prepared=prepared,
        )
        for member in members_of(recipe)
    ]
    return ensemble.average(fitted, data.y, classify=bool(data.n_classes)), data.encoder


def members_of(recipe: RecipeDict) -> list[RecipeDict]:
    """Return the models that a recipe's model is the mean of, each with ``params``, ``rounds`` and ``seed``.

    Examples
    --------
    >>> from gbtune.recipe import members_of, rounds_of
    >>> [rounds_of(member) for member in members_of({"params": {}, "rounds": 9, "more": [{"params": {}, "rounds": 7}]})]
    [9, 7]
    """
    return [recipe, *recipe.get("more", ())]


def tree_params(recipe: RecipeDict) -> dict[str, Any]:
    """Return the parameters without the number of rounds, as `ModelFamily.fit` takes them."""
    return {name: value for name, value in recipe["params"].items() if name != ROUNDS}


def rounds_of(recipe: RecipeDict) -> int:
    """Return the number of boosting rounds."""
    return int(recipe.get("rounds", recipe["params"].get(ROUNDS, 0)))


def kinds_of(recipe: RecipeDict) -> dict[str, str]:
    """Return column name to ``"number"`` or ``"category"``; a column without any value was ``"empty"``."""
    columns = recipe["columns"]
    if columns["sparse"]:
        return {f"x{i}": "number" for i in range(columns["n_columns"])}
    return {c["name"]: "empty" if c.get("all_missing") else c["kind"] for c in columns["columns"]}


def read_data(recipe: RecipeDict, X: Any, y: Any, *, sample_weight: Any = None, groups: Any = None) -> Dataset:
    """Read data as those of the recipe were read, whatever a file has made of their types.

    Numbers stay numbers. What was a category is one again, its values matched by their text (``7`` and ``"7"``), in
    the order of the recipe; values that it did not know come after them. Labels are matched by text, too.

    Parameters
    ----------
    recipe : mapping
        What ``recipe.json`` holds.
    X, y, sample_weight, groups
        As in `gbtune.tune`.

    Raises
    ------
    InvalidData
        If columns are missing or more, or hold something else; if a label is unknown.

    Examples
    --------
    >>> import pandas as pd
    >>> from gbtune.encoding import Encoder
    >>> from gbtune.recipe import read_data
    >>> columns = Encoder.fit(pd.DataFrame({"zone": ["2", "1"], "rooms": [3, 4]})).to_dict()
    >>> recipe = {"columns": columns, "task": "binary", "classes": ["no", "yes"]}
    >>> data = read_data(recipe, pd.DataFrame({"zone": [1, 2, 7], "rooms": [3, 4, 5]}), ["no", "yes", "no"])
    >>> data.encoder.columns[0].levels
    ('1', '2', '7')
    """
    encoder = Encoder.from_dict(recipe["columns"])
    if encoder.sparse:
        given: Any = encoder.encode(X)
    else:
        table = as_table(X)
        frame = encoder.in_order(table)
        columns = {c.name: _as_before(c, frame.iloc[:, i]) for i, c in enumerate(encoder.columns)}
        given = pd.DataFrame(columns, index=frame.index)
    target = _labels(y, recipe["classes"]) if recipe["classes"] else y
    data = Dataset.from_arrays(given, target, task=recipe["task"], sample_weight=sample_weight, groups=groups)
    now = kinds_of({"columns": data.encoder.to_dict()})
    wrong = [
        f"{name!r} was {_words(kind)} and now is {_words(now[name])}"
        for name, kind in kinds_of(recipe).items()
        if kind != now[name] and "empty" not in (kind, now[name])
    ]
    if wrong:
        raise InvalidData(f"X must hold what the recipe's columns held: {'; '.join(wrong)}.")
    return dataclasses.replace(data, encoder=dataclasses.replace(data.encoder, named=encoder.named))


def _words(kind: str) -> str:
    return {"number": "numbers", "category": "a category"}.get(kind, kind)


def _as_before(column: Column, values: pd.Series[Any]) -> Any:
    """Return a column in the type that the recipe's had; what cannot be that stays as it is, and is refused later."""
    read = read_column(values)
    if isinstance(read, Unreadable):
        return values
    if column.kind == "number":
        return values if isinstance(read, Factor) else read.values.astype(column.dtype, copy=False)
    if not isinstance(read, Factor):
        codes, uniques = pd.factorize(read.values)
        read = Factor(codes, uniques.tolist(), ordered=False)
    found = [_level(column, value) for value in read.values]
    unseen = sorted({level for level in found if level not in column.codes_by_value}, key=lambda v: (str(type(v)), v))
    levels = [*column.levels, *unseen]
    position = {level: code for code, level in enumerate(levels)}
    translation = np.append(np.asarray([position[level] for level in found], dtype=np.intp), -1)
    return pd.Categorical.from_codes(translation[read.codes], categories=pd.Index(levels))


def _level(column: Column, value: Any) -> Any:
    """Return the level that a value is, by value, by text, or as the number that its text says."""
    if value in column.codes_by_value and isinstance(value, str) == isinstance(column.levels[0], str):
        return value
    return _matched(value, {text: column.levels[code] for text, code in column.codes_by_text.items()})


def _matched(value: Any, by_text: Mapping[str, Any]) -> Any:
    if text_of(value) in by_text:
        return by_text[text_of(value)]
    textual = isinstance(next(iter(by_text.values())), str)
    if textual or not isinstance(value, str):
        return text_of(value) if textual else value
    try:
        number = float(value)
    except ValueError:
        return value
    return by_text.get(text_of(number), number)


def _labels(y: Any, classes: list[Any]) -> pd.Series[Any]:
    given = pd.Series(y) if not isinstance(y, pd.Series) else y
    by_text = {text_of(label): label for label in classes}
    found = {value: _matched(value, by_text) for value in given.dropna().unique().tolist()}
    unknown = [value for value, label in found.items() if text_of(label) not in by_text]
    if unknown:
        raise InvalidData(
            f"y must hold the labels of the recipe, {', '.join(map(repr, classes[:10]))}; it also holds "
            f"{', '.join(map(repr, unknown[:5]))}. Choose the right column, or drop these rows."
        )
    return given.astype(object).map(found)
