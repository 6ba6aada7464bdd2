"""What a careful reader of a study should know: warnings in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna

from gbtune.metrics import is_nearly_perfect
from gbtune.records import Direction, FloatArray, TrialRecord
from gbtune.summary import SummaryFacts, format_score, format_value, plural

_EDGE = 0.01  # of the range, on the scale the sampler uses
_TOO_GOOD = 0.99
"""Share explained that is suspicious without a column to suspect. Measured with 12 trials of XGBoost: wine 0.95, breast
cancer 0.87, iris 0.85; with a noisy copy of the target among the columns 0.99, 0.99 and 0.97."""
_OF_PROBABILITIES_OR_MEANS = ("log_loss", "rmse", "r2")
"""What is tuned by others may explain nothing and be good: ranks by probabilities that are off, medians."""
_GRUBBS_LEVEL = 0.01
_FEWEST_FOLDS = 4  # of three values, Grubbs' test finds none that is far off
_LOSING_FOLDS = 0.3


def find_warnings(
    facts: SummaryFacts,
    records: Sequence[TrialRecord],
    distributions: Mapping[str, optuna.distributions.BaseDistribution],
) -> list[str]:
    """Return what a careful reader should know, one or two sentences each.

    - A sampled value counts as on the edge within 1 % of its range (on the log scale where the space has one). Bounds
      of exactly 0 and 1 are left out: fractions and penalties end there.
    - Folds disagree if one is far off by Grubbs' test at 1 % (Technometrics 11, 1969), or if a gain beyond noise is a
      loss on three folds of ten.
    - A score is suspiciously good if it is nearly perfect (`gbtune.metrics.is_nearly_perfect`), if the held-out
      predictions explain 99 % of the target, or if they are near that and a column alone predicts nearly all of it.
    - Nothing is learned if the held-out predictions explain nothing of the target, with a metric of means or
      probabilities.

    Parameters
    ----------
    facts : SummaryFacts
        What is known of the study.
    records : sequence of TrialRecord
        Of its finished trials.
    distributions : mapping of str to optuna.distributions.BaseDistribution
        Of the best trial.
    """
    best, found = facts.best, []
    if best is None:
        found.append("No trial completed.")
    else:
        found += _on_the_edge(best, distributions, facts.study.lowest_learning_rate)
        found += _not_converged(facts, best)
        found += _folds_disagree(facts, best)
        found += _suspiciously_good(facts, best)
        found += _nothing_learned(facts, best)
    if facts.counts.get("failed"):
        errors = [r.error.strip().splitlines()[-1] for r in records if r.error and r.error.strip()]
        first = f" The first error: {errors[0]}" if errors else ""
        found.append(f"{plural(facts.counts['failed'], 'trial')} failed.{first}")
    return found


def _on_the_edge(
    best: TrialRecord, distributions: Mapping[str, optuna.distributions.BaseDistribution], floor: float | None
) -> list[str]:
    sides = {name: _edge(best.params.get(name), distributions.get(name)) for name in best.sampled}
    if floor is not None and sides.get("learning_rate") == "lower":  # it is the plan's edge, which only time moves
        del sides["learning_rate"]
    return [
        f"{name} = {format_value(best.params[name])} lies on the {side} edge of the space: a wider range may do better."
        for name, side in sides.items()
        if side
    ]


def _not_converged(facts: SummaryFacts, best: TrialRecord) -> list[str]:
    still_improving = best.rounds_grown and best.rounds >= max(best.rounds_grown)
    parameters = facts.study.space_definition.get("parameters")
    read_off = parameters is None or parameters.get("n_estimators", {}).get("kind") == "rounds"
    read_off = read_off and "n_estimators" not in best.sampled
    if not still_improving or best.kind == "baseline" or not read_off:
        return []
    planned = parameters is not None and best.rounds < parameters.get("n_estimators", {}).get("high", 0)
    further = facts.final_model.rounds[:1] if facts.final_model is not None else ()
    return [
        f"The score was still improving at the last of {best.rounds} rounds"
        + "".join(f" (the model was grown on to {rounds})" for rounds in further)
        + (": more time may do better." if planned else ": a higher cap of n_estimators may do better.")
    ]


def _folds_disagree(facts: SummaryFacts, best: TrialRecord) -> list[str]:
    """One fold apart from the others, or a gain that many folds do not share.

    That folds differ in difficulty is normal, and pairing removes it; so their spread alone is no reason to warn.
    """
    found = []
    far = _far_off(best.fold_scores, facts.study.direction)
    if far is not None:
        others = [score for i, score in enumerate(best.fold_scores) if i != far]
        found.append(
            f"Folds disagree: fold {far + 1} scores {format_score(best.fold_scores[far])}, the others "
            f"{format_score(min(others))} to {format_score(max(others))}. Look at what is special about its rows: "
            "order, time, groups."
        )
    gain, error = facts.gain or (0.0, None)
    if facts.baseline is not None and error is not None and gain > 2 * error:
        sign = 1 if facts.study.direction == "minimize" else -1
        pairs = zip(best.fold_scores, facts.baseline.fold_scores, strict=True)
        lost, folds = sum(sign * ours > sign * default for ours, default in pairs), len(best.fold_scores)
        if lost >= _LOSING_FOLDS * folds:
            found.append(
                f"Folds disagree: better than the default on average, but worse on {lost} of {folds} folds. "
                "The gain rests on the others."
            )
    return found


def _far_off(scores: Sequence[float], direction: Direction) -> int | None:
    """Return the position of the fold that Grubbs' test calls an outlier, or None.

    On the scale of the scores and on the logarithm of what is missing to a perfect score: in small folds one row that
    is very wrong can be most of the loss, and such skewed scores are far off on the first scale alone.
    """
    values = np.asarray(scores, dtype=float)
    missing = values if direction == "minimize" else 1 - values
    far = _outlier(values)
    return far if far is not None and (missing.min() <= 0 or _outlier(np.log(missing)) == far) else None


def _outlier(values: FloatArray) -> int | None:
    n = len(values)
    spread = float(values.std(ddof=1)) if n >= _FEWEST_FOLDS else 0.0
    if not spread > 1e-9 * float(np.abs(values).max(initial=0.0)):
        return None
    from scipy.special import stdtrit

    distances = np.abs(values - values.mean()) / spread
    t = float(stdtrit(n - 2, 1 - _GRUBBS_LEVEL / (2 * n)))
    critical = (n - 1) / math.sqrt(n) * math.sqrt(t**2 / (n - 2 + t**2))
    return int(distances.argmax()) if distances.max() > critical else None


def _suspiciously_good(facts: SummaryFacts, best: TrialRecord) -> list[str]:
    """A score that real problems rarely give: more often a column knows the answer."""
    known, metric = facts.diagnostics, facts.study.metric
    explained = None if known is None or known.trial != best.number else known.explained
    telling = () if known is None or explained is None else known.telling
    perfect = best.score is not None and is_nearly_perfect(metric, best.score)
    if not (telling or perfect or (explained or 0.0) >= _TOO_GOOD):
        return []
    words = f"The score is suspiciously good: {metric} {format_score(best.score)}"
    if explained is not None and explained >= _TOO_GOOD:
        words += f", {math.floor(1000 * explained) / 10:g} % of the target explained"
    if facts.baseline is not None and best.kind != "baseline":
        words += f" (the library's default: {format_score(facts.baseline.score)})"
    if telling:
        names = ", ".join(telling[:3])
        columns = "Columns" if len(telling) > 1 else "Column"
        return [
            f"{words}. {columns} {names} alone predict{'s' if len(telling) == 1 else ''} nearly all of it: known "
            "only after the fact, that is a leak; known before, the problem is easy."
        ]
    return [
        f"{words}. The problem may be easy; or a column, or copies of rows in several folds, give the answer away (a "
        "leak). Check the most important columns."
    ]


def _nothing_learned(facts: SummaryFacts, best: TrialRecord) -> list[str]:
    known, study = facts.diagnostics, facts.study
    if known is None or known.trial != best.number or study.metric not in _OF_PROBABILITIES_OR_MEANS:
        return []
    if known.explained is None or known.explained > 0:
        return []
    constant = "the mean of the target" if study.task == "regression" else "the frequencies of the classes"
    return [
        f"Nothing is learned: the best model predicts held-out rows no better than {constant} would. The columns say "
        "nothing about the target, the rows are too few to tell, or those that are held out are unlike the others."
    ]


def _edge(value: Any, distribution: optuna.distributions.BaseDistribution | None) -> str | None:
    if not isinstance(
        distribution, optuna.distributions.FloatDistribution | optuna.distributions.IntDistribution
    ) or isinstance(value, bool | str | None):
        return None
    low, high = float(distribution.low), float(distribution.high)
    scale: Callable[[float], float] = math.log if distribution.log else float
    if not low < high or (distribution.log and value <= 0):
        return None
    place = (scale(value) - scale(low)) / (scale(high) - scale(low))
    if place <= _EDGE and low not in (0.0, 1.0):
        return "lower"
    if place >= 1 - _EDGE and high not in (0.0, 1.0):
        return "upper"
    return None
