"""What is kept beside the study until the store has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from mlflow_server import contents, full_disk

from gbtune import families
from gbtune.data import Dataset
from gbtune.errors import GbtuneWarning, InvalidArgument
from gbtune.records import ModelBundle, StudyOutcome
from gbtune.testing import trackers as kit
from gbtune.tracking import MLflowTracker
from gbtune.tracking.model_registry import recipe_digest
from gbtune.tracking.spool import Spool, spools
from gbtune.tracking.sync import command, remedy, story, sync, tracker_for


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def bundle_of(family_name: str, X: Any, y: Any, example: Any) -> ModelBundle:
    data = Dataset.from_arrays(X, y)
    loss = {"binary": "log_loss_binary", "multiclass": "log_loss_multiclass", "regression": "squared_error"}[data.task]
    return ModelBundle(
        family=family_name,
        estimator=families.get(family_name).fit(data, {}, 3, 0, loss=loss),
        columns=data.encoder.to_dict(),
        task=data.task,
        classes=data.encoder.classes,
        example=example,
        requirements=(family_name, "pandas"),
        recipe={"rounds": np.int64(3), "params": {"learning_rate": 0.1, "note": (1, 2)}},
    )


def plain(trials: Any) -> list[str]:
    return [trial.to_json() for trial in trials]


def test_a_study_is_read_back_as_it_was_told(spool: Spool) -> None:
    spool.start(kit.example_study())
    for trial in kit.example_trials():
        spool.append(trial)
    spool.finish(kit.example_outcome())
    study, trials, outcome = spool.read()
    assert spool.problem is None
    assert study == kit.example_study()
    assert plain(trials) == plain(kit.example_trials())
    expected = kit.example_outcome()
    assert isinstance(outcome, StudyOutcome)
    assert outcome.best == expected.best
    for name in ("state", "best_params", "baseline_score", "gain", "gain_se", "summary", "report_html", "ended_at"):
        assert getattr(outcome, name) == getattr(expected, name)


def test_a_model_is_read_back_without_a_pickle(spool: Spool, mixed: tuple[pd.DataFrame, pd.Series]) -> None:
    X, y = mixed
    bundle = bundle_of("lightgbm", X, y, X.head(5))
    spool.start(kit.example_study())
    spool.finish(kit.example_outcome(model=bundle))
    assert spool.problem is None
    _, _, outcome = spool.read()
    assert outcome is not None and outcome.model is not None
    model = outcome.model
    pd.testing.assert_frame_equal(model.example, bundle.example)
    assert (model.classes, model.task, model.requirements) == (tuple(bundle.classes), "multiclass", bundle.requirements)
    assert recipe_digest(model) == recipe_digest(bundle)
    encoded = Dataset.from_arrays(X, y).encoder.encode(X)
    assert np.array_equal(model.estimator.predict_proba(encoded), bundle.estimator.predict_proba(encoded))
    assert not list(spool.folder.rglob("*.pkl"))


@pytest.mark.parametrize("family_name", ["xgboost", "lightgbm"])
def test_each_familys_model_predicts_the_same(
    spool: Spool, family_name: str, diabetes: tuple[pd.DataFrame, pd.Series]
) -> None:
    X, y = diabetes
    bundle = bundle_of(family_name, X, y, X.head(2))
    spool.start(kit.example_study())
    spool.finish(kit.example_outcome(model=bundle))
    _, _, outcome = spool.read()
    assert outcome is not None and outcome.model is not None
    assert np.array_equal(outcome.model.estimator.predict(X), bundle.estimator.predict(X))


@pytest.mark.parametrize(
    "example",
    [
        pd.DataFrame({0: [1, 2], "mixed": [1, "a"], "when": pd.to_datetime(["2024-01-01", None])}),
        pd.DataFrame({"bins": pd.cut([1.0, 5.0], [0, 3, 6])}),
        np.arange(6.0).reshape(2, 3),
        sp.csr_matrix(np.eye(2)),
        np.array([["a", 1]], dtype=object),
    ],
    ids=["several types", "intervals", "array", "sparse", "objects"],
)
def test_no_example_costs_the_model(spool: Spool, diabetes: tuple[pd.DataFrame, pd.Series], example: Any) -> None:
    spool.start(kit.example_study())
    spool.finish(kit.example_outcome(model=bundle_of("lightgbm", *diabetes, example)))
    assert spool.problem is None
    _, _, outcome = spool.read()
    assert outcome is not None and outcome.model is not None
    found = outcome.model.example
    if isinstance(example, pd.DataFrame):
        assert list(found.columns) == list(example.columns)
        assert found.notna().equals(example.notna())
    elif found is not None:
        assert found.shape == example.shape


def test_a_line_that_was_cut_off_costs_one_trial_and_not_the_next(spool: Spool) -> None:
    trials = kit.example_trials()
    spool.start(kit.example_study())
    for trial in trials[:2]:
        spool.append(trial)
    path = spool.folder / "trials.jsonl"
    path.write_bytes(path.read_bytes()[:-20])  # a kill in the middle of a write
    spool.append(trials[2])
    assert [trial.number for trial in spool.trials()] == [0, 2]
    spool.finish(kit.example_outcome(trials))
    assert [trial.number for trial in spool.trials()] == [0, 1, 2, 3, 4]


def test_a_full_disk_raises_nothing_and_is_mended_at_the_end(spool: Spool) -> None:
    trials = kit.example_trials()
    spool.start(kit.example_study())
    spool.append(trials[0])
    with full_disk((spool.folder / "trials.jsonl").stat().st_size + 100):
        spool.append(trials[1])
    assert spool.problem is not None
    assert [trial.number for trial in spool.trials()] == [0]
    spool.append(trials[2])
    spool.finish(kit.example_outcome(trials))
    assert spool.problem is None
    assert plain(spool.read()[1]) == plain(trials)


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="holds no study"):
        Spool(tmp_path).read()
    assert spools(tmp_path) == []


def test_a_spool_that_cannot_be_written_is_one_warning(uri: str) -> None:
    Path("gbtune-studies").write_text("in the way")
    tracker = MLflowTracker(uri)
    with pytest.warns(GbtuneWarning, match="gbtune-studies") as caught:
        tracker.study_started(kit.example_study())
        for trial in kit.example_trials():
            tracker.trial_finished(trial)
        assert tracker.study_finished(kit.example_outcome()).problems == ()
    assert len(caught) == 1


def test_nothing_is_left_of_a_study_in_memory(uri: str) -> None:
    tracker = MLflowTracker(uri)
    tracker.study_started(kit.example_study())
    assert (Path("gbtune-studies") / "example" / "spool-contract" / "study.json").exists()
    assert tracker.study_finished(kit.example_outcome()).problems == ()
    assert not Path("gbtune-studies").exists()


def test_a_stored_study_keeps_what_its_storage_does_not_have(
    uri: str,
    client: mlflow.MlflowClient,
    diabetes: tuple[pd.DataFrame, pd.Series],
    tmp_path: Path,
    empty_database: Path,
) -> None:
    study = kit.example_study(storage="postgresql://host/studies")
    ended = kit.example_outcome(model=bundle_of("xgboost", *diabetes, diabetes[0].head(2)))
    tracker = MLflowTracker(uri, register="churn")
    tracker.study_started(study)
    for trial in kit.example_trials():
        tracker.trial_finished(trial)
    assert tracker.study_finished(ended).problems == ()
    (left,) = spools(Path("gbtune-studies/example").absolute())
    assert left.trials() == []
    other = tmp_path / "other.db"
    other.write_bytes(empty_database.read_bytes())
    told = story(study, kit.example_trials(), left)
    assert told.state == "complete" and told.model is not None
    receipt = sync(study, told, tracker_for(left, f"sqlite:///{other}"), spool=left)
    assert receipt.model_uri == "models:/churn/1"
    rebuilt = mlflow.MlflowClient(tracking_uri=f"sqlite:///{other}")
    assert contents(rebuilt) == contents(client)
    assert (left.folder / "outcome.json").exists()


def test_an_outcome_of_fewer_trials_is_not_the_end_of_the_story(spool: Spool) -> None:
    trials = kit.example_trials()
    spool.start(kit.example_study())
    spool.finish(kit.example_outcome(trials[:2]))
    told = story(kit.example_study(), trials, spool)
    assert (told.state, len(told.trials), told.best) == ("interrupted", 5, trials[1])
    assert story(kit.example_study(), trials[:2], spool).state == "complete"


def test_settings_travel_with_the_spool_but_no_password(tmp_path: Path) -> None:
    tracker = MLflowTracker(
        f"sqlite:///{tmp_path}/missing/mlflow.db",
        experiment="mine",
        register="churn",
        detail="top",
        registry_uri="postgresql://me:secret@host/db",
    )
    tracker.study_started(kit.example_study())
    (left,) = spools(tmp_path / "missing" / "gbtune-studies" / "example")
    again = tracker_for(left, f"sqlite:///{tmp_path}/other.db")
    assert (again.experiment, again.register, again.detail, again.registry_uri) == ("mine", "churn", "top", None)
    assert "secret" not in (left.folder / "tracker.json").read_text()
    assert tracker_for(left, "http://host", registry_uri="http://other").registry_uri == "http://other"
    tracker._worker.drop()
    left.release()


@pytest.mark.parametrize(
    ("storage", "more"),
    [
        ("", ""),
        ("JournalStorage", ""),
        ("GrpcStorageProxy", ""),
        ("sqlite:///:memory:", ""),
        ("postgresql://me:***@host/db", " --storage '{storage}'"),
        ("/data/gbtune-studies/my_study-5b2e8e5c/study.journal", " --storage {storage}"),
        ("sqlite:////elsewhere/a b.db", " --storage 'sqlite:////elsewhere/a b.db'"),
    ],
)
def test_the_command_is_exact(storage: str, more: str) -> None:
    folder = Path("/data/gbtune-studies/my study")
    study = kit.example_study(name="my study", storage=storage)
    expected = "gbtune sync '/data/gbtune-studies/my study' --tracking-uri 'postgresql://me:***@host/db'"
    assert command(study, "postgresql://me:secret@host/db", folder) == expected + more.format(storage=storage)


def test_a_storage_inside_the_folder_is_not_named() -> None:
    study = kit.example_study(storage="/data/studies/example/study.journal")
    assert "--storage" not in command(study, "http://host", Path("/data/studies/example"))


def test_a_hidden_password_is_to_be_filled_in(spool: Spool) -> None:
    plain_study, secret = kit.example_study(), kit.example_study(storage="postgresql://host/db?password=***")
    assert "fill in the password" not in remedy(plain_study, "http://host", spool)
    for study, uri in ((secret, "http://host"), (plain_study, "http://me:secret@host")):
        said = remedy(study, uri, spool)
        assert "(fill in the password): gbtune sync " in said and "secret" not in said


def test_the_last_process_removes_the_spool(tmp_path: Path) -> None:
    trials = kit.example_trials()
    first, second = (Spool(tmp_path / "studies" / "example" / "spool") for _ in range(2))
    first.start(kit.example_study(), {"experiment": "mine"})
    assert second.start(kit.example_study(), {"experiment": "mine"}) == []
    for spool, trial in ((first, trials[0]), (second, trials[1])):
        spool.append(trial)
    second.acknowledge()
    assert [trial.number for trial in first.trials()] == [0, 1], "the first one is still at work"
    first.acknowledge()
    assert not (tmp_path / "studies").exists()
    second.append(trials[2])
    study, left, _ = second.read()
    assert (study, [trial.number for trial in left]) == (kit.example_study(), [2])
    assert second.settings() == {"experiment": "mine"}
    second.acknowledge()
    assert not (tmp_path / "studies").exists()
    second.finish(kit.example_outcome())
    assert second.read()[2] is not None


def test_trials_that_nobody_finds_elsewhere_stay_and_are_not_told_again(spool: Spool) -> None:
    study, trials = kit.example_study(storage="JournalStorage"), kit.example_trials()
    for start in (0, 2):
        assert spool.start(study) == []
        for trial in trials[start : start + 2]:
            spool.append(trial)
        spool.acknowledge(study.storage)
    spool.start(study)
    spool.append(trials[4])
    spool.release()
    assert plain(spool.start(study)) == plain(trials[4:])
    assert plain(spool.trials()) == plain(trials)
    spool.finish(kit.example_outcome())
    assert plain(spool.trials()) == plain(trials)
    spool.release()
