"""Optuna's own sampler tests, on our samplers and on Optuna's inside a `SlotSampler`."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
from optuna.samplers import BaseSampler, TPESampler
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)

from gbtune.samplers import GroupedTPESampler, MixedSampler, SobolSampler
from gbtune.slots import SlotSampler

Make = Callable[[], BaseSampler]
NOT_CONTINUOUS = ["category", "b", "c"]
"""Parameters that are never continuous in Optuna's tests: a grid has their values."""
SAMPLERS: dict[str, Make] = {
    "mixed": lambda: MixedSampler({"x": "random", "[ab]": "qmc", "*": "tpe"}, seed=0),
    "mixed-with-grid": lambda: MixedSampler({**dict.fromkeys(NOT_CONTINUOUS, "grid"), "*": "tpe"}, seed=0),
    "sobol": lambda: SobolSampler(seed=0),
    "slots": lambda: SlotSampler(GroupedTPESampler, 0),
}
JOINT = functools.partial(GroupedTPESampler, n_startup_trials=0)
RELATIVE: dict[str, Make] = {
    "mixed": lambda: MixedSampler({"x": TPESampler(seed=0, n_startup_trials=0), "*": SobolSampler(seed=0)}),
    "mixed-slots": lambda: MixedSampler({"*": SlotSampler(JOINT, 0)}),
    "sobol": lambda: SobolSampler(seed=0),
}
"""Those that sample together as soon as there is a trial, as these tests ask for."""


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
class TestEverySampler(BasicSamplerTestCase, MultiObjectiveSamplerTestCase):
    """All that a sampler of any kind must do."""


@pytest.mark.parametrize("sampler", RELATIVE.values(), ids=RELATIVE)
class TestRelativeSamplers(RelativeSamplerTestCase):
    """What is sampled together."""
