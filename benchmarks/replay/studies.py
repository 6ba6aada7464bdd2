"""Replayed studies: real trials of the real objective, told generation by generation as `gbtune.tune` tells them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import optuna

from benchmarks.replay.family import ReplayFamily
from benchmarks.replay.recording import Recording
from gbtune import Objective
from gbtune.evaluation import Evaluator, Report
from gbtune.objective import BASELINE, KIND_KEY
from gbtune.records import CVResult, TrialRecord
from gbtune.slots import generation_end, record_of
from gbtune.study import quiet_optuna

Point = dict[str, Any]


def run_study(
    objective: Objective,
    n_trials: int,
    *,
    points: Sequence[Point] = (),
    sampler: optuna.samplers.BaseSampler | None = None,
    pruner: optuna.pruners.BasePruner | None = None,
    baseline: bool = True,
) -> list[TrialRecord]:
    """Run one study and return the records of its trials.

    Trial 0 is the library's default; then come the `points`, then what the sampler proposes. Trials are asked in
    generations and told at the end of each, so that a pruner sees what it sees in `gbtune.tune`.
    """
    with quiet_optuna():
        study = optuna.create_study(
            direction=objective.direction,
            sampler=sampler or optuna.samplers.RandomSampler(seed=0),
            pruner=pruner or optuna.pruners.NopPruner(),
        )
        if baseline:
            first = objective.space.project(objective.family.default_params)
            study.enqueue_trial(first, user_attrs={KIND_KEY: BASELINE})
        for point in points:
            study.enqueue_trial(point)
        asked = 0
        while asked < n_trials:
            end = min(generation_end(asked, study.pruner), n_trials)
            if objective.schedule == "rounds":
                end = asked + 1
            trials = [study.ask() for _ in range(asked, end)]
            outcomes = [_evaluate(objective, trial) for trial in trials]
            for trial, value in zip(trials, outcomes, strict=True):
                state = optuna.trial.TrialState.PRUNED if value is None else optuna.trial.TrialState.COMPLETE
                study.tell(trial, value, state)
            asked = end
    records = [record_of(trial) for trial in study.get_trials(deepcopy=False)]
    return [record for record in records if record is not None]


def _evaluate(objective: Objective, trial: optuna.Trial) -> float | None:
    try:
        return objective(trial)
    except optuna.TrialPruned:
        return None


class Remembered:
    """The real evaluator's answers, each computed once: what it reports, and its result if pruned there or not.

    Set as `Objective.elsewhere`, where another process' evaluator would be. A replay asks for the same few hundred
    evaluations thousands of times; pruners see the reports as ever.

    Parameters
    ----------
    evaluator : Evaluator
        Of a replayed family.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator
        self._reports: dict[Any, list[tuple[int, float, list[float]]]] = {}
        self._results: dict[Any, CVResult] = {}

    def __call__(self, params: Mapping[str, Any], *, report: Report | None, **arguments: Any) -> CVResult:
        """Evaluate as `Evaluator.evaluate` does."""
        key = (frozenset(params.items()), arguments["schedule"], arguments["rounds"])
        if key not in self._results:
            told = self._reports[key] = []

            def listen(step: int, value: float, scores: Sequence[float]) -> bool:
                told.append((step, value, list(scores)))
                return False

            self._results[key] = self.evaluator.evaluate(params, report=listen, **arguments)
        if report is not None:
            for step, value, scores in self._reports[key]:
                if report(step, value, scores) and (stopped := self._pruned(key, step, params, arguments)):
                    return stopped
        return self._results[key]

    def _pruned(self, key: Any, at: int, params: Mapping[str, Any], arguments: dict[str, Any]) -> CVResult | None:
        """Return the result of a trial that is pruned at a step; None where it is complete by then."""
        if (key, at) not in self._results:
            result = self.evaluator.evaluate(params, report=lambda step, *_: step == at, **arguments)
            self._results[key, at] = result
        result = self._results[key, at]
        return result if result.state == "pruned" else None


@contextlib.contextmanager
def remembered_records() -> Iterator[None]:
    """Parse each trial's record once while this lasts: a replay is nothing but records."""
    # Replaced for the benchmark's own process alone: gbtune has no door for it, and no study needs one.
    parse = TrialRecord.from_json
    TrialRecord.from_json = functools.lru_cache(maxsize=4096)(parse)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del TrialRecord.from_json  # the class's own is inherited


@functools.lru_cache(maxsize=64)
def scores(recording: Recording) -> tuple[float, ...]:
    """Return the cross-validated loss of each recorded configuration, as the real evaluator reads it."""
    evaluator = ReplayFamily(recording).objective().evaluator
    return tuple(float(evaluator.evaluate(config["params"], seed=0).score or 0.0) for config in recording.configs)


def spread(recording: Recording) -> float:
    """Return (median - best) of the losses of all recorded configurations: the unit of regret."""
    losses = np.array(scores(recording))
    return float(np.median(losses) - losses.min())
