"""The objective: where Optuna's trials meet the evaluator. The only caller of report and should_prune."""

from __future__ import annotations

import dataclasses
import numbers
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import optuna

from gbtune import families, metrics, resampling
from gbtune.data import Dataset
from gbtune.errors import InvalidArgument, WorkerDied
from gbtune.evaluation import Evaluator, Schedule
from gbtune.families.base import check_params
from gbtune.json_record import filled
from gbtune.pruners import Protocol, RacingPruner, protocol_of
from gbtune.records import STUDY_KEY, TRIAL_KEY, CVResult, Direction, Folds, StudyRecord, TrialRecord
from gbtune.rounds import Rounds
from gbtune.row_sample import on_sample
from gbtune.seeds import fresh_study_seed
from gbtune.slots import SLOT_KEY, should_prune, text_of
from gbtune.spaces import SearchSpace
from gbtune.spaces.fragments import refuse_fragment
from gbtune.storage import writing
from gbtune.study_metrics import check_metric_fits_data, resolve_metrics
from gbtune.study_record import describe_study, refuse_differences

KIND_KEY = "gbtune:kind"
PROVENANCE_KEY = "gbtune:provenance"
BASELINE = "baseline"
ROUNDS = "n_estimators"
"""The parameter that is the number of boosting rounds, in every family."""


@dataclasses.dataclass(frozen=True)
class Claim:
    """Who trains a configuration: the first trial that asks for it. The others wait for the result."""

    number: int
    result: Future[CVResult] = dataclasses.field(default_factory=Future)


@dataclasses.dataclass(frozen=True)
class Proposal:
    """One configuration that a trial asks for.

    Parameters
    ----------
    params : mapping
        Sampled, derived and fixed parameters, without rounds.
    sampled : tuple of str
        Those that Optuna chose.
    kind, provenance : str
        As in `TrialRecord`.
    claim : Claim
        Who trains it.
    owns : bool
        Whether this trial does.
    slot : int or None
        As in `TrialRecord`.
    """

    params: Mapping[str, Any]
    sampled: tuple[str, ...]
    kind: str
    provenance: str
    claim: Claim
    owns: bool = True
    slot: int | None = None

    def record(self, trial: optuna.Trial, objective: Objective, started_at: int) -> TrialRecord:
        """Return the record of the trial as it begins."""
        return TrialRecord(
            trial.number,
            "running",
            dict(self.params),
            kind=self.kind,
            provenance=self.provenance,
            sampled=self.sampled,
            n_folds=len(objective.evaluator.folds),
            slot=self.slot,
            started_at=started_at,
        )


class Objective:
    """The cross-validated score of one model family on one data set, for any Optuna study.

    Each trial leaves one JSON `TrialRecord` in its user attribute ``"gbtune:trial"``. What a step is,
    folds or rounds, follows from the study's pruner (see `gbtune.pruners`). A configuration that was evaluated before
    is not trained again. Thread-safe.

    Parameters
    ----------
    family : str or ModelFamily
        ``"xgboost"``, ``"lightgbm"`` or a plug-in.
    X : array-like of shape (n_samples, n_features)
        pandas, numpy, scipy-sparse.
    y : array-like of shape (n_samples,)
        Labels or values.
    space : str, path, dict or SearchSpace, optional
        Default: the family's default space.
    cv : int, float, splitter, iterable of (train, valid) or None, default None
        See `gbtune.tune`.
    metric : str, Metric, list or None, default None
        See `gbtune.tune`.
    task, sample_weight, groups
        See `gbtune.tune`.
    seed : int or None, default 0
        Of folds and boosters. None draws one.
    schedule : {"folds", "rounds"} or None, default None
        Instead of the one that fits the study's pruner.
    threads : int, default 1
        Threads of each booster.
    study_seed : int, optional
        The seed in use where `seed` is None: that of a study which goes on.

    Raises
    ------
    InvalidArgument
        For bad input, before a booster is built.

    Examples
    --------
    >>> import gbtune, optuna
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> objective = gbtune.Objective("lightgbm", X, y, space="grid-mini", cv=3)
    >>> study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), pruner=gbtune.pruners.RacingPruner())
    >>> study.optimize(objective, n_trials=3)
    >>> study.best_value < 70
    True
    """

    def __init__(
        self,
        family: str | families.ModelFamily,
        X: Any,
        y: Any,
        *,
        space: Any = None,
        cv: Any = None,
        metric: Any = None,
        task: str | None = None,
        sample_weight: Any = None,
        groups: Any = None,
        seed: int | None = 0,
        schedule: Schedule | None = None,
        threads: int = 1,
        study_seed: int | None = None,
    ) -> None:
        if schedule not in (None, "folds", "rounds"):
            raise InvalidArgument(f"Objective: schedule must be 'folds', 'rounds' or None, got {schedule!r}.")
        self.seed, self.schedule = seed, schedule
        drawn = fresh_study_seed() if study_seed is None else study_seed
        self.study_seed = drawn if seed is None else _checked_seed(seed)
        self.family = families.get(family)
        loaded = SearchSpace.load(self.family.default_space if space is None else space, family=self.family.name)
        refuse_fragment(loaded)
        check_params(self.family, (parameter.name for parameter in loaded.parameters if parameter.name != ROUNDS))
        data = Dataset.from_arrays(X, y, task=task, sample_weight=sample_weight, groups=groups)
        if data.task not in loaded.tasks:
            raise InvalidArgument(
                f"Space {loaded.key} is for {', '.join(loaded.tasks)}, and this is a {data.task} task. Choose another "
                f"space, or task= if the target was misread."
            )
        self.space = loaded.for_levels(data.most_levels)
        resolved = resolve_metrics(metric, data.task, self.family.capabilities.native_metrics)
        folds = resampling.make_folds(cv, data, seed=self.study_seed)
        for each in resolved:
            check_metric_fits_data(each, data, folds)
        rounds = rounds_of(self.space, self.family.default_rounds)
        self.evaluator = Evaluator(self.family, data, folds, resolved, rounds, threads=threads)
        self.baseline_rounds = self.family.default_rounds
        self.interrupted: Callable[[], str | None] = lambda: None
        self.fold_workers = 1
        self.in_generations = False
        """Whether trials are judged as if those of their own generation were still running."""
        self.elsewhere: Callable[..., CVResult] | None = None
        """Evaluates instead of the evaluator, with the same arguments: in another process."""
        self._claims: dict[tuple[Any, ...], Claim] = {}
        self._joined: set[str] = set()
        self._lock = threading.Lock()

    # -- what it works on -----------------------------------------------------------------------------------

    @property
    def data(self) -> Dataset:
        """The encoded data."""
        return self.evaluator.data

    @property
    def metric(self) -> metrics.Metric:
        """The optimised metric."""
        return self.evaluator.metric

    @property
    def direction(self) -> Direction:
        """``"minimize"`` or ``"maximize"``: what to create the study with."""
        return self.metric.direction

    def describe(self, study: optuna.Study, **details: Any) -> StudyRecord:
        """Return the study's record: what is tuned on what."""
        return describe_study(self.evaluator, self.space, study, seed=self.seed, study_seed=self.study_seed, **details)

    def choose_rounds_from_grid(self) -> None:
        """Choose the rounds among the grid values of the rounds parameter, if it has any: for a grid search."""
        parameter = self.space.rounds
        if parameter is not None and parameter.grid:
            choices = Rounds.among([int(value) for value in parameter.grid])
            self.evaluator = self.evaluator.limited(len(self.evaluator.folds), choices)

    def folds(self, n_folds: int, train_rows: int = 0) -> Folds:
        """Return the first folds, and of these a sample with so many training rows; 0: all rows."""
        first = self.evaluator.folds.first(n_folds)
        return on_sample(first, self.data, train_rows, seed=self.study_seed) if train_rows else first

    def limit(self, n_folds: int, rounds: Rounds, train_rows: int = 0) -> None:
        """Keep to the first folds, a cap on rounds, a sample. Before the first trial."""
        if rounds.cap < self.evaluator.rounds.cap:  # what is too much for a trial is too much for the baseline
            self.baseline_rounds = min(self.baseline_rounds, rounds.cap)
        if train_rows:
            self.evaluator = self.evaluator.with_folds(self.folds(n_folds, train_rows))
        self.evaluator = self.evaluator.limited(n_folds, rounds)

    # -- one trial ------------------------------------------------------------------------------------------

    def __call__(self, trial: optuna.Trial) -> float:
        """Evaluate one trial; return its score, or raise `optuna.TrialPruned`."""
        with self._lock:
            self._join(trial.study)
        return self.evaluate(trial, self.propose(trial))

    def _join(self, study: optuna.Study) -> None:
        """Describe a study that has no record yet; refuse one whose trials were scored on something else."""
        if study.study_name in self._joined:
            return
        text, now = study.user_attrs.get(STUDY_KEY), self.describe(study)
        if text is None:
            study.set_user_attr(STUDY_KEY, now.to_json())
        else:
            refuse_differences(StudyRecord.from_json(text), now)
        self._joined.add(study.study_name)

    def propose(self, trial: optuna.Trial) -> Proposal:
        """Ask the trial for its parameters."""
        params = self.space.suggest(trial, rounds=False)
        seen = trial._cached_frozen_trial  # trial.params and trial.user_attrs would copy all that is in them
        attributes, sampled = seen.user_attrs, tuple(seen.params)
        kind = attributes.get(KIND_KEY, "sampled")
        if kind == BASELINE:  # the trial's own parameters are the nearest point of the space, for the sampler
            params, sampled = dict(self.family.default_params), ()
        with self._lock:
            mine = Claim(trial.number)
            claim = self._claims.setdefault(self._key(trial.study, kind, params), mine)
        provenance = attributes.get(PROVENANCE_KEY, "")
        return Proposal(params, sampled, kind, provenance, claim, claim is mine, attributes.get(SLOT_KEY))

    def remember(self, record: TrialRecord, study: optuna.Study) -> None:
        """Take note of a trial that was evaluated earlier, or by another process: it is not trained again."""
        if record.score is None and record.reason not in ("race", "pruner"):
            return
        key = self._key(study, record.kind, record.params)
        if key in self._claims:  # it was evaluated here
            return
        claim = Claim(record.number)
        claim.result.set_result(CVResult(**{f.name: getattr(record, f.name) for f in dataclasses.fields(CVResult)}))
        with self._lock:
            self._claims.setdefault(key, claim)

    def evaluate(self, trial: optuna.Trial, proposal: Proposal) -> float:
        """Evaluate a proposal of `trial` and write its record.

        Raises
        ------
        optuna.TrialPruned
            When the study's pruner, the deadline or an interrupt stops it.
        """
        if trial.study.direction.name.lower() != self.direction:
            raise InvalidArgument(
                f"The study's direction must be {self.direction!r} for the metric {self.metric.name}, "
                f"got {trial.study.direction.name.lower()!r}. Run: optuna.create_study(direction={self.direction!r})"
            )
        record = proposal.record(trial, self, _now())
        try:
            result = self._evaluated_once(trial, proposal, record)
        except Exception as error:
            reason = "worker" if isinstance(error, WorkerDied) else None
            failed = dataclasses.replace(record, state="failed", reason=reason, error=traceback.format_exc())
            _write(trial, dataclasses.replace(failed, ended_at=_now()).to_json())
            raise
        reason = result.reason
        if reason == "pruner" and isinstance(trial.study.pruner, RacingPruner):
            reason = "race"
        outcome = {f.name: getattr(result, f.name) for f in dataclasses.fields(result)}
        outcome.update(state="complete" if result.state == "complete" else "pruned", reason=reason)
        if not proposal.owns:
            outcome.update(duplicate_of=proposal.claim.number, seconds={}, rounds_grown=())
        _write(trial, text_of(dataclasses.replace(record, **outcome, ended_at=_now())))
        if result.score is None:
            raise optuna.TrialPruned(f"stopped by the {reason} after {len(result.fold_scores)} folds")
        return result.score

    def _evaluated_once(self, trial: optuna.Trial, proposal: Proposal, record: TrialRecord) -> CVResult:
        """Evaluate, or wait for the result of the trial that claimed the same configuration."""
        claim = proposal.claim
        if not proposal.owns:
            return claim.result.result()
        try:
            result = self._train(trial, proposal, record)
        except BaseException as error:
            self._release(trial, proposal)
            claim.result.set_exception(error)
            raise
        if result.state == "stopped":
            self._release(trial, proposal)  # it was not this configuration's fault: it may be tried again
        claim.result.set_result(result)
        return result

    def _release(self, trial: optuna.Trial, proposal: Proposal) -> None:
        with self._lock:
            del self._claims[self._key(trial.study, proposal.kind, proposal.params)]

    @staticmethod
    def _key(study: optuna.Study, kind: str, params: Mapping[str, Any]) -> tuple[Any, ...]:
        """Equal for equal configurations of a study; the baseline has its own number of rounds."""
        return (study.study_name, kind == BASELINE, *sorted(params.items()))

    def _train(self, trial: optuna.Trial, proposal: Proposal, record: TrialRecord) -> CVResult:
        protocol = protocol_of(trial.study.pruner)
        rounds = None
        if proposal.kind == BASELINE:
            rounds = Rounds.exactly(self.baseline_rounds)
        params = dict(proposal.params)
        if ROUNDS in params:  # of an ordinary kind: a number to try, not a curve to read
            rounds = Rounds.exactly(int(params.pop(ROUNDS)))
        return (self.elsewhere or self.evaluator.evaluate)(
            params,
            seed=self.study_seed,
            report=self._reporter(trial, record, protocol),
            rounds=rounds,
            schedule=self.schedule or protocol.schedule,
            interrupted=self.interrupted,
            workers=self.fold_workers,
        )

    def _reporter(
        self, trial: optuna.Trial, record: TrialRecord, protocol: Protocol
    ) -> Callable[[int, float, Sequence[float]], bool]:
        text = record.to_json()
        by_folds = protocol.schedule == "folds" and self.schedule in (None, "folds")

        def report(step: int, value: float, fold_scores: Sequence[float]) -> bool:
            last = by_folds and step == record.n_folds  # nothing is left to prune, and the whole record comes next
            if not last:  # the pruner reads the scores so far from the record
                _write(trial, filled(text, "fold_scores", fold_scores))
            trial.report(fold_scores[-1] if protocol.reports == "fold" else value, step)
            if last or record.kind == BASELINE:  # never pruned; the others may be compared with it
                return False
            return should_prune(trial) if self.in_generations else trial.should_prune()

        return report


def rounds_of(space: SearchSpace, default: int) -> Rounds:
    """Return the policy that a space's rounds parameter asks for.

    Without one, trials bring their own ``n_estimators`` or grow `default` rounds.
    """
    parameter = space.rounds
    if parameter is None:
        return Rounds.exactly(default)
    return Rounds(int(parameter.high))


def _checked_seed(seed: object) -> int:
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or int(seed) < 0:
        raise InvalidArgument(f"seed must be an int of at least 0, or None for a random study, got {seed!r}.")
    return int(seed)


def _write(trial: optuna.Trial, record: str) -> None:
    with writing(trial.study):
        trial.set_user_attr(TRIAL_KEY, record)


def _now() -> int:
    return time.time_ns() // 1_000_000
