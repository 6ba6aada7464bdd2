"""Slots: the order of a study that interruptions do not change.

A trial's number is Optuna's, its slot is gbtune's: slot 5 is the sixth configuration of the study. They are equal until
something cuts a trial off (a kill, Ctrl-C, a deadline). Its slot is then run again by a new trial, with the same
parameters. Samplers and pruners see the study in the order of slots, so it ends as if nothing had happened.

Slots come in generations, whose sizes are constants. A trial is asked and judged as if the earlier generations were
told and the earlier slots of its own one still running.
"""

from __future__ import annotations

import copy
import dataclasses
from collections import ChainMap, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from gbtune.pruners import protocol_of
from gbtune.records import TRIAL_KEY, TrialRecord
from gbtune.seeds import seed as derive_seed
from gbtune.settled import Settled
from gbtune.views import StudyView

SLOT_KEY = "gbtune:slot"
POINT_KEY = "gbtune:point"
"""Key of the prescribed point (baseline, portfolio entry, grid cell) that a trial evaluates."""
ALONE_KEY = "gbtune:alone"
"""Set on a trial that was asked for without waiting for its generation: it sees all that was told before it."""
FIRST_GENERATION, GENERATION = 4, 8
"""Small at first, so that racing starts after the fewest complete trials; later wide enough for eight cores."""
CUT = ("interrupt", "deadline", "failure", "killed")
"""Why a trial ended through no fault of its configuration: its slot is free again."""
_ASKED_AT_MOST = 64
_LATEST_AT_MOST = 64
_LATEST: OrderedDict[str, TrialRecord] = OrderedDict()
"""By their text, which takes a while to read: the runner looks at a record several times in a row."""


def slot_of(trial: FrozenTrial) -> int:
    """Return a trial's slot; of a trial that gbtune did not ask for, the number."""
    return int(trial.user_attrs.get(SLOT_KEY, trial.number))


def generation_start(slot: int, pruner: optuna.pruners.BasePruner) -> int:
    """Return the first slot of the generation that a slot belongs to.

    Pruners with steps in rounds look at running trials, too: there each trial is a generation.

    Examples
    --------
    >>> import optuna
    >>> from gbtune.slots import generation_start
    >>> [generation_start(slot, optuna.pruners.NopPruner()) for slot in (3, 4, 11, 12)]
    [0, 4, 4, 12]
    """
    if protocol_of(pruner).schedule == "rounds":
        return slot
    return 0 if slot < FIRST_GENERATION else slot - (slot - FIRST_GENERATION) % GENERATION


def generation_end(slot: int, pruner: optuna.pruners.BasePruner) -> int:
    """Return the first slot of the next generation."""
    if protocol_of(pruner).schedule == "rounds":
        return slot + 1
    start = generation_start(slot, pruner)
    return start + (GENERATION if start else FIRST_GENERATION)


def record_of(trial: FrozenTrial) -> TrialRecord | None:
    """Return the record in a trial; None if there is none."""
    text = trial.user_attrs.get(TRIAL_KEY)
    if text is None:
        return None
    known = _LATEST.get(text)
    return _remember(text, TrialRecord.from_json(text)) if known is None else known


def text_of(record: TrialRecord) -> str:
    """Return a record as it is stored; `record_of` then need not read it again."""
    text = record.to_json()
    _remember(text, record)
    return text


def _remember(text: str, record: TrialRecord) -> TrialRecord:
    _LATEST[text] = record
    if len(_LATEST) > _LATEST_AT_MOST:
        _LATEST.popitem(last=False)
    return record


def is_cut(record: TrialRecord) -> bool:
    """Return whether something interrupted a trial, so that its slot is run again."""
    return record.reason in CUT


@dataclasses.dataclass
class Slots:
    """What a study's storage says about its slots, as of the last `read`.

    Parameters
    ----------
    study : optuna.Study
        Any.

    Attributes
    ----------
    held : mapping of int to FrozenTrial
        Slot to the trial that fills it: running, or finished.
    cut : dict of int to FrozenTrial
        Slots that are free again, to the trial that was cut off.
    waiting : list of FrozenTrial
        Enqueued by the study's owner, or by a process that was killed before it could start them.
    """

    study: optuna.Study
    cut: dict[int, FrozenTrial] = dataclasses.field(default_factory=dict)
    waiting: list[FrozenTrial] = dataclasses.field(default_factory=list)
    _running: dict[int, FrozenTrial] = dataclasses.field(default_factory=dict)
    _filled: dict[int, FrozenTrial] = dataclasses.field(default_factory=dict)  # only grows
    _points: set[str] = dataclasses.field(default_factory=set)  # of those
    _finished: dict[int, FrozenTrial] = dataclasses.field(default_factory=dict)
    _first: int = 0
    _final: int = 0  # trials before this number are finished and known

    @property
    def held(self) -> Mapping[int, FrozenTrial]:
        """Slot to the trial that fills it."""
        return ChainMap(self._running, self._filled)

    @property
    def running(self) -> list[FrozenTrial]:
        """The trials that fill a slot and have not finished."""
        return list(self._running.values())

    def read(self) -> list[FrozenTrial]:
        """Look again; return the trials that have finished since the last time, in the order of slots.

        It costs what has changed, not what there is: it is done several times per trial.
        """
        trials = self.study.get_trials(deepcopy=False)
        news, running = [], []
        self.waiting = []
        for trial in trials[self._final :]:
            if trial.state.is_finished():
                if trial.number not in self._finished:
                    self._finished[trial.number] = trial
                    news.append(trial)
                    self._settle(trial)
            elif trial.state == TrialState.WAITING:
                self.waiting.append(trial)
            elif SLOT_KEY in trial.user_attrs:  # what somebody else runs is not ours to wait for
                running.append(trial)
        while self._final < len(trials) and self._final in self._finished:
            self._final += 1
        self._running = {slot_of(trial): trial for trial in running}
        self.cut = {slot: trial for slot, trial in self.cut.items() if self.free([slot])}
        return sorted(news, key=lambda trial: (slot_of(trial), trial.number))

    def _settle(self, trial: FrozenTrial) -> None:
        slot = slot_of(trial)
        if slot in self._filled:
            return  # another trial has filled it
        if self._is_cut(trial):
            self.cut[slot] = trial
            return
        self._filled[slot] = trial
        if POINT_KEY in trial.user_attrs:
            self._points.add(trial.user_attrs[POINT_KEY])

    @staticmethod
    def _is_cut(trial: FrozenTrial) -> bool:
        if trial.state == TrialState.COMPLETE:
            return False
        record = record_of(trial)
        if record is None:  # it was killed before it had one
            return SLOT_KEY in trial.user_attrs
        # Without a baseline there is nothing to compare with: it is tried again.
        return is_cut(record) or (record.kind == "baseline" and trial.state == TrialState.FAIL)

    def free(self, slots: Iterable[int]) -> list[int]:
        """Return those of the slots that no trial fills."""
        return [slot for slot in slots if slot not in self._filled and slot not in self._running]

    def first_open(self) -> int:
        """Return the lowest slot whose trial has not finished."""
        while self._first in self._filled:
            self._first += 1
        return self._first

    def has_evaluated(self, point: str) -> bool:
        """Return whether a trial has evaluated the point of a key."""
        return point in self._points

    def is_taken(self, point: str) -> bool:
        """Return whether a trial evaluates, or has evaluated, the point of a key."""
        return point in self._points or any(trial.user_attrs.get(POINT_KEY) == point for trial in self.running)

    def others(self, points: Set[str]) -> int:
        """Return how many slots something else fills than the points of these keys."""
        running = sum(trial.user_attrs.get(POINT_KEY) in points for trial in self.running)
        return len(self._running) + len(self._filled) - len(self._points & points) - running


def in_slot_order(
    study: optuna.Study, trial: FrozenTrial, *, in_generations: bool = True
) -> tuple[optuna.Study, FrozenTrial]:
    """Return a study and a running trial as if nothing had ever interrupted the study.

    Parameters
    ----------
    study : optuna.Study
        With a gbtune trial.
    trial : FrozenTrial
        Running.
    in_generations : bool, default True
        Show what was told of the trial's own generation as still running, unless it was asked for alone.

    Returns
    -------
    study, trial
        As they are, where nothing did: the usual case costs one look at the trial's own generation.
    """
    if SLOT_KEY not in trial.user_attrs:
        return study, trial
    slot = slot_of(trial)
    in_generations = in_generations and ALONE_KEY not in trial.user_attrs
    start = generation_start(slot, study.pruner) if in_generations else slot
    trials = study.get_trials(deepcopy=False)
    # Numbers and slots part at the first interruption, for good.
    if trial.number == slot and not any(other.state.is_finished() for other in trials[start:slot]):
        return study, trial
    settled, later = _SETTLED.of(study)
    by_slot = {**settled, **_by_slot(later), slot: trial}
    shown = [_as_of(by_slot[s], s, start) for s in sorted(by_slot) if s <= slot]
    return StudyView(study, shown), _as_of(trial, slot, start)


def _by_slot(trials: Iterable[FrozenTrial]) -> dict[int, FrozenTrial]:
    """Return trials by their slots, which are their numbers then; the newest one of each slot."""
    return {slot: _numbered(trial, slot) for trial in trials for slot in [slot_of(trial)]}


def _numbered(trial: FrozenTrial, slot: int) -> FrozenTrial:
    if trial.number == slot:
        return trial
    seen = copy.copy(trial)
    seen.number = slot
    return seen


def _as_of(trial: FrozenTrial, slot: int, start: int) -> FrozenTrial:
    seen = _numbered(trial, slot)
    if slot >= start and seen.state.is_finished():  # told before its generation was: not known yet
        seen = copy.copy(seen)
        seen.state, seen.values, seen.datetime_complete = TrialState.RUNNING, None, None
    return seen


# The same objects after every fold of every trial: pruners know again what they have read.
_SETTLED = Settled[dict[int, FrozenTrial]]({}, lambda known, trials: {**known, **_by_slot(trials)})


def should_prune(trial: optuna.Trial) -> bool:
    """Ask a study's pruner about a running trial, as if nothing had ever interrupted the study."""
    # trial.should_prune() would copy the trial first.
    study, seen = in_slot_order(trial.study, trial.study._storage.get_trial(trial._trial_id))
    return study.pruner.prune(study, seen)


class SlotSampler(optuna.samplers.BaseSampler):
    """An ordinary Optuna sampler, seeded by the slot, that sees the study in the order of slots.

    A study that is continued then goes on as if it had never stopped, where a sampler that is created anew would
    repeat its first draws.

    Parameters
    ----------
    make : callable
        Takes ``seed=`` and returns the sampler of one slot, one that depends only on told trials: a sampler's class.
    study_seed : int or None
        Of the study. None: each slot's sampler is random, and nothing is hidden but what was interrupted.

    Examples
    --------
    >>> import optuna
    >>> from gbtune.slots import SlotSampler
    >>> sampler = SlotSampler(optuna.samplers.RandomSampler, study_seed=0)
    >>> study = optuna.create_study(sampler=sampler)
    >>> study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    """

    def __init__(self, make: Callable[..., optuna.samplers.BaseSampler], study_seed: int | None) -> None:
        self._make, self._study_seed = make, study_seed
        self._asked: dict[int, optuna.samplers.BaseSampler] = {}
        self._lasting = make(seed=0)

    def _sampler(self, trial: FrozenTrial) -> optuna.samplers.BaseSampler:
        if trial.number not in self._asked:
            if len(self._asked) >= _ASKED_AT_MOST:  # told by another process
                self._asked.pop(min(self._asked))
            seed = None if self._study_seed is None else derive_seed(self._study_seed, "sampler", slot=slot_of(trial))
            self._asked[trial.number] = self._make(seed=seed)
        return self._asked[trial.number]

    def _in_order(self, study: optuna.Study, trial: FrozenTrial) -> tuple[optuna.Study, FrozenTrial]:
        return in_slot_order(study, trial, in_generations=self._study_seed is not None)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Prepare the slot's sampler."""
        self._sampler(trial).before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        """Return what the slot's sampler samples together."""
        view, seen = self._in_order(study, trial)
        # One sampler remembers the trials it has looked through; a new one would look through all of them.
        sampler = self._lasting if view is study else self._sampler(trial)
        return sampler.infer_relative_search_space(view, seen)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, Any]) -> dict[str, Any]:
        """Sample these parameters together."""
        view, seen = self._in_order(study, trial)
        return self._sampler(trial).sample_relative(view, seen, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """Sample one parameter by itself."""
        view, seen = self._in_order(study, trial)
        return self._sampler(trial).sample_independent(view, seen, param_name, param_distribution)

    def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Any | None) -> None:
        """Let the slot's sampler take note of the end."""
        self._sampler(trial).after_trial(study, trial, state, values)
        self._asked.pop(trial.number, None)
