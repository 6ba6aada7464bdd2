"""The rules that hold between the parts of a search space."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from gbtune.errors import InvalidSpace, UnknownName
from gbtune.spaces.base import HIGH_CARDINALITY, Parameter, SampledParameter, alternatives, invalid
from gbtune.spaces.numeric import IntParameter, RoundsParameter
from gbtune.spaces.parameters import CategoricalParameter, FixedParameter
from gbtune.spaces.portfolio import PortfolioEntry, check_tasks, misfit

if TYPE_CHECKING:
    from gbtune.spaces.space import SearchSpace

STATUSES = ("recommended", "comparison")
"""What a space is meant for: everyday tuning, or to be compared with."""


def check_space(space: SearchSpace) -> dict[str, Any]:
    """Return the fields of `space` that need a normal form.

    Raises
    ------
    InvalidSpace
        If a rule is broken; the message names the key and the rule.
    """
    for key in ("family", "name", "version", "summary", "license"):
        value = getattr(space, key)
        if not isinstance(value, str) or (not value and key in ("family", "name", "version")):
            raise InvalidSpace(f"{key}: must be a text, got {value!r}.")
    for key in ("family", "name"):
        if "/" in getattr(space, key):
            raise InvalidSpace(f"{key}: must not contain '/', got {getattr(space, key)!r}.")
    if space.status not in STATUSES:
        raise InvalidSpace(f"status: {UnknownName('status', space.status, STATUSES)}")
    if not isinstance(space.fragment, bool):
        raise InvalidSpace(f"fragment: must be true or false, got {space.fragment!r}.")
    sources: Any = space.sources
    if not isinstance(sources, list | tuple) or not all(isinstance(source, str) for source in sources):
        raise InvalidSpace(f"sources: must be a list of texts, got {sources!r}.")
    parameters = tuple(space.parameters)
    portfolio = tuple(space.portfolio)
    _check_parameters(parameters)
    if space.fragment and portfolio:
        raise InvalidSpace("portfolio: a fragment has none; first configurations belong to a whole space.")
    _check_portfolio(portfolio, {parameter.name: parameter for parameter in parameters})
    return {
        "parameters": parameters,
        "portfolio": portfolio,
        "sources": tuple(sources),
        "tasks": check_tasks(space.tasks, "tasks"),
    }


def _check_parameters(parameters: Iterable[Parameter]) -> None:
    earlier: dict[str, Parameter] = {}
    for parameter in parameters:
        if not isinstance(parameter, Parameter):
            raise InvalidSpace(f"parameters: must hold Parameter objects, got {parameter!r}.")
        name = parameter.name
        if name in earlier:
            raise InvalidSpace(f"[parameters.{name}]: each parameter is declared once.")
        for other, wanted in parameter.when:
            _check_reference(name, "when", other, earlier)
            target = earlier[other]
            if target.requires and parameter.requires not in (target.requires, HIGH_CARDINALITY):
                rule = f"must be {target.requires!r}, as that of {other!r} is, on which {name!r} depends"
                invalid(name, "requires", f"{rule}; got {parameter.requires!r}")
            for value in alternatives(wanted):
                # a fixed target may differ: that is how fix() switches a branch off
                if isinstance(target, SampledParameter) and target.project(value) != value:
                    rule = f"{other!r} never has the value {value!r}"
                    invalid(name, "when", f"{rule}. Correct the value, or leave {name!r} out")
        if isinstance(parameter, FixedParameter) and parameter.derived is not None:
            _check_reference(name, "derived", parameter.derived.of, earlier)
            if parameter.derived.rule == "power_of_two" and not _is_count(earlier[parameter.derived.of]):
                rule = f"a power of two needs {parameter.derived.of!r} to be a whole number of at least 0"
                invalid(name, "derived", rule)
        if isinstance(parameter, RoundsParameter):
            for previous in earlier.values():
                if isinstance(previous, RoundsParameter):
                    invalid(name, "kind", f"only one parameter counts rounds, and {previous.name!r} already does")
        earlier[name] = parameter
    if not earlier:
        raise InvalidSpace("parameters: a space needs at least one.")


def _check_reference(name: str, key: str, other: str, earlier: Mapping[str, Parameter]) -> None:
    if other not in earlier:
        problem = UnknownName("earlier parameter", other, earlier)
        invalid(name, key, f"must refer to a parameter declared above it. {str(problem).rstrip('.')}")
    if isinstance(earlier[other], RoundsParameter):
        invalid(name, key, f"cannot depend on the number of rounds, {other!r}")


def _is_count(parameter: Parameter) -> bool:
    """Whether each value of `parameter` is a whole number of at least 0."""
    values: Iterable[Any] = ()
    if isinstance(parameter, IntParameter):
        values = (parameter.low,)
    elif isinstance(parameter, CategoricalParameter):
        values = parameter.choices
    elif isinstance(parameter, FixedParameter) and parameter.derived is None:
        values = (parameter.value,)
    values = tuple(values)
    return bool(values) and all(type(value) is int and value >= 0 for value in values)


def _check_portfolio(portfolio: Iterable[PortfolioEntry], parameters: Mapping[str, Parameter]) -> None:
    for position, entry in enumerate(portfolio, start=1):
        if not isinstance(entry, PortfolioEntry):
            raise InvalidSpace(f"portfolio: must hold PortfolioEntry objects, got {entry!r}.")
        problem = misfit(entry, parameters)
        if problem:
            raise InvalidSpace(f"[[portfolio]] number {position} ({entry.provenance}), {problem}")
