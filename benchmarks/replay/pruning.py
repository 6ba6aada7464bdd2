"""Pruners on recorded curves: what they save, how often the truly best survives, and what its loss costs."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
import optuna

from benchmarks.replay.family import N_FOLDS, ReplayFamily
from benchmarks.replay.recording import Recording
from benchmarks.replay.studies import Point, Remembered, remembered_records, run_study, scores, spread
from gbtune.pruners import NAMES, RacingPruner, resolve_pruner
from gbtune.records import TrialRecord

TRIALS = 40
POPULATIONS = ("all", "top", "improve")
RACES = tuple((z, 3) for z in (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)) + tuple((1.5, startup) for startup in (2, 5, 8))
"""Width of the margin and start-up trials of the races that are compared."""


Make = Callable[[Recording], optuna.pruners.BasePruner]


@dataclasses.dataclass(frozen=True)
class Rule:
    """A pruner to compare: how to make it for a recording, and the schedule when it is not the pruner's own."""

    make: Make
    schedule: Literal["rounds"] | None = None


def rules() -> dict[str, Rule]:
    """Name to rule: every name of `gbtune.pruners.NAMES` as it is shipped, and variations of its constants."""
    pruners = optuna.pruners
    found = {
        racing_name(z, startup): Rule(lambda _, z=z, startup=startup: RacingPruner(z, startup)) for z, startup in RACES
    }
    for name in NAMES:
        if name != "race":  # its z depends on the number of rows: see above
            found[name] = Rule(lambda recording, name=name: shipped(name, recording))
    found["wilcoxon, p = 0.26"] = Rule(lambda _: _quietly(lambda: pruners.WilcoxonPruner(p_threshold=0.26)))
    found["percentile 50 from fold 2"] = Rule(lambda _: pruners.MedianPruner(n_warmup_steps=2))
    for warmup in (20, 100):
        name = f"median on rounds, from {warmup}"
        found[name] = Rule(lambda _, warmup=warmup: pruners.MedianPruner(n_warmup_steps=warmup), "rounds")
    return found


def racing_name(z: float, startup: int) -> str:
    """Return what the tables call a race."""
    return f"race, z = {z:g}, startup {startup}"


def shipped(name: str, recording: Recording) -> optuna.pruners.BasePruner:
    """Return the pruner that `gbtune.tune` makes of a name."""
    about = recording.about
    return resolve_pruner(name, n_rows=int(about["rows"]), n_folds=N_FOLDS, max_rounds=int(about["cap"]))


def _quietly(make: Callable[[], optuna.pruners.BasePruner]) -> optuna.pruners.BasePruner:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return make()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Of one rule in one study.

    Parameters
    ----------
    cost : float
        Rounds grown, as a share of those of the same study without a pruner.
    kept : bool
        Whether the configuration that is best on all folds was evaluated on all folds.
    regret : float
        Loss of the chosen configuration beyond the best of the study, as a share of the recording's
        (median - best).
    rounds : int
        Grown in all.
    """

    cost: float
    kept: bool
    regret: float
    rounds: int


def sampled(family: ReplayFamily, position: int) -> Point:
    """Return what a trial samples to get a recorded configuration."""
    return family.space.project(family.recording.configs[position]["params"])


def population(family: ReplayFamily, kind: str, stream: np.random.Generator, n_trials: int) -> list[int]:
    """Return the recorded configurations of one study, in order: the space's portfolio first, then cells.

    "all" draws cells at random, "top" among the better half (as a late sampler proposes), "improve" orders random
    ones by their score with noise, the worst first (as a sampler that learns).
    """
    recording, task = family.recording, family.recording.about["task"]
    losses = np.array(scores(recording))
    first = [
        position
        for position, config in enumerate(recording.configs)
        if config["kind"] == "portfolio"
        and config["space"] == recording.about["space"]
        and (not config["tasks"] or task in config["tasks"])
    ]
    cells = np.array([position for position, config in enumerate(recording.configs) if config["kind"] == "cell"])
    if kind == "top":
        cells = cells[losses[cells] <= np.median(losses[cells])]
    drawn = stream.choice(cells, size=min(len(cells), n_trials - 1 - len(first)), replace=False)
    if kind == "improve":
        ranks = losses[drawn].argsort().argsort()
        drawn = drawn[np.argsort(-(ranks + stream.normal(0, len(drawn) / 4, len(drawn))))]
    return first + [int(position) for position in drawn]


def compare(
    recording: Recording, names: Iterable[str], replays: int, *, n_trials: int = TRIALS
) -> dict[str, list[Outcome]]:
    """Run all rules on the same studies of one recording: `replays` of each population."""
    chosen = {name: rule for name, rule in rules().items() if name in set(names)}
    found: dict[str, list[Outcome]] = {name: [] for name in chosen}
    stream = np.random.default_rng(0)
    with remembered_records():
        for _ in range(replays):
            family = ReplayFamily(recording, tuple(int(fold) for fold in stream.permutation(N_FOLDS)))
            objectives = {schedule: family.objective(schedule) for schedule in (None, "rounds")}
            remembered = Remembered(objectives[None].evaluator)
            for objective in objectives.values():
                objective.elsewhere = remembered
            for kind in POPULATIONS:
                points = [sampled(family, position) for position in population(family, kind, stream, n_trials)]
                full = run_study(objectives[None], len(points) + 1, points=points)
                for name, rule in chosen.items():
                    objective, pruner = objectives[rule.schedule], rule.make(recording)
                    records = run_study(objective, len(points) + 1, points=points, pruner=pruner)
                    found[name].append(judge(records, full, spread(recording)))
    return found


def judge(records: list[TrialRecord], full: list[TrialRecord], scale: float) -> Outcome:
    """Compare a study with the same one without a pruner."""
    truth = np.array([record.score for record in full], dtype=float)
    losses = np.array([np.inf if record.score is None else record.score for record in records])
    grown, all_rounds = (sum(sum(record.rounds_grown) for record in study) for study in (records, full))
    return Outcome(
        cost=grown / all_rounds,
        kept=bool(np.isfinite(losses[truth == truth.min()]).any()),
        regret=float(losses.min() - truth.min()) / scale,
        rounds=grown,
    )
