"""Who is champion of a registered model: promotions, rollbacks and races, on real stores and real data."""

from __future__ import annotations

import datetime
import json
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from mlflow_server import Server

import gbtune
from gbtune.after_study import after_study
from gbtune.cli import main
from gbtune.errors import InvalidArgument, InvalidData, UnknownName
from gbtune.objective import Objective
from gbtune.outcome import bundle_model
from gbtune.promotion import promote, rollback
from gbtune.recipe import fit_again, rounds_of, tree_params
from gbtune.records import Receipt
from gbtune.tracking import MLflowTracker
from gbtune.tracking.champions import CLAIM, Champions, Overtaken, how_to_promote
from gbtune.tracking.model_registry import log_model, recipe_digest, register_model
from gbtune.tracking.recipes import read_recipe
from gbtune.tracking.store import Store

Frame = tuple[pd.DataFrame, pd.Series]
GOOD = {"max_depth": 4, "learning_rate": 0.1, "n_estimators": 30}
TINY_CHANGE = {**GOOD, "learning_rate": 0.1002}
CRIPPLED = {"max_depth": 1, "learning_rate": 0.01, "n_estimators": 2}


class InThread(MLflowTracker):
    """Writes from a thread: a process of its own, as an `MLflowTracker` has, takes seconds to start."""


def register(
    uri: str, X: Any, y: Any, *params: dict[str, Any], name: str = "churn", family: str = "lightgbm", **how: Any
) -> None:
    """Register a version for each of the parameters, as a study does at its end."""
    objective, store = Objective(family, X, y, **how), Store(uri)
    experiment_id = store.experiment_id(name)
    for each in params:
        rounds, trees = each["n_estimators"], {key: value for key, value in each.items() if key != "n_estimators"}
        model = objective.family.fit(objective.data, trees, rounds, 0, loss=objective.evaluator.loss)
        bundle = bundle_model(objective, model, X.head(3), each)
        run_id = store.client.create_run(experiment_id).info.run_id
        model_id = log_model(store, bundle, name=name, experiment_id=experiment_id, run_id=run_id, tags={})
        tags = {"gbtune.recipe": recipe_digest(bundle)}
        register_model(store, name, model_id=model_id, run_id=run_id, tags=tags, describe="# version {}".format)


@pytest.fixture(scope="session")
def three_versions(tmp_path_factory: pytest.TempPathFactory, empty_database: Path, diabetes: Frame) -> Path:
    folder = tmp_path_factory.mktemp("champions")
    database = Path(shutil.copy(empty_database, folder / "mlflow.db"))
    register(f"sqlite:///{database}", *diabetes, CRIPPLED, GOOD, TINY_CHANGE)
    return database


@pytest.fixture
def three(tmp_path: Path, three_versions: Path) -> str:
    """A store with versions 1 (crippled, champion), 2 (good) and 3 (nearly the same, challenger), of one data set."""
    return f"sqlite:///{shutil.copy(three_versions, tmp_path / 'three.db')}"


def champion(uri: str, name: str = "churn") -> str | None:
    return Champions(name, uri).champion


def tags(uri: str, version: str, name: str = "churn") -> dict[str, str]:
    found = mlflow.MlflowClient(uri, uri).get_model_version(name, version)
    return {key.removeprefix("gbtune."): value for key, value in found.tags.items()}


def command(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def promote_all(uri: str) -> None:
    """Let each version take the place of the one before it."""
    for version in "23":
        assert promote("churn", version=version, policy="always", tracking_uri=uri).is_champion


# -- what "done" means --------------------------------------------------------------------------------------


def test_a_promotion_that_should_happen_happens_and_is_written(three: str, diabetes: Frame) -> None:
    assert champion(three) == "1" and tags(three, "1")["promotion"] == "promoted"
    decided = promote("churn", *diabetes, version=2, tracking_uri=three)
    assert (decided.version, decided.champion, decided.decision) == ("2", "2", "promoted")
    assert champion(three) == "2"
    found = decided.comparison
    assert found is not None and found.gain is not None and found.gain > 10
    written = tags(three, "2")
    assert written["promotion"] == "promoted" and written["promotion.champion"] == "1"
    assert written["promotion.policy"] == "if_better" and written["promotion.n_rows"] == "442"
    assert float(written["promotion.gain"]) == found.gain and float(written["promotion.gain_se"]) == found.gain_se
    assert json.loads(written["promotion.challenger_scores"]) == list(found.challenger_scores)
    assert json.loads(written["promotion.champion_scores"]) == list(found.champion_scores)
    used = Champions("churn", three).recipe("2")["folds_fingerprint"]
    assert written["promotion.folds_fingerprint"] == found.folds_fingerprint != used
    assert written["champion.previous"] == "1" and "champion.claim" not in written
    description = mlflow.MlflowClient(three, three).get_model_version("churn", "2").description
    assert description.startswith("# version 2") and description.endswith(f"## Promotion\n{decided.words}\n")
    assert "version 2 of 'churn' is champion, in the place of version 1: rmse" in decided.words


def test_a_change_within_noise_is_not_promoted(three: str, diabetes: Frame) -> None:
    promote("churn", version=2, policy="always", tracking_uri=three)
    for _ in range(2):  # decided twice, written once
        decided = promote("churn", *diabetes, tracking_uri=three)
        assert (decided.champion, decided.decision) == ("2", "kept champion")
    assert champion(three) == "2" and tags(three, "3")["promotion"] == "kept champion"
    assert mlflow.MlflowClient(three, three).get_model_version("churn", "3").description.count("## Promotion") == 1
    assert "champion.previous" not in tags(three, "3")


def test_a_champion_of_older_data_is_refitted_and_compared(uri: str, breast_cancer: Frame) -> None:
    X, y = breast_cancer
    half = len(X) // 2
    register(uri, X[:half], y[:half], CRIPPLED, name="weak")
    register(uri, X[:half], y[:half], {**GOOD, "learning_rate": 0.0998}, name="strong", family="lightgbm")
    for name, decision in (("weak", "promoted"), ("strong", "kept champion")):
        register(uri, X, y, GOOD, name=name)
        decided = promote(name, X, y, tracking_uri=uri)
        assert decided.decision == decision and decided.comparison is not None
        assert decided.comparison.n_rows == len(X) and len(decided.comparison.champion_scores) == 5
        recipe = Champions(name, uri).recipe("1")
        assert recipe["n_rows"] == half and recipe["data_fingerprint"] != decided.comparison.data_fingerprint


def test_a_champion_with_other_columns_stays(uri: str, breast_cancer: Frame) -> None:
    X, y = breast_cancer
    register(uri, X.drop(columns="mean area"), y, CRIPPLED)
    register(uri, X, y, GOOD)
    decided = promote("churn", X, y, tracking_uri=uri)
    assert (decided.champion, decided.decision) == ("1", "not comparable")
    assert "only the challenger has mean area" in decided.words
    assert tags(uri, "2")["promotion"] == "not comparable" and "promotion.gain" not in tags(uri, "2")


def test_a_registered_version_is_fitted_again_from_its_artifact_alone(uri: str, mixed: Frame) -> None:
    X, y = mixed
    register(uri, X, y, GOOD, family="xgboost", seed=3)
    recipe = Champions("churn", uri).recipe("1")
    estimator, encoder = fit_again({**recipe, "seed": 0}, X, y)
    again = encoder.decode(estimator.predict(encoder.encode(X)))
    location = mlflow.MlflowClient(uri, uri).get_logged_model(tags(uri, "1")["model_id"]).artifact_location
    assert list(again) == list(mlflow.pyfunc.load_model(location).predict(X))
    assert rounds_of(recipe) == 30 and "n_estimators" not in tree_params(recipe)


# -- in tune ------------------------------------------------------------------------------------------------


def test_tune_promotes_its_model_by_default(uri: str, breast_cancer: Frame, capfd: pytest.CaptureFixture[str]) -> None:
    register(uri, *breast_cancer, CRIPPLED)
    result = gbtune.tune_xgb(*breast_cancer, n_trials=1, tracking=InThread(uri), register="churn")
    assert result.promotion is not None and result.promotion.is_champion and champion(uri) == "2"
    assert f"gbtune: {result.promotion.words}" in capfd.readouterr().err
    assert result.promotion.words in repr(result)


def test_policies_of_tune(uri: str, diabetes: Frame) -> None:
    def tuned(promote: Any, seed: int = 0) -> gbtune.TuningResult:
        return gbtune.tune_lgbm(
            *diabetes, n_trials=1, tracking=InThread(uri), register="churn", progress=False, promote=promote, seed=seed
        )

    assert tuned("never").promotion is None and champion(uri) is None, "not even the first"
    seen: list[Any] = []
    assert tuned(lambda comparison: seen.append(comparison)).promotion is not None
    assert champion(uri) == "2" and not seen, "without a champion there is nothing to ask"
    kept = tuned(lambda comparison: seen.append(comparison)).promotion
    assert kept is not None and kept.decision == "kept champion" and seen[0].same
    assert "'<lambda>' says no" in kept.words.replace("<lambda>", "'<lambda>'")
    assert tuned("always").promotion is not None and champion(uri) == "4"
    assert tags(uri, "4")["promotion.policy"] == "always"


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"promote": "sometimes", "register": "churn"}, UnknownName, "Unknown policy 'sometimes'"),
        ({"promote": 3, "register": "churn"}, InvalidArgument, "or a function of the comparison; got 3"),
        ({"promote": "always"}, InvalidArgument, "needs a registered model: add register='a name'"),
    ],
)
def test_a_policy_is_checked_before_the_first_tree(
    arguments: dict[str, Any], error: type[Exception], words: str, uri: str, diabetes: Frame, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        gbtune.tune_lgbm(*diabetes, n_trials=1, tracking=InThread(uri), progress=False, **arguments)


def test_a_promotion_that_breaks_costs_no_result(uri: str, diabetes: Frame, monkeypatch: pytest.MonkeyPatch) -> None:
    register(uri, *diabetes, CRIPPLED, name="it's mine")
    monkeypatch.setattr(Champions, "write_decision", lambda *_: 1 / 0)
    with pytest.warns(gbtune.GbtuneWarning, match=r"not decided \(ZeroDivisionError.*gbtune promote 'it'\"'\"'s mine'"):
        result = gbtune.tune_lgbm(*diabetes, n_trials=1, tracking=InThread(uri), register="it's mine", progress=False)
    assert result.promotion is None and len(result.predict(diabetes[0])) == 442
    assert champion(uri, "it's mine") == "1"


def decided_after(uri: str, objective: Objective, model: str, **how: Any) -> Any:
    """What the end of a study does about the version that it has registered."""
    how = {"n_jobs": 1, "tracker": MLflowTracker(uri), "progress": False} | how
    return after_study(objective, Receipt(model_uri=f"models:/{model}"), "if_better", **how)


def test_names_with_an_at_sign_are_promoted_and_unknown_ones_said(uri: str, diabetes: Frame) -> None:
    register(uri, *diabetes, CRIPPLED, GOOD, name="me@home")
    objective = Objective("lightgbm", *diabetes)
    decided = decided_after(uri, objective, "me@home/2")
    assert decided.is_champion and champion(uri, "me@home") == "2"
    assert read_recipe("models:/me@home/1", tracking_uri=uri).params["max_depth"] == CRIPPLED["max_depth"]
    assert read_recipe("models:/me@home@champion", tracking_uri=uri).params["max_depth"] == GOOD["max_depth"]
    with pytest.warns(gbtune.GbtuneWarning, match="models:/me@home/latest is no version of a model: not promoted"):
        assert decided_after(uri, objective, "me@home/latest") is None
    assert decided_after(uri, objective, "m-0123") is None, "logged, not registered"


def test_after_a_ctrl_c_nothing_is_trained_and_the_command_is_printed(
    three: str, diabetes: Frame, capfd: pytest.CaptureFixture[str]
) -> None:
    groups = diabetes[0].index // 9
    objective = Objective("lightgbm", *diabetes, groups=groups, sample_weight=groups + 1)
    assert decided_after(three, objective, "churn/2", interrupted=True, progress=True) is None
    assert capfd.readouterr().err == (
        "gbtune: interrupted, so version 2 of 'churn' was not compared: gbtune promote churn --version 2 --data FILE "
        f"--target COLUMN --weight COLUMN --group COLUMN --tracking-uri {three}\n"
    )
    assert champion(three) == "1" and "promotion" not in tags(three, "2")


@pytest.mark.parametrize("interrupted", [False, True])
def test_tune_compares_on_as_many_workers_as_fit_and_says_if_it_was_interrupted(
    interrupted: bool, diabetes: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Told(gbtune.tracking.Tracker):
        def study_started(self, study: Any) -> None:
            pass

        def study_finished(self, outcome: Any) -> Receipt:
            return Receipt()

        def trial_finished(self, trial: Any) -> None:
            if interrupted and trial.kind == "baseline":
                signal.raise_signal(signal.SIGINT)

    seen: dict[str, Any] = {}
    monkeypatch.setattr("gbtune.api.after_study", lambda *_, **how: seen.update(how))
    monkeypatch.setattr("gbtune.api.usable_cores", lambda: 4)
    monkeypatch.setattr("gbtune.tuning.fitting_workers", lambda *_: (3, ""))
    gbtune.tune_lgbm(*diabetes, n_trials=2, n_jobs=4, tracking=Told(), progress=False)
    assert (seen["n_jobs"], seen["interrupted"]) == (3, interrupted)


def test_a_study_on_folds_of_its_callers_own_leaves_the_champion_and_asks_for_cv(three: str, diabetes: Frame) -> None:
    rows = diabetes[0].index
    cv = [(rows[rows % 3 != part], rows[rows % 3 == part]) for part in range(3)]
    register(three, *diabetes, {**GOOD, "max_depth": 5}, cv=cv)
    decided = decided_after(three, Objective("lightgbm", *diabetes, cv=cv), "churn/4")
    assert (decided.decision, decided.champion) == ("not comparable", "1") and "give cv" in decided.words


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ({}, "gbtune promote 'it'\"'\"'s' --version 3 --data FILE --target COLUMN --tracking-uri "),
        ({"weighted": True, "metric": "rmse"}, "--target COLUMN --weight COLUMN --tracking-uri "),
        ({"folds_kind": "group", "metric": "rmse"}, "--target COLUMN --group COLUMN --tracking-uri "),
        ({"metric": "profit"}, "gbtune.promotion.promote(\"it's\", X, y, version='3', metric=..., tracking_uri="),
        ({"folds_kind": "custom", "weighted": True}, "version='3', cv=..., sample_weight=..., tracking_uri="),
    ],
)
def test_the_way_to_repeat_has_all_that_the_recipe_needs(
    recipe: dict[str, Any], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    uri, registry = "postgresql://me:secret@host/db", "http://registry:5000"
    words = how_to_promote("it's", "3", Store(uri, registry), recipe)
    assert expected in words and registry in words and words.endswith("(fill in the password)")
    assert "secret" not in words and "'postgresql://me:***@host/db'" in words
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert "--tracking-uri" not in how_to_promote("it's", "3", Store(uri, registry))
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", registry)
    assert how_to_promote("a", "3", Store(uri, registry)) == "gbtune promote a --version 3 --data FILE --target COLUMN"


# -- rolling back -------------------------------------------------------------------------------------------


def test_a_rollback_goes_back_step_by_step_and_then_refuses(three: str, diabetes: Frame) -> None:
    promote_all(three)
    assert promote("churn", version=1, policy="always", tracking_uri=three).is_champion  # once more
    assert [rollback("churn", tracking_uri=three).champion for _ in range(3)] == ["3", "2", "1"]
    with pytest.raises(InvalidArgument, match="has replaced none"):
        rollback("churn", tracking_uri=three)
    assert tags(three, "3")["promotion"] == "rolled back" and "champion.previous" not in tags(three, "3")
    decided = promote("churn", version=2, policy="if_better", tracking_uri=three)
    assert (decided.decision, decided.champion) == ("rolled back", "1"), "what a person took back stays back"
    assert promote("churn", *diabetes, version=2, tracking_uri=three).is_champion, "unless asked for with data"
    assert rollback("churn", tracking_uri=three).champion == "1"


def test_a_rollback_without_champion_or_to_a_deleted_version_is_refused(three: str, diabetes: Frame) -> None:
    promote_all(three)
    client = mlflow.MlflowClient(three, three)
    client.delete_model_version("churn", "2")
    with pytest.raises(InvalidArgument, match=r"Version 2 .* has been deleted.*--policy always"):
        rollback("churn", tracking_uri=three)
    client.delete_registered_model_alias("churn", "champion")
    with pytest.raises(InvalidArgument, match="has no champion"):
        rollback("churn", tracking_uri=three)
    with pytest.raises(InvalidArgument, match="Reading the aliases of model 'nobody'"):
        rollback("nobody", tracking_uri=three)


def test_tune_leaves_a_version_that_was_rolled_back(uri: str, diabetes: Frame) -> None:
    register(uri, *diabetes, CRIPPLED)
    study: dict[str, Any] = {
        "study": "again",
        "n_trials": 1,
        "tracking": InThread(uri),
        "register": "churn",
        "progress": False,
    }
    assert gbtune.tune_lgbm(*diabetes, **study).promotion.is_champion  # type: ignore[union-attr]
    rollback("churn", tracking_uri=uri)
    again = gbtune.tune_lgbm(*diabetes, **study).promotion
    assert again is not None and (again.version, again.decision, again.champion) == ("2", "rolled back", "1")


# -- two at once --------------------------------------------------------------------------------------------


@pytest.fixture
def interleave(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int, Callable[[], Any]], None]:
    """Run something else at the n-th call of a method of the client, before it."""

    def arrange(method: str, number: int, other: Callable[[], Any]) -> None:
        real, calls = getattr(mlflow.MlflowClient, method), []

        def called(self: Any, *args: Any, **more: Any) -> Any:
            calls.append(method)
            if len(calls) == number:
                other()
            return real(self, *args, **more)

        monkeypatch.setattr(mlflow.MlflowClient, method, called)

    return arrange


def test_who_promotes_in_between_is_seen_before_the_alias_moves(
    three: str, diabetes: Frame, interleave: Callable[..., None]
) -> None:
    # after version 3 has been compared with version 1, and before it claims
    interleave("update_model_version", 1, lambda: Champions("churn", three).move("2", "1"))
    with pytest.warns(gbtune.GbtuneWarning, match=r"version 2 is champion now, no longer version 1.*gbtune promote"):
        decided = promote("churn", *diabetes, version=3, tracking_uri=three)
    assert (decided.decision, decided.champion) == ("overtaken", "2") and champion(three) == "2"
    assert tags(three, "3")["promotion"] == "overtaken" and "champion.previous" not in tags(three, "3")
    with pytest.raises(InvalidArgument, match=r"last compared with version 1; champion is version 2. Give the data"):
        promote("churn", version=3, tracking_uri=three)


def test_of_two_that_set_the_alias_one_is_champion_and_one_warns(
    three: str, diabetes: Frame, interleave: Callable[..., None]
) -> None:
    other = Champions("churn", three)
    rivals: list[Any] = []
    # Version 2 is compared, looks, and is about to set the alias; all of version 3's promotion happens then.
    interleave("set_registered_model_alias", 1, lambda: rivals.append(other.move("3", "1")))
    assert promote("churn", *diabetes, version=2, tracking_uri=three).is_champion
    assert rivals == [["2"]], "the one that was overwritten has seen the other's claim"
    assert champion(three) == "2" and "champion.claim" not in tags(three, "2") | tags(three, "3")


def test_who_is_overwritten_before_reading_again_sees_it(three: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = mlflow.MlflowClient.set_registered_model_alias

    def overwritten(self: Any, name: str, alias: str, _: str) -> None:
        real(self, name, alias, "2")
        real(self, name, alias, "3")

    monkeypatch.setattr(mlflow.MlflowClient, "set_registered_model_alias", overwritten)
    champions = Champions("churn", three)
    with pytest.raises(Overtaken, match="version 3 was made champion at the same time"):
        champions.move("2", "1")
    assert champion(three) == "3" and "champion.previous" not in tags(three, "2")


def test_a_rollback_and_a_promotion_at_once_are_noticed(
    three: str, diabetes: Frame, interleave: Callable[..., None]
) -> None:
    promote_all(three)
    register(three, *diabetes, {**GOOD, "max_depth": 3})
    other = Champions("churn", three)
    rivals: list[Any] = []
    interleave("set_registered_model_alias", 1, lambda: rivals.append(other.move("4", "3")))
    assert rollback("churn", tracking_uri=three).champion == "2" and champion(three) == "2"
    assert rivals == [["2"]], "the promotion has seen that version 2 is about to replace version 3"


@pytest.mark.parametrize(("hours", "counts"), [(0, True), (2, False), (-2, False)])
def test_the_claim_of_a_process_that_was_killed_grows_old(three: str, hours: int, counts: bool) -> None:
    since = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=hours)
    registry = mlflow.MlflowClient(three, three)
    registry.set_model_version_tag("churn", "3", CLAIM, f"to replace version 1, since {since.isoformat()}")
    assert Champions("churn", three).move("2", "1") == (["3"] if counts else [])


def test_attempts_that_fail_leave_one_entry_in_the_history(three: str, monkeypatch: pytest.MonkeyPatch) -> None:
    champions = Champions("churn", three)
    with monkeypatch.context() as patched:
        patched.setattr(mlflow.MlflowClient, "set_registered_model_alias", lambda *_: 1 / 0)
        for _ in range(2):
            with pytest.raises(InvalidArgument, match="ZeroDivisionError"):
                champions.move("2", "1")
    assert not champions.move("2", "1") and champions.history("2") == ["1"]


def test_a_claim_that_cannot_be_deleted_does_not_hide_what_happened(
    three: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow.MlflowClient, "delete_model_version_tag", lambda *_: 1 / 0)
    with pytest.raises(Overtaken, match="version 1 is champion now, no longer no version"):
        Champions("churn", three).move("2", None)


def test_one_sequence_after_another_warns_of_nothing(three: str, diabetes: Frame) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        promote_all(three)
        rollback("churn", tracking_uri=three)
        assert promote("churn", version=3, policy="always", tracking_uri=three).is_champion
        assert promote("churn", version=2, policy="always", tracking_uri=three).is_champion


RACE = """
import sys, threading, warnings
import pandas as pd
import gbtune
from gbtune.promotion import promote
from gbtune.tracking.champions import Champions

uri, version = sys.argv[1:]
real = Champions.move
def together(self, *which):  # both have compared and decided before either goes on
    print("ready", flush=True)
    sys.stdin.readline()
    return real(self, *which)
Champions.move = together
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", gbtune.GbtuneWarning)
    decided = promote("churn", version=version, policy="always", tracking_uri=uri)
print(decided.decision, len(caught), flush=True)
"""


def race(uri: str) -> list[list[str]]:
    """Promote versions 2 and 3 in two processes at the same moment; return what each says."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, uri, version], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for version in "23"
    ]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [process.communicate(timeout=120)[0].split() for process in processes]


def test_two_processes_at_once_end_with_one_champion_and_a_warning(three: str, diabetes: Frame) -> None:
    said = race(three)
    assert champion(three) in ("2", "3")
    assert sum(int(count) for _, count in said) >= 1, said
    assert "promoted" in [decision for decision, _ in said]
    # and it can be taken back
    assert rollback("churn", tracking_uri=three).champion in ("1", "2", "3")


# -- the command --------------------------------------------------------------------------------------------


def test_the_command_promotes_from_a_file_and_says_so_by_its_exit_code(uri: str, mixed: Frame, tmp_path: Path) -> None:
    X, y = mixed
    register(uri, X, y, CRIPPLED, GOOD, family="xgboost")
    X.assign(target=y, id=1).to_csv("rows.csv", index=False)
    promotion = ["promote", "churn", "--tracking-uri", uri]
    asked = command(*promotion)
    assert asked.exit_code == 1 and "has not been compared" in asked.output and "--data FILE" in asked.output
    done = command(*promotion, "--data", "rows.csv", "--target", "target", "--jobs", "1")
    assert done.exit_code == 0, done.output
    assert "promoted: version 2 of 'churn' is champion" in done.stdout and done.stdout.count("  fold ") == 5
    assert "not used: id" in done.stderr
    assert tags(uri, "2")["promotion.data_fingerprint"] == Champions("churn", uri).recipe("2")["data_fingerprint"]
    assert command(*promotion).exit_code == 0, "it is champion"
    back = command("rollback", "churn", "--tracking-uri", uri)
    assert back.exit_code == 0 and "version 1 of 'churn' is champion again, not version 2" in back.output
    assert command(*promotion).exit_code == 3, "it was rolled back"
    assert command("rollback", "churn", "--tracking-uri", uri).exit_code == 1


def test_exit_codes_tell_not_better_from_not_comparable(three: str, diabetes: Frame) -> None:
    X, y = diabetes
    promote("churn", version=2, policy="always", tracking_uri=three)
    X.assign(target=y).to_parquet("rows.parquet")
    with_data = ["promote", "churn", "--tracking-uri", three, "--data", "rows.parquet", "--target", "target"]
    for words in (with_data, with_data[:4]):  # decided, and then as written
        kept = command(*words)
        assert kept.exit_code == 3 and "kept champion: version 2 of 'churn' stays champion" in kept.output
    register(three, X.drop(columns="age"), y, GOOD)
    for words in (with_data, with_data[:4]):
        other = command(*words)
        assert other.exit_code == 4 and "only the champion has age" in other.output
    assert command(*with_data, "--version", "3", "--policy", "never").exit_code == 3
    worse = command(*with_data, "--version", "1", "--policy", "unless_worse")
    assert worse.exit_code == 3 and "worse by more than the standard error" in worse.output
    assert champion(three) == "2", "of before"
    assert command(*with_data, "--version", "3", "--policy", "unless_worse").exit_code == 0, "no better, and no worse"
    assert champion(three) == "3" and tags(three, "3")["promotion.policy"] == "unless_worse"
    assert command("rollback", "churn", "--tracking-uri", three).exit_code == 0
    assert command(*with_data[:4], "--policy", "always", "--version", "3").exit_code == 0
    stale = command(*with_data[:4])
    assert stale.exit_code == 1 and "last compared with version 2; champion is version 3" in stale.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "y"], "--target names a column of a file: give --data FILE"),
        (["--data", "rows.csv"], "--data needs --target COLUMN"),
        (["--data", "none.csv", "--target", "target"], "none.csv cannot be read as CSV"),
        (["--data", "rows.csv", "--target", "sold"], "Missing: sold (--target)"),
        (["--version", "7"], "Reading version 7 of model 'churn' failed"),
    ],
)
def test_a_mistake_on_the_command_line_is_said(words: list[str], said: str, three: str, diabetes: Frame) -> None:
    X, y = diabetes
    X.assign(target=y).to_csv("rows.csv", index=False)
    done = command("promote", "churn", "--tracking-uri", three, *words)
    assert done.exit_code == 1 and said in done.output


def test_a_store_or_model_that_is_not_there_is_said_and_not_created(tmp_path: Path) -> None:
    done = command("promote", "churn", "--tracking-uri", f"sqlite:///{tmp_path}/none.db")
    assert done.exit_code == 1 and "There is no MLflow store" in done.output
    assert not list(tmp_path.iterdir())


def test_a_promotion_that_was_decided_and_interrupted_is_completed(
    three: str, diabetes: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Champions, "move", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            promote("churn", *diabetes, version=2, tracking_uri=three)
    assert champion(three) == "1" and tags(three, "2")["promotion"] == "promoted"
    assert tags(three, "2")["promotion.pending"] == "1"
    assert promote("churn", version=2, policy="never", tracking_uri=three).champion == "1", "only reported"
    reported = command("promote", "churn", "--tracking-uri", three, "--version", "2", "--policy", "never")
    assert reported.exit_code == 3 and f"interrupted. gbtune promote churn --version 2 --tracking-uri {three}" in (
        reported.output
    )
    assert promote("churn", version=2, tracking_uri=three).is_champion and champion(three) == "2"
    assert "promotion.pending" not in tags(three, "2") and tags(three, "2")["promotion"] == "promoted"


def test_without_data_nothing_is_done_against_a_persons_decision(three: str) -> None:
    registry = mlflow.MlflowClient(three, three)
    promote("churn", version=2, policy="always", tracking_uri=three)
    registry.set_registered_model_alias("churn", "champion", "1")
    for policy in ("if_better", "never"):
        decided = promote("churn", version=2, policy=policy, tracking_uri=three)  # type: ignore[arg-type]
        assert (decided.decision, decided.champion) == ("kept champion", "1") and champion(three) == "1"
        assert "version 1 of 'churn' is champion, and not version 2, which was promoted before" in decided.words
    assert command("promote", "churn", "--tracking-uri", three, "--version", "2").exit_code == 3
    promote("churn", version=3, policy="always", tracking_uri=three)
    rollback("churn", tracking_uri=three)
    registry.delete_registered_model_alias("churn", "champion")
    taken_back = promote("churn", tracking_uri=three)
    assert (taken_back.version, taken_back.decision, taken_back.champion) == ("3", "rolled back", None)
    assert command("promote", "churn", "--tracking-uri", three).exit_code == 3
    assert promote("churn", version=1, tracking_uri=three).decision == "kept champion" and champion(three) is None


def test_whoever_is_champion_is_reported_so_whatever_is_written(three: str, diabetes: Frame) -> None:
    promote("churn", version=2, policy="always", tracking_uri=three)
    assert promote("churn", *diabetes, version=3, tracking_uri=three).decision == "kept champion"
    mlflow.MlflowClient(three, three).set_registered_model_alias("churn", "champion", "3")
    for policy in ("never", "if_better"):
        said = command("promote", "churn", "--tracking-uri", three, "--policy", policy)
        assert said.exit_code == 0 and "promoted: version 3 of 'churn' is champion" in said.output


def test_policy_never_makes_not_even_a_first_champion(three: str, diabetes: Frame) -> None:
    mlflow.MlflowClient(three, three).delete_registered_model_alias("churn", "champion")
    with pytest.raises(InvalidArgument, match="has not been compared with a champion"):
        promote("churn", version=3, tracking_uri=three)
    decided = promote("churn", *diabetes, version=3, policy="never", tracking_uri=three)
    assert (decided.decision, decided.champion) == ("kept champion", None) and champion(three) is None
    assert decided.words == "'churn' has no champion, and version 3 does not become it: policy 'never'"
    assert promote("churn", *diabetes, version=3, tracking_uri=three).is_champion


def test_a_description_that_is_full_or_cannot_be_written_stops_nothing(
    three: str, diabetes: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = mlflow.MlflowClient(three, three)
    registry.update_model_version("churn", "2", "begin " + "x" * 4985 + " end")
    decided = promote("churn", *diabetes, version=2, tracking_uri=three)
    description = registry.get_model_version("churn", "2").description
    assert len(description) <= 5000 and description.startswith("begin") and "x end\n\n## Promotion\n" in description
    assert description.endswith(f"{decided.words}\n") and champion(three) == "2"
    monkeypatch.setattr(mlflow.MlflowClient, "update_model_version", lambda *_: 1 / 0)
    with pytest.warns(gbtune.GbtuneWarning, match=r"Writing the description of version 3 .* failed"):
        assert promote("churn", version=3, policy="always", tracking_uri=three).is_champion
    assert champion(three) == "3" and tags(three, "3")["promotion"] == "promoted"


def test_a_version_of_somebody_else_is_not_comparable(
    uri: str, diabetes: Frame, client: mlflow.MlflowClient, tmp_path: Path
) -> None:
    client.create_registered_model("churn")
    client.create_model_version("churn", str(tmp_path))
    client.set_registered_model_alias("churn", "champion", "1")
    with pytest.raises(InvalidArgument, match="No version of 'churn' has the alias 'challenger'"):
        promote("churn", *diabetes, tracking_uri=uri)
    register(uri, *diabetes, GOOD)
    decided = promote("churn", *diabetes, tracking_uri=uri)
    assert decided.decision == "not comparable" and "Version 1 of 'churn' was not logged by gbtune" in decided.words
    client.delete_registered_model_alias("churn", "champion")
    assert promote("churn", *diabetes, tracking_uri=uri).is_champion, "without a champion there is none to compare with"


def test_data_of_something_else_are_refused(three: str, diabetes: Frame) -> None:
    with pytest.raises(InvalidData, match="Missing: 'age'"):
        promote("churn", diabetes[0].drop(columns="age"), diabetes[1], tracking_uri=three)


# -- a server -----------------------------------------------------------------------------------------------


def test_a_server_promotes_and_rolls_back(
    server: Server, breast_cancer: Frame, capfd: pytest.CaptureFixture[str]
) -> None:
    register(server.uri, *breast_cancer, CRIPPLED, GOOD, name="served")
    capfd.readouterr()
    assert promote("served", *breast_cancer, tracking_uri=server.uri).is_champion
    assert champion(server.uri, "served") == "2"
    assert rollback("served", tracking_uri=server.uri).champion == "1"
    assert tags(server.uri, "2", "served")["promotion"] == "rolled back"
    assert capfd.readouterr() == ("", "")
