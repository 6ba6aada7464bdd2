"""The words and tables of the report, each a piece of HTML: whatever comes from data is escaped."""

from __future__ import annotations

import datetime
import html
import math
from collections import Counter
from collections.abc import Iterable, Sequence

from gbtune.diagnostics import MIN_SLICE
from gbtune.facts import shown_score
from gbtune.metrics import metric_named
from gbtune.records import TrialRecord
from gbtune.summary import (
    NOTHING_FOUND,
    STATES,
    SummaryFacts,
    format_estimate,
    format_score,
    format_seconds,
    format_value,
    parameter_rows,
    plural,
    reproduce_words,
    short,
    standard_error,
    verdict,
)

MAX_ROWS, MAX_ORIGIN = 200, 36


def tiles(facts: SummaryFacts) -> str:
    """Return the few numbers that everybody wants: score, gain, trials."""
    study, best = facts.study, facts.best
    better = "lower" if study.direction == "minimize" else "higher"
    shown = []
    if best is not None:
        score = format_estimate(best.score, standard_error(best.fold_scores))
        shown.append((score, f"{study.metric} ({better} is better), ± standard error, {study.folds}"))
    if facts.gain is not None and best is not None:
        gain = f"+{format_estimate(*facts.gain)}" if facts.gain[0] > 0 else format_estimate(*facts.gain)
        words = "the default itself is the best" if best.kind == "baseline" else verdict(*facts.gain)
        shown.append((gain, f"gain over the library's default, paired by fold: {words}"))
    states = ", ".join(f"{facts.counts[s]} {s}" for s in STATES if facts.counts.get(s))
    shown.append(
        (plural(sum(facts.counts.values()), "trial"), f"{states or 'none finished'}, {format_seconds(facts.seconds)}")
    )
    cells = (f'<div class="tile"><b>{html.escape(a)}</b><span>{html.escape(b)}</span></div>' for a, b in shown)
    return f'<div class="tiles">{"".join(cells)}</div>'


def notes(facts: SummaryFacts) -> str:
    """Return what a careful reader should know."""
    found = list(facts.warnings)
    if facts.gain is not None and facts.best is not None and facts.best.kind != "baseline":
        gain, error = facts.gain
        if error is None or gain <= 2 * error:
            found.insert(0, f"Gain over the library's default: {verdict(gain, error)}.")
    if not found:
        return f'<p class="soft">{html.escape(NOTHING_FOUND)}</p>'
    items = "".join(f"<li>{html.escape(note)}</li>" for note in found)
    return f'<ul class="notes">{items}</ul>'


def parameters(facts: SummaryFacts) -> str:
    """Return the best parameters beside the library's."""
    if facts.best is None:
        return ""
    rows = (row(each) for each in parameter_rows(facts))
    head = row(("parameter", "best", "library default"), cell="th")
    where = "the library's default" if facts.best.kind == "baseline" else f"trial {facts.best.number}"
    note, complete = f"From {where}.", facts.counts.get("complete", 0)
    if complete > 1:
        note += (
            f" Chosen as the best of {complete}, its score is a little optimistic: rows that took no part in the "
            "tuning tell what to expect."
        )
    return (
        f'<h2>Best parameters</h2><div class="wide"><table><thead>{head}</thead><tbody>{"".join(rows)}</tbody>'
        f'</table></div><p class="soft">{html.escape(note)}</p>'
    )


def slices(facts: SummaryFacts) -> str:
    """Return the metric on the slices of the data where it is worst."""
    found = facts.diagnostics
    if found is None or not (found.slices or found.unfinished) or found.slice_score is None:
        return ""
    name, minimize = found.slice_metric, metric_named(found.slice_metric).direction == "minimize"
    rows = []
    for each in found.worst_slices:
        worse = (each.score - found.slice_score) * (1 if minimize else -1)
        noise = "beyond noise" if worse > 2 * each.error else "better" if worse < 0 else "within noise"
        cells = (
            f"{each.column}: {each.where}",
            f"{each.rows:,}",
            format_estimate(each.score, each.error),
            f"{each.score - found.slice_score:+.2g}",
            noise,
        )
        rows.append(row(cells, kind="best" if noise == "beyond noise" else "muted"))
    table, words = "", found.unfinished
    if rows:
        labels = ("rows where", "rows", name, "against all rows", "worse?")
        table = (
            f'<div class="wide"><table class="slices"><thead>{row(labels, cell="th")}</thead>'
            f"<tbody>{''.join(rows)}</tbody></table></div>"
        )
        words = (
            f"All rows at once: {name} {format_score(found.slice_score)}. Of {plural(found.n_slices, 'slice')} of at "
            f"least {MIN_SLICE} rows the worst first, each ± its standard error; with many slices, one or two are "
            f"beyond two standard errors by chance. {found.unfinished}"
        )
    if rows and name != facts.study.metric:
        words += f" Slices are compared by {name}: {facts.study.metric} may differ between them for other reasons."
    return (
        f"<section><h2>{html.escape(name)} by slice of the data</h2>{table}"
        f"<figcaption>{html.escape(words.strip())}</figcaption></section>"
    )


def failures(records: Sequence[TrialRecord]) -> str:
    """Return the errors, with their tracebacks."""
    errors = Counter((r.error or "No traceback was recorded.").strip() for r in records if r.error)
    if not errors:
        return ""
    parts = ["<h2>Failed trials</h2>"]
    for error, times in errors.most_common(5):
        last = html.escape(error.splitlines()[-1] if error else "")
        parts.append(f"<details><summary>{times} x {last}</summary><pre>{html.escape(error)}</pre></details>")
    return "".join(parts)


def about(facts: SummaryFacts) -> str:
    """Return how the study was run, and how to run it again."""
    study = facts.study
    started = datetime.datetime.fromtimestamp(study.started_at / 1000, datetime.UTC)
    seed = f"{study.seed}" if study.seed is not None else f"none given; drawn: {study.study_seed}"
    rows = [
        ("plan", study.plan),
        ("space", f"{study.space}, version {study.space_version}"),
        ("folds", f"{study.folds} ({study.folds_fingerprint})" if study.folds_fingerprint else study.folds),
        ("sampler", study.sampler),
        ("pruner", study.pruner),
        ("seed", seed),
        ("cores", str(study.n_jobs)),
        ("data", study.data_fingerprint),
        ("versions", ", ".join(f"{package} {version}" for package, version in study.versions.items())),
        ("started", f"{started:%Y-%m-%d %H:%M} UTC" if study.started_at else ""),
        ("study", study.uid),
    ]
    cells = "".join(row(each) for each in rows if each[1])
    again = ""
    if study.call:
        again = (
            f"<p>To find the same again: <code>gbtune.{html.escape(study.call)}</code> "
            f"{html.escape(reproduce_words(study))}.</p>"
        )
    return f'<h2>How it was tuned</h2>{again}<table class="facts"><tbody>{cells}</tbody></table>'


def trials(facts: SummaryFacts, records: Sequence[TrialRecord]) -> str:
    """Return the trials, best first."""
    if not records:
        return ""
    sign = 1.0 if facts.study.direction == "minimize" else -1.0
    order = {"complete": 0, "pruned": 1, "failed": 2}

    def rank(record: TrialRecord) -> tuple[int, float, int]:
        score = record.score if record.state == "complete" else None
        known = score is not None and math.isfinite(score)
        return order.get(record.state, 3), sign * score if known and score is not None else math.inf, record.number

    shown = sorted(records, key=rank)[:MAX_ROWS]
    names = list(dict.fromkeys(name for record in shown for name in record.sampled))
    labels = ("trial", "state", "score", "folds", "rounds", "seconds", "origin", *names)
    rows = []
    for r in shown:
        score = shown_score(r, facts.best)
        state = f"{r.state} ({r.reason})" if r.reason else r.state
        if r.duplicate_of is not None:
            state += f", as trial {r.duplicate_of}"
        cells = (
            str(r.number),
            state,
            format_score(score) if r.state == "complete" or score is None else f"about {format_score(score)}",
            f"{len(r.fold_scores)}/{r.n_folds}" if r.n_folds else "-",
            str(r.rounds or "-"),
            f"{sum(r.seconds.values()):.1f}",
            short(r.provenance or r.kind, MAX_ORIGIN),
            *(format_value(r.params[name]) if name in r.params else "-" for name in names),
        )
        kind = "best" if facts.best is not None and r.number == facts.best.number else "muted" * (r.state != "complete")
        rows.append(row(cells, kind=kind))
    total = len(records)
    words = f"The {len(shown)} best of {total:,}, " if total > len(shown) else ""
    return (
        f'<h2>Trials</h2><p class="soft">{words or "Best first"}{"best first" if words else ""}. A pruned trial '
        "stands where it stood beside the best one on the folds that both ran.</p>"
        f'<div class="wide"><table><thead>{row(labels, cell="th")}</thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def copy(text: str) -> str:
    """Return the summary as text to be copied."""
    if not text:
        return ""
    return f"<details><summary>Summary to copy, in Markdown</summary><pre>{html.escape(text)}</pre></details>"


def row(cells: Iterable[str], *, cell: str = "td", kind: str = "") -> str:
    """Return a row of a table; the first cell is its heading."""
    first, *rest = (html.escape(text) for text in cells)
    others = "".join(f"<{cell}>{text}</{cell}>" for text in rest)
    return f"<tr{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}><th>{first}</th>{others}</tr>"
