"""New parameters from old ones: a different range, a constant; and a line for people."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from gbtune.errors import UnknownName
from gbtune.spaces.base import HIGH_CARDINALITY, Parameter, SampledParameter, alternatives, invalid, is_number, plain
from gbtune.spaces.numeric import RoundsParameter
from gbtune.spaces.parameters import CategoricalParameter, FixedParameter, parameter_from_dict
from gbtune.spaces.portfolio import fitted

if TYPE_CHECKING:
    from gbtune.spaces.space import SearchSpace


def overridden(parameter: Parameter, change: Any) -> Parameter:  # noqa: RET503 - invalid() never returns
    """Return `parameter` with `change` applied; see `SearchSpace.override`."""
    name = parameter.name
    if isinstance(change, Parameter):
        return dataclasses.replace(change, name=name)
    parameter = _wanted(parameter)
    table = parameter.to_dict()
    conditions: dict[str, Any] = {key: table[key] for key in ("when", "requires") if key in table}
    if isinstance(change, tuple) and len(change) == 2:
        return _changed(parameter, {"low": change[0], "high": change[1]})
    if isinstance(change, list):
        default = getattr(parameter, "default", None)
        choice = {"kind": "categorical", "choices": change, "default": _nearest(default, change)}
        return parameter_from_dict(name, {**conditions, **choice})
    if isinstance(change, Mapping) and "kind" in change:
        return parameter_from_dict(name, {**conditions, **change})
    if isinstance(change, Mapping):
        return _changed(parameter, change)
    rule = "must be (low, high), a list of values, a table of the file format or a Parameter"
    invalid(name, "override", f"{rule}, got {change!r}. For one constant value use fix()")


def fixed(parameter: Parameter, value: Any) -> FixedParameter:
    """Return the constant that takes the place of `parameter`."""
    if value is None:
        invalid(parameter.name, "fix", "None is no value; without() leaves the library's default")
    requires = _wanted(parameter).requires
    return FixedParameter(name=parameter.name, value=plain(value), when=parameter.when, requires=requires)


def _wanted(parameter: Parameter) -> Parameter:
    """Return a parameter that somebody has set: not only where the space thinks it worth trials."""
    return (
        dataclasses.replace(parameter, requires="categorical") if parameter.requires == HIGH_CARDINALITY else parameter
    )


def kept(space: SearchSpace, parameters: Iterable[Parameter]) -> SearchSpace:
    """Return `space` with these parameters; values of the portfolio without use are dropped."""
    parameters = tuple(_trimmed(tuple(parameters)))
    portfolio = fitted(space.portfolio, {parameter.name: parameter for parameter in parameters})
    return dataclasses.replace(space, parameters=parameters, portfolio=portfolio)


def _trimmed(parameters: tuple[Parameter, ...]) -> Iterable[Parameter]:
    """Yield the parameters without alternatives of their conditions that can no longer be."""
    by_name = {parameter.name: parameter for parameter in parameters}
    for parameter in parameters:
        when = []
        for other, wanted in parameter.when:
            target, kept = by_name.get(other), wanted
            if isinstance(wanted, tuple) and isinstance(target, SampledParameter):
                possible = tuple(value for value in wanted if target.project(value) == value)
                kept = possible[0] if len(possible) == 1 else possible or wanted
            when.append((other, kept))
        yield parameter if tuple(when) == parameter.when else dataclasses.replace(parameter, when=tuple(when))


def check_known(space: SearchSpace, names: Iterable[str]) -> None:
    """Raise `UnknownName` for a name that is no parameter of `space`."""
    known = [parameter.name for parameter in space.parameters]
    for name in names:
        if name not in known:
            hint = "A new parameter goes into a space file of your own, or into the dictionary of to_dict()."
            raise UnknownName(f"parameter of {space.key!r}", name, known, hint)


def table_of(space: SearchSpace) -> str:
    """Return the parameters of `space`, one a line, for people."""
    rows = [(parameter.name, parameter.kind, described(parameter)) for parameter in space.parameters]
    wide, kind = (max(len(row[column]) for row in rows) for column in (0, 1))
    head = f"SearchSpace {space.key!r}, version {space.version}: {space.summary}".removesuffix(": ")
    lines = [f"  {row[0]:{wide}}  {row[1]:{kind}}  {row[2]}" for row in rows]
    return "\n".join([head, *lines, f"  portfolio of {len(space.portfolio)}"])


def described(parameter: Parameter) -> str:
    """Return range, scale, default and condition of `parameter` on one line."""
    parts = []
    if isinstance(parameter, FixedParameter):
        rule = parameter.derived
        if rule is None:
            parts.append(repr(parameter.value))
        else:
            limit = f", at most {rule.max}" if rule.max is not None else ""
            parts.append(f"2 ** {rule.of}{limit}" if rule.rule == "power_of_two" else f"= {rule.of}")
    elif isinstance(parameter, CategoricalParameter):
        parts += [", ".join(map(repr, parameter.choices)), f"default {parameter.default!r}"]
    elif isinstance(parameter, SampledParameter):
        table = parameter.to_dict()
        parts.append(f"{table['low']:g} to {table['high']:g}")
        parts += ["log"] if table.get("log") or isinstance(parameter, RoundsParameter) else []
        parts += [f"step {table['step']:g}"] if "step" in table else []
        parts.append(f"default {table['default']:g}")
    parts += [f"when {other} = {' or '.join(map(repr, alternatives(wanted)))}" for other, wanted in parameter.when]
    parts += [f"with {parameter.requires} columns"] if parameter.requires else []
    return "; ".join(parts)


def _changed(parameter: Parameter, change: Mapping[str, Any]) -> Parameter:
    """Change some keys; adapt the default and the grid unless they are given."""
    table = parameter.to_dict()
    table.pop("why", None)  # it explained the old numbers
    for key, rival in (("value", "derived"), ("derived", "value")):
        if key in change:
            table.pop(rival, None)
    if not isinstance(parameter, SampledParameter):
        if {"low", "high"} & set(change):
            invalid(parameter.name, "override", "it is fixed: a range needs a table with 'kind' and 'default'")
        return parameter_from_dict(parameter.name, {**table, **change})
    adapted = {key: table.pop(key) for key in ("default", "grid") if key in table and key not in change}
    table.update(change)
    if "default" in adapted and isinstance(parameter, CategoricalParameter):
        choices = table["choices"]
        table["default"] = _nearest(adapted["default"], choices if isinstance(choices, list | tuple) else [])
    elif "default" in adapted:
        # any allowed value serves to build the new range, which then finds the nearest one
        draft = parameter_from_dict(parameter.name, {**table, "default": table["low"]})
        table["default"] = draft.project(adapted["default"]) if isinstance(draft, SampledParameter) else None
    if "grid" in adapted:
        draft = parameter_from_dict(parameter.name, table)
        if isinstance(draft, SampledParameter):
            grid = [value for value in adapted["grid"] if draft.project(value) == value]
            table.update({"grid": grid} if grid else {})
    return parameter_from_dict(parameter.name, table)


def _nearest(value: Any, choices: Any) -> Any:
    if value in choices or not len(choices):
        return value
    if is_number(value) and all(is_number(choice) for choice in choices):
        return min(choices, key=lambda choice: abs(choice - value))
    return choices[0]
