"""The model that a study ends with: the refit of its best configuration, or the mean of the best ones' refits."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gbtune import ensemble
from gbtune.errors import InvalidArgument
from gbtune.facts import ranked
from gbtune.objective import BASELINE, ROUNDS, Objective
from gbtune.records import StudyRecord, TrialRecord
from gbtune.seeds import seed as derive_seed
from gbtune.soundness import sound_rounds

DEFAULT_MEMBERS = 10
"""docs/performance.md, "The final model": a little better than the best alone on small data, and better on larger."""

ENOUGH = 5
"""Where fewer configurations are good enough, the best one is fitted with so many seeds."""

LEAST_GAIN = 0.8
"""Of the best trial's gain over the baseline a member keeps so much."""


def checked_ensemble(ensemble: object) -> int | None:
    """Return the argument `ensemble` of `gbtune.tune`.

    Raises
    ------
    InvalidArgument
        If it is neither None nor an int of at least 1.
    """
    if ensemble is None:
        return None
    if isinstance(ensemble, bool) or not isinstance(ensemble, numbers.Integral) or int(ensemble) < 1:
        raise InvalidArgument(
            f"ensemble must be the number of models that are averaged, at least 1, or None for "
            f"gbtune's choice; got {ensemble!r}. For a single model of the library: ensemble=1."
        )
    return int(ensemble)


def choose_members(about: StudyRecord, records: Sequence[TrialRecord], wanted: int) -> list[TrialRecord]:
    """Return the trials whose configurations are fitted for the final model, the best first.

    A member must keep 80 % of the best one's gain over the library's default: after a short search the tenth best may
    be its worst. Where fewer than five do, the best one comes first with five seeds, if it samples rows or columns.

    Parameters
    ----------
    about : StudyRecord
        The study.
    records : sequence of TrialRecord
        Of its trials.
    wanted : int
        At most so many.

    Examples
    --------
    >>> from gbtune.final_model import choose_members
    >>> from gbtune.records import StudyRecord, TrialRecord
    >>> about = StudyRecord("1", "demo", "xgboost", "xgboost/core", "1", {}, "log_loss", "minimize",
    ...                     "binary", 99, 4, "5 folds", 5)
    >>> trials = [TrialRecord(i, "complete", {"max_depth": i}, score=s) for i, s in enumerate([0.30, 0.10, 0.11])]
    >>> [trial.number for trial in choose_members(about, trials, 3)]
    [1, 2, 0]
    >>> default = TrialRecord(3, "complete", {}, kind="baseline", score=0.5)
    >>> [trial.number for trial in choose_members(about, [*trials, default], 3)]
    [1, 2]
    >>> better = TrialRecord(4, "complete", {"subsample": 0.7}, score=0.05)
    >>> [trial.number for trial in choose_members(about, [*trials, default, better], 9)]
    [4, 4, 4, 4, 4, 1, 2]
    """
    found = [record for record in ranked(about, records) if record.duplicate_of is None]
    baseline = next((record for record in found if record.kind == BASELINE), None)
    if baseline is not None:
        best, default = found[0].score or 0.0, baseline.score or 0.0
        allowed = (1 - LEAST_GAIN) * abs(best - default)
        found = [record for record in found if abs((record.score or 0.0) - best) <= allowed]
    enough = min(wanted, ENOUGH)
    if len(found) >= enough or not found or not _samples(found[0]):
        return found[:wanted]
    return [*found[:1] * enough, *found[1:]][:wanted]


def _samples(trial: TrialRecord) -> bool:
    """Whether a configuration samples rows or columns, so that its seed matters: by subsample, feature_fraction, ..."""
    shares = (value for name, value in trial.params.items() if "sample" in name or "fraction" in name)
    return any(isinstance(value, float) and value < 1 for value in shares)


@dataclasses.dataclass(frozen=True)
class Member:
    """One model that was fitted on all rows.

    Parameters
    ----------
    trial : TrialRecord
        Whose configuration it has.
    rounds : int
        That it has.
    sound : bool
        False for one that came apart and could not be cut.
    """

    trial: TrialRecord
    rounds: int
    sound: bool


def fit_members(
    objective: Objective,
    trials: Sequence[TrialRecord],
    *,
    threads: int,
    workers: int,
    longest: Sequence[int] = (),
    may_go_on: Callable[[Sequence[TrialRecord]], bool] = lambda _: True,
    enough: Callable[[int, int], bool] = lambda position, grown: False,
) -> tuple[Any, list[Member]]:
    """Fit each trial's configuration on all rows, with exactly its common round, and average.

    Parameters
    ----------
    objective : Objective
        What was tuned.
    trials : sequence of TrialRecord
        The best first. The first is always fitted.
    threads, workers : int
        Threads of each booster; boosters side by side.
    longest : sequence of int, optional
        Rounds to which each may grow instead, until it is `enough`.
    may_go_on : callable, optional
        Asked before the next ones are fitted, with their trials; False: leave them and the rest out.
    enough : callable, optional
        Asked after each round, with the position in `trials` and the rounds grown; True: fit it with these.

    Returns
    -------
    model : estimator
        The library's own for one trial, otherwise what `gbtune.ensemble.average` makes.
    members : list of Member
        What it is the mean of. One, if the family's estimators are none of scikit-learn's kind.
    """

    def fit(position: int) -> tuple[Any, Member]:
        trial = trials[position]
        rounds = wanted = longest[position] if longest else trial.rounds

        def stop(grown: int) -> bool:
            nonlocal rounds
            stopped = enough(position, grown)
            if stopped:
                rounds = grown
            return stopped

        whole = objective.family.fit(
            objective.data,
            booster_params(trial),
            wanted,
            member_seed(objective.study_seed, position),
            loss=objective.evaluator.loss,
            threads=threads,
            prepared=objective.evaluator.prepared,
            **({"enough": stop} if stoppable else {}),
        )
        model, kept, sound = sound_rounds(objective.family, whole, objective.data, rounds)
        return model, Member(trial, kept, sound)

    stoppable = objective.family.capabilities.stoppable
    fitted: list[tuple[Any, Member]] = []
    with ThreadPoolExecutor(workers) as pool:
        while len(fitted) < len(trials):
            positions = range(len(fitted), min(len(trials), len(fitted) + workers))
            if not may_go_on([trials[position] for position in positions]):
                break
            fitted += pool.map(fit, positions)
            if not ensemble.can_be_averaged(fitted[0][0]):
                fitted = fitted[:1]
                break
    fitted = fitted or [fit(0)]
    data, models = objective.data, [model for model, _ in fitted]
    return ensemble.average(models, data.y, classify=bool(data.n_classes)), [member for _, member in fitted]


def booster_params(record: TrialRecord) -> dict[str, Any]:
    """Return a trial's parameters without the number of rounds, which boosters are told apart."""
    return {name: value for name, value in record.params.items() if name != ROUNDS}


def member_seed(study_seed: int, position: int) -> int:
    """Return the seed of a member's booster: like configurations with other seeds are worth averaging, too."""
    return derive_seed(study_seed, "booster") if position == 0 else derive_seed(study_seed, "booster", slot=position)
