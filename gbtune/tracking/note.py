"""The note of a study's run: its summary, and what only the store knows: where the pieces are, how to load the model.

Links are relative to MLflow's page, so they work under every name of the server and behind a proxy. Pure.
"""

from __future__ import annotations

import re

from gbtune.records import StudyRecord
from gbtune.tracking.artifacts import REPORT_FILE, SPACE_FILE, TABLE_FILE
from gbtune.tracking.projection import MAX_TAG, cut
from gbtune.tracking.view import run_page, view_page


def study_note(
    study: StudyRecord,
    summary: str,
    *,
    experiment_id: str,
    run_id: str,
    has_view: bool,
    has_report: bool = False,
    tracking_uri: str = "",
    model_uri: str | None = None,
) -> str:
    """Return the Markdown that a study's run shows, for someone who has only the link.

    Parameters
    ----------
    study : StudyRecord
        The study.
    summary : str
        What is known from the study alone, as Markdown; its first paragraph is the headline.
    experiment_id, run_id : str
        Of the study's run.
    has_view : bool
        Whether the experiment holds the study's view.
    has_report : bool, default False
        Whether the run has a report.
    tracking_uri : str, optional
        Of the store, without a password.
    model_uri : str, optional
        Of the model, once it is logged.

    Examples
    --------
    >>> from gbtune.testing.trackers import example_study
    >>> from gbtune.tracking.note import study_note
    >>> print(study_note(example_study(), "**a study**", experiment_id="1", run_id="2", has_view=False))
    **a study**
    <BLANKLINE>
    Look at: [best score so far](#/experiments/1/runs/2/model-metrics?workflowType=machine_learning) · \
[trial table](#/experiments/1/runs/2/artifacts/trials.json?workflowType=machine_learning) · \
[search space](#/experiments/1/runs/2/artifacts/search_space.json?workflowType=machine_learning)
    """
    links = {}
    if has_view:
        links["all trials"] = view_page(study, experiment_id)
        links["charts"] = view_page(study, experiment_id, charts=True)
    links["best score so far"] = run_page(experiment_id, run_id, "model-metrics")
    for words, name, there in (
        ("report", REPORT_FILE, has_report),
        ("trial table", TABLE_FILE, True),
        ("search space", SPACE_FILE, bool(study.space_definition)),
    ):
        if there:
            links[words] = run_page(experiment_id, run_id, f"artifacts/{name}")
    head, _, rest = spaced(summary).partition("\n\n")
    before = f"{head}\n\nLook at: {' · '.join(f'[{words}]({link})' for words, link in links.items())}"
    after = _loading(model_uri, tracking_uri) if model_uri else ""
    # a long summary loses its middle, never the links
    rest = cut(rest, MAX_TAG - len(before) - len(after) - 4)
    return "\n\n".join(part for part in (before, rest, after) if part)


def spaced(markdown: str) -> str:
    """Return Markdown whose tables have space between their columns and below: MLflow's page gives them none.

    Examples
    --------
    >>> from gbtune.tracking.note import spaced
    >>> print(spaced("| eta | 0.1 |\\n\\ntext"))
    | eta&emsp; | 0.1 |
    <BLANKLINE>
    &nbsp;
    <BLANKLINE>
    text
    """
    spaced_lines, was_table = [], False
    for line in markdown.split("\n"):
        is_table = line.startswith("|")
        if was_table and not is_table:
            spaced_lines += ["", "&nbsp;"]
        if is_table and not set(line) <= set("|-: "):
            line = re.sub(r"(?<=[^|]) \|(?=.)", "&emsp; |", line)
        spaced_lines.append(line)
        was_table = is_table
    return "\n".join([*spaced_lines, "", "&nbsp;"] if was_table else spaced_lines)


def _loading(model_uri: str, tracking_uri: str) -> str:
    return f"""\
**Load the model** (needs no gbtune; `X_new` has the raw columns)

```python
import mlflow

mlflow.set_tracking_uri("{tracking_uri}")
model = mlflow.pyfunc.load_model("{model_uri}")
model.predict(X_new)
```"""
