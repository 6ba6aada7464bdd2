"""A grid over some parameters, gone through again and again beside another sampler."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial

from gbtune.errors import InvalidArgument
from gbtune.samplers.places import known_distributions, place_of
from gbtune.seeds import fresh_study_seed
from gbtune.seeds import seed as derive_seed

MAX_CELLS = 100_000
"""A grid of more cells than this is refused: no study would come round once."""


class GridCycleSampler(optuna.samplers.BaseSampler):
    """Goes through the cells of a grid again and again, so that each comes equally often.

    Made for a few parameters of a mixture (`MixedSampler`). To visit every cell of a whole space once and then stop,
    use ``sampler="grid"`` of `gbtune.tune`, or `optuna.samplers.GridSampler`.

    The cells are the product of the parameters' values, in an order drawn from the seed; a trial's cell follows
    from its place in the study. A parameter that a condition makes inactive is left out of its cell.

    Parameters
    ----------
    values : mapping of str to sequence, optional
        Values of each parameter. Those without are given all the values of their distribution, which must be
        finitely many, from the second trial on; the first one takes each parameter's first value.
    seed : int, optional
        Of the order. Default: random.

    Raises
    ------
    InvalidArgument
        If a list of values is empty or repeats one, there are over 100,000 cells, or, when sampling, a parameter
        without values has a continuous distribution.

    Examples
    --------
    >>> import optuna
    >>> from gbtune.samplers import GridCycleSampler
    >>> study = optuna.create_study(sampler=GridCycleSampler({"depth": [3, 6], "rate": [0.1, 0.3]}, seed=0))
    >>> study.optimize(lambda t: t.suggest_int("depth", 1, 9) + t.suggest_float("rate", 0, 1), n_trials=8)
    >>> sorted((t.params["depth"], t.params["rate"]) for t in study.trials)[:4]
    [(3, 0.1), (3, 0.1), (3, 0.3), (3, 0.3)]
    """

    def __init__(self, values: Mapping[str, Sequence[Any]] | None = None, seed: int | None = None) -> None:
        self._given = {name: list(those) for name, those in (values or {}).items()}
        for name, those in self._given.items():
            if not those or any(value in those[:position] for position, value in enumerate(those)):
                raise InvalidArgument(f"The grid of {name!r} must hold at least one value, each once, got {those!r}.")
        self._seed = fresh_study_seed() if seed is None else seed
        _count(self._given)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the parameters that earlier trials had."""
        return known_distributions(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the cell at the trial's place."""
        cell = self._cell(place_of(study, trial), search_space)
        return {name: cell[name] for name in search_space}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a parameter's value in the cell at the trial's place."""
        known = known_distributions(study, trial)
        among = {name: known[name] for name in self._given if name in known}
        return self._cell(place_of(study, trial), {**among, param_name: param_distribution})[param_name]

    def _cell(self, place: int, distributions: Mapping[str, BaseDistribution]) -> dict[str, Any]:
        values = {name: self._values(name, distributions.get(name)) for name in sorted({*self._given, *distributions})}
        count = _count(values)
        if not count:
            return {}
        # The first cell is made of the first values, as it is when the names come one by one.
        order = 1 + np.random.default_rng(derive_seed(self._seed, "cells")).permutation(count - 1)
        position = place % count
        rest = int(order[position - 1]) if position else 0
        cell = {}
        for name, those in values.items():
            rest, digit = divmod(rest, len(those))
            cell[name] = those[digit]
        return cell

    def _values(self, name: str, distribution: BaseDistribution | None) -> list[Any]:
        """Return a parameter's values in an order drawn from the seed."""
        given = self._given.get(name)
        if given is None:
            assert distribution is not None
            values = finite_values(name, distribution)
        else:
            values = given if distribution is None else _allowed(name, given, distribution)
        order = np.random.default_rng(derive_seed(self._seed, f"grid {name}")).permutation(len(values))
        return [values[position] for position in order]


def finite_values(name: str, distribution: BaseDistribution) -> list[Any]:
    """Return all values of a distribution.

    Raises
    ------
    InvalidArgument
        If there are infinitely many, or over 100,000.

    Examples
    --------
    >>> from optuna.distributions import FloatDistribution
    >>> from gbtune.samplers.grid import finite_values
    >>> finite_values("subsample", FloatDistribution(0.5, 1.0, step=0.25))
    [0.5, 0.75, 1.0]
    """
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, step = distribution.low, distribution.high, distribution.step
    if step is None:
        if distribution.single():
            return [low]
        raise InvalidArgument(
            f"The grid of {name!r} needs finitely many values, and its range from {low} to {high} is continuous. Give "
            f"them: grid={{{name!r}: [{low}, {high}]}}, or as 'grid' in the search space."
        )
    count = round((high - low) / step) + 1
    _refuse_over(count, name)
    # 0.3, not 0.30000000000000004
    digits = 12 - math.floor(math.log10(max(abs(low), abs(high), 1e-300)))
    return [
        low + k * step if isinstance(distribution, IntDistribution) else round(low + k * step, digits)
        for k in range(count)
    ]


def _allowed(name: str, values: list[Any], distribution: BaseDistribution) -> list[Any]:
    """Return the values that a distribution has; of a range that has none, the end that is nearest to them."""
    if isinstance(distribution, CategoricalDistribution):
        inside = [value for value in values if value in distribution.choices]
        if not inside:
            raise InvalidArgument(
                f"The grid of {name!r} must hold choices of the parameter, {list(distribution.choices)!r}, "
                f"got {values!r}."
            )
        return inside
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = distribution.low, distribution.high
    inside = [value for value in values if low <= value <= high]
    return inside or [low if max(values) < low else high]


def _count(values: Mapping[str, Sequence[Any]]) -> int:
    count = math.prod(map(len, values.values())) if values else 0
    _refuse_over(count, ", ".join(values))
    return count


def _refuse_over(count: int, names: str) -> None:
    if count > MAX_CELLS:
        raise InvalidArgument(
            f"A grid must have at most {MAX_CELLS:,} cells, the one over {names} has {count:,}. Give fewer values: "
            "grid={name: [...]}, or leave some parameters to another sampler."
        )
