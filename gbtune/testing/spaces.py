"""The contract of a search space: that its parts agree with each other and with the model family.

With pytest::

    class TestMySpace(SpaceContract):
        @pytest.fixture
        def space(self):
            return SearchSpace.load("xgboost/my-space")

Without: `check_space`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from gbtune import families
from gbtune.api import tune
from gbtune.data import Dataset
from gbtune.errors import InvalidSpace
from gbtune.families.base import ModelFamily, check_params
from gbtune.objective import ROUNDS
from gbtune.spaces import CategoricalParameter, RoundsParameter, SampledParameter, SearchSpace
from gbtune.testing.contract import Contract, ContractTests, Gaps, Report, must
from gbtune.testing.family_case import TASK_OF, FamilyCase, context_of, values_of
from gbtune.testing.studies import is_point, quiet

N_DRAWN = 100
"""Random points of the space that are examined."""


@dataclasses.dataclass(frozen=True)
class SpaceCase:
    """A space under examination.

    Parameters
    ----------
    space : SearchSpace
        Whose contract it is.
    family : ModelFamily
        Trained with.
    """

    space: SearchSpace
    family: ModelFamily

    @functools.cached_property
    def cells(self) -> list[dict[str, Any]] | None:
        """The cells of its grid; None if some parameter has no finite one."""
        try:
            return self.space.grid()
        except InvalidSpace:
            return None

    @functools.cached_property
    def losses(self) -> dict[str, str]:
        """Task to a training loss of the family, for each task the space is for."""
        known = {TASK_OF[loss]: loss for loss in sorted(self.family.capabilities.losses)}
        return {task: known[task] for task in self.space.tasks if task in known}

    @property
    def defaults(self) -> dict[str, Any]:
        """Default of each sampled parameter but the rounds, active or not."""
        return {p.name: p.default for p in self.sampled}

    @property
    def sampled(self) -> list[SampledParameter]:
        """The sampled parameters but the rounds."""
        return [
            p for p in self.space.parameters if isinstance(p, SampledParameter) and not isinstance(p, RoundsParameter)
        ]

    def data(self, task: str) -> Dataset:
        """Return data for a task, with a category and missing values where the family takes them."""
        kind = "categories" if self.family.capabilities.categories else "missing"
        return FamilyCase(self.family).data(self.losses[task], kind)

    def must_train(self, params: Mapping[str, Any]) -> None:
        """Raise unless the family trains these parameters on each task."""
        for task in self.losses:
            fit = self._prepared(task).train_fold(params, 0, 3, 0)
            must(np.isfinite(fit.curve).all(), f"{dict(params)} gives the losses {fit.curve} on a {task} task.")

    @functools.cache  # noqa: B019  - a case lives as long as its checks
    def _prepared(self, task: str) -> Any:
        data = self.data(task)
        return self.family.prepare(data, FamilyCase(self.family).folds(data), self.losses[task])


SPACE: Contract[SpaceCase] = Contract("space", lambda case: case.space.key)
_check = SPACE.check


def _entries(case: SpaceCase) -> Collection[str]:
    return [f"entry {number}" for number, _ in enumerate(case.space.portfolio, start=1)]


@_check()
def it_says_where_its_numbers_come_from(case: SpaceCase) -> Iterator[str]:
    """Summary, version and sources are there for people, and each portfolio entry has a provenance."""
    must(case.space.summary, "summary: say in one line what the space is for.")
    must(case.space.sources, "sources: say where the numbers come from.")
    for number, entry in enumerate(case.space.portfolio, start=1):
        must(entry.provenance, f"[[portfolio]] number {number} has no provenance.")
    yield "once"


@_check(lambda case: [parameter.name for parameter in case.space.parameters])
def each_parameter_is_one_of_the_familys(case: SpaceCase) -> Iterator[str]:
    """The family takes every name; the number of rounds is called n_estimators."""
    for parameter in case.space.parameters:
        if isinstance(parameter, RoundsParameter):
            must(parameter.name == ROUNDS, f"The number of rounds must be called {ROUNDS!r}, got {parameter.name!r}.")
        elif parameter.name != ROUNDS:
            check_params(case.family, [parameter.name])
        yield parameter.name


@_check(lambda case: ("dictionary", "JSON", "TOML"))
def what_is_written_reads_back(case: SpaceCase) -> Iterator[str]:
    """A dictionary, a JSON text and a TOML file of the space are the space."""
    table = case.space.to_dict()
    must(SearchSpace.load(table) == case.space, "SearchSpace.load(space.to_dict()) is another space.")
    yield "dictionary"
    must(SearchSpace.load(json.loads(json.dumps(table))) == case.space, "Through JSON it becomes another space.")
    yield "JSON"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / case.space.family / f"{case.space.name}.toml"
        path.parent.mkdir()
        path.write_text(as_toml(table), encoding="utf-8")
        must(SearchSpace.load(path) == case.space, "Through a TOML file it becomes another space.")
    yield "TOML"


@_check()
def suggested_values_are_those_of_the_distributions(case: SpaceCase) -> Iterator[str]:
    """What a trial is asked is in `distributions`, and `complete` and `project` agree with `suggest`."""
    with quiet():
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    declared = case.space.distributions()
    for _ in range(N_DRAWN):
        trial = study.ask()
        params = case.space.suggest(trial)
        for name, distribution in trial.distributions.items():
            must(declared.get(name) == distribution, f"{name!r} is asked of {distribution}, declared as {declared}.")
        sampled = {name: value for name, value in trial.params.items() if name != _rounds(case)}
        completed = case.space.complete(sampled)
        wanted = {name: value for name, value in params.items() if name != _rounds(case)}
        must(completed == wanted, f"suggest gave {wanted}, complete gives {completed}.")
        must(is_point(case.space, sampled), f"project moves {sampled}, which is a point of the space.")
    yield "once"


def _rounds(case: SpaceCase) -> str | None:
    return case.space.rounds.name if case.space.rounds else None


@_check(lambda case: list(case.space.distributions()))
def each_default_is_in_its_range(case: SpaceCase) -> Iterator[str]:
    """`defaults` are those of the parameters, completed."""
    parameters = {parameter.name: parameter for parameter in case.space.parameters}
    for name, distribution in case.space.distributions().items():
        default = parameters[name].default  # type: ignore[attr-defined]
        inside = distribution._contains(distribution.to_internal_repr(default))
        must(inside, f"The default {default!r} of {name!r} is not in {distribution}.")
        yield name
    defaults = {name: value for name, value in case.space.defaults().items() if name != _rounds(case)}
    must(case.space.complete(case.space.project({})) == defaults, f"project({{}}) is not the defaults, {defaults}.")


@_check(lambda case: ("once",) if case.cells is not None else ())
def each_cell_of_the_grid_is_a_point_of_it(case: SpaceCase) -> Iterator[str]:
    """Cells are distinct, and none is moved by `project`."""
    cells = case.cells or []
    must(cells, "The grid has no cells.")
    distinct = {json.dumps(cell, sort_keys=True) for cell in cells}
    must(len(distinct) == len(cells), f"{len(cells)} cells, of which {len(distinct)} are different.")
    for cell in cells:
        must(is_point(case.space, cell), f"{cell} is no point of the space.")
    yield "once"


@_check(lambda case: [parameter.name for parameter in case.space.parameters if parameter.when])
def each_conditional_parameter_can_be_reached(case: SpaceCase) -> Iterator[str]:
    """There is a point at which it counts, and one at which it does not."""
    drawn = [case.space.complete(case.space.project(point)) for point in _points(case)]
    for parameter in case.space.parameters:
        if parameter.when:
            must(any(parameter.name in params for params in drawn), f"No point has {parameter.name!r}.")
            must(any(parameter.name not in params for params in drawn), f"Every point has {parameter.name!r}.")
            yield parameter.name


def _points(case: SpaceCase) -> Iterator[dict[str, Any]]:
    """The defaults, with each parameter at each of its ends in turn, where its condition holds."""
    yield case.defaults
    for parameter in case.space.parameters:
        for values in values_of(parameter):
            yield {**case.defaults, **context_of(case.space, parameter), **values}


@_check(lambda case: ("defaults", *(parameter.name for parameter in case.sampled)))
def the_family_trains_at_both_ends_of_each_range(case: SpaceCase) -> Iterator[str]:
    """Every end of a range, and every choice, is a value that the library takes."""
    must(case.losses, f"The family has no training loss for any of the tasks {', '.join(case.space.tasks)}.")
    case.must_train(_trained(case, case.space.complete(case.defaults)))
    yield "defaults"
    for parameter in case.sampled:
        for values in values_of(parameter):
            point = {**case.defaults, **context_of(case.space, parameter), **values}
            params = case.space.complete(point)
            must(parameter.name in params, f"{parameter.name!r} does not count at {point}.")
            case.must_train(_trained(case, params))
        if isinstance(parameter, CategoricalParameter):
            must(parameter.default in parameter.choices, f"The default of {parameter.name!r} is none of its choices.")
        yield parameter.name


def _trained(case: SpaceCase, params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name != ROUNDS}


@_check(_entries)
def the_portfolio_trains(case: SpaceCase) -> Iterator[str]:
    """Each entry is projected to a point of the space, and the library takes it."""
    for number, entry in enumerate(case.space.portfolio, start=1):
        point = case.space.project(entry.params)
        must(is_point(case.space, point), f"Entry {number} becomes {point}, which project moves again.")
        case.must_train(_trained(case, case.space.complete(point)))
        yield f"entry {number}"


@_check(lambda case: case.space.tasks)
def a_study_of_it_runs(case: SpaceCase) -> Iterator[str]:
    """`gbtune.tune` with the space completes on each of its tasks."""
    short = case.space
    if short.rounds is not None:
        short = short.override(n_estimators={"low": 1, "high": 10, "default": 5, "grid": []})
    for task in case.losses:
        data = case.data(task)
        result = tune(
            data.X, data.y, family=case.family, space=short, task=task, cv=3, n_trials=4, tracking=False, progress=False
        )
        states = [trial.state.name for trial in result.study.trials]
        must(set(states) <= {"COMPLETE", "PRUNED"}, f"On a {task} task the trials' states are {states}.")
        yield task


def as_toml(table: Mapping[str, Any]) -> str:
    """Return the text of a TOML file with the contents of `SearchSpace.to_dict`.

    Examples
    --------
    >>> from gbtune.testing.spaces import as_toml
    >>> print(as_toml({"schema": 1, "parameters": {"max_depth": {"kind": "int", "low": 1}}}))
    schema = 1
    <BLANKLINE>
    [parameters.max_depth]
    kind = "int"
    low = 1
    <BLANKLINE>
    """
    plain = {key: value for key, value in table.items() if key not in ("parameters", "portfolio")}
    blocks = [plain]
    heads = [""]
    for name, parameter in table.get("parameters", {}).items():
        heads.append(f"\n[parameters.{name}]\n")
        blocks.append(parameter)
    for entry in table.get("portfolio", ()):
        heads.append("\n[[portfolio]]\n")
        blocks.append(entry)
    return "".join(
        head + "".join(f"{key} = {_toml_value(value)}\n" for key, value in block.items())
        for head, block in zip(heads, blocks, strict=True)
    )


def _toml_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    if isinstance(value, str | bool | int):
        return json.dumps(value, ensure_ascii=False)  # texts, numbers and truth values are written as in JSON
    return repr(float(value))


@SPACE.as_tests
class SpaceContract(ContractTests):
    """What every search space must do: subclass it, and override the fixture `space`.

    The fixture returns a SearchSpace, or whatever `SearchSpace.load` takes.
    """

    def subject(self, given: Any) -> SpaceCase:
        """Return the space with its family."""
        return _case(given)


def _case(space: Any) -> SpaceCase:
    loaded = SearchSpace.load(space)
    return SpaceCase(loaded, families.get(loaded.family))


def check_space(space: Any, *, gaps: Gaps | None = None) -> Report:
    """Run the whole contract of a search space without pytest.

    Parameters
    ----------
    space : str, path, dict or SearchSpace
        As `SearchSpace.load` takes it; its family must be registered.
    gaps : mapping of str to Gap, optional
        Checks that cannot pass, each with a reason.

    Raises
    ------
    AssertionError
        If the space breaks the contract, in a sentence.

    Examples
    --------
    >>> from gbtune.testing import check_space
    >>> print(check_space("lightgbm/grid-mini"))  # doctest: +SKIP
    space lightgbm/grid-mini: 31 cases in 10 checks passed; not claimed: ...
    """
    case = _case(space)
    return SPACE.run(lambda: case, gaps)
