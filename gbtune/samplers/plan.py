"""From the `sampler` argument to where configurations come from.

A grid over all parameters is not sampled: it is a list of points, each asked for once, like the portfolio.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna

from gbtune.errors import InvalidArgument, UnknownName
from gbtune.samplers.grid import GridCycleSampler
from gbtune.samplers.mixed import MixedSampler, by_priority, check_mapping, matching_pattern, no_sampler
from gbtune.samplers.names import NAMES, check_installed, make_sampler
from gbtune.seeds import seed as derive_seed
from gbtune.slots import SlotSampler
from gbtune.spaces import SearchSpace
from gbtune.spaces.base import SampledParameter

SamplerLike = str | optuna.samplers.BaseSampler | Mapping[str, str | optuna.samplers.BaseSampler]
"""What `gbtune.tune` takes as `sampler`."""


@dataclasses.dataclass(frozen=True)
class SamplerPlan:
    """Where configurations come from.

    Parameters
    ----------
    sampler : optuna.samplers.BaseSampler
        Asked once `points` are used up.
    name : str
        For people.
    points : tuple of dict, default ()
        Points to evaluate, each exactly once, before the sampler is asked.
    exhaustive : bool, default False
        The points are all there is: the study ends after them.
    """

    sampler: optuna.samplers.BaseSampler
    name: str
    points: tuple[dict[str, Any], ...] = ()
    exhaustive: bool = False


def resolve_sampler(sampler: SamplerLike, space: SearchSpace, *, study_seed: int | None) -> SamplerPlan:
    """Return the plan for a sampler argument.

    Parameters
    ----------
    sampler : {"tpe", "random", "grid", "gp", "cmaes", "qmc"}, optuna.samplers.BaseSampler or mapping
        "grid" visits each cell of the space once, in an order drawn from the seed (so that a budget that ends early
        has seen all regions). A mapping from parameters to these is a mixture: see `MixedSampler`; "grid" in it goes
        through the space's grid values.
    space : SearchSpace
        What is searched.
    study_seed : int or None
        The study's seed; None is random. An object keeps its own random state.

    Raises
    ------
    UnknownName, InvalidArgument
        For an unknown name, an object that is no sampler, a mapping that names no parameter of the space, or a
        parameter of the space that matches nothing in the mapping.
    MissingLibrary
        If the sampler needs a library that is not installed: "gp" needs torch, "cmaes" the package of that name.
    InvalidSpace
        If "grid" is asked of a parameter that has no finite grid.

    Examples
    --------
    >>> from gbtune.samplers import resolve_sampler
    >>> from gbtune.spaces import SearchSpace
    >>> plan = resolve_sampler("grid", SearchSpace.load("xgboost/grid-mini"), study_seed=0)
    >>> len(plan.points), plan.exhaustive
    (12, True)
    >>> resolve_sampler({"max_depth": "grid", "*": "tpe"}, SearchSpace.load("xgboost/core"), study_seed=0).name
    'max_depth: grid, *: tpe'
    """
    if isinstance(sampler, Mapping):
        return _mixture(sampler, space, study_seed)
    if not isinstance(sampler, str | optuna.samplers.BaseSampler):
        raise InvalidArgument(
            f"sampler must be one of {', '.join(map(repr, NAMES))}, an optuna.samplers.BaseSampler, or a mapping such "
            f"as {{'max_depth': 'grid', '*': 'tpe'}}, got {type(sampler).__name__}."
        )
    check_installed(sampler)
    if isinstance(sampler, optuna.samplers.BaseSampler):
        return SamplerPlan(sampler, type(sampler).__name__)
    if sampler == "grid":
        cells = space.grid()
        stream = None if study_seed is None else derive_seed(study_seed, "sampler")
        order = np.random.default_rng(stream).permutation(len(cells))
        return SamplerPlan(
            SlotSampler(optuna.samplers.RandomSampler, study_seed),
            sampler,
            tuple(cells[position] for position in order),
            exhaustive=True,
        )
    known = space.distributions(rounds=False)
    return SamplerPlan(make_sampler(sampler, study_seed, slots=True, distributions=known), sampler)


def _mixture(
    samplers: Mapping[str, str | optuna.samplers.BaseSampler], space: SearchSpace, study_seed: int | None
) -> SamplerPlan:
    check_mapping(samplers)
    given = dict(by_priority(samplers))
    parameters = {p.name: p for p in space.parameters if isinstance(p, SampledParameter)}
    names = [name for name in parameters if name in space.distributions(rounds=False)]
    _check_names(given, names, space)
    owned: dict[str, list[str]] = {owner: [] for owner in given.values() if isinstance(owner, str)}
    for name in names:
        pattern = matching_pattern(name, given)
        if pattern is None:
            raise no_sampler(name, given)
        owner = given[pattern]
        if isinstance(owner, str):
            owned[owner].append(name)
    made: dict[str, optuna.samplers.BaseSampler] = {}
    for owner, own in owned.items():
        seed = None if study_seed is None else derive_seed(study_seed, f"sampler {owner}")  # or two would draw the same
        if owner == "grid":
            made[owner] = GridCycleSampler({name: parameters[name].grid_values() for name in own}, seed)
        else:
            known = {name: parameters[name].distribution() for name in own}
            made[owner] = make_sampler(owner, seed, slots=True, distributions=known)
    mixture = MixedSampler({name: made[owner] if isinstance(owner, str) else owner for name, owner in given.items()})
    labels = {pattern: owner if isinstance(owner, str) else type(owner).__name__ for pattern, owner in given.items()}
    return SamplerPlan(mixture, ", ".join(f"{pattern}: {label}" for pattern, label in labels.items()))


def _check_names(given: Mapping[str, object], names: list[str], space: SearchSpace) -> None:
    """Raise `UnknownName` for a name that the space does not sample; a pattern may match nothing."""
    for name in given:
        if name in names or any(character in name for character in "*?["):
            continue
        if space.rounds is not None and name == space.rounds.name:
            raise InvalidArgument(
                f"{name!r} has no sampler: one training answers every value of it. To sample it, override it in the "
                f"space with kind 'int'."
            )
        raise UnknownName("parameter", name, names, f"That is what {space.key!r} samples.")
