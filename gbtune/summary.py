"""The words of a result: score, gain over the library's default, counts, warnings.

Pure functions of one set of facts, so that ``repr``, notebook, MLflow note and report agree.
"""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gbtune.ensemble import FinalModel
from gbtune.errors import InvalidArgument
from gbtune.records import Direction, StudyRecord, TrialRecord

if TYPE_CHECKING:
    from gbtune.diagnostics import Diagnostics

NOTHING_FOUND = (
    "Nothing to worry about was found: no parameter on the edge of the space, no sign of a leak, no fold that "
    "disagrees, no score that was still improving."
)
STATES = ("complete", "pruned", "failed", "interrupted")


@dataclasses.dataclass(frozen=True)
class SummaryFacts:
    """What a summary says; `gbtune.facts.collect_facts` reads it from a study.

    Parameters
    ----------
    study : StudyRecord
        What was tuned on what.
    best : TrialRecord or None
        None when no trial completed.
    best_params : mapping
        Keyword arguments of the library's scikit-learn class.
    baseline : TrialRecord or None
        The library's default parameters, evaluated on the same folds.
    counts : mapping of str to int
        Trials by state: ``"complete"``, ``"pruned"``, ``"failed"``; ``"interrupted"`` ones were run again.
    seconds : float
        Wall time of the study.
    warnings : tuple of str
        Whole sentences.
    run_url, run_id, model_uri, tracking_uri, registered : str or None
        Where MLflow has it; `registered` is for people, e.g. ``"churn, version 3"``.
    importances : mapping of str to float
        As in `StudyOutcome`.
    diagnostics : Diagnostics or None
        What the best trial's predictions show.
    final_model : FinalModel or None
        Which trials' configurations the model was fitted with.

    Examples
    --------
    >>> from gbtune.records import StudyRecord
    >>> from gbtune.summary import SummaryFacts, summary_text
    >>> study = StudyRecord("1", "demo", "xgboost", "xgboost/core", "1", {}, "log_loss", "minimize",
    ...                     "binary", 99, 4, "5 folds", 5)
    >>> print(summary_text(SummaryFacts(study, None, {}, None, {"failed": 2}, 1.5)))
    xgboost tuned on 99 rows x 4 columns (binary)
      score       no trial completed
      trials      2: 2 failed, in 1.5 s
    """

    study: StudyRecord
    best: TrialRecord | None
    best_params: Mapping[str, Any]
    baseline: TrialRecord | None
    counts: Mapping[str, int]
    seconds: float
    warnings: tuple[str, ...] = ()
    run_url: str | None = None
    run_id: str | None = None
    model_uri: str | None = None
    tracking_uri: str | None = None
    registered: str | None = None
    importances: Mapping[str, float] = dataclasses.field(default_factory=dict)
    diagnostics: Diagnostics | None = None
    final_model: FinalModel | None = None

    @property
    def gain(self) -> tuple[float, float | None] | None:
        """Gain over the baseline and its standard error (`paired_gain`); None without both."""
        best, baseline = (r.fold_scores if r is not None else () for r in (self.best, self.baseline))
        return paired_gain(best, baseline, self.study.direction) if best and len(best) == len(baseline) else None


def paired_gain(
    best_fold_scores: Sequence[float], baseline_fold_scores: Sequence[float], direction: Direction
) -> tuple[float, float | None]:
    """Return the mean gain over the baseline, paired by fold, and its standard error.

    Parameters
    ----------
    best_fold_scores, baseline_fold_scores : sequence of float, shape (k,)
        The metric in its natural sign on the same folds, in the same order.
    direction : {"minimize", "maximize"}
        Of the metric.

    Returns
    -------
    gain : float
        Positive is better than the baseline, whatever the direction.
    standard_error : float or None
        ``s / sqrt(k)`` of the k differences, with ``ddof=1``; None for one fold. Folds share
        training rows, so it is somewhat too small.

    Raises
    ------
    InvalidArgument
        If the two differ in length or are empty.

    Examples
    --------
    >>> from gbtune.summary import paired_gain
    >>> gain, error = paired_gain([0.30, 0.32], [0.33, 0.34], "minimize")
    >>> round(gain, 4), round(error, 4)
    (0.025, 0.005)
    """
    if len(best_fold_scores) != len(baseline_fold_scores) or not len(best_fold_scores):
        raise InvalidArgument(
            "A paired gain needs the scores of the same folds, at least one; given "
            f"{len(best_fold_scores)} and {len(baseline_fold_scores)}. Evaluate both on all folds."
        )
    differences = np.subtract(best_fold_scores, baseline_fold_scores)
    if direction == "minimize":
        differences = -differences
    return float(differences.mean()) + 0.0, standard_error(differences)  # + 0.0: no "-0"


def standard_error(values: Sequence[float] | np.ndarray[Any, Any]) -> float | None:
    """Return ``s / sqrt(k)`` of k values (``ddof=1``), or None for fewer than two.

    Examples
    --------
    >>> from gbtune.summary import standard_error
    >>> standard_error([1.0, 3.0])
    1.0
    """
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None


def verdict(gain: float, error: float | None) -> str:
    """Say what a gain is worth: beyond noise means more than two paired standard errors.

    Examples
    --------
    >>> from gbtune.summary import verdict
    >>> verdict(0.010, 0.002)
    'better than the default, by 5.0 standard errors'
    >>> verdict(0.003, 0.002)
    'no gain beyond noise (at most 2 standard errors)'
    """
    if gain == 0:
        return "no gain"
    if error is None:
        return "one fold, so no standard error: noise cannot be told from gain"
    if gain < -2 * error:
        return "worse than the default"
    if gain <= 2 * error:
        return "no gain beyond noise (at most 2 standard errors)"
    if error == 0:
        return "better than the default on every fold alike"
    ratio = gain / error
    return f"better than the default, by {ratio:.{0 if ratio >= 10 else 1}f} standard errors"


def format_score(x: float | None) -> str:
    """Return a score with five significant digits; a missing one is a dash.

    Examples
    --------
    >>> from gbtune.summary import format_score
    >>> format_score(0.3412345), format_score(1234.56789), format_score(None)
    ('0.34123', '1234.6', '-')
    """
    if x is None:
        return "-"
    if x == 0 or not math.isfinite(x):
        return f"{x:g}"
    magnitude = math.floor(math.log10(abs(x)))
    return f"{x:.{max(0, 4 - magnitude)}f}" if -5 <= magnitude < 9 else f"{x:.4e}"


def format_estimate(x: float | None, error: float | None) -> str:
    """Return ``score ± standard error``, both to two digits of the error.

    Examples
    --------
    >>> from gbtune.summary import format_estimate
    >>> format_estimate(0.341234, 0.00212), format_estimate(0.5, None)
    ('0.3412 ± 0.0021', '0.50000')
    """
    if x is None or error is None or not math.isfinite(x) or not 1e-9 <= error < math.inf:
        return format_score(x)
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{x:.{decimals}f} ± {error:.{decimals}f}"


def format_value(value: object) -> str:
    """Return a parameter's value for people: floats with four significant digits.

    Examples
    --------
    >>> from gbtune.summary import format_value
    >>> format_value(0.03123456), format_value(6), format_value("gbtree"), format_value(1.0)
    ('0.03123', '6', 'gbtree', '1.0')
    """
    if isinstance(value, float) and math.isfinite(value):
        text = f"{value:.4g}"
        return f"{text}.0" if text.lstrip("-").isdigit() else text
    return str(value)


def format_seconds(seconds: float) -> str:
    """Return a duration for people.

    Examples
    --------
    >>> from gbtune.summary import format_seconds
    >>> format_seconds(1.52), format_seconds(133), format_seconds(7260)
    ('1.5 s', '2 min 13 s', '2 h 1 min')
    """
    if seconds < 59.5:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def default_value(facts: SummaryFacts, name: str) -> Any:
    """Return the library's default of a parameter as the baseline used it, or None where it set none."""
    return None if facts.baseline is None else facts.baseline.all_params.get(name)


def headline(study: StudyRecord) -> str:
    """Return what was tuned on what, in one line."""
    return f"{study.family} tuned on {study.n_rows:,} rows x {plural(study.n_columns, 'column')} ({study.task})"


def summary_rows(facts: SummaryFacts) -> list[tuple[str, str]]:
    """Return the summary as ``(label, words)``, without parameters and warnings."""
    study, best = facts.study, facts.best
    if best is None:
        rows = [("score", "no trial completed")]
    else:
        score = format_estimate(best.score, standard_error(best.fold_scores))
        better = "lower" if study.direction == "minimize" else "higher"
        where = "the default itself" if best.kind == "baseline" else f"trial {best.number}"
        named = ", ± standard error" if "±" in score else ""
        rows = [("score", f"{study.metric} {score} on {study.folds} ({better} is better{named}), {where}")]
    if facts.baseline is not None:
        error = standard_error(facts.baseline.fold_scores)
        rows.append(("default", f"{study.metric} {format_estimate(facts.baseline.score, error)}"))
    if facts.gain is not None:
        rows.append(("gain", f"{format_estimate(*facts.gain)}, paired by fold: {verdict(*facts.gain)}"))
    if study.warm_start:
        rows.append(("warm start", study.warm_start_words))
    states = [f"{facts.counts[state]} {state}" for state in STATES if facts.counts.get(state)]
    total = sum(facts.counts.get(state, 0) for state in STATES)
    rows.append(("trials", f"{total}: {', '.join(states) or 'none'}, in {format_seconds(facts.seconds)}"))
    final = facts.final_model
    if final is not None and (len(final.trials) > 1 or final.rounds):
        rows.append(("model", final.words))
    if facts.importances:
        rows.append(("mattered", mattered(facts.importances)))
    if facts.run_url or facts.run_id:
        rows.append(("MLflow", facts.run_url or f"run {facts.run_id}"))
    if facts.registered:
        rows.append(("registered", facts.registered))
    if facts.model_uri:
        first = f'mlflow.set_tracking_uri("{facts.tracking_uri}"); ' if facts.tracking_uri else ""
        rows.append(("load", f'{first}mlflow.pyfunc.load_model("{facts.model_uri}")'))
    return rows


def mattered(importances: Mapping[str, float]) -> str:
    """Return the parameters that mattered most, with their shares; three at most.

    Examples
    --------
    >>> from gbtune.summary import mattered
    >>> mattered({"learning_rate": 0.61, "max_depth": 0.2, "subsample": 0.1, "gamma": 0.09})
    'learning_rate 61 %, max_depth 20 %, subsample 10 %'
    """
    return ", ".join(f"{name} {100 * share:.0f} %" for name, share in list(importances.items())[:3])


def reproduce_words(study: StudyRecord) -> str:
    """Return with what a study is run again, beside its call; empty for a study that no call ran."""
    if not study.call:
        return ""
    seed = "" if study.seed is not None else f" (the seed drawn was {study.study_seed})"
    return f"on data {study.data_fingerprint}{seed}"


def summary_text(facts: SummaryFacts) -> str:
    """Return the summary as plain text, aligned, for ``repr``; an example is in `SummaryFacts`."""
    lines = [headline(facts.study), *(f"  {label:<11} {words}" for label, words in summary_rows(facts))]
    if facts.best_params:
        names = max(len(name) for name in facts.best_params)
        values = max(len(format_value(value)) for value in facts.best_params.values())
        for i, (name, value) in enumerate(facts.best_params.items()):
            default = default_value(facts, name)
            beside = "" if default is None else f"  default {format_value(default)}"
            label = "parameters" if i == 0 else ""
            lines.append(f"  {label:<11} {name:<{names}}  {format_value(value):<{values}}{beside}".rstrip())
    lines += [f"  {'note':<11} {warning}" for warning in facts.warnings]
    return "\n".join(lines)


def summary_markdown(facts: SummaryFacts) -> str:
    """Return the summary as GitHub-flavoured Markdown, for MLflow's note.

    Examples
    --------
    >>> from gbtune.records import StudyRecord
    >>> from gbtune.summary import SummaryFacts, summary_markdown
    >>> study = StudyRecord("1", "demo", "xgboost", "xgboost/core", "1", {}, "log_loss", "minimize",
    ...                     "binary", 99, 4, "5 folds", 5)
    >>> print(summary_markdown(SummaryFacts(study, None, {}, None, {"failed": 2}, 1.5)))
    **xgboost tuned on 99 rows x 4 columns (binary)**
    <BLANKLINE>
    | | |
    |---|---|
    | score | no trial completed |
    | trials | 2: 2 failed, in 1.5 s |
    """
    blocks = [f"**{_markdown(headline(facts.study))}**{_markdown(_outcome_words(facts))}"]
    cells = [(label, _code(words) if label == "load" else _markdown(words)) for label, words in summary_rows(facts)]
    if facts.study.call:
        call = _code(f"gbtune.{facts.study.call}")
        cells.append(("reproduce", f"{call} {_markdown(reproduce_words(facts.study))}"))
    blocks.append("\n".join(["| | |", "|---|---|", *(f"| {label} | {words} |" for label, words in cells)]))
    if facts.best_params:
        table = [f"| {' | '.join(map(_markdown, row))} |" for row in parameter_rows(facts)]
        blocks.append("\n".join(["| parameter | best | default |", "|---|---:|---:|", *table]))
    if facts.warnings:
        blocks.append("\n".join(f"- {_markdown(warning)}" for warning in facts.warnings))
    elif facts.best is not None:
        blocks.append(NOTHING_FOUND)
    return "\n\n".join(blocks)


def _outcome_words(facts: SummaryFacts) -> str:
    """Return what came of it, to stand behind the headline: MLflow's page folds what follows."""
    if facts.best is None:
        return ""
    score = format_estimate(facts.best.score, standard_error(facts.best.fold_scores))
    gain = "" if facts.gain is None else f", gain {format_estimate(*facts.gain)} over the library's default"
    return f": {facts.study.metric} {score}{gain}"


def summary_html(facts: SummaryFacts) -> str:
    """Return the summary as an HTML fragment for notebooks: it takes the notebook's own look.

    Examples
    --------
    >>> from gbtune.records import StudyRecord
    >>> from gbtune.summary import SummaryFacts, summary_html
    >>> study = StudyRecord("1", "demo", "xgboost", "xgboost/core", "1", {}, "log_loss", "minimize",
    ...                     "binary", 99, 4, "5 folds", 5)
    >>> "no trial completed" in summary_html(SummaryFacts(study, None, {}, None, {}, 1.5))
    True
    """
    left = ' style="text-align:left"'
    parts = [f"<p><b>{html.escape(headline(facts.study))}</b></p>", "<table>"]
    for label, words in summary_rows(facts):
        cell = html.escape(words)
        if label == "load":
            cell = f"<code>{cell}</code>"
        elif label == "MLflow" and words.startswith(("http://", "https://")):
            cell = f'<a href="{cell}">{cell}</a>'
        parts.append(f"<tr><th{left}>{label}</th><td{left}>{cell}</td></tr>")
    parts.append("</table>")
    if facts.best_params:
        parts.append("<table><thead><tr><th>parameter</th><th>best</th><th>default</th></tr></thead><tbody>")
        for name, best, default in parameter_rows(facts):
            cells = f"<td>{html.escape(best)}</td><td>{html.escape(default)}</td>"
            parts.append(f"<tr><th{left}>{html.escape(name)}</th>{cells}</tr>")
        parts.append("</tbody></table>")
    if facts.warnings:
        parts.append(f"<ul>{''.join(f'<li>{html.escape(warning)}</li>' for warning in facts.warnings)}</ul>")
    return "".join(parts)


def parameter_rows(facts: SummaryFacts) -> list[tuple[str, str, str]]:
    """Return ``(name, best value, default)`` of every parameter, as text."""
    defaults = {name: default_value(facts, name) for name in facts.best_params}
    return [
        (name, format_value(value), "-" if defaults[name] is None else format_value(defaults[name]))
        for name, value in facts.best_params.items()
    ]


def _markdown(text: str) -> str:
    for character in "\\|`*[]":
        text = text.replace(character, f"\\{character}")
    return text.replace("<", "&lt;").replace("\n", " ")


def _code(text: str) -> str:
    """Return text as a code span of a table cell; what would end the span or the cell is kept as plain text."""
    return _markdown(text) if "`" in text or "\n" in text else f"`{text.replace('|', chr(92) + '|')}`"


def short(text: object, limit: int) -> str:
    """Return a text of at most `limit` characters; of a longer one, the beginning.

    Examples
    --------
    >>> from gbtune.summary import short
    >>> short("colsample_bytree", 10)
    'colsample…'
    """
    words = str(text)
    return words if len(words) <= limit else f"{words[: limit - 1]}…"


def plural(n: int, noun: str) -> str:
    """Return ``"1 trial"``, ``"2 trials"``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
