"""Read how a model in MLflow was fitted: its parameters, to start another study from them."""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gbtune.errors import GbtuneError, InvalidArgument
from gbtune.locations import public_uri, resolve_registry, resolve_uri, sqlite_path
from gbtune.tracking.model_registry import versions_of
from gbtune.tracking.projection import safe_key
from gbtune.tracking.store import Store, quiet, what_went_wrong

MODELS = "models:/"
RECIPE = "data/model/recipe.json"
"""Where `model_registry.save_pyfunc` puts it in a model's folder."""
_URI = re.compile(r"models:/(?P<model_id>m-\w+)|models:/(?P<name>[^/]+)(?:/(?P<version>\d+|latest)|@(?P<alias>[^/@]+))")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a logged model was fitted.

    Parameters
    ----------
    model : str
        For people, e.g. ``"model 'churn' version 3"``.
    family : str
        Of the model, e.g. ``"xgboost"``.
    params : mapping
        Keyword arguments of the library's scikit-learn class, ``n_estimators`` among them.
    metric : str
        It was tuned by.
    score : float or None
        Of that metric over the folds of the study; None if the model does not say.
    """

    model: str
    family: str
    params: Mapping[str, Any]
    metric: str
    score: float | None


def read_recipe(uri: str, *, tracking_uri: str | None = None, registry_uri: str | None = None) -> Recipe:
    """Return the recipe of a model that a gbtune study logged.

    Parameters
    ----------
    uri : str
        ``"models:/<name>/<version>"``, ``"models:/<name>/latest"``, ``"models:/<name>@<alias>"`` or
        ``"models:/<model id>"``.
    tracking_uri, registry_uri : str, optional
        As `MLflowTracker` takes them. Nothing is created there.

    Raises
    ------
    InvalidArgument
        If it is no such URI, the store or the model cannot be read, or gbtune did not log it.

    Examples
    --------
    >>> from gbtune.tracking.recipes import read_recipe
    >>> read_recipe("models:/churn")  # doctest: +SKIP
    """
    found = _URI.fullmatch(uri)
    if found is None:
        raise InvalidArgument(
            f"A registered model is 'models:/<name>/<version>', 'models:/<name>/latest' or 'models:/<name>@<alias>', "
            f"got {uri!r}."
        )
    store = Store(resolve_uri(tracking_uri), resolve_registry(tracking_uri, registry_uri))
    for place in {store.uri, store.registry_uri}:
        path = sqlite_path(place)
        if path is not None and not path.is_file():  # it would be created, empty
            raise InvalidArgument(f"{uri} cannot be read: there is no MLflow store {public_uri(place)}. Set tracking=.")
    try:
        with quiet():
            return _read(store, **found.groupdict())
    except GbtuneError:
        raise
    except Exception as error:  # MLflow, its servers and its artifact stores have an error each
        raise InvalidArgument(
            f"{uri} cannot be read from {public_uri(store.registry_uri)}: {what_went_wrong(error)}"
        ) from error


def _read(store: Store, model_id: str | None, name: str, version: str | None, alias: str | None) -> Recipe:
    if model_id is not None:
        shown, entry = f"model {model_id!r}", store.client.get_logged_model(model_id)
    else:
        entry = _version(store, name, version, alias)
        shown, model_id = f"model {name!r} version {entry.version}", entry.tags.get("gbtune.model_id")
    if model_id is None or "gbtune.recipe" not in entry.tags:
        raise InvalidArgument(f"{shown} was not logged by gbtune, and has no recipe. Give its parameters as a dict.")
    recipe = download_recipe(store, store.client.get_logged_model(model_id).artifact_location)
    score = entry.tags.get(f"gbtune.score.{safe_key(recipe['metric'])}")
    return Recipe(shown, recipe["family"], recipe["params"], recipe["metric"], None if score is None else float(score))


def _version(store: Store, name: str, version: str | None, alias: str | None) -> Any:
    if alias is not None:
        return store.client.get_model_version_by_alias(name, alias)
    if version != "latest":
        return store.client.get_model_version(name, version)
    known = versions_of(store, name)
    if not known:
        raise InvalidArgument(f"There is no model {name!r} in the registry {public_uri(store.registry_uri)}.")
    return max(known, key=lambda each: int(each.version))


def download_recipe(store: Store, location: str) -> dict[str, Any]:
    """Return what ``recipe.json`` holds in the artifacts of a logged model."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    # By its place: MLflow resolves models:/... with the global registry URI, which is the caller's. And by what every
    # repository implements: the public function draws a progress bar for the one file.
    repository = get_artifact_repository(location, tracking_uri=store.uri, registry_uri=store.registry_uri)
    with tempfile.TemporaryDirectory(prefix="gbtune-recipe-") as folder:
        path = Path(folder) / "recipe.json"
        repository._download_file(RECIPE, str(path))
        return dict(json.loads(path.read_text(encoding="utf-8")))
