"""MLflowTracker as an ordinary Optuna callback."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import optuna
import pytest

from gbtune.records import STUDY_KEY, TRIAL_KEY
from gbtune.storage import describe, journal
from gbtune.testing import trackers as kit
from gbtune.tracking import MLflowTracker
from gbtune.tracking.spool import spools

Runs = Callable[..., list[mlflow.entities.Run]]
optuna.logging.set_verbosity(optuna.logging.WARNING)


def strangers_objective(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", 0, 1)
    trial.report(x / 2, 1)
    if trial.number == 1:
        raise optuna.TrialPruned
    if trial.number == 2:
        raise ValueError("boom")
    return x


def our_objective(trial: optuna.Trial) -> float:
    record = kit.example_trials()[trial.number]
    trial.study.set_user_attr(STUDY_KEY, kit.example_study().to_json())
    trial.set_user_attr(TRIAL_KEY, record.to_json())
    if record.state == "pruned":
        raise optuna.TrialPruned
    if record.state == "failed":
        raise ValueError("boom")
    assert record.score is not None
    return record.score


def test_a_strangers_objective_is_tracked_from_its_trials(tracker: MLflowTracker, runs: Runs) -> None:
    study = optuna.create_study(study_name="theirs", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(strangers_objective, n_trials=5, callbacks=[tracker], catch=(ValueError,))
    receipt = tracker.close()
    assert receipt.problems == ()
    children = sorted(runs(gbtune_kind="trial"), key=lambda run: int(run.data.tags["gbtune.trial"]))
    assert [run.data.tags["gbtune.state"] for run in children] == ["COMPLETE", "PRUNED", "FAIL", "COMPLETE", "COMPLETE"]
    assert [float(run.data.params["x"]) for run in children] == [trial.params["x"] for trial in study.trials]
    assert children[0].data.metrics["value"] == study.trials[0].value
    assert children[1].data.metrics["partial_score"] == study.trials[1].intermediate_values[1]
    (parent,) = runs(gbtune_kind="study")
    assert parent.info.run_id == receipt.run_id
    assert parent.data.metrics["value"] == study.best_value
    assert parent.data.params["sampler"] == "RandomSampler"


def test_our_objective_is_tracked_from_its_records(tracker: MLflowTracker, runs: Runs) -> None:
    study = optuna.create_study(direction="maximize")
    study.optimize(our_objective, n_trials=5, callbacks=[tracker], catch=(ValueError,))
    receipt = tracker.close()
    assert receipt.problems == ()
    (parent,) = runs(gbtune_kind="study")
    assert parent.data.tags["gbtune.study_uid"] == "contract"
    assert parent.data.metrics["gain"] == pytest.approx(0.04)
    assert runs(gbtune_trial="1")[0].data.metrics["cv/fold1"] == 0.75
    assert runs(gbtune_trial="4")[0].info.status == "FAILED"


def test_threads_of_one_study_share_a_run(tracker: MLflowTracker, runs: Runs) -> None:
    study = optuna.create_study()
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=8, n_jobs=4, callbacks=[tracker])
    assert tracker.close().problems == ()
    assert len(runs(gbtune_kind="study")) == 1
    assert len(runs(gbtune_kind="trial")) == 8


def test_optimising_again_goes_on_in_the_same_run(uri: str, runs: Runs) -> None:
    study = optuna.create_study()
    for tracker in (MLflowTracker(uri), MLflowTracker(uri)):
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2, callbacks=[tracker])
        assert tracker.close().problems == ()
    assert len(runs(gbtune_kind="study")) == 1
    assert len(runs(gbtune_kind="trial")) == 4


def test_two_studies_of_one_callback_have_two_runs(tracker: MLflowTracker, runs: Runs) -> None:
    for _ in range(2):
        optuna.create_study().optimize(lambda trial: trial.suggest_float("x", 0, 1), 1, callbacks=[tracker])
    assert tracker.close().problems == ()
    assert len(runs(gbtune_kind="study")) == 2


def test_several_objectives_are_all_shown(tracker: MLflowTracker, runs: Runs) -> None:
    study = optuna.create_study(directions=["minimize", "maximize"])
    study.optimize(lambda trial: (trial.suggest_float("x", 0, 1), 2.0), n_trials=1, callbacks=[tracker])
    assert tracker.close().problems == ()
    assert runs(gbtune_kind="trial")[0].data.metrics["extra/value_1"] == 2.0


def test_a_study_told_in_both_ways_is_written_once(tracker: MLflowTracker, runs: Runs) -> None:
    tracker.study_started(kit.example_study())

    def tell(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        tracker.trial_finished(kit.example_trials()[trial.number])

    study = optuna.create_study(direction="maximize")
    study.optimize(our_objective, n_trials=3, callbacks=[tell, tracker])
    assert tracker.study_finished(kit.example_outcome(kit.example_trials()[:3])).problems == ()
    assert tracker.close().run_id is None
    assert len(runs(gbtune_kind="trial")) == 3


def test_closing_a_tracker_that_saw_nothing_writes_nothing(tracker: MLflowTracker, client: Any) -> None:
    assert tracker.close().run_id is None
    assert client.get_experiment_by_name("gbtune") is None


def test_what_is_left_is_written_when_the_process_ends(uri: str, runs: Runs) -> None:
    script = f"""
import optuna
from gbtune.tracking import MLflowTracker
study = optuna.create_study()
study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3, callbacks=[MLflowTracker({uri!r})])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert "Warning" not in done.stderr
    assert len(runs(gbtune_kind="trial")) == 3
    (parent,) = runs(gbtune_kind="study")
    assert parent.data.tags["gbtune.state"] == "complete"
    assert json.loads(parent.data.tags["mlflow.loggedArtifacts"])


@pytest.mark.parametrize("ends_first", ["the first", "the second"])
def test_processes_that_share_a_study_leave_each_others_files_alone(
    tracker: MLflowTracker, uri: str, runs: Runs, tmp_path: Path, ends_first: str
) -> None:
    path = tmp_path / "shared.journal"
    study = optuna.create_study(study_name="shared", storage=journal(path))

    def optimize() -> None:
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1, callbacks=[tracker])

    script = f"""
import sys
import optuna
from gbtune.storage import journal
from gbtune.tracking import MLflowTracker
study = optuna.load_study(study_name="shared", storage=journal({str(path)!r}))
tracker = MLflowTracker({uri!r})
for line in sys.stdin:
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1, callbacks=[tracker])
    print("done", flush=True)
print(tracker.close().problems)
"""
    optimize()
    with subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdin is not None and other.stdout is not None

        def optimize_there() -> None:
            print(file=other.stdin, flush=True)
            assert other.stdout is not None and other.stdout.readline() == "done\n"

        def end_there() -> None:
            assert other.communicate(timeout=120)[0] == "()\n"

        optimize_there()
        if ends_first == "the first":
            assert tracker.close().problems == ()
            optimize_there()
            end_there()
        else:
            end_there()
            optimize()
            assert tracker.close().problems == ()
    (spool,) = spools(Path("gbtune-studies/shared"))
    told, left, outcome = spool.read()
    assert (told.name, told.storage, left) == ("shared", describe(study), [])
    assert outcome is None and len(study.trials) == 3, "the trials are in the storage"
    assert len(runs(gbtune_kind="study")) == 1
    assert len(runs(gbtune_kind="trial")) == 3
