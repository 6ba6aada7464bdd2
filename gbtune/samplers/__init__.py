"""Samplers: what proposes configurations. Names, mixtures, and plug-ins for anyone's own Optuna study.

`resolve_sampler` turns the `sampler` argument of `gbtune.tune` into a plan. `MixedSampler`, `SobolSampler`,
`GridCycleSampler` and `GroupedTPESampler` are ordinary Optuna samplers.
"""

from __future__ import annotations

from gbtune.samplers.grid import GridCycleSampler
from gbtune.samplers.mixed import MixedSampler
from gbtune.samplers.names import NAMES
from gbtune.samplers.plan import SamplerLike, SamplerPlan, resolve_sampler
from gbtune.samplers.sobol import SobolSampler
from gbtune.samplers.tpe import GroupedTPESampler

__all__ = [
    "NAMES",
    "GridCycleSampler",
    "GroupedTPESampler",
    "MixedSampler",
    "SamplerLike",
    "SamplerPlan",
    "SobolSampler",
    "resolve_sampler",
]
