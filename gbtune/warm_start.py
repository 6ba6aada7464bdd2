"""Warm start: the best configurations of earlier studies, results and models come first in a new study.

They are starting points, not results: each is evaluated anew, on the data, folds and metric of the new study. So the
earlier ones may have been other data, another metric or another task. Only the family must be the same.

A configuration that gbtune recorded is whole: what it did not set had the library's default, and is projected into
the space as that. A dict, and a trial of a study that gbtune did not run, is not: what is missing takes the default
of the space.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gbtune import families
from gbtune.earlier import PREFIX, Configuration, Source, read_sources
from gbtune.errors import InvalidArgument
from gbtune.objective import ROUNDS
from gbtune.spaces import SampledParameter, SearchSpace
from gbtune.spaces.base import is_number
from gbtune.storage import open_storage
from gbtune.study import Point

KIND = "warm_start"
"""Of the trials, in their records and in MLflow's tag ``gbtune.origin``."""
BEST = 5
"""So many of a study's configurations, unless told otherwise: the best one, and some that were found elsewhere."""
_NO_LIMIT = ("max_depth", "max_leaves")
"""0 or less is no limit in both libraries, which the low end of a range is not near to."""


def points(
    earlier: Any,
    space: Any,
    *,
    best: int = BEST,
    storage: Any = None,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
) -> list[Point]:
    """Return the points of a space to start from, for a study of your own.

    Parameters
    ----------
    earlier : TuningResult, optuna.Study, str, Path, dict, Point, or a list or tuple of these
        As the argument `warm_start` of `gbtune.tune`.
    space : str, path, dict or SearchSpace
        Where to project into, e.g. ``objective.space``. Values move to the nearest end or step; what is missing, or is
        no choice, takes a default (see `gbtune.warm_start`). The number of rounds is left out where it is read off
        the curve.
    best : int, default 5
        Of each study, so many complete trials by score, different ones after the projection. Dicts are all taken.
    storage : str, Path or optuna storage, optional
        Where named studies are kept, as for `gbtune.tune`.
    tracking_uri, registry_uri : str, optional
        Where registered models are, as for `gbtune.MLflowTracker`.

    Returns
    -------
    list of Point
        Each once, in order. ``study.enqueue_trial(point.params, user_attrs=point.user_attrs)`` lets the trial's record
        say where it came from.

    Raises
    ------
    InvalidArgument
        If `earlier` cannot be read, has no complete trial, or is of another family.

    Examples
    --------
    >>> import gbtune, optuna
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> objective = gbtune.Objective("lightgbm", X, y, space="core", cv=3)
    >>> study = optuna.create_study(direction=objective.direction)
    >>> for point in gbtune.warm_start.points({"max_depth": 3, "learning_rate": 0.001}, objective.space):
    ...     study.enqueue_trial(point.params, user_attrs=point.user_attrs)
    >>> study.optimize(objective, n_trials=1)
    >>> study.best_params["max_depth"], study.best_params["learning_rate"]
    (3, 0.01)
    """
    if isinstance(best, bool) or not isinstance(best, int) or best < 1:
        raise InvalidArgument(f"best must be an int of at least 1, got {best!r}.")
    loaded = SearchSpace.load(space)
    family = families.get(loaded.family)
    kept = None if storage is None else open_storage(storage, Path())
    sources = read_sources(earlier, loaded, family, storage=kept, tracking_uri=tracking_uri, registry_uri=registry_uri)
    return as_points(choose(sources, loaded, family, best=best), loaded, family)


# -- choosing and projecting --------------------------------------------------------------------------------


def choose(
    sources: Iterable[Source], space: SearchSpace, family: families.ModelFamily, *, best: int = BEST
) -> list[Configuration]:
    """Return the configurations to start from: of each source the best, no two alike in `space`."""
    seen: list[dict[str, Any]] = []
    chosen: list[Configuration] = []
    for source in sources:
        room = best if source.limited else len(source.configurations)
        for configuration in source.configurations:
            if room == 0:
                break
            projected = project(configuration, space, family)
            if projected not in seen:
                seen.append(projected)
                chosen.append(configuration)
                room -= 1
    return chosen


def as_points(configurations: Iterable[Configuration], space: SearchSpace, family: families.ModelFamily) -> list[Point]:
    """Return the points of `space` that are nearest to the configurations, each once."""
    found: list[Point] = []
    for configuration in configurations:
        params = project(configuration, space, family)
        if not any(point.params == params for point in found):
            found.append(Point(params, KIND, _provenance(configuration, params, space, family)))
    return found


def project(configuration: Configuration, space: SearchSpace, family: families.ModelFamily) -> dict[str, Any]:
    """Return the point of `space` that is nearest to a configuration: values of its sampled parameters.

    Examples
    --------
    >>> import gbtune
    >>> from gbtune import families, warm_start
    >>> from gbtune.earlier import Configuration
    >>> earlier = Configuration({"max_depth": -1, "learning_rate": 0.9}, "", "")
    >>> space = gbtune.SearchSpace.load("lightgbm/core")
    >>> warm_start.project(earlier, space, families.get("lightgbm"))["learning_rate"]
    0.3
    """
    given = {**family.default_params, **configuration.params} if configuration.whole else dict(configuration.params)
    for parameter in space.parameters:
        name = parameter.name
        if name in _NO_LIMIT and name in given and isinstance(parameter, SampledParameter):
            value = given[name]
            if is_number(value) and value <= 0 and parameter.project(value) != value:
                del given[name]
    return space.project(given)


def _provenance(
    configuration: Configuration, params: Mapping[str, Any], space: SearchSpace, family: families.ModelFamily
) -> str:
    """Say where a point comes from, and in what the space made it another configuration."""
    defaults = family.default_params
    then, now = dict(configuration.params), {**defaults, **space.complete(params)}
    if configuration.whole:
        then = {**defaults, **then}
    names = [name for name in ({**then, **now} if configuration.whole else then) if name != ROUNDS or ROUNDS in now]
    others = [name for name in names if then.get(name) != now.get(name)]
    return f"{PREFIX}{configuration.label}" + (f"; other in this space: {', '.join(others)}" if others else "")


# -- for a study that gbtune runs ---------------------------------------------------------------------------


def kept_configurations(records: Iterable[Mapping[str, Any]]) -> list[Configuration]:
    """Return the configurations that a study's record keeps."""
    return [Configuration(**record) for record in records]


def extended(
    records: Sequence[Mapping[str, Any]],
    sources: Iterable[Source],
    space: SearchSpace,
    family: families.ModelFamily,
    evaluated: Iterable[Mapping[str, Any]],
) -> tuple[Mapping[str, Any], ...]:
    """Return what a study's record keeps: what it kept, and the configurations that are new to the study.

    Parameters
    ----------
    records : sequence of mapping
        `StudyRecord.warm_start` so far.
    sources : iterable of Source
        Of this call.
    space, family
        Of the study.
    evaluated : iterable of mapping
        Sampled parameters of the trials so far.
    """
    known = [project(kept, space, family) for kept in kept_configurations(records)]
    known += [dict(params) for params in evaluated]
    new = [each for each in choose(sources, space, family) if project(each, space, family) not in known]
    return (*records, *({**dataclasses.asdict(each), "params": dict(each.params)} for each in new))


def remarks(sources: Iterable[Source], metric: str) -> list[str]:
    """Return what a careful reader should know about the sources, a sentence each."""
    found = []
    for source in sources:
        if not source.configurations:
            found.append(f"warm start: of {source.name}, only the library's default completed, which is trial 0 anyway")
        elif source.metric and source.metric != metric:
            found.append(f"warm start: {source.name} was ranked by {source.metric}, this study is by {metric}")
    return list(dict.fromkeys(found))
