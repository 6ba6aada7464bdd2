"""One self-contained HTML page about a study: it opens without a network, on a phone, in the dark."""

from __future__ import annotations

import contextlib
import html
from collections.abc import Callable
from typing import Any

import optuna

from gbtune import plots
from gbtune import report_sections as sections
from gbtune.diagnostics import stored_diagnostics
from gbtune.facts import ReadStudy, collect_facts, parameter_importances
from gbtune.figures import INK, new_figure, say
from gbtune.optional import require
from gbtune.summary import headline

MAX_SLICES = 6


def _predictions(study: optuna.Study) -> list[Any]:
    """The figures of the best trial's predictions that fit the task."""
    found = stored_diagnostics(study)
    if found is None:
        return []
    if found.missing or found.task == "regression":
        return [plots.plot_residuals(study)]
    return [plots.plot_confusion(study)] + [plots.plot_calibration(study)] * bool(found.calibration)


def _slices(study: optuna.Study) -> list[Any]:
    """One figure for each of the parameters that mattered most; before anybody can tell, for the first ones."""
    names = list(parameter_importances(study)[0])
    if not names:
        names = list(dict.fromkeys(name for trial in study.get_trials(deepcopy=False) for name in trial.params))
    figures = [plots.plot_slice(study, name) for name in names[:MAX_SLICES]]
    return [figure for figure in figures if figure.data]


# (function, height in pixels, caption, heading of those that draw several)
_FIGURES: tuple[tuple[Callable[[optuna.Study], Any], int, str, str], ...] = (
    (
        plots.plot_history,
        400,
        "Hollow points were pruned: they show how they stood to the best on the folds they ran.",
        "",
    ),
    (plots.plot_folds, 340, "The same rows for both: compare along each line, not between the lines.", ""),
    (
        _predictions,
        340,
        "Of the best trial, each row predicted by a model that was not trained on it.",
        "Predictions of rows that were held out",
    ),
    (
        plots.plot_learning_curves,
        400,
        "Mean over the folds, to scale from a third of the way to the chosen round: the diamond.",
        "",
    ),
    (
        plots.plot_importance,
        340,
        "Share of each parameter in what separates good trials from bad ones (PED-ANOVA).",
        "",
    ),
    (
        _slices,
        250,
        "Each point is a trial; hollow ones were pruned. A good region is one where points are dense and good.",
        "Score by parameter",
    ),
    (plots.plot_parallel_coordinates, 430, "Each line is a complete trial; the better, the stronger.", ""),
    (plots.plot_time, 250, "Seconds of all trials added up, side by side or not.", ""),
)
_PREDICTIONS = next(i for i, entry in enumerate(_FIGURES) if entry[0] is _predictions)

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
h3 { font-size: 14px; font-weight: 600; margin: 8px 0 0; overflow-wrap: anywhere; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); gap: 16px 20px; }
.grid > div { min-width: 0; }
code { font: 13px/1.5 ui-monospace, Menlo, Consolas, monospace; background: var(--card); border-radius: 4px;
  padding: 1px 5px; overflow-wrap: anywhere; }
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
.slices th:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 110px; }
tr.best { background: var(--card); font-weight: 600; }
tr.muted { color: var(--soft); }
.chart { min-height: 120px; }
details { margin-top: 12px; }
summary { cursor: pointer; }
pre { background: var(--card); border-radius: 8px; padding: 12px; overflow-x: auto; white-space: pre-wrap;
  overflow-wrap: anywhere; font-size: 13px; }
.js-plotly-plot text { fill: var(--ink) !important; }
.js-plotly-plot .annotation-text { paint-order: stroke; stroke: var(--paper); stroke-width: 4px;
  stroke-linejoin: round; }
.js-plotly-plot .hoverlayer text { fill: #ffffff !important; }
@media (max-width: 600px) { main { padding: 20px 14px 40px; } h1 { font-size: 22px; } th, td { padding: 5px 8px; }
  .slices th:first-child { min-width: 150px; } .slices tr > :nth-child(4) { display: none; } }
"""


def render_report(
    study: optuna.Study, summary_markdown: str = "", title: str | None = None, *, seconds: float | None = None
) -> str:
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
    seconds : float, optional
        It took. Default: from the study's start to the end of its last trial.

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
    facts, (_, records) = collect_facts(study, seconds=seconds), study.records
    name = html.escape(title if title is not None else facts.study.name)
    script, figures = _draw(study)
    # A chart is drawn as soon as its place is read, when those beside it are not there yet.
    resize = '<script>document.querySelectorAll(".js-plotly-plot").forEach(plot => Plotly.Plots.resize(plot))</script>'
    figures.insert(_PREDICTIONS + 1, sections.slices(facts))
    body = "\n".join(
        (
            f"<h1>{name}</h1>",
            f'<p class="soft">{html.escape(headline(facts.study))}, space {html.escape(facts.study.space)}</p>',
            sections.tiles(facts),
            sections.notes(facts),
            sections.parameters(facts),
            *figures,
            sections.failures(records),
            sections.about(facts),
            sections.trials(facts, records),
            sections.copy(summary_markdown),
        )
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}</title><style>{_STYLE}</style>{script}</head>\n<body><main>\n{body}\n</main>"
        f"{resize if script else ''}</body></html>\n"
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
    """The script that the figures need, and one block of HTML for each kind of figure."""
    blocks, drawn = [], False
    for function, height, caption, heading in _FIGURES:
        name = function.__name__.strip("_").removeprefix("plot_")
        try:
            found = function(study)
            several = isinstance(found, list)
            if several and not found:
                blocks.append("")
                continue
            if not several:
                heading = found.layout.title.text or name
            inside = [
                _inside(figure, name if not several else f"{name}-{i}", height, titled=several and len(found) > 1)
                for i, figure in enumerate(found if several else [found])
            ]
            drawn = drawn or any(has_data for _, has_data in inside)
            content = "".join(text for text, _ in inside)
            content = f'<div class="grid">{content}</div>' if len(inside) > 1 else content
            caption = (_words(found) or caption) if any(has_data for _, has_data in inside) else ""
        except Exception as error:  # the page is worth more than one of its figures
            reason = html.escape(f"{type(error).__name__}: {error}")
            content, caption = f'<p class="soft">This figure could not be drawn. {reason}</p>', ""
            heading = heading or name.replace("_", " ").capitalize()
        words = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
        blocks.append(f"<section><h2>{html.escape(heading)}</h2><figure>{content}{words}</figure></section>")
    if not drawn:
        return "", blocks
    offline = require("plotly.offline", pip="plotly", needed_for="Drawing figures")
    return f"<script>{offline.get_plotlyjs()}</script>", blocks


def _words(found: Any) -> str:
    """A caption that a figure brings itself."""
    meta = None if isinstance(found, list) else found.layout.meta
    return str(meta.get("words", "")) if meta else ""


def _inside(figure: Any, name: str, height: int, *, titled: bool) -> tuple[str, bool]:
    """A figure as HTML, and whether it is one: an empty figure is only a sentence that says why."""
    title = html.escape(html.unescape(figure.layout.title.text or "")) if titled else ""
    head = f"<h3>{title}</h3>" if title else ""
    if figure.data:
        content = _chart(figure, name, height)
    else:
        content = f'<p class="soft">{html.escape(html.unescape(figure.layout.annotations[0].text))}</p>'
    return f"<div>{head}{content}</div>" if titled else content, bool(figure.data)


def _chart(figure: Any, name: str, height: int) -> str:
    width = "100%"
    if name == "parallel_coordinates":  # it scrolls sideways on a phone
        width = f"max(100%, {95 * len(figure.layout.xaxis.tickvals)}px)"
    elif name == "importance":
        height = 70 + 26 * len(figure.data[0].y)
    elif name == "folds":
        height = 150 + 34 * min(12, len(figure.data[-1].y))
    elif name == "time":
        height = 110 + 34 * len(figure.data[0].y)
    legend = any(trace.name and trace.showlegend is not False for trace in figure.data) and not name.startswith(
        "slices"
    )
    figure.update_layout(title=None, margin={"t": 46 if legend else 8}, height=height, showlegend=legend)
    chart = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=f"figure-{name}",
        default_width="100%",
        default_height=f"{height}px",
        config={"responsive": True, "displayModeBar": False},
    )
    return f'<div class="wide"><div class="chart" style="width:{width}">{chart}</div></div>'
