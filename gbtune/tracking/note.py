"""The note of a study's run: its summary, and what only the store knows: where the pieces are, how to load the model.

Links are relative to MLflow's page, so they work under every name of the server and behind a proxy. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from gbtune.records import StudyRecord
from gbtune.tracking.artifacts import REPORT_FILE, SPACE_FILE, TABLE_FILE
from gbtune.tracking.projection import MAX_TAG, cut
from gbtune.tracking.view import run_page, view_page

MAX_LABELS = 8


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
    Look at: [trial table](#/experiments/1/runs/2/artifacts/trials.json?workflowType=machine_learning) · \
[search space](#/experiments/1/runs/2/artifacts/search_space.json?workflowType=machine_learning)
    <BLANKLINE>
    **a study**
    """
    links = {}
    if has_view:
        links["all trials"] = view_page(study, experiment_id)
        links["charts"] = view_page(study, experiment_id, charts=True)
    for words, name, there in (
        ("report", REPORT_FILE, has_report),
        ("trial table", TABLE_FILE, True),
        ("search space", SPACE_FILE, bool(study.space_definition)),
    ):
        if there:
            links[words] = run_page(experiment_id, run_id, f"artifacts/{name}")
    head, _, rest = spaced(summary).partition("\n\n")
    # First of all: MLflow folds the note after a few lines, and what is under the fold's veil cannot be clicked.
    before = f"Look at: {' · '.join(f'[{words}]({link})' for words, link in links.items())}\n\n{head}"
    after = loading_note(model_uri, tracking_uri, study.classes) if model_uri else ""
    # a long summary loses its middle, never the links
    rest = shortened(rest, MAX_TAG - len(before) - len(after) - 4)
    return "\n\n".join(part for part in (before, rest, after) if part)


def model_note(summary: str, loading: str = "", where: str = "", limit: int = MAX_TAG) -> str:
    """Return the Markdown that a logged model and its version in the registry show.

    The registry's list shows its first line as it is, so that one is plain.

    Parameters
    ----------
    summary : str
        Of the study.
    loading : str, optional
        How to load the model: see `loading_note`.
    where : str, optional
        The link to the study's run.
    limit : int, default 8000
        Characters.

    Examples
    --------
    >>> from gbtune.tracking.note import model_note
    >>> model_note("**a study**: rmse 3\\n\\n| eta | 0.1 |").splitlines()
    ['a study: rmse 3', '', '| eta&emsp; | 0.1 |', '', '&nbsp;']
    """
    head, _, rest = spaced(summary).partition("\n\n")
    before = [head.replace("**", ""), *([f"[Study and report]({where})"] if where else [])]
    used = sum(len(part) + 2 for part in (*before, loading))
    return "\n\n".join(part for part in (*before, shortened(rest, limit - used) if rest else "", loading) if part)


def shortened(markdown: str, limit: int) -> str:
    """Return Markdown of at most `limit` characters: whole lines go, from the middle, so that tables stay tables.

    Examples
    --------
    >>> from gbtune.tracking.note import shortened
    >>> shortened("| a | 1 |\\n| b | 2 |\\n| c | 3 |\\n\\n- a warning", 30).splitlines()
    ['| a | 1 |', '', '...', '', '- a warning']
    """
    if len(markdown) <= limit:
        return markdown
    lines = markdown.split("\n")
    first, last, left = 0, len(lines), limit - len("\n\n...\n\n")
    while first < last:
        position = first if first <= len(lines) - last else last - 1
        left -= len(lines[position]) + 1
        if left < 0:
            break
        first, last = (first + 1, last) if position == first else (first, last - 1)
    kept = ["\n".join(part).strip("\n") for part in (lines[:first], ["..."], lines[last:])]
    return "\n\n".join(part for part in kept if part)


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


def loading_note(model_uri: str, tracking_uri: str, classes: Sequence[object] = ()) -> str:
    """Return the Markdown that says how to load a model and what it answers.

    Examples
    --------
    >>> from gbtune.tracking.note import loading_note
    >>> print(loading_note("models:/churn/1", "http://host:5000", ["no", "yes"]))
    **Load the model** (needs no gbtune; `X_new` has the raw columns, and an unseen category counts as missing)
    <BLANKLINE>
    ```python
    import mlflow
    <BLANKLINE>
    mlflow.set_tracking_uri("http://host:5000")
    model = mlflow.pyfunc.load_model("models:/churn/1")
    model.predict(X_new)  # labels: 'no', 'yes'
    model.predict(X_new, params={"proba": True})  # probabilities, in this order
    ```
    """
    answers = ["model.predict(X_new)"]
    if classes:
        labels = ", ".join(repr(label) for label in classes[:MAX_LABELS]) + ", ..." * (len(classes) > MAX_LABELS)
        answers = [
            f"{answers[0]}  # labels: {cut(labels, 200)}",
            'model.predict(X_new, params={"proba": True})  # probabilities, in this order',
        ]
    code = [f'mlflow.set_tracking_uri("{tracking_uri}")', f'model = mlflow.pyfunc.load_model("{model_uri}")', *answers]
    return (
        "**Load the model** (needs no gbtune; `X_new` has the raw columns, and an unseen category counts as missing)"
        f"\n\n```python\nimport mlflow\n\n{chr(10).join(code)}\n```"
    )
