"""`SearchSpace` over generated spaces (hypothesis), and its edits."""

from __future__ import annotations

import copy
import json
import math
import pickle
import warnings

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gbtune.errors import InvalidArgument, InvalidSpace, UnknownName
from gbtune.spaces import (
    CategoricalParameter,
    FixedParameter,
    FloatParameter,
    IntParameter,
    PortfolioEntry,
    SearchSpace,
    available,
)
from gbtune.spaces.base import MANY_LEVELS
from gbtune.spaces.grids import MAX_CELLS

optuna.logging.set_verbosity(optuna.logging.WARNING)

TEXTS = st.text("abcdef", min_size=1, max_size=4)
SCALARS = st.one_of(st.booleans(), st.integers(-(10**6), 10**6), st.floats(allow_nan=True, allow_infinity=True), TEXTS)


@st.composite
def floats(draw):
    table = {"kind": "float"}
    if draw(st.booleans()):
        step = draw(st.sampled_from([0.1, 0.25, 0.05, 3.0, 1e-3]))
        low = draw(st.integers(-5, 5)) / 10
        steps = draw(st.integers(0, 12))
        table |= {"low": low, "high": float(str(round(low + steps * step, 6))), "step": step, "default": low}
        return table
    log = draw(st.booleans())
    low = draw(st.floats(1e-8, 1.0) if log else st.floats(-10, 10))
    high = draw(st.floats(low, 1000.0))
    values = draw(st.lists(st.floats(low, high), min_size=1, max_size=4, unique=True))
    return table | {"low": low, "high": high, "log": log, "default": values[0], "grid": values}


@st.composite
def integers(draw, kind="int"):
    low = draw(st.integers(1, 20))
    table = {"kind": kind, "low": low}
    if kind == "int" and draw(st.booleans()):
        step = draw(st.integers(1, 5))
        count = draw(st.integers(0, 10))
        return table | {"high": low + step * count, "step": step, "default": low + step * (count // 2)}
    high = draw(st.integers(low, 3000))
    values = draw(st.lists(st.integers(low, high), min_size=1, max_size=4, unique=True))
    table |= {"high": high, "default": values[0], "grid": values}
    return table | ({"log": True} if kind == "int" and draw(st.booleans()) else {})


@st.composite
def categoricals(draw):
    choices = draw(st.lists(st.one_of(TEXTS, st.integers(2, 99)), min_size=1, max_size=4, unique=True))
    return {"kind": "categorical", "choices": choices, "default": draw(st.sampled_from(choices))}


@st.composite
def spaces(draw):
    """A space of all kinds, with conditions on choices and rules of both sorts."""
    tables = {}
    for position in range(draw(st.integers(1, 5))):
        table = draw(st.one_of(floats(), integers(), categoricals(), st.just({"kind": "fixed", "value": 3})))
        switches = [name for name, earlier in tables.items() if earlier["kind"] == "categorical"]
        if switches and draw(st.booleans()):
            switch = draw(st.sampled_from(switches))
            table["when"] = {switch: draw(st.sampled_from(tables[switch]["choices"]))}
        if draw(st.booleans()) and draw(st.booleans()):
            table["why"] = "because"
        tables[f"p{position}"] = table
    counts = [name for name, table in tables.items() if table["kind"] == "int"]
    if counts and draw(st.booleans()):
        rule = {"rule": "power_of_two", "of": draw(st.sampled_from(counts)), "max": draw(st.integers(1, 600))}
        tables["power"] = {"kind": "fixed", "derived": rule}
    if draw(st.booleans()):
        tables["same"] = {"kind": "fixed", "derived": {"rule": "equal", "of": draw(st.sampled_from(list(tables)))}}
    if draw(st.booleans()):
        tables["n_estimators"] = draw(integers("rounds"))
    return SearchSpace.load({"schema": 1, "family": "xgboost", "name": "drawn", "parameters": tables})


def inside(space, point, rounds=False):
    distributions = space.distributions(rounds=rounds)
    assert set(point) <= set(distributions)
    for name, value in point.items():
        distribution = distributions[name]
        assert distribution._contains(distribution.to_internal_repr(value)), (name, value, distribution)


@given(spaces())
def test_a_space_survives_the_trip_through_json(space):
    again = SearchSpace.load(json.loads(json.dumps(space.to_dict())))
    assert again == space
    assert hash(again) == hash(space)
    assert repr(again) == repr(space)
    assert again.to_dict() == space.to_dict()
    assert pickle.loads(pickle.dumps(space)) == copy.deepcopy(space) == space


@given(spaces(), st.dictionaries(st.sampled_from([f"p{i}" for i in range(5)] + ["foreign"]), SCALARS))
def test_a_projected_point_is_inside_and_stays_where_it_is(space, point):
    projected = space.project(point)
    inside(space, projected)
    assert space.project(projected) == projected
    completed = space.complete(projected)
    active = {name for name in completed if name in space.distributions(rounds=False)}
    assert set(projected) == active


@settings(max_examples=40)
@given(spaces(), st.integers(0, 2**31 - 1), st.booleans())
def test_suggested_values_are_inside_and_complete(space, seed, rounds):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    params = space.suggest(trial, rounds=rounds)
    inside(space, trial.params, rounds=rounds)
    count = {} if not rounds or space.rounds is None else {space.rounds.name: params[space.rounds.name]}
    assert params == {**space.complete(trial.params), **count}
    assert trial.distributions.items() <= space.distributions(rounds=rounds).items()


@settings(max_examples=40)
@given(spaces(), st.dictionaries(st.sampled_from([f"p{i}" for i in range(5)]), SCALARS))
def test_an_enqueued_projected_point_is_what_the_trial_gets(space, point):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    projected = space.project(point)
    study.enqueue_trial(projected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trial = study.ask()
        space.suggest(trial, rounds=False)
    assert trial.params == projected


@given(spaces(), st.booleans())
def test_grid_cells_are_inside_unique_and_whole(space, rounds):
    try:
        cells = space.grid(rounds=rounds)
    except InvalidSpace as error:  # five parameters of ten values each, now and then
        assert f"the grid has over {MAX_CELLS:,} cells" in str(error)
        return
    assert len({tuple(cell.items()) for cell in cells}) == len(cells) >= 1
    for cell in cells[:50]:
        inside(space, cell, rounds=rounds)
        if not rounds:
            assert space.project(cell) == cell


@given(spaces(), st.data())
def test_fixing_a_parameter_makes_it_a_constant(space, data):
    fixable = [p.name for p in space.parameters if p.kind not in ("fixed", "rounds")]
    if not fixable:
        return
    name = data.draw(st.sampled_from(fixable))
    value = space.project({}).get(name, 1)
    if any(p.name == "power" and p.derived.of == name for p in space.parameters):
        value = 4
    fixed = space.fix(**{name: value})
    assert name not in fixed.distributions()
    assert fixed.defaults().get(name, value) == value
    assert SearchSpace.load(fixed.to_dict()) == fixed
    assert name in space.distributions()


@given(spaces(), st.data())
def test_leaving_a_parameter_out_works_unless_another_needs_it(space, data):
    name = data.draw(st.sampled_from([parameter.name for parameter in space.parameters]))
    needed = any(
        name in dict(p.when) or (p.kind == "fixed" and p.derived is not None and p.derived.of == name)
        for p in space.parameters
    )
    if needed or len(space.parameters) == 1:
        with pytest.raises(InvalidSpace):
            space.without(name)
        return
    smaller = space.without(name)
    assert name not in smaller.defaults()
    assert len(smaller.parameters) == len(space.parameters) - 1


@given(spaces(), st.data())
def test_overriding_a_range_keeps_the_space_valid(space, data):
    ranges = [p for p in space.parameters if p.kind in ("float", "int", "rounds") and p.step in (None, 1)]
    if not ranges:
        return
    parameter = data.draw(st.sampled_from(ranges))
    ends = (
        st.floats(parameter.low, parameter.high)
        if parameter.kind == "float"
        else st.integers(parameter.low, parameter.high)
    )
    low, high = sorted([data.draw(ends), data.draw(ends)])
    changed = space.override(**{parameter.name: (low, high)})
    distribution = changed.distributions()[parameter.name]
    assert (distribution.low, distribution.high, distribution.log) == (low, high, parameter.log)
    inside(changed, changed.project(space.project({})))
    assert SearchSpace.load(changed.to_dict()) == changed


CORE = SearchSpace.load("xgboost/core")


def test_a_space_is_frozen_and_its_edits_are_new_spaces():
    before = CORE.to_dict()
    with pytest.raises(AttributeError):
        CORE.name = "other"
    with pytest.raises(TypeError):
        CORE.portfolio[0].params["max_depth"] = 3
    edited = CORE.override(max_depth=(3, 5)).fix(subsample=0.8).without("colsample_bytree")
    assert CORE.to_dict() == before
    assert edited != CORE and {CORE: 1}[SearchSpace.load(before)] == 1
    assert all("colsample_bytree" not in entry.params for entry in edited.portfolio)
    assert SearchSpace.load(edited) is edited


def test_a_tuple_is_a_range_a_list_is_choices_and_a_dictionary_is_a_table():
    changed = CORE.override(
        max_depth=(np.int64(8), 10),
        learning_rate=[0.03, 0.3],
        subsample={"step": 0.1},
        n_estimators={"kind": "int", "low": 10, "high": 90, "default": 20},
        min_child_weight=FloatParameter(name="other", low=0.0, high=2.0, default=1.0),
        colsample_bytree={"default": 0.5, "why": "ours"},
    )
    assert changed.defaults() == {
        "max_depth": 8,
        "min_child_weight": 1.0,
        "learning_rate": 0.03,
        "n_estimators": 20,
        "subsample": 1.0,
        "colsample_bytree": 0.5,
        "enable_categorical": True,
    }
    distributions = changed.distributions(rounds=False)
    assert distributions["learning_rate"].choices == (0.03, 0.3)
    assert distributions["subsample"].step == 0.1
    assert distributions["n_estimators"] == optuna.distributions.IntDistribution(10, 90)
    assert changed.rounds is None
    by_name = {parameter.name: parameter for parameter in changed.parameters}
    assert by_name["max_depth"].grid == (9,) and by_name["max_depth"].why == ""
    assert by_name["colsample_bytree"].why == "ours"


def test_a_new_cap_leaves_the_rounds_rounds():
    changed = CORE.override(n_estimators={"grid": [100, 300]}).override(n_estimators=(10, 200))
    assert (changed.rounds.low, changed.rounds.high, changed.rounds.default) == (10, 200, 200)
    assert changed.rounds.grid == (100,)
    assert "n_estimators" not in changed.suggest(optuna.create_study().ask(), rounds=False)
    fixed = CORE.fix(n_estimators=150)
    assert fixed.rounds is None and fixed.complete(fixed.project({}))["n_estimators"] == 150


def test_an_override_keeps_the_condition():
    wide = SearchSpace.load("xgboost/wide").override(max_leaves={"kind": "int", "low": 2, "high": 8, "default": 4})
    assert "max_leaves" not in wide.defaults()
    assert wide.project({"grow_policy": "lossguide", "max_leaves": 99})["max_leaves"] == 8
    assert "max_leaves" not in wide.fix(grow_policy="depthwise", max_leaves=7).defaults()
    assert wide.fix(grow_policy="lossguide", max_leaves=7).defaults()["max_leaves"] == 7


def test_choices_can_be_narrowed_and_a_table_can_change_a_constant():
    wide = SearchSpace.load("lightgbm/wide")
    assert wide.override(max_bin=[63, 127]).defaults()["max_bin"] == 127
    assert wide.override(max_bin={"choices": [63, 127]}).defaults()["max_bin"] == 127
    assert wide.override(extra_trees=["yes", "no"]).defaults()["extra_trees"] == "yes"
    assert wide.override(subsample_freq={"value": 5}).defaults()["subsample_freq"] == 5
    core = SearchSpace.load("lightgbm/core")
    assert core.override(num_leaves={"value": 31}).defaults()["num_leaves"] == 31
    derived = {"derived": {"rule": "power_of_two", "of": "max_depth"}}
    assert core.override(num_leaves=derived).complete(core.project({"max_depth": 12}))["num_leaves"] == 4096


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_depth": 6}, "For one constant value use fix"),
        ({"max_depth": (3, 6, 9)}, "must be"),
        ({"max_depth": (9, 3)}, "at least low"),
        ({"max_depth": (3.5, 9)}, "whole number"),
        ({"learning_rate": (0.0, 0.3)}, "above 0"),
        ({"learning_rate": ("a", 0.3)}, "finite number"),
        ({"learning_rate": []}, "at least one value"),
        ({"learning_rate": {"hihg": 3}}, "Did you mean 'high'"),
        ({"learning_rate": {"default": 0.9}}, "default: must be from"),
    ],
)
def test_a_wrong_override_names_the_parameter_and_the_rule(change, message):
    with pytest.raises(InvalidSpace, match=rf"\[parameters.{next(iter(change))}\].*{message}"):
        CORE.override(**change)


def test_a_range_for_what_has_none_is_refused():
    with pytest.raises(InvalidSpace, match="it is fixed"):
        SearchSpace.load("lightgbm/core").override(num_leaves=(4, 8))
    with pytest.raises(InvalidSpace, match="Unknown key 'low'"):
        SearchSpace.load("xgboost/wide").override(grow_policy=(1, 2))


@pytest.mark.parametrize("edit", ["override", "fix", "without"])
def test_unknown_parameters_say_the_nearest(edit):
    with pytest.raises(UnknownName, match="Did you mean 'max_depth'"):
        getattr(CORE, edit)(
            *(["max_dept"] if edit == "without" else []), **({} if edit == "without" else {"max_dept": 3})
        )


@pytest.mark.parametrize("value", [None, [1], math.nan, math.inf])
def test_only_plain_values_can_be_fixed(value):
    with pytest.raises(InvalidSpace, match=r"\[parameters.max_depth\]"):
        CORE.fix(max_depth=value)


def test_numpy_values_become_plain_ones():
    fixed = CORE.fix(max_depth=np.int64(4), subsample=np.float64(0.5))
    assert json.dumps(fixed.to_dict()) and type(fixed.defaults()["max_depth"]) is int
    projected = CORE.project({"max_depth": np.float32(5.4), "learning_rate": np.float64(0.2)})
    assert (projected["max_depth"], projected["learning_rate"]) == (5, 0.2)
    assert {type(value) for value in projected.values()} == {int, float, bool}


def test_what_another_parameter_needs_cannot_be_left_out():
    with pytest.raises(InvalidSpace, match=r"num_leaves.*must refer to a parameter declared above"):
        SearchSpace.load("lightgbm/core").without("max_depth")
    with pytest.raises(InvalidSpace, match=r"max_leaves.*must refer to a parameter declared above"):
        SearchSpace.load("xgboost/wide").without("grow_policy")


def test_parameters_of_categories_go_when_there_are_none():
    wide = SearchSpace.load("lightgbm/wide")
    numeric = wide.for_levels(0)
    assert set(wide.defaults()) - set(numeric.defaults()) == {
        "cat_smooth",
        "cat_l2",
        "min_data_per_group",
        "max_cat_to_onehot",
    }
    assert all("cat_l2" not in entry.params for entry in numeric.portfolio)
    assert wide.for_levels(1) == wide


def test_what_depends_on_a_parameter_requires_what_that_one_does():
    table = CORE.to_dict()
    parameters = {**table["parameters"]}
    dependant = {"kind": "int", "low": 2, "high": 64, "default": 64, "when": {"enable_categorical": True}}
    with pytest.raises(InvalidSpace, match=r"max_cat_threshold.*requires: must be 'high-cardinality', as that of"):
        SearchSpace.load({**table, "parameters": {**parameters, "max_cat_threshold": dependant}})
    dependant["requires"] = "high-cardinality"
    both = SearchSpace.load({**table, "parameters": {**parameters, "max_cat_threshold": dependant}})
    assert "max_cat_threshold" in both.for_levels(65).defaults()
    assert "max_cat_threshold" not in both.for_levels(64).defaults()


def test_parameters_of_many_levels_go_when_there_are_few():
    few = CORE.for_levels(MANY_LEVELS)
    assert set(CORE.defaults()) - set(few.defaults()) == {"enable_categorical"}
    assert all("enable_categorical" not in entry.params for entry in few.portfolio)
    assert CORE.for_levels(MANY_LEVELS + 1) == CORE


def test_a_missing_value_is_named_and_foreign_values_are_left_out():
    with pytest.raises(InvalidArgument, match="'subsample' is missing"):
        CORE.complete({k: v for k, v in CORE.project({}).items() if k != "subsample"})
    assert CORE.complete({**CORE.project({}), "n_estimators": 9, "foreign": 1}) == CORE.project({})


def test_a_parameter_without_a_finite_grid_is_named():
    gridless = CORE.override(learning_rate={"grid": []})
    with pytest.raises(InvalidSpace, match=r"\[parameters.learning_rate\] grid"):
        gridless.grid()
    assert len(gridless.fix(learning_rate=0.1).grid()) == 48
    wide_int = CORE.override(max_depth={"low": 1, "high": 21, "grid": []})
    with pytest.raises(InvalidSpace, match=r"\[parameters.max_depth\] grid"):
        wide_int.grid()
    assert len(wide_int.override(max_depth=(1, 20)).grid()) == 20 * 36
    fine = CORE.override(subsample={"low": 0.0, "high": 1.0, "step": 0.01, "grid": []})
    with pytest.raises(InvalidSpace, match=r"\[parameters.subsample\] grid"):
        fine.grid()
    coarse = CORE.override(subsample={"low": 0.1, "high": 0.5, "step": 0.1, "grid": []})
    assert sorted({cell["subsample"] for cell in coarse.grid()}) == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_a_grid_that_would_not_fit_is_refused():
    many = {f"p{i}": {"kind": "int", "low": 1, "high": 20, "default": 1} for i in range(9)}
    space = SearchSpace.load({"schema": 1, "family": "xgboost", "name": "many", "parameters": many})
    with pytest.raises(InvalidSpace, match=f"over {MAX_CELLS:,} cells"):
        space.grid()


def test_the_grid_drives_optunas_own_grid_sampler():
    space = SearchSpace.load("xgboost/grid-mini")
    values = {p.name: list(p.grid_values()) for p in space.parameters if p.kind != "rounds"}
    study = optuna.create_study(sampler=optuna.samplers.GridSampler(values, seed=0))
    study.optimize(lambda trial: space.suggest(trial, rounds=False)["max_depth"])
    assert {tuple(t.params.items()) for t in study.trials} == {tuple(cell.items()) for cell in space.grid()}


@pytest.mark.parametrize("sampler", ["TPESampler", "RandomSampler", "QMCSampler"])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_real_study_samples_each_shipped_space(sampler):
    for key in available():
        space = SearchSpace.load(key)
        study = optuna.create_study(sampler=_sampler(sampler))

        def objective(trial, space=space):
            params = space.suggest(trial)
            inside(space, trial.params, rounds=True)
            return params["learning_rate"]

        study.optimize(objective, n_trials=3)
        assert all(trial.state.is_finished() for trial in study.trials)
        assert len(study.trials) == 3


def _sampler(name):
    quiet = {"warn_independent_sampling": False} if name == "QMCSampler" else {}
    return getattr(optuna.samplers, name)(seed=0, **quiet)


def test_a_space_can_be_built_from_parts():
    space = SearchSpace(
        family="lightgbm",
        name="mine",
        parameters=[
            CategoricalParameter(name="extra_trees", choices=[False, True], default=False),
            IntParameter(name="max_depth", low=2, high=4, default=3),
            FixedParameter(name="num_leaves", derived={"rule": "power_of_two", "of": "max_depth"}),
            IntParameter(name="max_bin", low=3, high=9, default=3, when={"extra_trees": True}),
        ],
        portfolio=[PortfolioEntry({"max_depth": 2}, "ours")],
    )
    assert space.defaults() == {"extra_trees": False, "max_depth": 3, "num_leaves": 8}
    assert len(space.grid()) == 3 * (1 + 7)
    with pytest.raises(InvalidSpace, match="must hold Parameter objects"):
        SearchSpace(family="lightgbm", name="mine", parameters=[{"kind": "int"}])
    with pytest.raises(InvalidSpace, match="must hold PortfolioEntry objects"):
        SearchSpace(family="lightgbm", name="mine", parameters=space.parameters, portfolio=[{"max_depth": 2}])
    with pytest.raises(InvalidSpace, match="declared once"):
        SearchSpace(family="lightgbm", name="mine", parameters=[*space.parameters, space.parameters[0]])


def test_a_huge_exponent_costs_nothing():
    space = SearchSpace.load("lightgbm/core").fix(max_depth=10**9)
    assert space.defaults()["num_leaves"] == 512
