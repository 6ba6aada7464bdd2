"""Different samplers for different parameters."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from gbtune.errors import InvalidArgument
from gbtune.samplers.grid import GridCycleSampler
from gbtune.samplers.names import check_installed, make_sampler, stands_for
from gbtune.seeds import seed as derive_seed


class MixedSampler(optuna.samplers.BaseSampler):
    """Different samplers for different parameters, each of which sees the whole study.

    Parameters
    ----------
    samplers : mapping of str to str or optuna.samplers.BaseSampler
        From a parameter's name, or a pattern with ``*``, ``?`` or ``[...]``, to a sampler: "tpe", "random", "gp",
        "cmaes", "qmc", "grid", or any sampler object. A parameter goes to its own name, else to the first pattern that
        matches; ``"*"`` comes last. What one sampler has been given it samples together.
        "grid" goes through the values again and again, each equally often; several parameters form their product
        (`GridCycleSampler`).
    grid : mapping of str to sequence, optional
        Values for parameters of "grid". Default: all values of their distribution, which must be finitely many.
    seed : int, optional
        Of the samplers made from names. Default: random. Objects keep their own.

    Raises
    ------
    InvalidArgument
        If the mapping is empty or holds something else, `grid` has values for a parameter of another sampler, or
        CMA-ES stands in it twice (its state is kept in the trials, under one name). When sampling, if a parameter
        matches no name or pattern.
    UnknownName
        If a sampler's name is unknown.
    MissingLibrary
        If a sampler needs a library that is not installed.

    Examples
    --------
    >>> import optuna
    >>> from gbtune.samplers import MixedSampler
    >>> def objective(trial):
    ...     return trial.suggest_int("max_depth", 1, 4) * trial.suggest_float("learning_rate", 0.01, 0.3, log=True)
    >>> study = optuna.create_study(sampler=MixedSampler({"max_depth": "grid", "*": "tpe"}, seed=0))
    >>> study.optimize(objective, n_trials=12)
    >>> sorted(trial.params["max_depth"] for trial in study.trials)
    [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    """

    def __init__(
        self,
        samplers: Mapping[str, str | optuna.samplers.BaseSampler],
        *,
        grid: Mapping[str, Sequence[Any]] | None = None,
        seed: int | None = None,
    ) -> None:
        check_mapping(samplers)
        made: dict[str, optuna.samplers.BaseSampler] = {}
        for given in samplers.values():
            if isinstance(given, str) and given not in made:
                own = None if seed is None else derive_seed(seed, f"sampler {given}")  # or two would draw the same
                made[given] = GridCycleSampler(grid, own) if given == "grid" else make_sampler(given, own)
        self._owners = {
            pattern: made[given] if isinstance(given, str) else given for pattern, given in by_priority(samplers)
        }
        self._children = list({id(child): child for child in self._owners.values()}.values())
        for name in grid or {}:
            if self._owner(name) is not made.get("grid"):
                raise InvalidArgument(f"grid has values for {name!r}, whose sampler is not 'grid': {dict(samplers)!r}.")

    def __repr__(self) -> str:
        parts = [f"{pattern!r}: {type(child).__name__}" for pattern, child in self._owners.items()]
        return f"MixedSampler({{{', '.join(parts)}}})"

    def _owner(self, name: str) -> optuna.samplers.BaseSampler | None:
        pattern = matching_pattern(name, self._owners)
        return None if pattern is None else self._owners[pattern]

    def reseed_rng(self) -> None:
        """Reseed each sampler that has a random state of its own."""
        for child in self._children:
            child.reseed_rng()

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Announce a trial to each sampler."""
        for child in self._children:
            child.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return what the samplers sample together, each among its own parameters."""
        return {
            name: distribution
            for child in self._children
            for name, distribution in child.infer_relative_search_space(study, trial).items()
            if self._owner(name) is child
        }

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Let each sampler sample its own parameters together."""
        params: dict[str, Any] = {}
        for child in self._children:
            own = {name: search_space[name] for name in search_space if self._owner(name) is child}
            params |= child.sample_relative(study, trial, own)
        return params

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Let a parameter's sampler sample it by itself."""
        owner = self._owner(param_name)
        if owner is None:
            raise no_sampler(param_name, self._owners)
        return owner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Tell each sampler how a trial ended."""
        for child in self._children:
            child.after_trial(study, trial, state, values)


def check_mapping(samplers: Mapping[str, str | optuna.samplers.BaseSampler]) -> None:
    """Raise `InvalidArgument`, `UnknownName` or `MissingLibrary` unless a mapping is one of samplers."""
    if not isinstance(samplers, Mapping) or not samplers:
        raise InvalidArgument(
            "A mixture of samplers must map parameters to samplers, such as {'max_depth': 'grid', '*': 'tpe'}, got "
            f"{samplers!r}."
        )
    for pattern, given in samplers.items():
        if not isinstance(pattern, str) or not isinstance(given, str | optuna.samplers.BaseSampler):
            raise InvalidArgument(
                "A mixture of samplers must map names of parameters to names of samplers or optuna samplers, got "
                f"{pattern!r}: {given!r}."
            )
        check_installed(given)
    evolving = {
        given if isinstance(given, str) else id(given) for given in samplers.values() if stands_for(given, "cmaes")
    }
    if len(evolving) > 1:
        raise InvalidArgument(
            "A mixture can hold CMA-ES once, because it keeps its state in the trials: give its parameters one and the "
            "same object, or the name 'cmaes'."
        )


def by_priority(
    samplers: Mapping[str, str | optuna.samplers.BaseSampler],
) -> list[tuple[str, str | optuna.samplers.BaseSampler]]:
    """Return a mixture's entries in the order in which they are tried: "*" last."""
    return sorted(samplers.items(), key=lambda item: item[0] == "*")


def matching_pattern(name: str, patterns: Mapping[str, object]) -> str | None:
    """Return the pattern that a parameter goes to; None if there is none."""
    if name in patterns:
        return name
    return next((pattern for pattern in patterns if fnmatch.fnmatchcase(name, pattern)), None)


def no_sampler(name: str, patterns: Mapping[str, object]) -> InvalidArgument:
    """Return the error for a parameter that no pattern matches."""
    return InvalidArgument(
        f"Each parameter needs a sampler, and {name!r} matches none of {', '.join(map(repr, patterns))}. Add "
        f"{name!r}, or '*' for all the others."
    )
