"""One self-contained HTML page about a study: it opens without a network, on a phone, in the dark."""

from __future__ import annotations

import contextlib
import datetime
import html
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import optuna

from gbtune import plots
from gbtune.facts import ReadStudy, collect_facts
from gbtune.figures import INK, new_figure, say
from gbtune.optional import require
from gbtune.records import TrialRecord
from gbtune.summary import (
    STATES,
    SummaryFacts,
    format_estimate,
    format_score,
    format_seconds,
    format_value,
    headline,
    parameter_rows,
    standard_error,
    verdict,
)

MAX_ROWS = 200

# (function, height in pixels, caption)
_FIGURES: tuple[tuple[Callable[[optuna.Study], Any], int, str], ...] = (
    (plots.plot_history, 400, "Hollow points were pruned: their score stems from fewer folds."),
    (plots.plot_folds, 340, "The same rows for both: compare along each line, not between the lines."),
    (plots.plot_learning_curves, 400, "Mean over the folds; to scale from a third of the way to the chosen round."),
    (plots.plot_importance, 340, "Share of each parameter in what separates good trials from bad ones (PED-ANOVA)."),
    (plots.plot_parallel_coordinates, 430, "Each line is a complete trial; the better, the stronger."),
)

_STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --card: #f5f7f9; --ink: #1c2733; --soft: #5b6875;
  --line: #dde3e9; --accent: #1f6fc2; --warn: #fff6e5; --warn-line: #d08a2e; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181d; --card: #1d232a; --ink: #e3e8ed;
  --soft: #9aa7b4; --line: #313a44; --accent: #6cb0f5; --warn: #2d2519; --warn-line: #d08a2e; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 40px 0 8px; }
p { margin: 4px 0; overflow-wrap: anywhere; }
.soft, figcaption { color: var(--soft); }
figcaption { font-size: 13px; }
figure { margin: 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 12px; margin: 22px 0; }
.tile { background: var(--card); border-radius: 10px; padding: 14px 16px; }
.tile b { display: block; font-size: 22px; font-weight: 600; font-variant-numeric: tabular-nums; }
.tile span { font-size: 13px; color: var(--soft); }
.notes { background: var(--warn); border-left: 4px solid var(--warn-line); border-radius: 6px;
  padding: 10px 14px 10px 32px; margin: 16px 0; }
.notes li { margin: 2px 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { padding: 5px 12px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; }
thead th { color: var(--soft); font-size: 13px; }
th:first-child, td.word { text-align: left; }
.facts td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.facts th { vertical-align: top; }
tr.best { background: var(--card); font-weight: 600; }
tr.muted { color: var(--soft); }
.chart { min-height: 120px; }
details { margin-top: 12px; }
summary { cursor: pointer; }
pre { background: var(--card); border-radius: 8px; padding: 12px; overflow-x: auto; white-space: pre-wrap;
  overflow-wrap: anywhere; font-size: 13px; }
.js-plotly-plot text { fill: var(--ink) !important; }
.js-plotly-plot .hoverlayer text { fill: #ffffff !important; }
@media (max-width: 600px) { main { padding: 20px 14px 40px; } h1 { font-size: 22px; } th, td { padding: 5px 8px; } }
"""


def render_report(study: optuna.Study, summary_markdown: str = "", title: str | None = None) -> str:
    """Return one HTML page about a study: words, figures, parameters, trials.

    Everything is inlined (plotly.js once, about 5 MB), so it opens from a file, in an MLflow
    artifact view and behind a firewall. A figure that fails leaves a note in its place.

    Parameters
    ----------
    study : optuna.Study
        One that a gbtune objective ran; any number of trials.
    summary_markdown : str, default ""
        Shown as text at the end of the page, to be copied elsewhere.
    title : str, optional
        Default: the study's name.

    Returns
    -------
    str
        A whole HTML document. Whatever comes from data is escaped.

    Raises
    ------
    InvalidArgument
        If the study holds no gbtune record.

    Examples
    --------
    >>> import optuna
    >>> from gbtune.records import STUDY_KEY, StudyRecord
    >>> from gbtune.report import render_report
    >>> study = optuna.create_study()
    >>> about = StudyRecord("1", "demo", "xgboost", "xgboost/core", "1", {}, "log_loss", "minimize",
    ...                     "binary", 99, 4, "5 folds", 5)
    >>> study.set_user_attr(STUDY_KEY, about.to_json())
    >>> page = render_report(study)
    >>> page.startswith("<!DOCTYPE html>"), "No trial completed." in page
    (True, True)
    """
    study = ReadStudy(study)
    facts, (_, records) = collect_facts(study), study.records
    name = html.escape(title if title is not None else facts.study.name)
    script, figures = _draw(study)
    body = "\n".join(
        (
            f"<h1>{name}</h1>",
            f'<p class="soft">{html.escape(headline(facts.study))}, space {html.escape(facts.study.space)}</p>',
            _tiles(facts),
            _notes(facts),
            _parameters(facts),
            *figures,
            _failures(records),
            _about(facts),
            _trials(facts, records),
            _copy(summary_markdown),
        )
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}</title><style>{_STYLE}</style>{script}</head>\n<body><main>\n{body}\n</main></body></html>\n"
    )


def warm_up() -> None:
    """Import and use once what the figures need: the first figure of a process takes half a second longer.

    Examples
    --------
    >>> from gbtune.report import warm_up
    >>> warm_up()
    """
    with contextlib.suppress(Exception):  # what is missing is said when it is needed
        figure = new_figure("").add_scatter(x=[0.0], y=[0.0], line={"color": INK}).add_bar(x=[0.0], y=["a"])
        say(figure, "").to_html(full_html=False, include_plotlyjs=False)


def _draw(study: optuna.Study) -> tuple[str, list[str]]:
    """The script that the figures need, and one block of HTML for each figure."""
    blocks, drawn = [], False
    for function, height, caption in _FIGURES:
        name = function.__name__.removeprefix("plot_")
        heading = name.replace("_", " ").capitalize()
        try:
            figure = function(study)
            heading = figure.layout.title.text or heading
            if figure.data:
                inside, drawn = _chart(figure, name, height), True
            else:  # only a sentence that says why
                inside, caption = (
                    f'<p class="soft">{html.escape(html.unescape(figure.layout.annotations[0].text))}</p>',
                    "",
                )
        except Exception as error:  # the page is worth more than one of its figures
            reason = html.escape(f"{type(error).__name__}: {error}")
            inside, caption = f'<p class="soft">This figure could not be drawn. {reason}</p>', ""
        words = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
        blocks.append(f"<section><h2>{html.escape(heading)}</h2><figure>{inside}{words}</figure></section>")
    if not drawn:
        return "", blocks
    offline = require("plotly.offline", pip="plotly", needed_for="Drawing figures")
    return f"<script>{offline.get_plotlyjs()}</script>", blocks


def _chart(figure: Any, name: str, height: int) -> str:
    width = "100%"
    if name == "parallel_coordinates":  # it scrolls sideways on a phone
        width = f"max(100%, {95 * len(figure.layout.xaxis.tickvals)}px)"
    elif name == "importance":
        height = 70 + 26 * len(figure.data[0].y)
    elif name == "folds":
        height = 150 + 34 * min(12, len(figure.data[-1].y))
    legend = any(trace.name for trace in figure.data)
    figure.update_layout(title=None, margin={"t": 46 if legend else 8}, height=height)
    chart = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=f"figure-{name}",
        default_width="100%",
        default_height=f"{height}px",
        config={"responsive": True, "displayModeBar": False},
    )
    return f'<div class="wide"><div class="chart" style="width:{width}">{chart}</div></div>'


def _tiles(facts: SummaryFacts) -> str:
    study, best = facts.study, facts.best
    better = "lower" if study.direction == "minimize" else "higher"
    tiles = []
    if best is not None:
        score = format_estimate(best.score, standard_error(best.fold_scores))
        tiles.append((score, f"{study.metric} ({better} is better), {study.folds}"))
    if facts.gain is not None and best is not None:
        gain = f"+{format_estimate(*facts.gain)}" if facts.gain[0] > 0 else format_estimate(*facts.gain)
        words = "the default itself is the best" if best.kind == "baseline" else verdict(*facts.gain)
        tiles.append((gain, f"gain over the library's default, paired by fold: {words}"))
    states = ", ".join(f"{facts.counts[s]} {s}" for s in STATES if facts.counts.get(s))
    tiles.append(
        (f"{sum(facts.counts.values())} trials", f"{states or 'none finished'}, {format_seconds(facts.seconds)}")
    )
    cells = (f'<div class="tile"><b>{html.escape(a)}</b><span>{html.escape(b)}</span></div>' for a, b in tiles)
    return f'<div class="tiles">{"".join(cells)}</div>'


def _notes(facts: SummaryFacts) -> str:
    notes = list(facts.warnings)
    if facts.gain is not None and facts.best is not None and facts.best.kind != "baseline":
        gain, error = facts.gain
        if error is None or gain <= 2 * error:
            notes.insert(0, f"Gain over the library's default: {verdict(gain, error)}.")
    items = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return f'<ul class="notes">{items}</ul>' if items else ""


def _parameters(facts: SummaryFacts) -> str:
    if facts.best is None:
        return ""
    rows = (_row(row) for row in parameter_rows(facts))
    head = _row(("parameter", "best", "library default"), cell="th")
    where = "the library's default" if facts.best.kind == "baseline" else f"trial {facts.best.number}"
    note = (
        f"From {where}. Chosen as the best of {facts.counts.get('complete', 0)}, its score is a little optimistic: "
        "rows that took no part in the tuning tell what to expect."
    )
    return (
        f'<h2>Best parameters</h2><div class="wide"><table><thead>{head}</thead><tbody>{"".join(rows)}</tbody>'
        f'</table></div><p class="soft">{html.escape(note)}</p>'
    )


def _failures(records: Sequence[TrialRecord]) -> str:
    errors = Counter((r.error or "No traceback was recorded.").strip() for r in records if r.error)
    if not errors:
        return ""
    parts = ["<h2>Failed trials</h2>"]
    for error, times in errors.most_common(5):
        last = html.escape(error.splitlines()[-1] if error else "")
        parts.append(f"<details><summary>{times} x {last}</summary><pre>{html.escape(error)}</pre></details>")
    return "".join(parts)


def _about(facts: SummaryFacts) -> str:
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
    cells = "".join(_row(row) for row in rows if row[1])
    return f'<h2>How it was tuned</h2><table class="facts"><tbody>{cells}</tbody></table>'


def _trials(facts: SummaryFacts, records: Sequence[TrialRecord]) -> str:
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
        score = r.score if r.state == "complete" else r.partial_score
        state = f"{r.state} ({r.reason})" if r.reason else r.state
        if r.duplicate_of is not None:
            state += f", as trial {r.duplicate_of}"
        cells = (
            str(r.number),
            state,
            format_score(score),
            f"{len(r.fold_scores)}/{r.n_folds}" if r.n_folds else "-",
            str(r.rounds or "-"),
            f"{sum(r.seconds.values()):.1f}",
            r.provenance or r.kind,
            *(format_value(r.params[name]) if name in r.params else "-" for name in names),
        )
        kind = "best" if facts.best is not None and r.number == facts.best.number else "muted" * (r.state != "complete")
        rows.append(_row(cells, kind=kind))
    total = len(records)
    words = f"The {len(shown)} best of {total:,}, " if total > len(shown) else ""
    return (
        f'<h2>Trials</h2><p class="soft">{words or "Best first"}{"best first" if words else ""}. A pruned trial shows '
        f'the score of the folds it ran.</p><div class="wide"><table><thead>{_row(labels, cell="th")}</thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _copy(text: str) -> str:
    if not text:
        return ""
    return f"<details><summary>Summary to copy, in Markdown</summary><pre>{html.escape(text)}</pre></details>"


def _row(cells: Iterable[str], *, cell: str = "td", kind: str = "") -> str:
    first, *rest = (html.escape(text) for text in cells)
    others = "".join(f"<{cell}>{text}</{cell}>" for text in rest)
    return f"<tr{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}><th>{first}</th>{others}</tr>"
