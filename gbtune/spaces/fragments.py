"""Fragments: a few parameters that are added to any whole space of their family."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from gbtune.errors import InvalidArgument, InvalidSpace
from gbtune.spaces import edits
from gbtune.spaces.base import Parameter, SampledParameter
from gbtune.spaces.parameters import FixedParameter

if TYPE_CHECKING:
    from gbtune.spaces.space import SearchSpace

PLUS = "+"
"""Joins the name of a space and those of fragments."""


class Addable:
    """What makes ``space + fragment`` a space."""

    def __add__(self, fragment: SearchSpace) -> SearchSpace:
        """Return this space with the parameters of a fragment.

        A parameter of the fragment takes the place of one of the same name, and the space's default stays (moved into
        the new range). The portfolio stays too: its entries take the defaults of the new parameters, which mean "off".
        The tasks are those that both are meant for.

        Raises
        ------
        InvalidArgument
            If `fragment` is a whole space, for another family, for other tasks, or was added already.
        InvalidSpace
            If the conditions of the two do not fit together.

        Examples
        --------
        >>> from gbtune.spaces import SearchSpace
        >>> space = SearchSpace.load("xgboost/core") + SearchSpace.load("xgboost/imbalance")
        >>> space.key, space.tasks, space.defaults()["scale_pos_weight"]
        ('xgboost/core+imbalance', ('binary',), 1.0)
        >>> SearchSpace.load("xgboost/core+imbalance") == space
        True
        """
        # Only whether it has the fields of one is asked here: the class is built on this one.
        if not isinstance(fragment, Addable):
            return NotImplemented
        return combined(cast("SearchSpace", self), fragment)


def combined(space: SearchSpace, fragment: SearchSpace) -> SearchSpace:
    """Return `space` with the parameters of `fragment`; see `Addable.__add__`."""
    _check_pair(space, fragment)
    ours = {parameter.name: parameter for parameter in space.parameters}
    theirs = {parameter.name: parameter for parameter in fragment.parameters}
    merged = [_with_default_of(ours[name], theirs[name]) if name in theirs else ours[name] for name in ours]
    merged += [parameter for name, parameter in theirs.items() if name not in ours]
    name = f"{space.name}{PLUS}{fragment.name}"
    try:
        return dataclasses.replace(
            edits.kept(space, _in_order(merged)),
            name=name,
            version=f"{space.version}{PLUS}{fragment.version}",
            summary="; ".join(filter(None, (space.summary, fragment.summary))),
            license="; ".join(dict.fromkeys(filter(None, (space.license, fragment.license)))),
            sources=tuple(dict.fromkeys((*space.sources, *fragment.sources))),
            tasks=tuple(task for task in space.tasks if task in fragment.tasks),
        )
    except InvalidSpace as error:
        raise InvalidSpace(f"Search space {space.family}/{name}: {error}") from None


def parts_of(reference: object) -> list[str]:
    """Return the references of a space and of fragments that `reference` joins with ``+``.

    Examples
    --------
    >>> from gbtune.spaces.fragments import parts_of
    >>> parts_of("core + schedules"), parts_of("core"), parts_of({"schema": 1})
    (['core', 'schedules'], [], [])
    """
    if not isinstance(reference, str) or PLUS not in reference or Path(reference).is_file():
        return []
    parts = [part.strip() for part in reference.split(PLUS)]
    return parts if all(parts) else []


def refuse_fragment(space: SearchSpace) -> None:
    """Raise `InvalidArgument` for a fragment where a whole space is needed."""
    if space.fragment:
        raise InvalidArgument(
            f"{space.key!r} is a fragment: a few parameters to add to a space, not a space to tune. "
            f"Name the space it is added to, e.g. 'core{PLUS}{space.name}'."
        )


def _check_pair(space: SearchSpace, fragment: SearchSpace) -> None:
    if not fragment.fragment:
        raise InvalidArgument(
            f"Only a fragment can be added to a space, and {fragment.key!r} is a whole space. "
            "Write the space first and fragments after it, e.g. 'core+regularization'."
        )
    if fragment.family != space.family:
        raise InvalidArgument(
            f"The fragment {fragment.key!r} is for the family {fragment.family!r}, and {space.key!r} is for "
            f"{space.family!r}. Choose a fragment of {space.family!r}."
        )
    if fragment.name in space.name.split(PLUS):
        raise InvalidArgument(f"A fragment is added once: {space.key!r} has {fragment.name!r} already.")
    if not set(space.tasks) & set(fragment.tasks):
        raise InvalidArgument(
            f"{space.key!r} is for {', '.join(space.tasks)}, and the fragment {fragment.key!r} for "
            f"{', '.join(fragment.tasks)}: no task is left. Leave one of them out."
        )


def _with_default_of(old: Parameter, new: Parameter) -> Parameter:
    """Return `new` with the default that `old` had, so that points without a value keep their meaning."""
    before: Any = None
    if isinstance(old, SampledParameter):
        before = old.default
    elif isinstance(old, FixedParameter):
        before = old.value
    if before is None or not isinstance(new, SampledParameter):
        return new
    return dataclasses.replace(new, default=new.project(before))


def _in_order(parameters: Iterable[Parameter]) -> list[Parameter]:
    """Return the parameters so that each comes after those it refers to, else in their order."""
    waiting = {parameter.name: parameter for parameter in parameters}
    placed: list[Parameter] = []
    while waiting:
        free = (name for name, parameter in waiting.items() if not _references(parameter) & (waiting.keys() - {name}))
        placed.append(waiting.pop(next(free, next(iter(waiting)))))  # what refers in a circle is told so later
    return placed


def _references(parameter: Parameter) -> set[str]:
    derived = parameter.derived if isinstance(parameter, FixedParameter) else None
    return {other for other, _ in parameter.when} | ({derived.of} if derived is not None else set())
