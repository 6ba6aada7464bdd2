"""Studies that go on: the same trials whatever interrupted them, and whoever shares them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from processes import ready_processes
from quick import quick_space
from sklearn.datasets import load_diabetes
from stub import stub_objective

import gbtune
from gbtune.facts import collect_facts, read_records
from gbtune.leases import LEASE_PREFIX, Lease
from gbtune.objective import BASELINE
from gbtune.pruners import RacingPruner
from gbtune.records import STUDY_KEY
from gbtune.runner import Runner
from gbtune.slots import CUT, SlotSampler
from gbtune.storage import journal, mend_journal, open_storage
from gbtune.study import Clock, Point, open_study

START = Point({"learning_rate": 0.1, "split": 0.5}, BASELINE, "library default")
PORTFOLIO = [Point({"learning_rate": 0.05 * k, "split": 0.15 * k}, "portfolio") for k in (1, 2, 3)]
QUIET: dict[str, Any] = {"progress": False, "tracking": False}
PRUNERS = [RacingPruner(), optuna.pruners.SuccessiveHalvingPruner(min_resource=10)]


def opened(storage: Any, pruner: optuna.pruners.BasePruner | None = None) -> optuna.Study:
    return open_study(
        "kept",
        storage,
        sampler=SlotSampler(optuna.samplers.TPESampler, 3),
        pruner=pruner or RacingPruner(),
        direction="minimize",
        default_name="",
    )


def go_on(study: optuna.Study, n_trials: int, *, clock: Clock | None = None, **arguments: Any) -> None:
    objective = arguments.pop("objective", None) or stub_objective()
    if STUDY_KEY not in study.user_attrs:
        study.set_user_attr(STUDY_KEY, objective.describe(study).to_json())
    points = arguments.pop("points", [START, *PORTFOLIO])
    Runner(study, objective, points, clock or Clock(None), n_trials=n_trials, **arguments).run()


def by_slot(study: optuna.Study) -> dict[int, Any]:
    """What each slot of a study holds; fails if one was filled twice."""
    found: dict[int, Any] = {}
    for record in read_records(study)[1]:
        if record.reason in CUT:
            continue
        assert record.slot is not None and record.slot not in found, f"slot {record.slot} was run twice"
        scores = (record.score, record.partial_score, record.fold_scores, record.rounds)
        found[record.slot] = (record.state, record.kind, dict(record.params), scores)
    return found


def never_stopped(n_trials: int, pruner: optuna.pruners.BasePruner | None = None) -> dict[int, Any]:
    study = opened(optuna.storages.InMemoryStorage(), pruner)
    go_on(study, n_trials)
    return by_slot(study)


def after(count: int, act: Callable[[], None]) -> Callable[[Any, int], None]:
    """Act once so many trainings of a fold have begun."""
    begun = iter(range(1_000_000))

    def on_train(params: Any, fold: int) -> None:
        if next(begun) == count:
            act()

    return on_train


@pytest.fixture(params=["journal", "sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Any]:
    where = tmp_path / "study.journal" if request.param == "journal" else f"sqlite:///{tmp_path}/study.db"
    return lambda: open_storage(where, tmp_path)


@pytest.mark.parametrize("pruner", PRUNERS, ids=lambda pruner: type(pruner).__name__)
@pytest.mark.parametrize("n_jobs", [1, 3])
def test_a_study_that_was_interrupted_ends_as_if_it_never_had_been(
    tmp_path: Path, pruner: optuna.pruners.BasePruner, n_jobs: int
) -> None:
    for trainings in (2, 9, 20, 31, 47):
        clock = Clock(None)
        stop = stub_objective(after(trainings, clock.interrupt.set))
        go_on(opened(journal(tmp_path / "kept.journal"), pruner), 24, clock=clock, objective=stop, n_jobs=n_jobs)
    study = opened(journal(tmp_path / "kept.journal"), pruner)
    go_on(study, 24, n_jobs=n_jobs)
    assert len(study.trials) > 24, "some were cut off and run again"
    assert by_slot(study) == never_stopped(24, pruner)


def test_a_larger_total_goes_on_as_if_it_had_been_asked_for_at_once(storage: Callable[[], Any]) -> None:
    for total in (3, 10, 17, 30):
        study = opened(storage())
        go_on(study, total, n_jobs=2)
        assert len(study.trials) == total
    assert by_slot(study) == never_stopped(30)


def test_what_is_finished_is_not_run_again(storage: Callable[[], Any]) -> None:
    go_on(opened(storage()), 12)
    trained: list[Any] = []
    go_on(opened(storage()), 12, objective=stub_objective(lambda params, fold: trained.append(params)))
    assert trained == []


def killed_in_mid_trial(path: Path, trainings: int) -> None:
    die = stub_objective(after(trainings, lambda: os.kill(os.getpid(), signal.SIGKILL)))
    go_on(opened(journal(path)), 16, objective=die, n_jobs=2)


def test_a_killed_process_costs_only_what_it_was_working_on(tmp_path: Path) -> None:
    path = tmp_path / "kept.journal"
    for trainings in (1, 10, 25):
        process = ready_processes().Process(target=killed_in_mid_trial, args=(path, trainings))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    study = opened(journal(path))
    go_on(study, 16)
    assert by_slot(study) == never_stopped(16)
    killed = [record for record in read_records(study)[1] if record.reason == "killed"]
    assert all(record.state == "failed" for record in killed)
    assert any(record.params for record in killed), "what was running is reported with its parameters"
    assert all(trial.state.is_finished() for trial in study.trials)
    assert sum(trial.state == TrialState.FAIL for trial in study.trials) == len(killed)


def test_runners_that_share_a_study_do_each_slot_once(storage: Callable[[], Any]) -> None:
    studies = [opened(storage()) for _ in range(3)]
    go_on(studies[0], 1)
    threads = [threading.Thread(target=go_on, args=(study, 24)) for study in studies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert by_slot(studies[0]) == never_stopped(24)
    assert len(studies[0].trials) == 24
    owners = {trial.user_attrs["gbtune:owner"] for trial in studies[0].trials}
    assert len(owners) > 1, "the work was shared"


def test_a_process_that_comes_back_from_the_dead_does_no_harm(tmp_path: Path) -> None:
    """Its trial was given to another one, and what it finds too late is dropped."""
    path, late, begun = tmp_path / "kept.journal", threading.Event(), threading.Event()

    def pause() -> None:
        begun.set()
        late.wait()

    study = opened(journal(path))
    sleeper = threading.Thread(target=go_on, args=(study, 8), kwargs={"objective": stub_objective(after(5, pause))})
    sleeper.start()
    begun.wait()
    other = opened(journal(path))
    for key in [key for key in other.user_attrs if key.startswith(LEASE_PREFIX)]:
        other.set_user_attr(key, '{"machine": "elsewhere", "process": 1, "started": "", "expires": 1.0}')
    go_on(other, 8)
    late.set()
    sleeper.join()
    assert by_slot(other) == never_stopped(8)


def test_a_living_process_elsewhere_is_waited_for(tmp_path: Path) -> None:
    study = opened(journal(tmp_path / "kept.journal"))
    with Lease(study) as lease:
        assert set(lease.living()) == {lease.owner}
        elsewhere = '{"machine": "elsewhere", "process": 1, "started": "", "expires": 9e15}'
        study.set_user_attr(LEASE_PREFIX + "other", elsewhere)
        assert set(lease.living()) == {lease.owner, "other"}
    with Lease(study) as later:
        assert set(later.living()) == {later.owner, "other"}, "a lease that was given back is over"


def test_without_a_seed_a_study_goes_on_with_the_same_folds(tmp_path: Path) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    arguments: dict[str, Any] = {"study": "drawn", "storage": tmp_path / "x.journal", "seed": None, **QUIET}
    arguments["space"] = quick_space("lightgbm")
    first = gbtune.tune_lgbm(X, y, n_trials=4, **arguments)
    second = gbtune.tune_lgbm(X, y, n_trials=8, **arguments)
    assert second.record.folds_fingerprint == first.record.folds_fingerprint
    assert len(second.trials) == 8 and len(second.study.trials) == 8
    points = [tuple(sorted(trial.params.items())) for trial in second.study.trials]
    assert len(set(points)) == 8, "the sampler did not repeat its first draws"


def test_a_sampler_object_does_not_repeat_its_first_draws(tmp_path: Path) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    for total in (14, 18):
        sampler = optuna.samplers.RandomSampler(seed=7)
        result = gbtune.tune_lgbm(
            X,
            y,
            space=quick_space("lightgbm"),
            study="mine",
            storage=tmp_path / "x.journal",
            sampler=sampler,
            n_trials=total,
            **QUIET,
        )
    points = [tuple(sorted(trial.params.items())) for trial in result.study.trials]
    assert len(points) == 18 == len(set(points))


@pytest.mark.parametrize("family", ["xgboost", "lightgbm"])
def test_the_same_call_goes_on(family: str, tmp_path: Path) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    arguments: dict[str, Any] = {"family": family, "space": quick_space(family), **QUIET}
    kept = {"study": "sugar", "storage": tmp_path / "sugar.journal"}
    for total in (3, 9, 14):
        result = gbtune.tune(X, y, n_trials=total, **kept, **arguments)
    straight = gbtune.tune(X, y, n_trials=14, **arguments)
    assert by_slot(result.study) == by_slot(straight.study)
    assert result.best_params == straight.best_params and result.best_score == straight.best_score
    assert (result.trials["kind"] == "baseline").sum() == 1
    assert len(result.trials) == 14
    assert (result.predict(X) == straight.predict(X)).all()


def test_a_study_refuses_to_go_on_with_something_else_and_says_what_differs(tmp_path: Path) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    kept: dict[str, Any] = {"study": "sugar", "storage": tmp_path / "sugar.journal", "n_trials": 2, **QUIET}
    kept["space"] = quick_space("lightgbm")
    gbtune.tune_lgbm(X, y, **kept)
    changed: list[tuple[str, Callable[[], Any]]] = [
        (
            "data 442 rows x 10 columns .* then, 442 rows x 10 columns .* now",
            lambda: gbtune.tune_lgbm(X + 1, y, **kept),
        ),
        ("data 442 rows x 10 columns .* then, 400 rows", lambda: gbtune.tune_lgbm(X[:400], y[:400], **kept)),
        ("data", lambda: gbtune.tune_lgbm(X, y, sample_weight=y, **kept)),
        ("folds 5 folds, seed 0 .* then, 3 folds", lambda: gbtune.tune_lgbm(X, y, cv=3, **kept)),
        ("folds 5 folds, seed 0 .* then, 5 folds, seed 1", lambda: gbtune.tune_lgbm(X, y, seed=1, **kept)),
        ("metric rmse then, mae now", lambda: gbtune.tune_lgbm(X, y, metric="neg_mean_absolute_error", **kept)),
        (
            "family lightgbm then, xgboost now",
            lambda: gbtune.tune_xgb(X, y, **{**kept, "space": quick_space("xgboost")}),
        ),
    ]
    for message, call in changed:
        with pytest.raises(gbtune.GbtuneError, match=message) as caught:
            call()
        assert "study='sugar-2'" in str(caught.value)
    with pytest.raises(gbtune.GbtuneError, match="direction"):
        gbtune.tune_lgbm(X, y, metric="r2", **kept)
    assert len(gbtune.tune_lgbm(X, y, **kept).trials) == 2


def test_another_space_or_sampler_may_go_on_and_is_recorded(tmp_path: Path) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    kept: dict[str, Any] = {"study": "sugar", "storage": tmp_path / "sugar.journal", **QUIET}
    core, wide = quick_space("xgboost"), quick_space("xgboost", "wide")
    gbtune.tune_xgb(X, y, n_trials=4, space=core, **kept)
    gbtune.tune_xgb(X, y, n_trials=8, space=wide, sampler="random", **kept)
    last = gbtune.tune_xgb(X, y, n_trials=8, space=wide, sampler="random", **kept)
    assert last.record.changes == ("after 4 trials: space xgboost/core became xgboost/wide, sampler tpe became random",)
    assert (last.trials["kind"] == "baseline").sum() == 1


def test_a_name_alone_keeps_the_study_beside_the_mlflow_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/there/mlflow.db")
    space = quick_space("lightgbm")
    gbtune.tune_lgbm(X, y, space=space, study="sugar", n_trials=2, **QUIET)
    result = gbtune.tune_lgbm(X, y, space=space, study="sugar", n_trials=3, **QUIET)
    path = tmp_path / "there" / "gbtune-studies" / "sugar" / "study.journal"
    assert path.is_file() and result.record.storage == str(path)
    assert len(result.trials) == 3


def test_storage_without_a_name_and_odd_storages_are_refused(tmp_path: Path) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    with pytest.raises(gbtune.GbtuneError, match="add study='a name'"):
        gbtune.tune_lgbm(X, y, storage=f"sqlite:///{tmp_path}/x.db", **QUIET)
    with pytest.raises(gbtune.GbtuneError, match="study must be a name"):
        gbtune.tune_lgbm(X, y, study=3, **QUIET)  # type: ignore[arg-type]
    with pytest.raises(gbtune.GbtuneError, match="storage must be"):
        gbtune.tune_lgbm(X, y, study="x", storage=3, **QUIET)
    with pytest.raises(gbtune.GbtuneError, match="needs a database driver"):
        gbtune.tune_lgbm(X, y, study="x", storage="oracle://me:secret@host/db", **QUIET)
    (tmp_path / "file").write_text("")
    with pytest.raises(gbtune.GbtuneError, match="cannot be opened"):
        gbtune.tune_lgbm(X, y, study="x", storage=tmp_path / "file" / "x.journal", **QUIET)


def test_a_line_that_was_cut_off_is_removed_before_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "kept.journal"
    go_on(opened(journal(path)), 6)
    with path.open("ab") as file:
        file.write(b'{"op_code": 8, "worker_id": "cut o' + b"x" * 200_000)
    study = opened(journal(path))
    go_on(study, 9)
    assert by_slot(opened(journal(path))) == never_stopped(9)


@pytest.mark.parametrize(
    "text", [b"", b"a\n", b"a\nb\n", b"a\nb", b"b", b"a\n" + b"x" * 70_000 + b"\n" + b"y" * 140_000]
)
def test_mending_keeps_whole_lines(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(text)
    mend_journal(path)
    assert path.read_bytes() == text[: text.rfind(b"\n") + 1]


def full_disk(path: str, room: int) -> None:
    import resource

    study = opened(open_storage(path, Path(path)))
    go_on(study, 4)
    file = Path(path.removeprefix("sqlite:///"))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = file.stat().st_size + room
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        go_on(study, 40)
    except gbtune.GbtuneError as error:
        assert "cannot be used" in str(error) and "run the same call again" in str(error), error
        os._exit(7)
    os._exit(0)


NIGHTLY = pytest.mark.nightly  # SQLite waits for room, for many seconds


@pytest.mark.parametrize(
    ("kind", "room"),
    [
        *(("journal", room) for room in (100, 5_000, 30_000)),
        ("sqlite", 5_000),
        pytest.param("sqlite", 100, marks=NIGHTLY),
        pytest.param("sqlite", 30_000, marks=NIGHTLY),
    ],
)
def test_a_full_disk_is_a_clear_end_and_leaves_no_corrupt_file(tmp_path: Path, kind: str, room: int) -> None:
    path = str(tmp_path / "kept.journal") if kind == "journal" else f"sqlite:///{tmp_path}/kept.db"
    process = ready_processes().Process(target=full_disk, args=(path, room))
    process.start()
    process.join()
    assert process.exitcode == 7
    study = opened(open_storage(path, tmp_path))
    go_on(study, 40)
    assert by_slot(study) == never_stopped(40)


def test_a_failed_baseline_is_tried_again(tmp_path: Path) -> None:
    def fail(params: Any, fold: int) -> None:
        raise RuntimeError("the booster says no")

    path = tmp_path / "kept.journal"
    with pytest.raises(gbtune.GbtuneError, match="The baseline failed"):
        go_on(opened(journal(path)), 8, objective=stub_objective(fail))
    study = opened(journal(path))
    go_on(study, 8)
    records = read_records(study)[1]
    assert records[0].kind == BASELINE and records[0].state == "failed"
    assert [record.slot for record in records if record.kind == BASELINE and record.state == "complete"] == [0]
    assert sum(record.state != "failed" for record in records) == 8


def test_a_grid_goes_on_with_the_cells_that_are_left(tmp_path: Path) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    kept: dict[str, Any] = {"study": "grid", "storage": tmp_path / "x.journal", "sampler": "grid", **QUIET}
    arguments: dict[str, Any] = {"space": "grid-mini", "cv": 3}
    gbtune.tune_xgb(X, y, n_trials=5, **arguments, **kept)
    result = gbtune.tune_xgb(X, y, **arguments, **kept)
    cells = result.trials[result.trials["kind"] == "grid"].filter(like="param_")
    assert len(result.trials) == 13 and len(cells.drop_duplicates()) == 12


def test_a_slot_that_was_cut_off_keeps_its_configuration_whatever_is_enqueued(tmp_path: Path) -> None:
    """What the owner enqueues later comes after it."""
    clock = Clock(None)
    study = opened(journal(tmp_path / "kept.journal"))
    study.enqueue_trial({"learning_rate": 0.123, "split": 0.321})
    stop = stub_objective(after(1, clock.interrupt.set))
    go_on(study, 6, clock=clock, objective=stop, points=[])
    (cut,) = [record for record in read_records(study)[1] if record.reason == "interrupt"]
    assert cut.params == {"learning_rate": 0.123, "split": 0.321}
    study.enqueue_trial({"learning_rate": 0.2, "split": 0.4})
    go_on(study, 6, points=[])
    filled = by_slot(study)
    assert filled[0][2] == cut.params and filled[1][2] == {"learning_rate": 0.2, "split": 0.4}


def test_evaluated_trials_of_a_dead_process_are_told_even_if_nothing_else_is_to_do(tmp_path: Path) -> None:
    path = tmp_path / "kept.journal"
    process = ready_processes().Process(target=killed_in_mid_trial, args=(path, 30))
    process.start()
    process.join()
    study = opened(journal(path))
    evaluated = [trial for trial in study.trials if '"state":"complete"' in trial.user_attrs.get("gbtune:trial", "")]
    assert any(trial.state == TrialState.RUNNING for trial in evaluated), "the kill came in mid-generation"
    go_on(study, 4)
    assert all(trial.state.is_finished() for trial in study.trials)
    assert all(study.trials[trial.number].state == TrialState.COMPLETE for trial in evaluated)


@pytest.mark.parametrize("content", [b'{"a": 1}', b"SQLite format 3\x00" + bytes(100), b"precious\nlines\nwithout end"])
def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "precious"
    path.write_bytes(content)
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    with pytest.raises(gbtune.GbtuneError, match="is not a journal"):
        gbtune.tune_lgbm(X, y, study="x", storage=path, **QUIET)
    assert path.read_bytes() == content


def test_a_database_that_cannot_be_opened_is_said_without_its_password(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database at all, and longer than a header would be\n" * 4)
    with pytest.raises(gbtune.GbtuneError, match="cannot be opened"):
        open_storage(f"sqlite:///{tmp_path}/text.db", tmp_path)
    with pytest.raises(gbtune.GbtuneError) as caught:
        open_storage("nonsense://me:secret@host/db", tmp_path)
    assert "secret" not in str(caught.value)


def start_with(path: Path, shift: float, seed: int | None, go: Any) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    kept: dict[str, Any] = {"space": quick_space("lightgbm"), "study": "both", "storage": path, **QUIET}
    go.wait()
    try:
        gbtune.tune_lgbm(X + shift, y, seed=seed, n_trials=10, n_jobs=1, **kept)
    except gbtune.GbtuneError as error:
        assert "differs: data" in str(error)
        os._exit(5)


@pytest.mark.parametrize(("shift", "seed", "ends"), [(0.0, None, [0, 0]), (0.0, 0, [0, 0]), (1.0, 0, [0, 5])])
def test_processes_that_start_together_agree_or_one_is_refused(
    tmp_path: Path, shift: float, seed: int | None, ends: list[int]
) -> None:
    context = ready_processes()
    path, go = tmp_path / "both.journal", context.Event()
    both = [context.Process(target=start_with, args=(path, shift * number, seed, go)) for number in (0, 1)]
    for process in both:
        process.start()
    go.set()
    for process in both:
        process.join()
    assert sorted(process.exitcode or 0 for process in both) == ends
    study = optuna.load_study(study_name="both", storage=journal(path))
    assert sorted(by_slot(study)) == list(range(10))


def test_another_cap_on_rounds_is_that_of_the_space_in_use(tmp_path: Path) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    space = gbtune.SearchSpace.load("xgboost/grid-mini")
    kept: dict[str, Any] = {"study": "caps", "storage": tmp_path / "x.journal", "cv": 3, **QUIET}
    low, high = (space.override(n_estimators=(10, cap)) for cap in (30, 300))
    assert gbtune.tune_xgb(X, y, space=low, n_trials=3, **kept).record.max_rounds == 30
    assert gbtune.tune_xgb(X, y, space=high, n_trials=4, **kept).record.max_rounds == 300
    chosen = space.override(n_estimators={"grid": [60, 120]})
    result = gbtune.tune_xgb(X, y, space=chosen, sampler="grid", n_trials=7, **kept)
    grid = result.trials[(result.trials["kind"] == "grid") & (result.trials["state"] == "complete")]
    assert set(grid["rounds"]) <= {60, 120} and len(grid)


def test_a_changed_seed_is_another_study_even_with_fixed_folds(tmp_path: Path) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    rows = list(range(442))
    kept: dict[str, Any] = {"study": "seeds", "storage": tmp_path / "x.journal", "n_trials": 2, **QUIET}
    gbtune.tune_lgbm(X, y, cv=[(rows[:300], rows[300:])], **kept)
    with pytest.raises(gbtune.GbtuneError, match="seed 0 then, 1 now"):
        gbtune.tune_lgbm(X, y, cv=[(rows[:300], rows[300:])], seed=1, **kept)


def test_cut_trials_are_counted_as_interrupted(tmp_path: Path) -> None:
    clock = Clock(None)
    study = opened(journal(tmp_path / "kept.journal"))
    go_on(study, 8, clock=clock, objective=stub_objective(after(9, clock.interrupt.set)), n_jobs=2)
    go_on(study, 8)
    counts = collect_facts(study).counts
    assert counts["interrupted"] >= 1 and sum(counts.values()) - counts["interrupted"] == 8
