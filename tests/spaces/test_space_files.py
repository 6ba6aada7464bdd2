"""The shipped files, the folders they are found in, and what malformed files are told."""

from __future__ import annotations

import importlib.metadata
import re
import sys
import textwrap
import tomllib
import warnings
from pathlib import Path

import optuna
import pytest

from gbtune.errors import GbtuneError, GbtuneWarning, InvalidArgument, InvalidSpace, UnknownName
from gbtune.spaces import TASKS, SearchSpace, available, builtin_folder
from gbtune.spaces.folders import ENTRY_POINT_GROUP

FILES = sorted(builtin_folder().glob("*/*.toml"))
KEYS = [f"{path.parent.name}/{path.stem}" for path in FILES]
EVERYDAY = [key for key in KEYS if key.partition("/")[2] in ("core", "native", "diverse", "wide", "grid", "grid-mini")]
CORE = ["max_depth", "min_child_weight", "learning_rate", "n_estimators", "subsample", "colsample_bytree"]
SMALL = {
    "schema": 1,
    "family": "xgboost",
    "name": "small",
    "parameters": {"max_depth": {"kind": "int", "low": 3, "high": 6, "default": 4}},
}


def contains(distribution, value):
    return distribution._contains(distribution.to_internal_repr(value))


def test_both_families_ship_their_spaces():
    shared = ["core", "grid", "grid-mini", "wide"]
    assert set(available("xgboost")) >= {f"xgboost/{name}" for name in shared}
    assert set(available("lightgbm")) >= {f"lightgbm/{name}" for name in [*shared, "native", "diverse"]}
    assert available() == sorted(KEYS)
    assert available("nonsense") == []


@pytest.mark.parametrize("key", KEYS)
def test_each_file_loads_by_key_by_name_and_by_path(key):
    family, name = key.split("/")
    space = SearchSpace.load(key)
    assert space == SearchSpace.load(name, family=family)
    assert space == SearchSpace.load(builtin_folder() / f"{key}.toml")
    assert space == SearchSpace.load(str(builtin_folder() / f"{key}.toml"))
    assert space.key == key and space.version.isdigit()
    assert space.summary and space.sources and space.tasks
    assert key in repr(space) and "n_estimators" in repr(space)


@pytest.mark.parametrize("key", EVERYDAY)
def test_everyday_spaces_are_for_all_tasks_and_read_the_rounds_off_the_curve(key):
    space = SearchSpace.load(key)
    assert space.tasks == TASKS and space.status == "recommended"
    assert space.rounds is not None and (space.rounds.low, space.rounds.high, space.rounds.default) == (50, 3000, 300)


@pytest.mark.parametrize("key", KEYS)
def test_each_space_has_defaults_inside_its_ranges(key):
    space = SearchSpace.load(key)
    defaults = space.defaults()
    for name, distribution in space.distributions().items():
        if name in defaults:
            assert contains(distribution, defaults[name])
    without_rounds = {k: v for k, v in defaults.items() if space.rounds is None or k != space.rounds.name}
    assert space.complete(space.project({})) == without_rounds


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("key", EVERYDAY)
def test_each_portfolio_has_seven_distinct_points_that_a_study_takes_without_a_warning(key, task):
    space = SearchSpace.load(key)
    points = [space.project(entry.params) for entry in space.portfolio_for(task)]
    assert len({tuple(point.items()) for point in points}) >= 7
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    for point in points:
        study.enqueue_trial(point)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for point in points:
            trial = study.ask()
            space.suggest(trial, rounds=False)
            assert trial.params == point
            study.tell(trial, 0.0)


def test_the_tuned_default_of_pytabkit_goes_to_its_tasks():
    for family in ("xgboost", "lightgbm"):
        space = SearchSpace.load("core", family=family)
        offered = {task: [entry.provenance for entry in space.portfolio_for(task)] for task in TASKS}
        assert {task for task in TASKS if any("TD_CLASS" in each for each in offered[task])} == {"binary", "multiclass"}
    with pytest.raises(UnknownName, match="Did you mean 'regression'"):
        space.portfolio_for("regresion")


@pytest.mark.parametrize("family", ["xgboost", "lightgbm"])
def test_core_samples_exactly_the_six_parameters_and_with_many_levels_how_xgboost_splits_them(family):
    space = SearchSpace.load("core", family=family)
    assert list(space.for_levels(2).distributions()) == CORE
    assert list(space.distributions()) == CORE + ["enable_categorical"] * (family == "xgboost")
    tuned = space.for_levels(2).distributions(rounds=False)
    assert list(tuned) == [name for name in CORE if name != "n_estimators"]
    assert not any(parameter.when for parameter in space.parameters)


def test_lightgbm_core_makes_depth_and_subsample_count():
    space = SearchSpace.load("lightgbm/core")
    for depth, leaves in ((3, 8), (9, 512), (12, 512)):
        point = space.complete(space.project({"max_depth": depth}))
        assert point["num_leaves"] == leaves
        assert (point["subsample_freq"], point["min_child_samples"]) == (1, 5)


@pytest.mark.parametrize("key", [key for key in EVERYDAY if key.startswith("lightgbm")])
def test_each_lightgbm_space_with_subsample_fixes_its_frequency(key):
    space = SearchSpace.load(key)
    assert "subsample" in space.distributions()
    assert space.defaults()["subsample_freq"] == 1


@pytest.mark.parametrize("family", ["xgboost", "lightgbm"])
def test_the_grids_have_72_and_12_cells(family):
    for name, count in (("grid", 72), ("grid-mini", 12)):
        space = SearchSpace.load(name, family=family)
        cells = space.grid()
        assert len(cells) == len({tuple(cell.items()) for cell in cells}) == count
        with pytest.raises(InvalidSpace, match="n_estimators"):
            space.grid(rounds=True)  # rounds are read off the curve
        by_rounds = space.override(n_estimators={"grid": [100, 300]})
        assert len(by_rounds.grid(rounds=True)) == 2 * count


def test_the_xgboost_grid_couples_rows_and_columns():
    space = SearchSpace.load("xgboost/grid")
    pairs = {
        (point["subsample"], point["colsample_bytree"]) for point in (space.complete(cell) for cell in space.grid())
    }
    assert pairs == {(0.7, 0.7), (1.0, 1.0)}


@pytest.mark.parametrize("key", EVERYDAY)
def test_every_space_has_a_finite_grid(key):
    assert SearchSpace.load(key).grid()


def test_max_leaves_belongs_to_leafwise_growth_alone():
    space = SearchSpace.load("xgboost/wide")
    assert "max_leaves" not in space.defaults()
    assert space.complete(space.project({"grow_policy": "lossguide"}))["max_leaves"] == 64
    cells = space.grid()
    assert {cell["grow_policy"]: "max_leaves" in cell for cell in cells} == {"depthwise": False, "lossguide": True}


@pytest.mark.parametrize("key", KEYS)
def test_the_installed_libraries_take_each_configuration(key):
    space = SearchSpace.load(key)
    module = pytest.importorskip(space.family)
    estimator = module.XGBClassifier if space.family == "xgboost" else module.LGBMClassifier
    rows = [[float(i % 7), float(i % 5)] for i in range(60)]
    labels = [i % 2 for i in range(60)]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for params in (space.defaults(), space.suggest(study.ask()), space.suggest(study.ask())):
        quiet = {"verbosity": 0} if space.family == "xgboost" else {"verbose": -1}
        estimator(**{**params, "n_estimators": 2}, n_jobs=1, **quiet).fit(_frame(rows), labels)


def _frame(rows):
    import pandas as pd

    return pd.DataFrame(rows, columns=["a", "b"])


def test_the_example_of_the_readme_is_a_space():
    text = (builtin_folder() / "README.md").read_text(encoding="utf-8")
    example = re.search(r"## An example\n\n```toml\n(.*?)```", text, re.DOTALL)
    space = SearchSpace.load(tomllib.loads(example.group(1)))
    kinds = {parameter.kind for parameter in space.parameters}
    assert kinds == {"float", "int", "categorical", "rounds", "fixed"}
    assert len(space.grid()) == 6 * 2 * 3 * (1 + 2)
    for kind in kinds:
        assert f"| `{kind}` |" in text


def test_unknown_names_say_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'xgboost/core'"):
        SearchSpace.load("xgboost/cor")
    with pytest.raises(UnknownName, match="Did you mean 'lightgbm/native'"):
        SearchSpace.load("nativ", family="lightgbm")
    with pytest.raises(InvalidArgument, match="needs its family"):
        SearchSpace.load("core")


def test_a_space_of_another_family_is_refused():
    for reference in ("xgboost/core", SearchSpace.load("xgboost/core"), builtin_folder() / "xgboost/core.toml"):
        with pytest.raises(InvalidArgument, match=r"'xgboost'.*'lightgbm'"):
            SearchSpace.load(reference, family="lightgbm")


@pytest.mark.parametrize("reference", [None, 3, ["core"]])
def test_what_is_no_reference_is_refused(reference):
    with pytest.raises(InvalidArgument, match="A search space is a name"):
        SearchSpace.load(reference)


def write(tmp_path, text):
    path = tmp_path / "my.toml"
    header = 'schema = 1\nfamily = "xgboost"\nname = "my"\n'
    path.write_text(header + textwrap.dedent(text), encoding="utf-8")
    return path


MALFORMED = {
    "low = 9\nhigh = 3\ndefault = 3": ("high", "at least low"),
    "low = 3\nhigh = 9\ndefault = 1": ("default", "from 3 to 9"),
    "low = 3\nhigh = 9": ("default", "missing"),
    "low = 3\nhgih = 9\ndefault = 3": ("hgih", "Did you mean 'high'"),
    "low = 3.5\nhigh = 9\ndefault = 5": ("low", "whole number"),
    "low = true\nhigh = 9\ndefault = 5": ("low", "whole number"),
    "low = 0\nhigh = 9\ndefault = 5\nlog = true": ("low", "above 0"),
    "low = 1\nhigh = 9\ndefault = 5\nlog = 1": ("log", "true or false"),
    "low = 1\nhigh = 9\ndefault = 5\nlog = true\nstep = 2": ("step", "cannot be combined"),
    "low = 1\nhigh = 8\ndefault = 5\nstep = 2": ("high", "whole steps"),
    "low = 1\nhigh = 9\ndefault = 4\nstep = 2": ("default", "in steps of 2"),
    "low = 1\nhigh = 9\ndefault = 5\nstep = -1": ("step", "above 0"),
    "low = 3\nhigh = 9\ndefault = 5\ngrid = [1]": ("grid", "from 3 to 9"),
    "low = 3\nhigh = 9\ndefault = 5\ngrid = [3, 3]": ("grid", "each value once"),
    "low = 3\nhigh = 9\ndefault = 5\ngrid = 3": ("grid", "a list"),
    "low = 3\nhigh = 9\ndefault = 5\nwhen = { a = 1 }": ("when", "declared above"),
    "low = 3\nhigh = 9\ndefault = 5\nwhen = 3": ("when", "map a parameter's name"),
    "low = 3\nhigh = 9\ndefault = 5\nwhen = { a = [1] }": ("when", "map a parameter's name"),
    'low = 3\nhigh = 9\ndefault = 5\nrequires = "text"': ("requires", '"categorical"'),
    "low = 3\nhigh = 9\ndefault = 5\nwhy = 3": ("why", "a text"),
}


@pytest.mark.parametrize("lines", MALFORMED)
def test_a_malformed_integer_is_told_its_file_key_and_rule(tmp_path, lines):
    key, rule = MALFORMED[lines]
    path = write(tmp_path, f'[parameters.max_depth]\nkind = "int"\n{lines}\n')
    with pytest.raises(InvalidSpace, match=re.escape(rule)) as caught:
        SearchSpace.load(path)
    assert str(caught.value).startswith(f"{path}: [parameters.max_depth] {key}: ")


BROKEN = {
    'kind = "integer"\nlow = 1': ("kind", "Did you mean 'int'"),
    'kind = ["int"]': ("kind", "Unknown kind"),
    "low = 1": ("kind", "missing"),
    'kind = "float"\nlow = nan\nhigh = 1.0\ndefault = 1.0': ("low", "finite number"),
    'kind = "float"\nlow = 0.0\nhigh = inf\ndefault = 1.0': ("high", "finite number"),
    'kind = "float"\nlow = 0.0\nhigh = 1.0\nstep = 0.3\ndefault = 0.0': ("high", "whole steps"),
    'kind = "categorical"\nchoices = []\ndefault = 1': ("choices", "at least one"),
    'kind = "categorical"\nchoices = ["a", "a"]\ndefault = "a"': ("choices", "each value once"),
    'kind = "categorical"\nchoices = ["a"]\ndefault = "b"': ("default", "among the choices"),
    'kind = "categorical"\nchoices = ["a"]\ndefault = "a"\ngrid = ["b"]': ("grid", "among the choices"),
    'kind = "categorical"\nchoices = "ab"\ndefault = "a"': ("choices", "a list"),
    'kind = "categorical"\nchoices = [[1]]\ndefault = 1': ("choices", "truth values, finite numbers or texts"),
    'kind = "fixed"': ("value", "exactly one of"),
    'kind = "fixed"\nvalue = [1]': ("value", "truth value, a finite number or a text"),
    'kind = "fixed"\nvalue = 1\nderived = { rule = "equal", of = "a" }': ("value", "exactly one of"),
    'kind = "fixed"\nderived = { rule = "equals", of = "a" }': ("derived", "Did you mean 'equal'"),
    'kind = "fixed"\nderived = { rule = "equal" }': ("derived", "'of' is missing"),
    'kind = "fixed"\nderived = { rule = "equal", of = "a", max = 3 }': ("derived", "'power_of_two' alone"),
    'kind = "fixed"\nderived = { rule = "power_of_two", of = "a", max = 0 }': ("derived", "at least 1"),
    'kind = "fixed"\nderived = { rule = "equal", of = "x" }': ("derived", "declared above"),
    'kind = "fixed"\nderived = { rule = "power_of_two", of = "a" }': ("derived", "whole number of at least 0"),
    'kind = "fixed"\nderived = { rule = "equal", of = 3 }': ("derived", "must name"),
    'kind = "fixed"\nderived = 3': ("derived", "a table"),
    'kind = "fixed"\nderived = { rule = "equal", of = "n" }': ("derived", "number of rounds"),
    'kind = "rounds"\nlow = 1\nhigh = 9\ndefault = 3': ("kind", "only one parameter"),
    'kind = "rounds"\nlow = 1\nhigh = 9\ndefault = 3\nlog = true': ("log", "Unknown key"),
    'kind = "rounds"\nlow = 1\nhigh = 9\ndefault = 3\nwhen = { a = 0.5 }': ("when", "cannot depend"),
    'kind = "fixed"\nvalue = 1\nwhen = { a = 7 }': ("when", "never has the value 7"),
    'kind = "fixed"\nvalue = 1\nwhen = { n = 7 }': ("when", "number of rounds"),
}


@pytest.mark.parametrize("lines", BROKEN)
def test_each_malformed_kind_is_told_its_file_key_and_rule(tmp_path, lines):
    key, rule = BROKEN[lines]
    before = '[parameters.a]\nkind = "float"\nlow = 0.0\nhigh = 1.0\ndefault = 0.5\n'
    before += '[parameters.n]\nkind = "rounds"\nlow = 1\nhigh = 9\ndefault = 3\n'
    path = write(tmp_path, f"{before}[parameters.b]\n{lines}\n")
    with pytest.raises(InvalidSpace, match=re.escape(rule)) as caught:
        SearchSpace.load(path)
    assert str(caught.value).startswith(f"{path}: [parameters.b] {key}: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema: this gbtune reads schema 1"),
        ({"schema": True}, "schema: this gbtune reads"),
        ({"sumary": "x"}, "sumary: .*Did you mean 'summary'"),
        ({"version": 1}, "version: must be a text"),
        ({"license": 1}, "license: must be a text"),
        ({"status": "best"}, "status: Unknown status 'best'.*Known: comparison, recommended"),
        ({"status": ["comparison"]}, "status: Unknown status"),
        ({"family": ""}, "family: must be a text"),
        ({"name": "a/b"}, "name: must not contain '/'"),
        ({"sources": "a paper"}, "sources: must be a list of texts"),
        ({"tasks": "binary"}, "tasks: must be a list"),
        ({"tasks": ["ranking"]}, "tasks: Unknown task 'ranking'"),
        ({"parameters": {}}, "parameters: a space needs at least one"),
        ({"parameters": []}, "parameters: must hold one table per parameter"),
        ({"parameters": {"max_depth": 3}}, r"\[parameters.max_depth\]: must be a table"),
        ({"parameters": {"max-depth": {"kind": "fixed", "value": 3}}}, "must be a Python identifier"),
        ({"portfolio": {"params": {}}}, "portfolio: must be a list of tables"),
        ({"portfolio": [{"params": {}}]}, "number 1, provenance: the key is missing"),
        ({"portfolio": [{"params": {}, "provenance": "a", "task": []}]}, "number 1, task: .*Did you mean 'tasks'"),
        ({"portfolio": [{"params": {}, "provenance": " "}]}, "provenance: must say where"),
        ({"portfolio": [{"params": 3, "provenance": "a"}]}, "params: must be a table"),
        ({"portfolio": [{"params": {"max_depht": 3}, "provenance": "a"}]}, "Did you mean 'max_depth'"),
        ({"portfolio": [{"params": {"max_depth": "3"}, "provenance": "a"}]}, "params.max_depth: must be a number"),
        ({"portfolio": [{"params": {"max_depth": [3]}, "provenance": "a"}]}, "params.max_depth: must be a truth value"),
        ({"portfolio": [{"params": {}, "provenance": "a", "tasks": ["rank"]}]}, "tasks: Unknown task"),
    ],
)
def test_a_malformed_header_or_portfolio_is_told_its_key_and_rule(change, message):
    with pytest.raises(InvalidSpace, match=message):
        SearchSpace.load({**SMALL, **change})


@pytest.mark.parametrize("key", ["schema", "family", "name", "parameters"])
def test_a_missing_key_of_the_header_is_named(key):
    with pytest.raises(InvalidSpace, match=f"{key}: the key is missing"):
        SearchSpace.load({k: v for k, v in SMALL.items() if k != key})


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(InvalidSpace, match=r"absent\.toml: the search-space file cannot be read"):
        SearchSpace.load(str(tmp_path / "absent.toml"))
    (tmp_path / "bad.toml").write_text("schema = = 1")
    with pytest.raises(InvalidSpace, match=r"bad\.toml: the file is not valid TOML"):
        SearchSpace.load(tmp_path / "bad.toml")
    (tmp_path / "latin.toml").write_bytes(b'summary = "\xe9"')
    with pytest.raises(GbtuneError, match=r"latin\.toml: the file is not valid TOML"):
        SearchSpace.load(tmp_path / "latin.toml")


def plugin(tmp_path, monkeypatch, code, *, target="spaces_plugin:folder", name="stranger"):
    """Install a package with an entry point, as pip would."""
    site = tmp_path / "site"
    metadata = site / "spaces_plugin-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: spaces-plugin\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\n{name} = {target}\n")
    (site / "spaces_plugin.py").write_text(code)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "spaces_plugin", raising=False)


def folder_with(tmp_path, name, text):
    path = tmp_path / "theirs" / "xgboost" / f"{name}.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return path.parent.parent


@pytest.mark.parametrize("how", ["callable", "path"])
def test_a_plug_in_adds_spaces(tmp_path, monkeypatch, how):
    text = (builtin_folder() / "xgboost" / "core.toml").read_text(encoding="utf-8")
    folder = folder_with(tmp_path, "theirs", text.replace('name = "core"', 'name = "theirs"'))
    value = f"pathlib.Path({str(folder)!r})"
    code = f"import pathlib\nfolder = {'lambda: ' if how == 'callable' else ''}{value}\n"
    plugin(tmp_path, monkeypatch, code)
    assert "xgboost/theirs" in available()
    assert SearchSpace.load("theirs", family="xgboost").parameters == SearchSpace.load("xgboost/core").parameters


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("def folder(): raise OSError('disk gone')", "OSError: disk gone"),
        ("folder = 'nowhere-at-all'", "NotADirectoryError: nowhere-at-all is not a folder"),
        ("folder = 3", "TypeError"),
        ("", "AttributeError"),
    ],
)
def test_a_broken_plug_in_is_skipped_with_a_warning(tmp_path, monkeypatch, code, error):
    plugin(tmp_path, monkeypatch, code)
    with pytest.warns(GbtuneWarning, match=f"'stranger'.*{error}"):
        assert available() == sorted(KEYS)


def test_a_plug_in_cannot_replace_our_spaces(tmp_path, monkeypatch):
    plugin(
        tmp_path,
        monkeypatch,
        f"folder = {str(folder_with(tmp_path, 'core', 'schema = 1'))!r}",
        name="gbtune",
    )
    with pytest.warns(GbtuneWarning, match="'xgboost/core' is hidden by"):
        assert SearchSpace.load("xgboost/core").portfolio


@pytest.mark.parametrize("installed", [False, True])
def test_our_spaces_are_found_with_and_without_package_metadata(monkeypatch, installed):
    ours = importlib.metadata.EntryPoint("gbtune", "gbtune.spaces:builtin_folder", ENTRY_POINT_GROUP)
    points = importlib.metadata.EntryPoints([ours] if installed else [])
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)
    assert available() == sorted(KEYS)


def test_a_file_in_a_folder_must_repeat_its_names(tmp_path, monkeypatch):
    text = (builtin_folder() / "xgboost" / "core.toml").read_text(encoding="utf-8")
    plugin(tmp_path, monkeypatch, f"folder = {str(folder_with(tmp_path, 'other', text))!r}")
    with pytest.raises(InvalidSpace, match="must repeat the names of the folder and the file, 'xgboost/other'"):
        SearchSpace.load("xgboost/other")


def test_a_damaged_installation_says_where_it_looked(monkeypatch, tmp_path):
    import gbtune.spaces.folders as folders

    package = tmp_path / "gbtune" / "spaces"
    package.mkdir(parents=True)
    monkeypatch.setattr(folders, "__file__", str(package / "folders.py"))
    with pytest.raises(InvalidSpace, match="search spaces are missing"):
        builtin_folder()
    (tmp_path / "search_spaces").mkdir()
    assert builtin_folder() == Path(tmp_path / "search_spaces").resolve()
    (tmp_path / "gbtune" / "_search_spaces").mkdir()
    assert builtin_folder() == Path(tmp_path / "gbtune" / "_search_spaces").resolve()
