"""How a registered model was fitted, read from a server and from a file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow_server import Server, small_bundle

from gbtune.errors import InvalidArgument
from gbtune.testing import trackers as kit
from gbtune.tracking import MLflowTracker
from gbtune.tracking.recipes import read_recipe

Frame = tuple[pd.DataFrame, pd.Series]
PARAMS = {"learning_rate": 0.1, "boost": True, "n_estimators": 3}


def registered(uri: str, name: str, data: Frame) -> mlflow.MlflowClient:
    tracker = MLflowTracker(uri, register=name, experiment=name)
    tracker.study_started(kit.example_study())
    recipe = {"family": "lightgbm", "params": PARAMS, "metric": kit.example_study().metric}
    bundle = dataclasses.replace(small_bundle(*data), recipe=recipe)
    assert tracker.study_finished(kit.example_outcome(model=bundle)).problems == ()
    return mlflow.MlflowClient(uri, uri)


def test_the_recipe_of_a_server_is_read_by_version_alias_and_id(
    server: Server, breast_cancer: Frame, capfd: pytest.CaptureFixture[str]
) -> None:
    client = registered(server.uri, "recipe", breast_cancer)
    model_id = client.get_model_version("recipe", "1").tags["gbtune.model_id"]
    best = kit.example_outcome().best
    assert best is not None
    capfd.readouterr()
    for name in ("recipe/1", "recipe@champion", "recipe/latest", model_id):
        recipe = read_recipe(f"models:/{name}", tracking_uri=server.uri)
        assert (recipe.family, recipe.params) == ("lightgbm", PARAMS), "with their types"
        assert recipe.score == best.score
    assert capfd.readouterr() == ("", "")


def test_the_callers_own_tracking_uri_is_not_asked(uri: str, breast_cancer: Frame, tmp_path: Path) -> None:
    registered(uri, "recipe", breast_cancer)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/callers.db")
    try:
        assert read_recipe("models:/recipe/1", tracking_uri=uri).model == "model 'recipe' version 1"
        assert not (tmp_path / "callers.db").exists()
    finally:
        mlflow.set_tracking_uri(None)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("recipe", "'models:/<name>/<version>'"),
        ("a/b/c", "'models:/<name>/<version>'"),
        ("recipe/9", "cannot be read"),
        ("recipe@nobody", "cannot be read"),
        ("nothing/latest", "no model 'nothing'"),
        ("m-0123", "cannot be read"),
        ("foreign/1", "not logged by gbtune"),
    ],
)
def test_a_model_without_a_recipe_is_refused_with_the_reason(
    name: str, words: str, uri: str, client: mlflow.MlflowClient, tmp_path: Path
) -> None:
    client.create_registered_model("foreign")
    client.create_model_version("foreign", str(tmp_path))
    with pytest.raises(InvalidArgument, match=words):
        read_recipe(f"models:/{name}", tracking_uri=uri)


def test_a_store_that_is_not_there_is_said_and_not_created(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="no MLflow store"):
        read_recipe("models:/churn/1", tracking_uri=f"sqlite:///{tmp_path}/none.db")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InvalidArgument, match="does not answer"):
        read_recipe("models:/churn/1", tracking_uri="http://127.0.0.1:9")
