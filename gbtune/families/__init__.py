"""Floor 1: model families, the boosting libraries seen as plug-ins.

A family is found through the entry-point group ``gbtune.families``: built-in ones use the same
door as those of other packages.
"""

from __future__ import annotations

import functools
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from gbtune.errors import UnknownName
from gbtune.families.base import Capabilities, FoldFit, ModelFamily, Prepared

__all__ = ["Capabilities", "FoldFit", "ModelFamily", "Prepared", "available", "get"]

GROUP = "gbtune.families"


def available() -> list[str]:
    """Return the names of the registered families, sorted. No booster is imported.

    Examples
    --------
    >>> import gbtune.families
    >>> gbtune.families.available()
    ['lightgbm', 'xgboost']
    """
    return sorted(_registered())


def get(family: str | ModelFamily) -> ModelFamily:
    """Return a family by name; an instance is returned as it is.

    Raises
    ------
    UnknownName
        If no family of this name is registered.

    Examples
    --------
    >>> import gbtune.families
    >>> gbtune.families.get("xgboost").default_space
    'core'
    """
    if isinstance(family, ModelFamily):
        return family
    registered = _registered()
    if family not in registered:
        raise UnknownName("family", family, registered)
    return _load(registered[family])


def _registered() -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        known = found.setdefault(point.name, point)
        if known.value != point.value:
            raise UnknownName("family", point.name, found, f"It is registered twice: {known.value} and {point.value}.")
    return found


@functools.cache
def _load(point: EntryPoint) -> ModelFamily:
    return cast(ModelFamily, point.load()())
