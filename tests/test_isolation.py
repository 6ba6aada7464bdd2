"""Trials in processes: equal results, answered reports, and crashes that cost one call."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_diabetes

from gbtune import families
from gbtune.data import Dataset
from gbtune.errors import GbtuneError, InvalidArgument, UnknownName, WorkerDied
from gbtune.evaluation import Evaluator
from gbtune.isolation import ProcessEvaluator, data_file
from gbtune.isolation.process import describe_exit
from gbtune.metrics import Metric
from gbtune.records import CVResult
from gbtune.resampling import make_folds
from gbtune.rounds import Rounds
from gbtune.study_metrics import resolve_metrics
from gbtune.testing.families import StubFamily

PARAMS: dict[str, dict[str, Any]] = {
    "xgboost": {"max_depth": 3, "learning_rate": 0.2, "subsample": 0.8},
    "lightgbm": {"num_leaves": 7, "learning_rate": 0.2, "subsample": 0.8, "subsample_freq": 1},
    "stub": {"split": 0.4},
}
posix = pytest.mark.skipif(os.name != "posix", reason="signals")
linux = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="reads /proc")


def make_evaluator(
    family: Any, X: Any, y: Any, metric: Any = None, *, weight: Any = None, rounds: Rounds | None = None
) -> Evaluator:
    data = Dataset.from_arrays(X, y, sample_weight=weight)
    return Evaluator(
        families.get(family),
        data,
        make_folds(3, data, seed=0),
        resolve_metrics(metric, data.task, {}),
        rounds or Rounds(60),
    )


def stub_evaluator(on_train: Callable[[Any, int], None] | None = None, *, rounds: Rounds | None = None) -> Evaluator:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    return make_evaluator(StubFamily(on_train) if on_train else StubFamily(), X[["bmi"]], y, rounds=rounds)


def without_seconds(result: CVResult) -> CVResult:
    return dataclasses.replace(result, seconds={})


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # An orphan that has ended may wait for a careless process 1 to notice.
    stat = Path(f"/proc/{pid}/stat")
    try:
        return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")
    except (FileNotFoundError, ProcessLookupError):
        return False


def run_script(folder: Path, script: str, **options: Any) -> subprocess.Popen[str]:
    """Run a real script with no main guard, in a process group of its own."""
    path = folder / "script.py"
    path.write_text(textwrap.dedent(script))
    return subprocess.Popen(
        [sys.executable, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        cwd=folder,
        **options,
    )


# -- equal results ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mixed, weighted", "sparse", "a lambda"])
def test_results_equal_those_in_threads(family_name: str, kind: str, mixed: tuple[pd.DataFrame, pd.Series]) -> None:
    X, y = mixed
    weight, metric = None, None
    if kind == "mixed, weighted":
        weight, metric = np.linspace(0.5, 2, len(y)), ["log_loss", "f1_macro"]
    elif kind == "sparse":
        X, y = sp.csr_matrix(pd.get_dummies(X).fillna(0).to_numpy(dtype=float)), y == "low"
    else:
        y = y == "low"
        metric = Metric("mine", lambda y, p: float(np.abs(y - p).mean()), direction="minimize", needs="proba")
    evaluator = make_evaluator(family_name, X, y, metric, weight=weight)
    params = PARAMS[family_name]
    with ProcessEvaluator(evaluator, 1) as isolated:
        for arguments in (
            {"schedule": "folds"},
            {"schedule": "rounds", "workers": 2},
            {"rounds": Rounds.among([5, 9]), "seed": 3},
        ):
            ours = isolated.evaluate(params, **{"seed": 0, **arguments})  # type: ignore[arg-type]
            theirs = evaluator.evaluate(params, **{"seed": 0, **arguments})  # type: ignore[arg-type]
            assert without_seconds(ours) == without_seconds(theirs)
            assert ours.state == "complete" and set(ours.seconds) == {"train", "score"}
        fewer = isolated.limited(2, Rounds(20)).evaluate(params, seed=0)
        assert without_seconds(fewer) == without_seconds(evaluator.limited(2, Rounds(20)).evaluate(params, seed=0))
        assert len(fewer.fold_scores) == 2


def test_calls_run_side_by_side_and_more_of_them_wait() -> None:
    together = threading.Barrier(2)

    def report(step: int, value: float, scores: Sequence[float]) -> bool:
        if step == 1:
            together.wait(timeout=60)  # two calls are inside at once, or this breaks
        return False

    evaluator = stub_evaluator()
    points = [{"split": split / 10} for split in range(2, 8)]
    with ProcessEvaluator(evaluator, 2) as isolated:
        with ThreadPoolExecutor(6) as threads:
            found = list(threads.map(lambda point: isolated.evaluate(point, seed=0, report=report), points))
        assert len(isolated.process_ids) == 2
    assert [r.score for r in found] == [evaluator.evaluate(point, seed=0).score for point in points]


def test_a_worker_uses_as_many_threads_as_the_evaluator_says() -> None:
    def threads_of_libraries(y: Any, prediction: Any) -> float:
        import sklearn.metrics  # brings its OpenMP
        import threadpoolctl

        sklearn.metrics.mean_squared_error(y, prediction)
        return float(max(pool["num_threads"] for pool in threadpoolctl.threadpool_info()))

    X, y = load_diabetes(return_X_y=True)
    metric = Metric("threads", threads_of_libraries, direction="minimize", needs="raw")
    with ProcessEvaluator(make_evaluator("xgboost", X, y, metric, rounds=Rounds.exactly(2)), 1) as isolated:
        assert isolated.evaluate({}, seed=0).score == 1


@linux
def test_workers_hold_no_copy_of_the_data() -> None:
    def anonymous(y: Any, prediction: Any) -> float:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith("Anonymous:"))) / 1024

    metric = Metric("anonymous", anonymous, direction="minimize", needs="raw")
    megabytes = []
    for rows in (1_000, 200_000):
        X = np.random.default_rng(0).normal(size=(rows, 40))
        evaluator = make_evaluator(StubFamily(), X, X[:, 0], metric, rounds=Rounds.exactly(1))
        with ProcessEvaluator(evaluator, 1) as isolated:
            score = isolated.evaluate({}, seed=0).score
            assert score is not None
            megabytes.append(score)
    assert megabytes[1] - megabytes[0] < 30, "the larger data are 61 MiB"


# -- reports and interrupts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["folds", "rounds"])
def test_reports_are_answered_by_the_calling_thread(schedule: Any) -> None:
    def evaluate(evaluate: Callable[..., CVResult], prune_at: int) -> tuple[CVResult, list[Any]]:
        seen: list[Any] = []

        def report(step: int, value: float, scores: Sequence[float]) -> bool:
            seen.append((step, value, tuple(scores), threading.get_ident()))
            return len(seen) == prune_at

        return without_seconds(evaluate({}, seed=0, report=report, schedule=schedule)), seen

    evaluator = stub_evaluator()
    with ProcessEvaluator(evaluator, 1) as isolated:
        for prune_at in (2, 100):
            assert evaluate(isolated.evaluate, prune_at) == evaluate(evaluator.evaluate, prune_at)


def test_what_a_report_raises_ends_the_call_and_not_the_worker() -> None:
    def report(step: int, value: float, scores: Sequence[float]) -> bool:
        raise RuntimeError("the storage is gone")

    with ProcessEvaluator(stub_evaluator(), 1) as isolated:
        isolated.evaluate({}, seed=0)
        before = isolated.process_ids
        with pytest.raises(RuntimeError, match="the storage is gone"):
            isolated.evaluate({}, seed=0, report=report)
        assert isolated.evaluate({}, seed=0).state == "complete"
        assert isolated.process_ids == before


def test_an_interrupt_is_heard_between_rounds(family_name: str, breast_cancer: tuple[pd.DataFrame, pd.Series]) -> None:
    training = threading.Event()

    def report(step: int, value: float, scores: Sequence[float]) -> bool:
        training.set()
        return False

    evaluator = make_evaluator(family_name, *breast_cancer, rounds=Rounds(10**9, (10, 10**9)))
    with ProcessEvaluator(evaluator, 1) as isolated:
        result = isolated.evaluate(
            PARAMS[family_name],
            seed=0,
            report=report,
            schedule="rounds",
            interrupted=lambda: "deadline" if training.is_set() else None,
        )
        assert (result.state, result.reason, result.rounds) == ("stopped", "deadline", 10)
        again = isolated.evaluate(PARAMS[family_name], seed=0, rounds=Rounds.exactly(5))
        assert again.state == "complete", "an interrupt is for one call"


def test_an_interrupt_before_the_first_round_stops_the_call() -> None:
    with ProcessEvaluator(stub_evaluator(), 1) as isolated:
        result = isolated.evaluate({}, seed=0, interrupted=lambda: "interrupt")
    assert (result.state, result.reason, result.fold_scores) == ("stopped", "interrupt", ())


# -- failures -----------------------------------------------------------------------------------------------


def test_exceptions_come_back_as_themselves() -> None:
    def on_train(params: Any, fold: int) -> None:
        if params.get("split") == 0.9:
            raise ZeroDivisionError("no rows on this side")

    evaluator = stub_evaluator(on_train)
    with ProcessEvaluator(evaluator, 1) as isolated:
        isolated.evaluate({}, seed=0)
        before = isolated.process_ids
        with pytest.raises(ZeroDivisionError, match="no rows on this side") as caught:
            isolated.evaluate({"split": 0.9}, seed=0)
        assert "in on_train" in str(caught.value.__cause__), "the traceback of the worker is shown"
        with pytest.raises(UnknownName) as here:
            evaluator.evaluate({"splt": 0.5}, seed=0)
        with pytest.raises(UnknownName) as there:
            isolated.evaluate({"splt": 0.5}, seed=0)
        assert str(there.value) == str(here.value)
        assert isolated.evaluate({}, seed=0).state == "complete"
        assert isolated.process_ids == before, "the worker is still the same"


@posix
def test_a_killed_worker_costs_one_call(family_name: str, breast_cancer: tuple[pd.DataFrame, pd.Series]) -> None:
    evaluator, params = make_evaluator(family_name, *breast_cancer), PARAMS[family_name]
    with ProcessEvaluator(evaluator, 1) as isolated:

        def report(step: int, value: float, scores: Sequence[float]) -> bool:
            killed.extend(isolated.process_ids)
            os.kill(killed[0], signal.SIGKILL)
            return False

        killed: list[int] = []
        with pytest.raises(WorkerDied, match=r"signal 9 \(SIGKILL\); out of memory is the usual cause") as died:
            isolated.evaluate(params, seed=0, report=report)
        assert died.value.pid == killed[0] and died.value.params == params
        assert str(killed[0]) in str(died.value) and str(params) in str(died.value)
        result = isolated.evaluate(params, seed=0)
        assert without_seconds(result) == without_seconds(evaluator.evaluate(params, seed=0))
        assert killed[0] not in isolated.process_ids


@posix
def test_a_worker_killed_between_two_calls_costs_nothing() -> None:
    with ProcessEvaluator(stub_evaluator(), 1) as isolated:
        isolated.evaluate({}, seed=0)
        (before,) = isolated.process_ids
        os.kill(before, signal.SIGKILL)
        wait_for(lambda: not isolated.process_ids)
        assert isolated.evaluate({}, seed=0).state == "complete"
        assert isolated.process_ids != (before,)


@pytest.mark.parametrize(
    ("end", "words"),
    [
        pytest.param("abort", "SIGABRT.*crashed in native code", marks=posix),
        ("exit", "exited with status 3"),
    ],
)
def test_a_worker_that_ends_itself_is_replaced(end: str, words: str) -> None:
    def on_train(params: Any, fold: int) -> None:
        if params.get("split") == 0.9:
            os.abort() if end == "abort" else sys.exit(3)

    with ProcessEvaluator(stub_evaluator(on_train), 1) as isolated:
        with pytest.raises(WorkerDied, match=words):
            isolated.evaluate({"split": 0.9}, seed=0)
        assert isolated.evaluate({}, seed=0).state == "complete"


def fail_to_arrive() -> Any:
    raise LookupError("not in this process")


class Homebody(StubFamily):
    def __reduce__(self) -> Any:
        return fail_to_arrive, ()


def test_what_fails_at_a_workers_start_is_raised() -> None:
    X, y = load_diabetes(return_X_y=True)
    with (
        ProcessEvaluator(make_evaluator(Homebody(), X, y), 1) as isolated,
        pytest.raises(LookupError, match="not in this process"),
    ):
        isolated.evaluate({}, seed=0)


def test_data_go_where_there_is_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(data_file, "_places", lambda size: [str(tmp_path / "full"), None])
    with ProcessEvaluator(stub_evaluator(), 1) as isolated:
        assert isolated.evaluate({}, seed=0).state == "complete"
    monkeypatch.setattr(data_file, "_places", lambda size: [str(tmp_path / "full")])
    with (
        ProcessEvaluator(stub_evaluator(), 1) as isolated,
        pytest.raises(GbtuneError, match=r"could not be written.*full.*TMPDIR"),
    ):
        isolated.evaluate({}, seed=0)


def test_an_interpreter_that_cannot_be_started_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("multiprocessing.spawn.get_executable", lambda: str(tmp_path / "python"))
    with (
        ProcessEvaluator(stub_evaluator(), 2) as isolated,
        pytest.raises(GbtuneError, match="No worker process can be started"),
    ):
        isolated.evaluate({}, seed=0)


def test_what_cannot_be_pickled_is_refused_before_a_worker_starts() -> None:
    lock = threading.Lock()
    with pytest.raises(InvalidArgument, match="can be pickled"):
        ProcessEvaluator(stub_evaluator(lambda params, fold: lock.acquire() and None), 1)
    with pytest.raises(InvalidArgument, match="size must be at least 1"):
        ProcessEvaluator(stub_evaluator(), 0)


def test_ends_are_told_in_words() -> None:
    assert describe_exit(-11) == "was killed by signal 11 (SIGSEGV); it crashed in native code"
    assert describe_exit(-15) == "was killed by signal 15 (SIGTERM)"


# -- life and death -----------------------------------------------------------------------------------------


def test_closing_ends_the_workers_and_the_calls() -> None:
    isolated = ProcessEvaluator(stub_evaluator(rounds=Rounds.exactly(10**9)), 2)
    reported, errors = threading.Event(), []

    def report(step: int, value: float, scores: Sequence[float]) -> bool:
        reported.set()
        return False

    def call() -> None:
        try:
            isolated.evaluate({}, seed=0, schedule="rounds", report=report, rounds=Rounds(10**9, (10, 10**9)))
        except WorkerDied as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    assert reported.wait(timeout=60)
    pids = isolated.process_ids
    assert len(pids) == 2
    isolated.close()
    thread.join(timeout=60)
    assert not any(map(is_running, pids))
    assert "was ended by close()" in str(errors[0])
    isolated.close()
    with pytest.raises(GbtuneError, match="make a new ProcessEvaluator"):
        isolated.evaluate({}, seed=0)


def test_workers_end_with_the_last_evaluator_that_uses_them() -> None:
    isolated = ProcessEvaluator(stub_evaluator(), 1)
    limited = isolated.limited(2, Rounds(5))
    isolated.evaluate({}, seed=0)
    pids = isolated.process_ids
    del isolated
    assert len(limited.evaluate({}, seed=0).fold_scores) == 2
    assert limited.process_ids == pids
    del limited
    wait_for(lambda: not any(map(is_running, pids)))


SCRIPT = """
    import os, signal, sys
    from sklearn.datasets import load_breast_cancer
    import gbtune.isolation
    from gbtune import families
    from gbtune.data import Dataset
    from gbtune.evaluation import Evaluator
    from gbtune.rounds import Rounds
    from gbtune.metrics import Metric
    from gbtune.study_metrics import resolve_metrics
    from gbtune.resampling import make_folds

    SCALE = 2.0

    def scaled_error(y, prediction):
        return SCALE * float(abs(y - prediction).mean())

    data = Dataset.from_arrays(*load_breast_cancer(return_X_y=True))
    metric = Metric("scaled_error", scaled_error, direction="minimize", needs="proba")
    folds = make_folds(3, data, seed=0)
    evaluator = Evaluator(families.get("lightgbm"), data, folds, (metric,), Rounds(30))
    isolated = gbtune.isolation.ProcessEvaluator(evaluator, size=2)
"""


def test_a_script_without_a_main_guard_works_and_prints_nothing_of_ours(tmp_path: Path) -> None:
    script = SCRIPT + "    print(isolated.evaluate({}, seed=0).score == evaluator.evaluate({}, seed=0).score)\n"
    process = run_script(tmp_path, script)
    out, err = process.communicate(timeout=120)
    assert (out, err, process.returncode) == ("True\n", "", 0)


@posix
@pytest.mark.parametrize("nameless", [True, False])
def test_a_killed_parent_leaves_neither_workers_nor_files(tmp_path: Path, nameless: bool) -> None:
    if nameless and sys.platform != "linux":
        pytest.skip("only Linux opens files without a name again")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    script = (
        SCRIPT
        + f"""
    from pathlib import Path
    gbtune.isolation.data_file.NAMELESS, gbtune.isolation.data_file.SHARED_MEMORY = {nameless}, Path("nowhere")

    def report(step, value, scores):
        print(*isolated.process_ids, flush=True)
        return False

    isolated.evaluate({{}}, seed=0, report=report, schedule="rounds", rounds=Rounds(10**9, (10, 10**9)))
    """
    )
    process = run_script(tmp_path, script, env={**os.environ, "TMPDIR": str(scratch)})
    assert process.stdout is not None and process.stderr is not None
    with process, process.stdout, process.stderr:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 2 and all(map(is_running, pids))
        assert bool(list(scratch.iterdir())) is not nameless
        process.kill()
        wait_for(lambda: not any(map(is_running, pids)))
    wait_for(lambda: not list(scratch.iterdir()))


@posix
def test_ctrl_c_in_the_terminal_ends_no_worker(tmp_path: Path) -> None:
    script = (
        SCRIPT
        + """
    import time

    heard = []
    signal.signal(signal.SIGINT, lambda *_: heard.append(1))

    def report(step, value, scores):
        os.killpg(0, signal.SIGINT)
        return False

    isolated.start()
    deadline = time.monotonic() + 60
    while len(isolated.process_ids) < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    born = isolated.process_ids
    os.killpg(0, signal.SIGINT)  # while they still import
    result = isolated.evaluate({}, seed=0, report=report)
    print(result.state, len(heard) > 1, isolated.process_ids == born)
    """
    )
    process = run_script(tmp_path, script)
    out, err = process.communicate(timeout=120)
    assert (out, err) == ("complete True True\n", "")
