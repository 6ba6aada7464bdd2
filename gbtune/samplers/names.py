"""Names of samplers, and the libraries behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from gbtune.errors import UnknownName
from gbtune.optional import require
from gbtune.samplers.sobol import SobolSampler
from gbtune.samplers.tpe import GroupedTPESampler
from gbtune.seeds import seed as derive_seed
from gbtune.slots import SlotSampler

NAMES = ("tpe", "random", "grid", "gp", "cmaes", "qmc")
EXTRAS = {"gp": "torch", "cmaes": "cmaes"}
"""Name of a sampler, and of the extra that it needs, to the library in it."""
_CLASSES = {"gp": optuna.samplers.GPSampler, "cmaes": optuna.samplers.CmaEsSampler}


def check_installed(sampler: str | optuna.samplers.BaseSampler) -> None:
    """Raise unless a sampler is known and its library installed: Optuna would say so in the middle of the study.

    Raises
    ------
    UnknownName
        If there is no sampler of that name.
    MissingLibrary
        If it needs a library that is not installed; the message names the extra.
    """
    if isinstance(sampler, str) and sampler not in NAMES:
        raise UnknownName("sampler", sampler, NAMES, "An optuna.samplers.BaseSampler object works too.")
    for name, module in EXTRAS.items():
        if stands_for(sampler, name):
            require(module, pip=f'"gbtune[{name}]"', needed_for=f"The sampler {name!r}")


def stands_for(sampler: str | optuna.samplers.BaseSampler, name: str) -> bool:
    """Return whether a sampler is that of a name, or an object of its class."""
    return sampler == name or isinstance(sampler, _CLASSES[name])


def make_sampler(
    name: str,
    seed: int | None,
    *,
    slots: bool = False,
    distributions: Mapping[str, BaseDistribution] | None = None,
) -> optuna.samplers.BaseSampler:
    """Return the sampler of a name other than "grid".

    Parameters
    ----------
    name : {"tpe", "random", "gp", "cmaes", "qmc"}
        Checked already.
    seed : int or None
        None is random.
    slots : bool, default False
        Make it anew for each slot, so that a study can be interrupted anywhere.
    distributions : mapping, optional
        The parameters, where they are known.
    """
    if name == "qmc":
        return SobolSampler(seed, distributions=distributions)
    make: Callable[..., optuna.samplers.BaseSampler] = _MAKERS[name]
    return SlotSampler(make, seed) if slots else make(seed=seed)


class _OneThreadGPSampler(optuna.samplers.GPSampler):
    """Optuna's, whose small matrices several threads only slow down: fourfold on two cores, far more on many."""

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):
            return super().sample_relative(study, trial, search_space)


def _gp(seed: int | None = None) -> optuna.samplers.BaseSampler:
    return _OneThreadGPSampler(seed=seed, **_fallback(seed))


def _cmaes(seed: int | None = None) -> optuna.samplers.BaseSampler:
    return optuna.samplers.CmaEsSampler(seed=seed, **_fallback(seed))


def _fallback(seed: int | None) -> dict[str, Any]:
    """TPE for what the others cannot model: conditional parameters, for CMA-ES categorical ones too."""
    own = None if seed is None else derive_seed(seed, "independent")
    return {"independent_sampler": GroupedTPESampler(own), "warn_independent_sampling": False}


_MAKERS: dict[str, Callable[..., optuna.samplers.BaseSampler]] = {
    "tpe": GroupedTPESampler,
    "random": optuna.samplers.RandomSampler,
    "gp": _gp,
    "cmaes": _cmaes,
}
