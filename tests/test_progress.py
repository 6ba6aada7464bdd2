from __future__ import annotations

import subprocess
import sys
import threading
import warnings

import pytest

from gbtune.errors import InvalidArgument
from gbtune.progress import Progress
from gbtune.records import TrialRecord

COMPLETE = TrialRecord(0, "complete", {}, score=0.4)
PRUNED = TrialRecord(1, "pruned", {}, reason="race")
FAILED = TrialRecord(2, "failed", {})


def last_state(text: str) -> str:
    return text.strip().split("\r")[-1].strip()


def test_a_disabled_progress_writes_nothing(capfd):
    with Progress(False, total=2, timeout=1.0, metric="log_loss") as progress:
        progress.say("a line")
        progress.update(COMPLETE, 0.4)
    progress.say("another")
    assert capfd.readouterr() == ("", "")


def test_the_bar_shows_trials_best_score_pruned_and_failed_on_stderr_alone(capfd):
    with Progress(True, total=4, metric="log_loss") as progress:
        progress.update(COMPLETE, 0.4)
        progress.update(PRUNED, 0.4)
        progress.update(FAILED, 0.4)
    out, err = capfd.readouterr()
    assert out == ""
    assert "3/4 trials" in last_state(err) and "75%" in last_state(err)
    assert last_state(err).endswith("lowest log_loss 0.40000, 1 pruned, 1 failed")


def test_a_study_that_goes_on_counts_what_was_pruned_before(capfd):
    with Progress(True, total=9, done=5, pruned=2, failed=1) as progress:
        progress.update(PRUNED, None)
    state = last_state(capfd.readouterr().err)
    assert "6/9 trials" in state and state.endswith("3 pruned, 1 failed")


def test_a_metric_to_be_maximised_shows_its_highest_score(capfd):
    with Progress(True, total=1, metric="roc_auc", direction="maximize") as progress:
        progress.update(COMPLETE, 0.9)
    assert "highest roc_auc 0.90000" in last_state(capfd.readouterr().err)


def test_without_a_number_of_trials_the_bar_counts_the_seconds_of_the_timeout(capfd):
    with Progress(True, timeout=500.0, metric="log_loss") as progress:
        progress.update(COMPLETE, 0.4)
        progress.update(COMPLETE, 0.4)
    state = last_state(capfd.readouterr().err)
    assert "/500 s" in state and "2 trials" in state


def test_past_its_timeout_the_bar_is_full_and_not_more(capfd):
    with Progress(True, timeout=1e-9) as progress:
        progress.update(COMPLETE, 0.4)
        progress.update(COMPLETE, 0.4)
    assert "100%" in last_state(capfd.readouterr().err)


def test_with_neither_total_nor_timeout_the_bar_counts_trials(capfd):
    with Progress(True) as progress:
        progress.update(COMPLETE, None)
    state = last_state(capfd.readouterr().err)
    assert state.startswith("1 trials") and "None" not in state


def test_a_said_line_stands_on_a_line_of_its_own(capfd):
    progress = Progress(True, total=2)
    progress.say("before")
    with progress:
        progress.say("the plan")
        progress.update(COMPLETE, 0.4)
        progress.say("a note")
    progress.say("after")
    out, err = capfd.readouterr()
    lines = [line.split("\r")[-1] for line in err.split("\n")]
    assert [line for line in lines if line in ("before", "the plan", "a note", "after")] == [
        "before", "the plan", "a note", "after"
    ]  # fmt: skip
    assert out == ""


def test_the_bar_is_closed_when_the_work_raises(capfd):
    progress = Progress(True, total=2)
    with pytest.raises(KeyError), progress:
        raise KeyError("broken")
    assert capfd.readouterr().err.endswith("\n")
    progress.update(COMPLETE, 0.4)
    assert capfd.readouterr() == ("", "")


def test_updates_from_threads_are_all_counted(capfd):
    with Progress(True, total=80) as progress:
        threads = [
            threading.Thread(target=lambda: [progress.update(PRUNED, None) for _ in range(20)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert "80/80 trials" in (state := last_state(capfd.readouterr().err)) and "80 pruned" in state


def test_a_wrong_direction_is_refused():
    with pytest.raises(InvalidArgument, match="'minimize' or 'maximize'; given 'up'"):
        Progress(True, direction="up")  # type: ignore[arg-type]


def test_a_notebook_without_widgets_gets_a_bar_and_no_warning(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    monkeypatch.setitem(sys.modules, "ipykernel.zmqshell", sys)  # what tqdm takes for a notebook
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Progress(True, total=1) as progress:
            progress.update(COMPLETE, 0.4)
    assert "1/1 trials" in capfd.readouterr().err


def test_importing_progress_imports_no_tqdm():
    code = "import sys, gbtune.progress; sys.exit('tqdm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
