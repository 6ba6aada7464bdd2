"""The portfolio of a space: strong first configurations, in the order in which to try them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from gbtune.errors import InvalidSpace, UnknownName
from gbtune.spaces.base import Parameter, is_number, is_scalar, plain
from gbtune.spaces.parameters import CategoricalParameter, FixedParameter

TASKS = ("binary", "multiclass", "regression")


@dataclasses.dataclass(frozen=True)
class PortfolioEntry:
    """One configuration worth trying early.

    Parameters
    ----------
    params : mapping of str to bool, int, float or str
        Values by parameter name; what is missing takes the space's default.
    provenance : str
        Where the configuration was published or measured.
    tasks : tuple of {"binary", "multiclass", "regression"}, default ()
        The tasks it is meant for; empty means all.

    Raises
    ------
    InvalidSpace
        If a value is not plain, the provenance is empty, or a task is unknown.

    Examples
    --------
    >>> from gbtune.spaces import PortfolioEntry
    >>> entry = PortfolioEntry({"max_depth": 9}, "pytabkit 1.7.3", tasks=("regression",))
    >>> entry.params["max_depth"]
    9
    """

    params: Mapping[str, Any]
    provenance: str
    tasks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.params, Mapping):
            raise InvalidSpace(f"[[portfolio]] params: must be a table, got {self.params!r}.")
        if not isinstance(self.provenance, str) or not self.provenance.strip():
            raise InvalidSpace("[[portfolio]] provenance: must say where the configuration comes from.")
        params = {name: plain(value) for name, value in self.params.items()}
        for name, value in params.items():
            if not is_scalar(value):
                rule = "must be a truth value, a finite number or a text"
                raise InvalidSpace(f"[[portfolio]] params.{name}: {rule}, got {value!r}.")
        object.__setattr__(self, "params", MappingProxyType(params))
        object.__setattr__(self, "tasks", check_tasks(self.tasks, "[[portfolio]] tasks"))

    def __hash__(self) -> int:
        return hash((frozenset(self.params.items()), self.provenance, self.tasks))

    def __reduce__(self) -> tuple[Any, ...]:  # a mapping proxy cannot be pickled or copied
        return type(self), (dict(self.params), self.provenance, self.tasks)

    def __repr__(self) -> str:
        tasks = f", tasks={self.tasks!r}" if self.tasks else ""
        return f"PortfolioEntry({dict(self.params)!r}, {self.provenance!r}{tasks})"

    def to_dict(self) -> dict[str, Any]:
        """Return the table of the file."""
        table: dict[str, Any] = {"params": dict(self.params), "provenance": self.provenance}
        return {**table, "tasks": list(self.tasks)} if self.tasks else table


def check_tasks(tasks: Any, key: str) -> tuple[str, ...]:
    """Return `tasks` as a tuple, or raise `InvalidSpace` naming `key`."""
    if isinstance(tasks, str) or not isinstance(tasks, Iterable):
        raise InvalidSpace(f"{key}: must be a list of tasks, got {tasks!r}.")
    for task in tasks:
        if task not in TASKS:
            raise InvalidSpace(f"{key}: {UnknownName('task', task, TASKS)}")
    return tuple(tasks)


def misfit(entry: PortfolioEntry, parameters: Mapping[str, Parameter]) -> str | None:
    """Return what is wrong with `entry` in a space of `parameters`, or None."""
    for name, value in entry.params.items():
        parameter = parameters.get(name)
        if parameter is None:
            return f"params: {UnknownName('parameter', name, parameters)}"
        if not fits(value, parameter):
            return f"params.{name}: must be a number, got {value!r}."
    return None


def fits(value: Any, parameter: Parameter) -> bool:
    """Whether `value` is of the type of `parameter` (it may lie outside of its range)."""
    return is_number(value) or isinstance(parameter, FixedParameter | CategoricalParameter)


def fitted(portfolio: Iterable[PortfolioEntry], parameters: Mapping[str, Parameter]) -> tuple[PortfolioEntry, ...]:
    """Return the entries without the values that a space of `parameters` has no use for."""
    return tuple(
        dataclasses.replace(
            entry,
            params={
                name: value
                for name, value in entry.params.items()
                if name in parameters and fits(value, parameters[name])
            },
        )
        for entry in portfolio
    )
