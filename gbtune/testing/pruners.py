"""The contract of a pruner in gbtune's studies: the schedule that fits it, and what it may not touch.

That it is an ordinary Optuna pruner is what its one method says: `optuna.pruners.BasePruner.prune`.

With pytest::

    class TestMyPruner(PrunerContract):
        @pytest.fixture
        def pruner(self):
            return lambda: MyPruner()

Without: `check_pruner`.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import optuna

from gbtune.evaluation import ROUNDS_PER_STEP
from gbtune.metrics import Metric
from gbtune.objective import Objective
from gbtune.pruners import protocol_of, resolve_pruner
from gbtune.records import TRIAL_KEY, FloatArray, TrialRecord
from gbtune.testing import studies
from gbtune.testing.contract import Contract, ContractTests, Gaps, Report, must
from gbtune.testing.studies import KitFamily, WorstFirst, failing_at, must_repeat, run_study

PrunerSource = str | None | Callable[[], optuna.pruners.BasePruner]
"""What ``tune(pruner=)`` takes; an object as a callable that returns a new one."""

N_FOLDS = 5


@dataclasses.dataclass(frozen=True)
class PrunerCase:
    """A pruner under examination.

    Parameters
    ----------
    pruner : str, None or callable
        A name, or a callable that returns a new optuna pruner.
    prunes : bool, default True
        It claims to stop hopeless trials: some of 20 whose learning rates span three powers of ten.
    symmetric : bool, default True
        It claims to maximise a metric as it minimises the metric's negative. A fixed threshold does not.
    resumable : bool, default True
        It claims that a study which was stopped goes on as if it had not been: it keeps nothing in memory.
    n_trials : int, default 20
        Of a study.
    """

    pruner: PrunerSource
    prunes: bool = True
    symmetric: bool = True
    resumable: bool = True
    n_trials: int = 20

    def argument(self) -> Any:
        """Return the argument ``pruner`` of `tune`."""
        return self.pruner() if callable(self.pruner) else self.pruner

    def make(self) -> optuna.pruners.BasePruner:
        """Return a new pruner."""
        with studies.quiet():
            return resolve_pruner(self.argument(), n_rows=442, n_folds=N_FOLDS, max_rounds=60)

    def run(self, **arguments: Any) -> list[TrialRecord]:
        """Run a study whose configurations do not depend on the pruner; return its records by slot."""
        chosen = {"pruner": self.make(), "sampler": "random", "n_trials": self.n_trials, "cv": N_FOLDS, **arguments}
        return run_study(**chosen)

    @functools.cached_property
    def reference(self) -> list[TrialRecord]:
        """The records of a study on one core."""
        return self.run()

    @property
    def unpruned(self) -> list[TrialRecord]:
        """The records of the same study without a pruner."""
        return _unpruned(self.n_trials)


@functools.lru_cache(maxsize=4)
def _unpruned(n_trials: int) -> list[TrialRecord]:
    return PrunerCase(None, n_trials=n_trials).run()


def _label(case: PrunerCase) -> str:
    return getattr(case.pruner, "__name__", "") if callable(case.pruner) else repr(case.pruner)


PRUNER: Contract[PrunerCase] = Contract("pruner", _label)
_check = PRUNER.check


@dataclasses.dataclass
class _Spy:
    """Looks over a pruner's shoulder: what it is asked, and whether it changes what it is shown."""

    pruner: optuna.pruners.BasePruner
    asked: list[tuple[int, int | None, bool]] = dataclasses.field(default_factory=list)
    changed: list[int] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self._inner, self._lock = self.pruner.prune, threading.Lock()
        self.pruner.prune = self._prune  # type: ignore[method-assign]

    def _prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        before = _state_of(study, trial)
        answer = self._inner(study, trial)
        with self._lock:
            self.asked.append((trial.number, trial.last_step, answer))
            if _state_of(study, trial) != before:
                self.changed.append(trial.number)
        return answer


def _state_of(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> tuple[Any, ...]:
    """What a pruner may not change: other pruners keep their notes in system attributes, so may it."""
    frozen = (trial.params, trial.user_attrs, trial.intermediate_values, trial.state, study.user_attrs)
    return copy.deepcopy(frozen)


@_check()
def each_step_is_reported_once_and_in_order(case: PrunerCase) -> Iterator[str]:
    """Steps are those of the pruner's schedule, and it is asked once after each of them."""
    spy = _Spy(case.make())
    schedule, first = protocol_of(spy.pruner).schedule, 1
    case.run(pruner=spy.pruner)
    must(spy.asked, "The pruner was never asked.")
    steps: dict[int, list[int | None]] = {}
    for number, step, _ in spy.asked:
        steps.setdefault(number, []).append(step)
    if schedule == "rounds":
        first = ROUNDS_PER_STEP
    for number, found in steps.items():
        wanted = [first * k for k in range(1, len(found) + 1)]
        must(found == wanted, f"Trial {number} was judged after the steps {found}; steps of {schedule} are {wanted}.")
    yield "once"


@_check()
def it_changes_nothing_it_is_shown(case: PrunerCase) -> Iterator[str]:
    """Parameters, values, records and state are as they were before it was asked."""
    spy = _Spy(case.make())
    case.run(pruner=spy.pruner)
    must(not spy.changed, f"The pruner changed the trials {spy.changed}.")
    strange = [answer for *_, answer in spy.asked if not isinstance(answer, bool | np.bool_)]
    must(not strange, f"prune must answer True or False, it answered {strange[:3]}.")
    yield "once"


@_check()
def complete_values_equal_those_without_a_pruner(case: PrunerCase) -> Iterator[str]:
    """A pruner decides which trials end early; what the others score is none of its business."""
    with_it, without = case.reference, case.unpruned
    must(len(with_it) == len(without), f"{len(with_it)} trials finished instead of {len(without)}.")
    for slot, (found, wanted) in enumerate(zip(with_it, without, strict=True)):
        must(found.params == wanted.params, f"Slot {slot} has other parameters under the pruner.")
        if found.state == "complete":
            same = (found.score, found.rounds, found.fold_scores) == (wanted.score, wanted.rounds, wanted.fold_scores)
            must(same, f"Slot {slot} scores {found.score} under the pruner and {wanted.score} without.")
    yield "once"


@_check(lambda case: ("once",) if case.prunes else ())
def a_hopeless_trial_is_pruned(case: PrunerCase) -> Iterator[str]:
    """Some trials learn next to nothing: one of them at least is stopped, early, and good ones are not."""
    records, full = case.reference, case.unpruned
    pruned = [record for record in records if record.state == "pruned"]
    must(pruned, f"None of {len(records)} trials was pruned.")
    must(len(pruned) < len(records) - 1, "Every trial but the baseline was pruned.")
    spent, whole = (sum(sum(record.rounds_grown) for record in each) for each in (records, full))
    must(spent < whole, f"The pruned study grew {spent} rounds, the one without a pruner {whole}.")
    worst = max(record.score or 0.0 for record in full)
    best = min(record.score or 0.0 for record in full)
    kept = min(record.score for record in records if record.score is not None)
    must(kept < (best + worst) / 2, f"What was kept scores {kept}; scores reach from {best} to {worst}.")
    yield "once"


@_check(lambda case: ("an ordinary one", "the worst of all"))
def the_baseline_is_never_pruned(case: PrunerCase) -> Iterator[str]:
    """Trial 0 runs on all folds, however bad it is."""
    for family, which in ((KitFamily(), "an ordinary one"), (WorstFirst(), "the worst of all")):
        spy = _Spy(case.make())
        baseline = case.run(family=family, pruner=spy.pruner, n_trials=6)[0]
        must(baseline.kind == "baseline", f"Slot 0 is of the kind {baseline.kind!r}.")
        must(baseline.state == "complete" and len(baseline.fold_scores) == N_FOLDS, f"The baseline: {baseline.state}.")
        must(0 not in {number for number, *_ in spy.asked}, "The pruner was asked about the baseline.")
        yield which


@_check()
def pruned_trials_carry_no_score(case: PrunerCase) -> Iterator[str]:
    """They have a partial score and a reason, never a value under the metric's name."""
    for record in case.reference:
        if record.state == "pruned":
            must(record.score is None, f"Trial {record.number} was pruned and scores {record.score}.")
            must(record.partial_score is not None, f"Trial {record.number} was pruned and has no partial score.")
            must(record.reason in ("race", "pruner"), f"Trial {record.number} was pruned for {record.reason!r}.")
        else:
            must(record.score is not None and record.state == "complete", f"Trial {record.number}: {record.state}.")
    yield "once"


@_check()
def the_number_of_cores_changes_nothing(case: PrunerCase) -> Iterator[str]:
    """States, rounds and scores are equal with one core and with two."""
    must_repeat(case.run(n_jobs=2), case.reference, "With two cores the study is another one.")
    yield "once"


@_check(lambda case: ("once",) if case.symmetric else ())
def maximising_is_the_mirror_of_minimising(case: PrunerCase) -> Iterator[str]:
    """The negative of the metric, maximised, prunes the same trials."""
    low = case.run(metric=Metric("error", _error, "minimize", "raw"))
    high = case.run(metric=Metric("negative error", _negative_error, "maximize", "raw"))
    states = [[record.state for record in records] for records in (low, high)]
    must(states[0] == states[1], f"Minimised, the states are {states[0]}; maximised, {states[1]}.")
    yield "once"


def _error(y: FloatArray, predicted: FloatArray, weight: FloatArray | None = None) -> float:
    return float(((y - predicted) ** 2).mean() ** 0.5)


def _negative_error(y: FloatArray, predicted: FloatArray, weight: FloatArray | None = None) -> float:
    return -_error(y, predicted, weight)


@_check()
def failed_trials_are_survived(case: PrunerCase) -> Iterator[str]:
    """A trial that broke in its second fold has reported once; the study goes on and repeats."""
    complete = [record for record in case.reference[4:] if record.state == "complete"]
    must(complete, "No trial but the first four completed.")
    failing = complete[0].params

    def broken(n_jobs: int) -> list[TrialRecord]:
        return case.run(family=KitFamily(failing_at(failing)), n_jobs=n_jobs)

    records = broken(1)
    failed = [record for record in records if record.state == "failed"]
    must(failed, "The trial with a planted failure did not fail.")
    others = [record.error for record in failed if record.params != failing]
    must(not others, f"After the planted failure others followed; the first error was {others[:1]}.")
    must_repeat(broken(2), records, "With a failed trial, two cores give another study.")
    yield "once"


@_check(lambda case: ("once",) if case.resumable else ())
def a_stopped_study_goes_on_as_if_it_had_not(case: PrunerCase) -> Iterator[str]:
    """Nine trials, and the rest in a second call, are the study that is run at once."""
    with tempfile.TemporaryDirectory() as folder:
        run = functools.partial(case.run, study="kit")
        run(n_trials=9, storage=Path(folder) / "parts.journal")
        parts = run(storage=Path(folder) / "parts.journal")
        # Under the same name: some pruners draw from it.
        must_repeat(parts, run(storage=Path(folder) / "whole.journal"), "Stopped and continued, it is another study.")
    yield "once"


@_check()
def it_serves_an_ordinary_optuna_study(case: PrunerCase) -> Iterator[str]:
    """`gbtune.Objective` in somebody's own study."""
    X, y = studies.measurements()
    objective = Objective(KitFamily(), X, y, space=studies.SPACE, cv=N_FOLDS)
    with studies.quiet():
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), pruner=case.make())
        study.optimize(objective, n_trials=case.n_trials)
    states = {trial.state.name for trial in study.trials}
    must(states <= {"COMPLETE", "PRUNED"}, f"The trials' states are {states}.")
    must(all(TRIAL_KEY in trial.user_attrs for trial in study.trials), "Some trials have no record.")
    yield "once"


@PRUNER.as_tests
class PrunerContract(ContractTests):
    """What a pruner must do in gbtune's studies: subclass it, and override the fixture `pruner`.

    The fixture returns what `PrunerCase` takes.

    Attributes
    ----------
    prunes, symmetric, resumable, n_trials
        As in `PrunerCase`.
    """

    prunes: ClassVar[bool] = True
    symmetric: ClassVar[bool] = True
    resumable: ClassVar[bool] = True
    n_trials: ClassVar[int] = 20

    def subject(self, given: PrunerSource) -> PrunerCase:
        """Return the pruner with its claims."""
        return PrunerCase(given, self.prunes, self.symmetric, self.resumable, self.n_trials)


def check_pruner(
    pruner: PrunerSource,
    *,
    prunes: bool = True,
    symmetric: bool = True,
    resumable: bool = True,
    n_trials: int = 20,
    gaps: Gaps | None = None,
) -> Report:
    """Run the whole contract of a pruner without pytest.

    Parameters
    ----------
    pruner, prunes, symmetric, resumable, n_trials
        As in `PrunerCase`.
    gaps : mapping of str to Gap, optional
        Checks that cannot pass, each with a reason.

    Raises
    ------
    AssertionError
        If the pruner breaks the contract, in a sentence.

    Examples
    --------
    >>> from gbtune.testing import check_pruner
    >>> print(check_pruner("median"))  # doctest: +SKIP
    pruner 'median': 12 cases in 11 checks passed
    """
    case = PrunerCase(pruner, prunes, symmetric, resumable, n_trials)
    return PRUNER.run(lambda: case, gaps)
