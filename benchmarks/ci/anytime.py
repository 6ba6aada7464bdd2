"""Quality at any time: the search as it is shipped, replayed on recorded curves of real data sets.

One study with boosters says little about the order of the first trials: by luck, random ones do as well on one set.
So the shipped space, portfolio, sampler and race run on all recordings of `benchmarks.replay` (six sets, both
libraries), with several seeds. No booster runs, so the numbers are exact.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import gbtune
from benchmarks.replay.family import ReplayFamily
from benchmarks.replay.pruning import shipped
from benchmarks.replay.recording import Recording, recordings
from benchmarks.replay.studies import Remembered, remembered_records, run_study
from gbtune.records import CVResult, TrialRecord
from gbtune.samplers import resolve_sampler

AFTER_TRIALS = (5, 10, 20)
AFTER_ROUNDS = 10_000
SEEDS = 4


def measure(names: Sequence[str] = (), seeds: int = SEEDS) -> dict[str, float]:
    """Replay studies of 20 trials.

    Parameters
    ----------
    names : sequence of str, default all
        Of recordings.
    seeds : int, default 4
        Studies of each.

    Returns
    -------
    dict of str to float
        As `benchmarks.ci.judging.RULES` explains them. Losses are shares of the loss of the library's default, mean
        over recordings and seeds.
    """
    started = time.perf_counter()
    with remembered_records():
        studies = [study for recording in recordings(only=names) for study in replayed(recording, seeds)]
    shares = [shares_left(study) for study in studies]
    return {
        **{name: float(np.mean([share[name] for share in shares])) for name in shares[0]},
        "replayed_rounds": sum(sum(record.rounds_grown) for study in studies for record in study),
        "seconds": round(time.perf_counter() - started, 2),
    }


def replayed(recording: Recording, seeds: int) -> list[list[TrialRecord]]:
    """Return the trials of each study of one recording, as `gbtune.tune` would order them."""
    family = ReplayFamily(recording)
    objective, name = family.objective(), inspect.signature(gbtune.tune).parameters["sampler"].default
    remembered = Remembered(objective.evaluator)

    def evaluate(params: Mapping[str, Any], **arguments: Any) -> CVResult:
        """Evaluate what answers for `params` as itself: its curves are as long as its own learning rate needs."""
        return remembered(recording.configs[family.index(params)]["params"], **arguments)

    objective.elsewhere = evaluate
    return [
        run_study(
            objective,
            max(AFTER_TRIALS),
            points=[family.space.project(entry.params) for entry in family.space.portfolio_for(objective.data.task)],
            sampler=resolve_sampler(name, family.space, study_seed=seed).sampler,
            pruner=shipped("race", recording),
        )
        for seed in range(seeds)
    ]


def shares_left(study: Sequence[TrialRecord]) -> dict[str, float]:
    """Return the best loss after some trials and after some rounds, as a share of the first trial's, the default's.

    Examples
    --------
    >>> from benchmarks.ci.anytime import shares_left
    >>> from gbtune.records import TrialRecord
    >>> default = TrialRecord(0, "complete", {}, score=0.5, rounds_grown=(100,))
    >>> slow = TrialRecord(1, "complete", {}, score=0.4, rounds_grown=(9000, 9000))
    >>> shares_left([default, slow])
    {'left_after_5': 0.8, 'left_after_10': 0.8, 'left_after_20': 0.8, 'left_after_rounds': 1.0}
    """
    losses = [np.inf if record.score is None else record.score for record in study]
    left = np.minimum.accumulate(losses) / losses[0]
    rounds = np.cumsum([sum(record.rounds_grown) for record in study])
    within = max(1, int((rounds <= AFTER_ROUNDS).sum()))
    found = {f"left_after_{count}": float(left[min(count, len(left)) - 1]) for count in AFTER_TRIALS}
    return {**found, "left_after_rounds": float(left[within - 1])}
