"""The command line, on real studies and stores."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest
from click.testing import CliRunner, Result
from sklearn.datasets import load_diabetes

import gbtune
from gbtune.cli import main

DEAD = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def gbtune_command(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def runs(uri: str) -> list[Any]:
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("gbtune")
    return list(client.search_runs([experiment.experiment_id], max_results=1000))


def kinds(uri: str) -> dict[str, int]:
    found = [run.data.tags["gbtune.kind"] for run in runs(uri)]
    return {kind: found.count(kind) for kind in set(found)}


def tuned_without_a_server(**arguments: Any) -> gbtune.TuningResult:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    with pytest.warns(gbtune.GbtuneWarning, match="MLflow"):
        return gbtune.tune_lgbm(X, y, n_trials=4, progress=False, tracking=DEAD, **arguments)


@pytest.mark.parametrize("name", [None, "sugar"])
def test_the_printed_command_finishes_the_job(name: str | None, tmp_path: Path) -> None:
    result = tuned_without_a_server(study=name)
    printed = result.receipt.problems[-1]
    words = shlex.split(re.search(r"gbtune sync .*", printed)[0])  # type: ignore[index]
    assert words[:2] == ["gbtune", "sync"] and words[-2:] == ["--tracking-uri", DEAD]
    alive = f"sqlite:///{tmp_path}/alive.db"
    done = gbtune_command(*words[1:-1], alive)
    assert done.exit_code == 0, done.output
    assert "4 trials in sqlite" in done.output and "models:/" in done.output
    assert kinds(alive) == {"study": 1, "trial": 4, "final": 1}
    found = re.search(r"models:/\S+", done.output)
    assert found is not None
    assert mlflow.MlflowClient(alive).get_logged_model(found[0].removeprefix("models:/")).status == "READY"
    assert (tmp_path / "gbtune-studies").exists() == (name is not None), "a study in memory leaves nothing behind"


def test_it_may_be_run_again_and_on_another_store(tmp_path: Path) -> None:
    tuned_without_a_server(study="sugar")
    one, two = f"sqlite:///{tmp_path}/one.db", f"sqlite:///{tmp_path}/two.db"
    for uri in (one, one, two):
        done = gbtune_command("sync", "sugar", "--tracking-uri", uri, "--storage", "gbtune-studies/sugar/study.journal")
        assert done.exit_code == 0, done.output
    assert kinds(one) == kinds(two) == {"study": 1, "trial": 4, "final": 1}

    def told(uri: str) -> list[Any]:
        return sorted((r.info.run_name, r.info.status, sorted(r.data.params.items())) for r in runs(uri))

    assert told(one) == told(two)


def test_a_study_that_was_never_tracked_can_be_told_later(tmp_path: Path) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    storage = f"sqlite:///{tmp_path}/studies.db"
    gbtune.tune_lgbm(X, y, study="sugar", storage=storage, n_trials=3, progress=False, tracking=False)
    done = gbtune_command("sync", "sugar", "--storage", storage, "--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db")
    assert done.exit_code == 0, done.output
    assert "none was kept" in done.output
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert kinds(uri)["trial"] == 3
    (parent,) = [run for run in runs(uri) if run.data.tags["gbtune.kind"] == "study"]
    names = {file.path for file in mlflow.MlflowClient(uri).list_artifacts(parent.info.run_id)}
    assert {"report.html", "trials.json", "best_params.json"} <= names


def test_what_is_not_there_and_what_does_not_answer_is_said(tmp_path: Path) -> None:
    missing = gbtune_command("sync", "nobody")
    assert missing.exit_code == 1 and "No study 'nobody' was found" in missing.output
    tuned_without_a_server(study="sugar")
    dead = gbtune_command("sync", "sugar", "--tracking-uri", DEAD)
    assert dead.exit_code == 1 and "gbtune sync" in dead.output


def test_the_command_is_installed() -> None:
    script = Path(sys.executable).with_name("gbtune")
    done = subprocess.run([str(script), "--version"], capture_output=True, text=True, check=True)
    assert gbtune.__version__ in done.stdout
