"""Fragments: spaces that are sums, and studies over them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from quick import quick_space

import gbtune
from gbtune.errors import InvalidArgument, InvalidSpace, UnknownName
from gbtune.spaces import CategoricalParameter, FixedParameter, IntParameter, SearchSpace, available, builtin_folder
from gbtune.spaces.folders import FRAGMENTS

ROOT = Path(__file__).parents[2]
Frame = tuple[pd.DataFrame, pd.Series]
NAMES = ("imbalance", "regularization", "schedules")
QUIET: dict[str, Any] = {"tracking": False, "progress": False, "cv": 3}


def fragment(name: str = "extra", **tables: Any) -> SearchSpace:
    header = {"schema": 1, "family": "xgboost", "name": name, "fragment": True}
    return SearchSpace.load({**header, "parameters": tables})


GAMMA = {"kind": "float", "low": 0.0, "high": 5.0, "default": 0.0}


# -- the files ----------------------------------------------------------------------------------------------


def test_both_families_ship_the_same_fragments(family_name: str) -> None:
    assert available(family_name, fragments=True) == [f"{family_name}/{name}" for name in NAMES]
    assert not set(available(family_name)) & set(available(family_name, fragments=True))
    assert {path.stem for path in (builtin_folder() / family_name / FRAGMENTS).glob("*.toml")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_fragment_is_marked_explained_and_taken_by_the_family(family_name: str, name: str) -> None:
    found = SearchSpace.load(name, family=family_name)
    assert found.fragment and found.key == f"{family_name}/{name}" and found.summary and found.sources
    assert found.tasks == (("binary",) if name == "imbalance" else ("binary", "multiclass", "regression"))
    family = gbtune.families.get(family_name)
    assert {parameter.name for parameter in found.parameters} <= family.capabilities.parameters
    assert found.grid()


def test_the_defaults_of_a_fragment_are_off(family_name: str, breast_cancer: Frame) -> None:
    """So the portfolio keeps its meaning: the trees are those of the space alone."""
    from gbtune.data import Dataset

    family, data = gbtune.families.get(family_name), Dataset.from_arrays(*breast_cancer)
    core = SearchSpace.load("core", family=family_name)
    for name in NAMES:
        both = SearchSpace.load(f"core+{name}", family=family_name)
        for entry in both.portfolio_for("binary")[:2]:
            with_it, alone = (
                family.fit(data, space.complete(space.project(entry.params)), 15, 0, loss="log_loss_binary")
                for space in (both, core)
            )
            expected, found = (model.predict_proba(data.X) for model in (alone, with_it))
            np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=name)


# -- the sum ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_sum_is_a_space_like_any_other(family_name: str, name: str) -> None:
    core, added = (SearchSpace.load(each, family=family_name) for each in ("core", name))
    both = core + added
    assert both == SearchSpace.load(f"core+{name}", family=family_name) == SearchSpace.load(f"{core.key} + {added.key}")
    assert (
        both.key == f"{family_name}/core+{name}"
        and not both.fragment
        and both.version == f"{core.version}+{added.version}"
    )
    assert both.portfolio == core.portfolio and both.rounds == core.rounds
    assert set(core.sources + added.sources) == set(both.sources)
    assert list(both.distributions()) == list(dict.fromkeys([*core.distributions(), *added.distributions()])) or (
        family_name == "lightgbm" and name == "regularization"  # reg_lambda stands where core had it
    )
    again = SearchSpace.load(json.loads(json.dumps(both.to_dict())))
    assert again == both and hash(again) == hash(both) and repr(again) == repr(both)
    assert SearchSpace.load(added.to_dict()) == added and added.to_dict()["fragment"] is True


def test_fragments_add_up_in_any_number(family_name: str) -> None:
    three = SearchSpace.load("core+regularization+schedules+imbalance", family=family_name)
    assert three.name == "core+regularization+schedules+imbalance" and three.tasks == ("binary",)
    pair = SearchSpace.load(f"{family_name}/regularization") + SearchSpace.load(f"{family_name}/schedules")
    assert pair.fragment
    two = SearchSpace.load("core+regularization+schedules", family=family_name)
    assert (SearchSpace.load(f"{family_name}/core") + pair).parameters == two.parameters


def test_a_replaced_parameter_keeps_its_place_and_the_default_of_the_space() -> None:
    core = SearchSpace.load("lightgbm/core")
    both = SearchSpace.load("lightgbm/core+regularization")
    assert core.defaults()["reg_lambda"] == 1.0 == both.defaults()["reg_lambda"]
    assert both.distributions()["reg_lambda"].low == 1e-8
    names = [parameter.name for parameter in both.parameters]
    assert names == [*(parameter.name for parameter in core.parameters), "reg_alpha", "min_split_gain"]
    narrow = SearchSpace.load("xgboost/core") + fragment(max_depth={"kind": "int", "low": 8, "high": 9, "default": 9})
    assert narrow.defaults()["max_depth"] == 8, "6 is moved to the nearest value"
    assert narrow.portfolio_for("binary") == SearchSpace.load("xgboost/core").portfolio_for("binary")
    constant = SearchSpace.load("xgboost/core") + fragment(subsample={"kind": "fixed", "value": 0.5})
    assert constant.defaults()["subsample"] == 0.5 and "subsample" not in constant.distributions()


def test_parameters_are_ordered_so_that_conditions_look_back() -> None:
    switch = {"kind": "categorical", "choices": ["depthwise", "lossguide"], "default": "depthwise"}
    leaves = {"kind": "int", "low": 2, "high": 64, "default": 8, "when": {"grow_policy": "lossguide"}}
    core = SearchSpace(
        "xgboost",
        "mine",
        (FixedParameter(name="max_leaves", value=0), IntParameter(name="max_depth", low=1, high=3, default=2)),
    )
    both = core + fragment(grow_policy=switch, max_leaves=leaves)
    assert [parameter.name for parameter in both.parameters] == ["max_depth", "grow_policy", "max_leaves"]
    broken = core + fragment(grow_policy=switch, max_leaves=leaves)
    with pytest.raises(InvalidSpace, match=r"mine\+extra\+twist: .*never has the value 'lossguide'"):
        broken + fragment("twist", grow_policy={**switch, "choices": ["depthwise", "other"]})


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("core+wide", "'xgboost/wide' is a whole space"),
        ("core+regularisation", "Did you mean 'xgboost/regularization'"),
        ("core+imbalance+imbalance", r"'xgboost/core\+imbalance' has 'imbalance' already"),
        ("core+lightgbm/imbalance", "for the family 'lightgbm', but the model family is 'xgboost'"),
        ("core+", "search space"),
    ],
)
def test_what_cannot_be_added_is_told(reference: str, message: str) -> None:
    with pytest.raises((InvalidArgument, UnknownName), match=message):
        SearchSpace.load(reference, family="xgboost")


def test_sums_of_objects_follow_the_same_rules() -> None:
    core = SearchSpace.load("xgboost/core")
    with pytest.raises(InvalidArgument, match="is for the family 'lightgbm', and 'xgboost/core'"):
        core + SearchSpace.load("lightgbm/imbalance")
    with pytest.raises(TypeError):
        core + "imbalance"
    regression = SearchSpace.load({**core.to_dict(), "tasks": ["regression"]})
    with pytest.raises(InvalidArgument, match="no task is left"):
        regression + SearchSpace.load("xgboost/imbalance")
    with pytest.raises(InvalidSpace, match="portfolio: a fragment has none"):
        SearchSpace.load({**core.to_dict(), "fragment": True})
    with pytest.raises(InvalidSpace, match="fragment: must be true or false"):
        SearchSpace.load({**core.to_dict(), "fragment": "yes"})


def test_own_files_are_added_by_path_and_to_paths(tmp_path: Path) -> None:
    mine = tmp_path / "c++" / "mine.toml"
    mine.parent.mkdir()
    text = (builtin_folder() / "xgboost" / FRAGMENTS / "imbalance.toml").read_text(encoding="utf-8")
    mine.write_text(text.replace('name = "imbalance"', 'name = "mine"'), encoding="utf-8")
    assert SearchSpace.load(str(mine)).fragment, "a plus in a path is no sum"
    plain = tmp_path / "plain.toml"
    plain.write_text(mine.read_text(encoding="utf-8"), encoding="utf-8")
    assert SearchSpace.load(f"core+{plain}", family="xgboost").key == "xgboost/core+mine"
    core = tmp_path / "own.toml"
    text = (builtin_folder() / "xgboost" / "core.toml").read_text(encoding="utf-8")
    core.write_text(text.replace('name = "core"', 'name = "own"'), encoding="utf-8")
    assert SearchSpace.load(f"{core}+schedules").key == "xgboost/own+schedules"


@pytest.mark.parametrize("where", ["xgboost", f"xgboost/{FRAGMENTS}"])
def test_a_file_lies_where_its_kind_belongs(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "xgboost/core.toml" if FRAGMENTS in where else f"xgboost/{FRAGMENTS}/imbalance.toml"
    text = (builtin_folder() / source).read_text(encoding="utf-8")
    (tmp_path / where).mkdir(parents=True)
    (tmp_path / where / "stray.toml").write_text(re.sub(r'\nname = ".*"', '\nname = "stray"', text), encoding="utf-8")
    monkeypatch.setattr("gbtune.spaces.folders._folders", lambda: [("gbtune", tmp_path)])
    with pytest.raises(InvalidSpace, match="fragment: what lies in a folder 'fragments' has fragment = true"):
        SearchSpace.load("xgboost/stray")


# -- conditions on several values ---------------------------------------------------------------------------


def test_a_condition_may_allow_several_values() -> None:
    space = SearchSpace.load("xgboost/schedules")
    final = next(parameter for parameter in space.parameters if parameter.name == "learning_rate_final")
    assert dict(final.when) == {"learning_rate_schedule": ("step", "exponential", "cosine")}
    assert "when learning_rate_schedule = 'step' or 'exponential' or 'cosine'" in repr(space)
    for kind in ("constant", "step", "exponential", "cosine"):
        active = set(
            space.complete({**space.fix(learning_rate_schedule=kind).defaults(), "learning_rate_schedule": kind})
        )
        assert ("learning_rate_final" in active) == (kind != "constant")
        assert ("learning_rate_steps" in active) == (kind == "step")
    choices = CategoricalParameter(name="a", choices=[1, 2, 3], default=1)
    for wrong, message in (((1, 9), "never has the value 9"), ((1,), "two or more"), ((1, 1), "each value once")):
        with pytest.raises(InvalidSpace, match=message):
            SearchSpace("xgboost", "x", (choices, FixedParameter(name="b", value=1, when={"a": wrong})))


def test_choosing_among_fewer_schedules_adapts_the_conditions() -> None:
    space = SearchSpace.load("xgboost/core+schedules")
    with pytest.raises(InvalidSpace, match="leave 'learning_rate_steps' out"):
        space.override(learning_rate_schedule=["constant", "cosine"])
    fewer = space.without("learning_rate_steps").override(learning_rate_schedule=["constant", "cosine"])
    assert fewer.defaults()["learning_rate_schedule"] == "constant"
    assert dict(fewer.parameters[-1].when) == {"learning_rate_schedule": "cosine"}


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("sampler", ["tpe", "random", "grid", "group", "qmc", "nsgaii"])
def test_every_sampler_asks_what_the_schedule_needs(sampler: str, family_name: str) -> None:
    from gbtune.samplers import resolve_sampler

    space = SearchSpace.load("core+schedules", family=family_name)
    own = {
        "group": lambda: optuna.samplers.TPESampler(multivariate=True, group=True, seed=0),
        "qmc": lambda: optuna.samplers.QMCSampler(seed=0, warn_independent_sampling=False),
        "nsgaii": lambda: optuna.samplers.NSGAIISampler(seed=0, population_size=8),
    }
    plan = resolve_sampler(own[sampler]() if sampler in own else sampler, space, study_seed=0)
    study = optuna.create_study(sampler=plan.sampler)
    for point in plan.points[:24]:
        study.enqueue_trial(point)

    def objective(trial: optuna.Trial) -> float:
        params = space.suggest(trial, rounds=False)
        kind = params["learning_rate_schedule"]
        assert ("learning_rate_final" in params) == ("learning_rate_horizon" in params) == (kind != "constant")
        assert ("learning_rate_steps" in params) == (kind == "step")
        return float(params["learning_rate"])

    study.optimize(objective, n_trials=24)
    assert len({trial.params["learning_rate_schedule"] for trial in study.trials}) > 1


# -- studies ------------------------------------------------------------------------------------------------


def test_a_fragment_alone_is_not_tuned(family_name: str, breast_cancer: Frame) -> None:
    for space in ("imbalance", SearchSpace.load("schedules", family=family_name)):
        with pytest.raises(InvalidArgument, match=r"is a fragment.*e\.g\. 'core"):
            gbtune.tune(*breast_cancer, family=family_name, space=space, n_trials=1, **QUIET)


@pytest.mark.parametrize("data", ["wine", "diabetes"])
def test_imbalance_is_for_two_classes(family_name: str, data: str, request: pytest.FixtureRequest) -> None:
    with pytest.raises(InvalidArgument, match=r"core\+imbalance is for binary, and this is a (multiclass|regression)"):
        gbtune.tune(*request.getfixturevalue(data), family=family_name, space="core+imbalance", n_trials=1, **QUIET)


def test_imbalance_is_tuned_with_a_metric_that_gains(family_name: str, breast_cancer: Frame) -> None:
    X, y = breast_cancer
    rare = np.flatnonzero((y == 1) | (np.arange(len(y)) % 10 == 0))
    space = quick_space(family_name, "core+imbalance").fix(scale_pos_weight=0.05)
    result = gbtune.tune(
        X.iloc[rare], 1 - y.iloc[rare], family=family_name, space=space, metric="balanced_accuracy", n_trials=4, **QUIET
    )
    assert result.trials["param_scale_pos_weight"].dropna().eq(0.05).all()
    assert result.record.space == f"{family_name}/core+imbalance"


def test_a_scheduled_study_goes_on_is_saved_and_lands_in_mlflow(
    family_name: str, diabetes: Frame, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.chdir(tmp_path)
    X, y = diabetes
    store = uri
    space = SearchSpace.load("core+regularization+schedules", family=family_name).override(
        learning_rate_schedule={"choices": ["step", "exponential", "cosine"]},
        learning_rate_horizon=(30, 100),
        learning_rate=(0.1, 0.3),
        n_estimators=(50, 100),
    )
    space = SearchSpace.load({**space.to_dict(), "portfolio": []})  # what is sampled is what this is about

    def call(n_trials: int) -> gbtune.TuningResult:
        arguments: dict[str, Any] = {**QUIET, "tracking": store, "study": "sugar", "register": "sugar"}
        return gbtune.tune(X, y, family=family_name, space=space, n_trials=n_trials, **arguments)

    first = call(3)
    result = call(6)
    assert len(result.trials) == 6 and first.best_score >= result.best_score
    straight = gbtune.tune(X, y, family=family_name, space=space, n_trials=6, **QUIET)
    assert straight.best_params == result.best_params and straight.best_score == result.best_score
    kind = result.best_params["learning_rate_schedule"]
    assert kind != "constant" and result.best_params["learning_rate_horizon"] > 0, "the default did not win"

    # The model is the library's own, fitted with the library's own callback.
    family = gbtune.families.get(family_name)
    assert (result.predict(X) == straight.predict(X)).all()
    constant = {name: v for name, v in result.best_params.items() if not name.startswith(("learning_rate_", "n_est"))}
    ignoring = family.fit(_dataset(X, y), constant, result.best_trial.rounds, 0, loss="squared_error")
    assert np.abs(ignoring.predict(result.encode(X)) - result.predict(X)).max() > 1, "it follows the schedule"

    loaded = gbtune.TuningResult.load(result.save(tmp_path / "saved"))
    assert (loaded.predict(X) == result.predict(X)).all() and loaded.best_params == result.best_params

    client = mlflow.MlflowClient(store, store)
    version = client.get_model_version_by_alias("sugar", "challenger")
    logged = client.get_logged_model(version.tags["gbtune.model_id"])
    assert logged.params["learning_rate_schedule"] == kind
    (recipe,) = Path(logged.artifact_location.removeprefix("file://")).rglob("recipe.json")
    assert json.loads(recipe.read_text(encoding="utf-8"))["params"] == result.best_params
    again = mlflow.pyfunc.load_model(logged.artifact_location)
    np.testing.assert_allclose(again.predict(X), result.predict(X), rtol=1e-6)


def _dataset(X: pd.DataFrame, y: pd.Series) -> Any:
    from gbtune.data import Dataset

    return Dataset.from_arrays(X, y)


def test_the_page_runs_as_it_is_written(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "fragments.md").read_text(encoding="utf-8")
    first, *runnable = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names = re.findall(r'space="([^"]+)"', first)
    assert names[:2] == ["core+regularization", "native+schedules+imbalance"]
    SearchSpace.load(names[0], family="xgboost"), SearchSpace.load(names[1], family="lightgbm")
    check = "assert model.get_params()['callbacks'] and model.score(result.encode(X), y) > 0.5\n"
    code = "\n".join([*runnable, check])
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "core+schedules" in done.stdout and "'learning_rate_schedule': 'cosine'" in done.stdout
    for name in NAMES:
        assert f"| `{name}` |" in text
