"""Samplers: names to Optuna samplers.

A grid is not sampled: it is a list of points, each asked for once, like the portfolio. See `SamplerPlan`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import optuna

from gbtune.errors import InvalidArgument, UnknownName
from gbtune.seeds import seed as derive_seed
from gbtune.slots import SlotSampler
from gbtune.spaces import SearchSpace

NAMES = ("tpe", "random", "grid")


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


def resolve_sampler(
    sampler: str | optuna.samplers.BaseSampler, space: SearchSpace, *, study_seed: int | None
) -> SamplerPlan:
    """Return the plan for a sampler argument.

    Parameters
    ----------
    sampler : {"tpe", "random", "grid"} or optuna.samplers.BaseSampler
        "grid" visits each cell of the space once, in an order drawn from the seed (so that a budget that ends early
        has seen all regions).
    space : SearchSpace
        What is searched.
    study_seed : int or None
        The study's seed; None is random. An object keeps its own random state.

    Raises
    ------
    UnknownName, InvalidArgument
        For an unknown name, or an object that is no sampler.
    InvalidSpace
        If "grid" is asked of a space with a parameter that has no finite grid.

    Examples
    --------
    >>> from gbtune.samplers import resolve_sampler
    >>> from gbtune.spaces import SearchSpace
    >>> plan = resolve_sampler("grid", SearchSpace.load("xgboost/grid-mini"), study_seed=0)
    >>> len(plan.points), plan.exhaustive
    (12, True)
    """
    if isinstance(sampler, optuna.samplers.BaseSampler):
        return SamplerPlan(sampler, type(sampler).__name__)
    if not isinstance(sampler, str):
        raise InvalidArgument(
            f"sampler must be one of {', '.join(map(repr, NAMES))} or an optuna.samplers.BaseSampler, "
            f"got {type(sampler).__name__}."
        )
    if sampler == "tpe":
        return SamplerPlan(SlotSampler(optuna.samplers.TPESampler, study_seed), sampler)
    if sampler == "random":
        return SamplerPlan(SlotSampler(optuna.samplers.RandomSampler, study_seed), sampler)
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
    raise UnknownName("sampler", sampler, NAMES, "An optuna.samplers.BaseSampler object works too.")
