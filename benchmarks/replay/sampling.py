"""Samplers on recorded curves: how near the best they come after 10, 30 and 100 trials."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import optuna
from scipy.interpolate import RegularGridInterpolator

from benchmarks.replay.family import ReplayFamily, share
from benchmarks.replay.recording import Recording
from benchmarks.replay.studies import Point, scores, spread
from gbtune.errors import MissingLibrary
from gbtune.samplers import NAMES, SamplerPlan, resolve_sampler
from gbtune.samplers.names import check_installed
from gbtune.slots import SlotSampler, generation_end
from gbtune.study import quiet_optuna

BUDGETS = (10, 30, 100)
SLOW = {"gp": (2, 30)}
"""Samplers that take a tenth of a second for each proposal: so many studies of so many trials must do."""
Make = Callable[[ReplayFamily, int], SamplerPlan]


def samplers() -> dict[str, Make]:
    """Name to the plan of one study, from family and seed; those whose library is not installed are left out.

    Every name of `gbtune.samplers.NAMES` as it is shipped, and variations of TPE.
    """
    found = {name: partial(_shipped, name) for name in NAMES if _is_installed(name)}
    tpe = optuna.samplers.TPESampler
    variations: dict[str, dict[str, Any]] = {
        "tpe, univariate": {"multivariate": False},
    }
    for name, options in variations.items():
        found[name] = partial(_varied, partial(tpe, **options))
    return found


def _shipped(name: str, family: ReplayFamily, seed: int) -> SamplerPlan:
    return resolve_sampler(name, family.space, study_seed=seed)


def _varied(make: Callable[..., optuna.samplers.BaseSampler], _: ReplayFamily, seed: int) -> SamplerPlan:
    return SamplerPlan(SlotSampler(make, seed), "")


def _is_installed(name: str) -> bool:
    try:
        check_installed(name)
    except MissingLibrary:
        return False
    return True


Surface = Callable[[Mapping[str, Any]], float]
"""Parameters to loss."""


def steps(family: ReplayFamily) -> Surface:
    """Return the recorded loss of a configuration, or of the cell it falls in.

    Hard on samplers that refine: to come back to a cell brings nothing.
    """
    losses = scores(family.recording)
    return lambda params: losses[family.index(params)]


def slopes(family: ReplayFamily) -> Surface:
    """Return the loss interpolated between the middles of the cells, linearly on each parameter's own scale.

    Kind to samplers that refine: the way to the best cell is smooth. The lowest loss is that of a cell.
    """
    recording = family.recording
    counts = recording.about["levels"]
    losses = [
        loss for loss, config in zip(scores(recording), recording.configs, strict=True) if config["kind"] == "cell"
    ]
    middles = [(np.arange(count) + 0.5) / count for count in counts.values()]
    between = RegularGridInterpolator(middles, np.array(losses).reshape(tuple(counts.values())))

    def loss(params: Mapping[str, Any]) -> float:
        place = [share(family.distributions[name], params[name]) for name in counts]
        inside = [min(max(at, middle[0]), middle[-1]) for at, middle in zip(place, middles, strict=True)]
        return float(between(inside)[0])

    return loss


SURFACES = {"steps": steps, "slopes": slopes}


def search(
    family: ReplayFamily,
    sampler: optuna.samplers.BaseSampler,
    n_trials: int,
    *,
    surface: Surface | None = None,
    points: Sequence[Point] = (),
    baseline: float | None = None,
) -> np.ndarray:
    """Run one study without a pruner; return the losses in the order of trials.

    A trial's value is the recorded cross-validated loss. Trials are asked in generations, as `gbtune.tune` asks.
    The `baseline`, if there is one, is trial 0, seen by the sampler at the nearest point of the space.
    """
    loss = surface or steps(family)
    values: list[float] = [] if baseline is None else [baseline]
    with quiet_optuna(), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(sampler=sampler)
        if baseline is not None:
            study.add_trial(_trial_of_default(family, baseline))
        for point in points:
            study.enqueue_trial(point)
        while len(values) < n_trials:
            end = min(generation_end(len(values), study.pruner), n_trials)
            generation = []
            for _ in range(len(values), end):
                trial = study.ask()
                generation.append((trial, loss(family.space.suggest(trial, rounds=False))))
            for trial, value in generation:
                study.tell(trial, value)
                values.append(value)
    return np.array(values)


def _trial_of_default(family: ReplayFamily, value: float) -> optuna.trial.FrozenTrial:
    return optuna.trial.create_trial(
        params=family.space.project(family.default_params),
        distributions=family.space.distributions(rounds=False),
        value=value,
    )


def regrets(recording: Recording, losses: np.ndarray, budgets: Iterable[int] = BUDGETS) -> list[float]:
    """Return the best loss so far beyond the recording's best, in units of (median - best), at each budget."""
    best = np.minimum.accumulate(losses)
    lowest = min(scores(recording))
    return [float(best[min(budget, len(best)) - 1] - lowest) / spread(recording) for budget in budgets]


def compare(
    recording: Recording, names: Iterable[str], seeds: int, budgets: Sequence[int] = BUDGETS, kind: str = "steps"
) -> dict[str, list[list[float]]]:
    """Return, for each sampler, the regrets at the budgets of each seed; not a number at one that is beyond it."""
    family, chosen, found = ReplayFamily(recording), set(names), {}
    surface = SURFACES[kind](family)
    for name, make in samplers().items():
        if name not in chosen:
            continue
        found[name] = []
        studies, most = SLOW.get(name, (seeds, max(budgets)))
        for seed in range(min(studies, seeds)):
            plan = make(family, seed)
            n_trials = min(max(budgets), len(plan.points)) if plan.exhaustive else min(most, max(budgets))
            losses = search(family, plan.sampler, n_trials, points=plan.points, surface=surface)
            values = regrets(recording, losses, budgets)
            found[name].append([v if budget <= most else np.nan for v, budget in zip(values, budgets, strict=True)])
    return found
