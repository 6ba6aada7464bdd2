"""Running a study: generations, failures, deadline, interrupt, budget."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from sklearn.datasets import load_diabetes
from stub import SPACE, stub_objective

import gbtune
from gbtune.errors import InvalidArgument, StudyFailed
from gbtune.facts import best_record, read_records
from gbtune.objective import BASELINE, Objective
from gbtune.pruners import RacingPruner
from gbtune.records import STUDY_KEY, TrialRecord
from gbtune.runner import Runner
from gbtune.slots import ALONE_KEY, SlotSampler
from gbtune.study import Clock, Point, open_study
from gbtune.testing.families import StubFamily

START = Point({"learning_rate": 0.1, "split": 0.5}, BASELINE, "library default")


def new_study(objective: Objective, **arguments: Any) -> optuna.Study:
    arguments = {
        "sampler": optuna.samplers.TPESampler(seed=0),
        "pruner": RacingPruner(),
        "direction": "minimize",
        "default_name": "test",
        **arguments,
    }
    study = open_study(arguments.pop("study", None), arguments.pop("storage", None), **arguments)
    study.set_user_attr(STUDY_KEY, objective.describe(study).to_json())
    return study


def run(
    objective: Objective, study: optuna.Study, *, timeout: float | None = None, **arguments: Any
) -> list[TrialRecord]:
    points = arguments.pop("points", [START])
    clock = arguments.pop("clock", None) or Clock(timeout)
    Runner(study, objective, points, clock, **arguments).run()
    return read_records(study)[1]


def facts(record: TrialRecord) -> tuple[Any, ...]:
    return (record.number, record.state, dict(record.params), record.score, record.partial_score, record.rounds)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_study_is_the_same_for_every_number_of_workers(sampler: str) -> None:
    found = []
    for n_jobs in (1, 2, 4):
        objective = stub_objective()
        chosen = optuna.samplers.TPESampler(seed=1) if sampler == "tpe" else optuna.samplers.RandomSampler(seed=1)
        study = new_study(objective, sampler=chosen)
        found.append([facts(r) for r in run(objective, study, n_trials=40, n_jobs=n_jobs)])
    assert found[0] == found[1] == found[2]
    assert {"complete", "pruned"} <= {state for _, state, *_ in found[0]}


class Seeing(optuna.samplers.RandomSampler):
    """Notes how many finished trials it is shown."""

    seen: list[int] = []

    def infer_relative_search_space(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
        self.seen.append(sum(other.state.is_finished() for other in study.get_trials(deepcopy=False)))
        return {}


@pytest.mark.parametrize(("generations", "seen"), [(True, [0] * 3 + [4] * 8 + [12] * 2), (False, list(range(1, 14)))])
def test_a_trial_is_shown_earlier_generations_or_alone_all_that_was_told(
    generations: bool, seen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Seeing, "seen", [])
    objective = stub_objective()
    study = new_study(objective, sampler=SlotSampler(Seeing, study_seed=0))
    run(objective, study, n_trials=14, n_jobs=1, generations=generations)
    assert Seeing.seen == seen


@pytest.mark.filterwarnings("ignore:timeout=0.3 s was over before")  # on a busy machine
@pytest.mark.parametrize(
    ("budget", "alone"), [({"timeout": 0.3}, True), ({"timeout": 60.0, "n_trials": 3}, False), ({"n_trials": 3}, False)]
)
def test_only_a_study_that_time_alone_ends_gives_up_generations(budget: dict[str, Any], alone: bool) -> None:
    X, y = load_diabetes(return_X_y=True)
    quiet: dict[str, Any] = {"tracking": False, "progress": False, "ensemble": 1}
    result = gbtune.tune(X[:, :1], y, family=StubFamily(), space=SPACE, **quiet, **budget)
    assert {ALONE_KEY in trial.user_attrs for trial in result.study.get_trials(deepcopy=False)} == {alone}


def test_the_budget_counts_finished_trials_and_leaves_none_waiting() -> None:
    objective = stub_objective()
    study = new_study(objective)
    records = run(objective, study, n_trials=13, n_jobs=2)
    assert len(records) == 13 == len(study.trials)
    assert all(trial.state.is_finished() for trial in study.trials)
    assert records[0].kind == BASELINE and records[0].rounds == 100


def test_a_study_that_goes_on_counts_what_it_has() -> None:
    objective = stub_objective()
    study = new_study(objective)
    run(objective, study, n_trials=5)
    assert len(run(objective, study, points=[], n_trials=9)) == 9


def test_trials_that_the_owner_enqueued_come_first() -> None:
    objective = stub_objective()
    study = new_study(objective)
    study.enqueue_trial({"learning_rate": 0.3, "split": 0.25})
    records = run(objective, study, n_trials=4)
    assert records[0].params == {"learning_rate": 0.3, "split": 0.25} and records[0].kind == "sampled"
    assert records[1].kind == BASELINE


def test_free_running_workers_reach_the_same_budget() -> None:
    objective = stub_objective(seed=None)
    records = run(objective, new_study(objective), n_trials=11, n_jobs=3, generations=False)
    assert sorted(record.number for record in records) == list(range(11))


def test_exhaustive_points_end_the_study() -> None:
    objective = stub_objective()
    points = [Point(cell, "grid") for cell in objective.space.grid()]
    records = run(objective, new_study(objective), points=points, n_trials=None, exhaustive=True)
    assert [record.params for record in records] == [dict(point.params) for point in points]


def test_an_optuna_grid_sampler_ends_the_study_after_its_cells() -> None:
    objective = stub_objective()
    sampler = optuna.samplers.GridSampler({"learning_rate": [0.1, 0.2], "split": [0.4, 0.6]}, seed=0)
    records = run(objective, new_study(objective, sampler=sampler), points=[], n_trials=100)
    assert len({tuple(record.params.items()) for record in records}) == 4
    assert len(records) < 100


def test_a_configuration_is_trained_once() -> None:
    trained: list[tuple[float, int]] = []
    objective = stub_objective(lambda params, fold: trained.append((params["split"], fold)))
    same = [Point({"learning_rate": 0.2, "split": 0.3}, kind) for kind in ("portfolio", "grid", "sampled")]
    records = run(objective, new_study(objective), points=[START, *same], n_trials=4, n_jobs=2)
    assert len(trained) == 2 * 4, "two configurations on four folds"
    assert sorted(record.duplicate_of is None for record in records) == [False, False, True, True]
    assert len({record.score for record in records[1:]}) == 1


def test_a_failing_trial_is_recorded_and_the_study_goes_on() -> None:
    def fail_sometimes(params: Any, fold: int) -> None:
        if params["split"] == 0.3:
            raise RuntimeError("the booster says no")

    objective = stub_objective(fail_sometimes)
    bad = Point({"learning_rate": 0.2, "split": 0.3}, "portfolio")
    study = new_study(objective)
    records = run(objective, study, points=[START, bad], n_trials=6)
    assert [record.state for record in records].count("failed") == 1
    assert records[1].error is not None and "the booster says no" in records[1].error
    assert study.trials[1].state == TrialState.FAIL


def test_a_failing_baseline_ends_the_study_with_the_first_traceback() -> None:
    def fail(params: Any, fold: int) -> None:
        raise RuntimeError("the booster says no")

    objective = stub_objective(fail)
    told: list[int] = []
    study = new_study(objective)
    with pytest.raises(StudyFailed, match=r"The baseline failed(.|\n)*the booster says no"):
        run(objective, study, n_trials=6, n_jobs=2, on_trial=lambda record, mine: told.append(record.number))
    assert all(trial.state.is_finished() for trial in study.trials)
    assert told == list(range(len(study.trials)))


def test_five_failures_in_a_row_end_the_study_with_the_first_traceback() -> None:
    count = iter(range(1000))

    def fail_after_the_baseline(params: Any, fold: int) -> None:
        if params != {"learning_rate": 0.1, "split": 0.5}:
            raise RuntimeError(f"failure {next(count)}")

    objective = stub_objective(fail_after_the_baseline)
    study = new_study(objective)
    with pytest.raises(StudyFailed, match=r"5 trials in a row(.|\n)*failure 0"):
        run(objective, study, n_trials=50)
    assert 5 <= sum(trial.state == TrialState.FAIL for trial in study.trials) < 20, "one generation, not all fifty"
    assert all(trial.state.is_finished() for trial in study.trials)


def test_a_deadline_prunes_what_runs_and_ends_the_study() -> None:
    clock = Clock(3600)

    def pass_the_deadline(params: Any, fold: int) -> None:
        if params["split"] == 0.3 and fold == 2:
            clock.timeout = 0.0

    objective = stub_objective(pass_the_deadline)
    slow = Point({"learning_rate": 0.2, "split": 0.3}, "portfolio")
    records = run(objective, new_study(objective), points=[START, slow], clock=clock, n_trials=None)
    assert [(r.state, r.reason) for r in records] == [("complete", None), ("pruned", "deadline")] + [
        ("pruned", "deadline")
    ] * (len(records) - 2)
    assert records[1].partial_score is not None and len(records[1].fold_scores) == 2


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_search_ends_where_a_further_trial_would_only_be_cut(n_jobs: int) -> None:
    clock = Clock(3600)

    def so_long(record: TrialRecord, mine: bool) -> None:
        clock.shortest_trial = 7200.0

    objective = stub_objective()
    how = {"n_trials": None, "n_jobs": n_jobs, "generations": False, "on_trial": so_long}
    records = run(objective, new_study(objective), clock=clock, **how)
    assert [record.state for record in records] == ["complete"] * n_jobs


def test_an_interrupt_waits_a_second_at_most_for_a_long_round() -> None:
    clock, release = Clock(None), threading.Event()

    def hang(params: Any, fold: int) -> None:
        if params["split"] == 0.3:
            clock.interrupt.set()
            release.wait(60)

    objective = stub_objective(hang)
    study = new_study(objective)
    started = time.monotonic()
    records = run(
        objective,
        study,
        points=[START, Point({"learning_rate": 0.2, "split": 0.3}, "portfolio")],
        clock=clock,
        n_trials=8,
    )
    release.set()
    assert time.monotonic() - started < 30, "it did not wait for the hanging trial"
    assert records[0].state == "complete"
    assert (records[1].state, records[1].reason) == ("pruned", "interrupt")
    assert all(trial.state.is_finished() for trial in study.trials)


def test_the_first_control_c_asks_and_the_second_one_aborts() -> None:
    clock, before = Clock(None), signal.getsignal(signal.SIGINT)
    with clock.listening():
        os.kill(os.getpid(), signal.SIGINT)
        assert clock.interrupt.wait(10) and clock.reason_to_stop() == "interrupt"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(10)
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_the_main_thread_no_handler_is_touched() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def listen() -> None:
        with Clock(None).listening():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_study_object_is_used_as_it_is_and_must_fit() -> None:
    arguments: dict[str, Any] = {
        "sampler": None,
        "pruner": optuna.pruners.NopPruner(),
        "direction": "minimize",
        "default_name": "x",
    }
    mine = optuna.create_study(direction="minimize")
    assert open_study(mine, None, **arguments) is mine
    with pytest.raises(InvalidArgument, match="direction must be 'minimize'"):
        open_study(optuna.create_study(direction="maximize"), None, **arguments)


def test_a_name_in_a_storage_is_the_same_study_again() -> None:
    storage = optuna.storages.InMemoryStorage()
    arguments: dict[str, Any] = {
        "sampler": None,
        "pruner": optuna.pruners.NopPruner(),
        "direction": "minimize",
        "default_name": "x",
    }
    open_study("mine", storage, **arguments).set_user_attr("here", 1)
    assert open_study("mine", storage, **arguments).user_attrs == {"here": 1}


@pytest.mark.parametrize(
    "pruner", [optuna.pruners.SuccessiveHalvingPruner(min_resource=10), optuna.pruners.HyperbandPruner(10, 200)]
)
def test_pruners_that_look_at_running_trials_are_reproducible_too(pruner: optuna.pruners.BasePruner) -> None:
    found = []
    for n_jobs in (1, 4):
        objective = stub_objective()
        study = new_study(objective, sampler=optuna.samplers.RandomSampler(seed=1), pruner=pruner)
        found.append([facts(r) for r in run(objective, study, n_trials=25, n_jobs=n_jobs)])
    assert found[0] == found[1]
    assert "pruned" in {state for _, state, *_ in found[0]}


def test_a_sampler_that_breaks_leaves_no_trial_running() -> None:
    class Broken(optuna.samplers.RandomSampler):
        def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
            if trial.number == 3:
                raise RuntimeError("the sampler says no")
            return super().sample_independent(study, trial, name, distribution)

    objective = stub_objective()
    study = new_study(objective, sampler=Broken(seed=0))
    with pytest.raises(RuntimeError, match="the sampler says no"):
        run(objective, study, n_trials=9, n_jobs=2)
    assert all(trial.state.is_finished() for trial in study.trials)


def test_a_listener_that_breaks_ends_the_study_in_order_and_is_heard() -> None:
    objective = stub_objective()
    study = new_study(objective)

    def break_at_the_third(record: TrialRecord, mine: bool) -> None:
        if record.number == 2:
            raise BrokenPipeError("the terminal is gone")

    with pytest.raises(BrokenPipeError, match="the terminal is gone"):
        run(objective, study, n_trials=12, n_jobs=2, on_trial=break_at_the_third)
    assert all(trial.state.is_finished() for trial in study.trials)


def test_a_metric_that_exits_fails_its_trial() -> None:
    def leave(params: Any, fold: int) -> None:
        if params["split"] != 0.5:
            raise SystemExit(3)

    objective = stub_objective(leave)
    study = new_study(objective)
    with pytest.raises(StudyFailed, match=r"5 trials in a row(.|\n)*SystemExit"):
        run(objective, study, n_trials=9)


def test_somebody_elses_better_trial_is_not_taken_for_ours() -> None:
    study = optuna.create_study()
    study.add_trial(optuna.trial.create_trial(value=-1e9))
    objective = stub_objective()
    study.set_user_attr(STUDY_KEY, objective.describe(study).to_json())
    records = run(objective, study, n_trials=4)
    best = best_record(read_records(study)[0], records)
    assert best is not None and best.number > 0 and best.rounds > 0
