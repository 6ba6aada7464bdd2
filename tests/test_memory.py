"""The memory estimate: against fakes of what systems say, and against a real peak."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from gbtune import families, memory
from gbtune.data import Dataset
from gbtune.evaluation import Evaluator
from gbtune.memory import MemoryEstimate, estimate_memory, fitting_workers, usable_memory
from gbtune.resampling import make_folds
from gbtune.rounds import Rounds
from gbtune.study_metrics import resolve_metrics
from gbtune.testing.families import StubFamily

GIB = 2**30


def make_evaluator(family: Any, X: Any, y: Any, *, cv: int = 5) -> Evaluator:
    data = Dataset.from_arrays(X, y)
    return Evaluator(
        families.get(family), data, make_folds(cv, data, seed=0), resolve_metrics(None, data.task, {}), Rounds(10)
    )


def normal(rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, columns))


# -- what there is ------------------------------------------------------------------------------------------


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 8 GiB available, and no control groups yet."""
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUPS_OF_SELF", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "CGROUP_ROOT", tmp_path / "groups")
    (tmp_path / "meminfo").write_text(f"MemTotal: {99 * 2**20} kB\nMemFree: 1 kB\nMemAvailable: {8 * 2**20} kB\n")
    return tmp_path


def group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def test_without_limits_it_is_what_the_system_has_available(system: Path) -> None:
    assert usable_memory() == 8 * GIB
    (system / "cgroup").write_text("0::/user.slice\n")
    group(system / "groups/user.slice", memory__max="max", memory__high="max", memory__current=GIB)
    assert usable_memory() == 8 * GIB


def test_a_limit_counts_less_what_is_used_but_for_the_page_cache(system: Path) -> None:
    (system / "cgroup").write_text("0::/box\n")
    group(system / "groups/box", memory__max=4 * GIB, memory__current=3 * GIB)
    assert usable_memory() == GIB
    stat = f"anon {GIB}\ninactive_file {GIB // 2}\nactive_file {GIB // 4}\nslab 7"
    group(system / "groups/box", memory__stat=stat)
    assert usable_memory() == GIB * 7 // 4


def test_the_tightest_of_the_groups_above_counts(system: Path) -> None:
    (system / "cgroup").write_text("0::/job/step/task\n")
    group(system / "groups/job", memory__max=6 * GIB, memory__current=GIB)
    group(system / "groups/job/step", memory__high=3 * GIB, memory__max="max", memory__current=GIB)
    group(system / "groups/job/step/task", memory__max="max", memory__current=GIB)
    assert usable_memory() == 2 * GIB


def test_in_a_container_the_path_of_the_host_may_be_missing(system: Path) -> None:
    (system / "cgroup").write_text("0::/docker/0123456789\n")
    group(system / "groups", memory__max=2 * GIB, memory__current=GIB)
    assert usable_memory() == GIB


def test_control_groups_of_version_1_count_too(system: Path) -> None:
    (system / "cgroup").write_text("5:cpu,cpuacct:/a\n3:memory:/a\n1:name=systemd:/a\n")
    group(
        system / "groups/memory/a",
        memory__limit_in_bytes=3 * GIB,
        memory__usage_in_bytes=2 * GIB,
        memory__stat=f"inactive_file 5\ntotal_inactive_file {GIB // 2}",
    )
    group(system / "groups/memory", memory__limit_in_bytes=2**63 - 4096, memory__usage_in_bytes=GIB)
    assert usable_memory() == GIB * 3 // 2


def test_more_used_than_allowed_is_nothing_left(system: Path) -> None:
    (system / "cgroup").write_text("0::/\n")
    group(system / "groups", memory__max=GIB, memory__current=2 * GIB)
    assert usable_memory() == 0


def test_other_systems_answer_by_sysconf_or_not_at_all(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (system / "meminfo").unlink()

    def like_macos(name: str) -> int:
        if name == "SC_AVPHYS_PAGES":
            raise ValueError("unrecognized configuration name")
        return {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}[name]

    monkeypatch.setattr(memory.os, "sysconf", like_macos, raising=False)
    assert usable_memory() == 1000 * 4096
    monkeypatch.delattr(memory.os, "sysconf")
    assert usable_memory() is None


# -- what is needed -----------------------------------------------------------------------------------------


def test_what_grows_in_the_data_grows_in_the_estimate(family_name: str) -> None:
    X = normal(2_000, 20)
    base = make_evaluator(family_name, X, X[:, 0])
    of = lambda evaluator, **params: estimate_memory(evaluator, isolation="thread", params=params)  # noqa: E731
    assert of(make_evaluator(family_name, normal(4_000, 20), normal(4_000, 1)[:, 0])).shared > of(base).shared
    wide = make_evaluator(family_name, normal(2_000, 80), X[:, 0])
    assert of(wide).per_worker > of(base).per_worker, "histograms of more columns"
    classes = make_evaluator(family_name, X, (np.arange(2_000) % 10).astype(str))
    assert of(classes).per_worker > of(base).per_worker, "gradients of more classes"
    fewer = make_evaluator(family_name, X, X[:, 0], cv=2)
    assert of(fewer).per_worker < of(base).per_worker and of(fewer).shared < of(base).shared
    assert of(base, max_bin=32).per_worker < of(base).per_worker
    assert of(base, max_depth=3, num_leaves=8).per_worker < of(base).per_worker
    coarse = make_evaluator(family_name, np.round(X), X[:, 0])
    assert of(coarse).per_worker < of(base).per_worker / 2, "few different values are few bins"


def test_processes_bin_each_for_itself_and_threads_together(family_name: str) -> None:
    evaluator = make_evaluator(family_name, normal(20_000, 50), normal(20_000, 1)[:, 0])
    threads, processes = (estimate_memory(evaluator, isolation=how) for how in ("thread", "process"))  # type: ignore[arg-type]
    assert processes.per_worker > threads.per_worker + threads.shared - threads.present
    assert threads.present == processes.present == memory.raw_bytes(evaluator)
    assert threads.total(3) - threads.total(1) == 2 * threads.per_worker


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_each_way_in_which_a_space_bins_the_data_is_counted(isolation: Any) -> None:
    evaluator = make_evaluator("xgboost", normal(20_000, 20), normal(20_000, 1)[:, 0])
    once, twice = (estimate_memory(evaluator, isolation=isolation, binnings=count) for count in (1, 2))
    matrices = 20_000 * 20 * 2.5
    shared, own = twice.shared - once.shared, twice.per_worker - once.per_worker
    if isolation == "thread":
        assert shared >= 2 * matrices and own == 0, "one of all rows and those of the folds, once more"
    else:
        assert shared >= matrices and own >= 2 * matrices, "in the process that fits, and in each worker"


def test_sparse_frames_with_categories_and_unknown_families_have_an_estimate(
    mixed: tuple[pd.DataFrame, pd.Series],
) -> None:
    assert estimate_memory(make_evaluator("xgboost", *mixed), isolation="process").per_worker > memory.PROCESS_BYTES
    sparse = sp.random(5_000, 300, density=0.01, format="csr", random_state=0)
    dense = make_evaluator("lightgbm", sparse.toarray(), np.arange(5_000) % 2)
    stored = make_evaluator("lightgbm", sparse, np.arange(5_000) % 2)
    assert estimate_memory(stored, isolation="thread").shared < estimate_memory(dense, isolation="thread").shared / 5
    assert estimate_memory(make_evaluator(StubFamily(), normal(99, 1), normal(99, 1)[:, 0]), isolation="thread").shared


MEASURE = """
    import gc, re, sys
    import lightgbm, numpy as np, sklearn.metrics, xgboost
    from gbtune import families
    from gbtune.data import Dataset
    from gbtune.evaluation import Evaluator
    from gbtune.rounds import Rounds
    from gbtune.memory import estimate_memory
    from gbtune.study_metrics import resolve_metrics
    from gbtune.resampling import make_folds

    def status(name):
        return int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read()).group(1)) * 1024

    X = np.random.default_rng(0).normal(size=(30_000, 100))
    data = Dataset.from_arrays(X, X[:, 0] + X[:, 1] > 0)
    del X
    evaluator = Evaluator(
        families.get(sys.argv[1]), data, make_folds(5, data, seed=0), resolve_metrics(None, data.task, {}),
        Rounds.exactly(3),
    )
    gc.collect()
    open("/proc/self/clear_refs", "w").write("5")  # the peak so far is forgotten
    before = status("VmRSS")
    evaluator.evaluate({"max_depth": 6} if sys.argv[1] == "xgboost" else {"num_leaves": 64}, seed=0)
    params = {"max_depth": 6, "num_leaves": 64 if sys.argv[1] == "lightgbm" else 0}
    print(status("VmHWM") - before, estimate_memory(evaluator, isolation="thread", params=params).total(1))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads and resets the peak in /proc")
def test_the_estimate_is_near_the_measured_peak(family_name: str) -> None:
    command = [sys.executable, "-c", textwrap.dedent(MEASURE), family_name]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    measured, estimated = map(int, answer.split())
    assert 0.5 < estimated / measured < 2


# -- what fits ----------------------------------------------------------------------------------------------


def test_all_trials_run_where_there_is_room_or_nobody_knows() -> None:
    estimate = MemoryEstimate(shared=3 * GIB, per_worker=GIB, present=GIB)
    assert fitting_workers(estimate, 4, 6 * GIB) == (4, "")
    assert fitting_workers(estimate, 64, None) == (64, "")


def test_fewer_trials_run_where_memory_is_short_and_the_warning_says_all() -> None:
    workers, warning = fitting_workers(MemoryEstimate(shared=3 * GIB, per_worker=GIB, present=GIB), 8, 5 * GIB)
    assert workers == 3
    for part in ("3 trials run", "instead of 8", "2.0 GiB once", "1.0 GiB per trial", "5.0 GiB", "n_jobs=3", "float32"):
        assert part in warning


def test_one_trial_runs_at_least_with_a_warning() -> None:
    workers, warning = fitting_workers(MemoryEstimate(shared=GIB, per_worker=GIB), 2, GIB)
    assert workers == 1 and "even for one trial" in warning and "instead of 2" in warning
    workers, warning = fitting_workers(MemoryEstimate(shared=9 * GIB, per_worker=GIB), 1, 0)
    assert workers == 1 and "one by one" not in warning and "fewer columns" in warning
