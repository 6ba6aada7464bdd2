"""The share of a study's time that is spent inside the libraries' update and eval calls, and where the rest goes.

A study has as many lanes as cores. While trials run, a lane is a worker's thread, and so it is while final models are
fitted, side by side or one with several threads; otherwise the main thread is one lane and the others wait. So the
seconds of all phases add up to lanes x wall time.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from benchmarks.overhead.phases import Phases, Place
from benchmarks.overhead.process import apart
from benchmarks.overhead.tables import table

FAMILIES = ("lightgbm", "xgboost")
TARGET = 0.95
LIBRARY, REFIT, SEARCH, IDLE = "library", "refit", "search", "nothing to do"
WAITS = "waits for final models"
_LABELS = {"lightgbm": "LightGBM", "xgboost": "XGBoost"}


def places(family: str) -> list[Place]:
    """Return what is timed. The name of a phase is what the table says."""
    module, kind = f"gbtune.families.{family}", _LABELS[family]
    library = ("update", "eval_valid") if family == "lightgbm" else ("update", "eval_set")
    binning = ("full_dataset", "_datasets") if family == "lightgbm" else ("full_matrix", "_matrices")
    return [
        *((f"{family}:Booster.{name}", LIBRARY) for name in library),
        *((f"{module}:{kind}Prepared.{name}", "binning") for name in binning),
        (f"{module}:{kind}Prepared.train_fold", "setting up boosters"),
        (f"{module}:{kind}FoldFit.grow", "rounds: Python between the calls"),
        (f"{module}:{kind}FoldFit.predict", "prediction of held-out rows"),
        (f"{module}:{kind}Family.fit", REFIT),
        ("gbtune.metrics:Metric.score", "scoring"),
        ("gbtune.data:Dataset.from_arrays", "encoding"),
        ("gbtune.data:Dataset.fingerprint.func", "fingerprints"),
        ("gbtune.resampling:make_folds", "folds"),
        ("gbtune.tuning:make_plan", "plan"),
        ("gbtune.evaluation:Evaluator.evaluate", "curves and scores"),
        ("gbtune.objective:Objective.evaluate", "records and pruner"),
        ("gbtune.runner:Runner._work", IDLE),
        ("gbtune.runner:Runner.run", SEARCH),
        ("gbtune.runner:Runner._wait", "waits for workers"),
        ("gbtune.runner:Runner._ask", "asks for trials"),
        ("gbtune.slots:SlotSampler.sample_relative", "sampler"),
        ("gbtune.slots:SlotSampler.sample_independent", "sampler"),
        ("gbtune.slots:SlotSampler.infer_relative_search_space", "sampler"),
        ("gbtune.ending:fit_members", WAITS),
        ("gbtune.tuning:Tuning.run", "before and after, else"),
        ("gbtune.review:Review.store", "diagnostics"),
        ("gbtune.api:tune", "before and after, else"),
    ]


def make_data(rows: int, columns: int) -> tuple[Any, Any]:
    """Return a problem of two classes."""
    from sklearn.datasets import make_classification

    return make_classification(rows, columns, n_informative=columns // 2, flip_y=0.05, random_state=0)


def study(
    family: str, rows: int, columns: int, seconds: float, n_jobs: int, tracking: bool, both: bool = False
) -> dict[str, Any]:
    """Tune for so many seconds, after a tiny study that imports what there is to import.

    With `both` there is a limit of trials as well, so that the trials are asked in generations.
    """
    import gbtune

    X, y = make_data(rows, columns)
    quiet: dict[str, Any] = {"family": family, "n_jobs": n_jobs, "progress": False}
    gbtune.tune(X[:500], y[:500], n_trials=2, tracking=False, **quiet)
    phases = Phases(contexts=(REFIT, SEARCH))
    threads = _FitThreads(family)
    budget: dict[str, Any] = {"timeout": seconds, **({"n_trials": 1_000_000} if both else {})}
    with threads, phases.watching(places(family)):
        started, cpu = time.perf_counter(), time.process_time()
        result = gbtune.tune(X, y, tracking=tracking, **budget, **quiet)
        wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    lanes, main = account(phases.seconds(), wall, n_jobs, threads.most)
    workers = [those for name, those in phases.seconds().items() if IDLE in those]
    search = sum(workers[0].values()) if workers else 0.0
    return {
        "family": family,
        "wall": wall,
        "search": search,
        "lanes": n_jobs,
        "share": lanes[LIBRARY] / (n_jobs * wall),
        "share_of_search_by_worker": [those.get(LIBRARY, 0.0) / sum(those.values()) for those in workers],
        "cores_busy": cpu / (n_jobs * wall),
        "phases": dict(lanes.most_common()),
        "main_thread_during_search": dict(main.most_common()),
        "trials": len(result.trials),
        "pruned": int((result.trials["state"] == "pruned").sum()),
        "rounds": int(result.trials["rounds_grown"].sum()),
        "best_score": result.best_score,
    }


class _FitThreads:
    """Notes with how many threads the final models are fitted."""

    def __init__(self, family: str) -> None:
        from gbtune.families import get

        self.kind, self.most = type(get(family)), 1

    def __enter__(self) -> None:
        self.fit = fit = self.kind.fit

        def noted(family: Any, *args: Any, threads: int = 1, **more: Any) -> Any:
            self.most = max(self.most, threads)
            return fit(family, *args, threads=threads, **more)

        self.kind.fit = noted  # type: ignore[method-assign, assignment]  # while the block runs

    def __exit__(self, *_: object) -> None:
        self.kind.fit = self.fit  # type: ignore[method-assign]  # as it was


def account(
    seconds: dict[str, dict[str, float]], wall: float, lanes: int, refit_threads: int
) -> tuple[Counter[str], Counter[str]]:
    """Return the seconds of all lanes by phase, and those of the main thread while the workers ran.

    Parameters
    ----------
    seconds : dict
        By thread and phase.
    wall : float
        Of the whole study.
    lanes : int
        Cores.
    refit_threads : int
        Of a booster that is fitted on all rows.

    Examples
    --------
    >>> from benchmarks.overhead.share import WAITS, account
    >>> seconds = {"main": {"search": 0.0, "search: waits for workers": 8.0, "plan": 1.0, WAITS: 1.0},
    ...            "worker": {"nothing to do": 1.0, "library": 7.0}, "pool": {"refit: library": 1.0}}
    >>> account(seconds, 10.0, lanes=1, refit_threads=1)[0]
    Counter({'library': 8.0, 'plan': 1.0, 'nothing to do': 1.0})
    """
    found: Counter[str] = Counter()
    main: Counter[str] = Counter()
    for phases in seconds.values():
        for phase, spent in phases.items():
            context, _, inner = phase.partition(": ")
            if phase == WAITS:  # models are fitted in threads of their own
                continue
            if context == SEARCH:
                main[inner or "else"] += spent
            elif context == REFIT:
                found[LIBRARY if inner == LIBRARY else "refit, else"] += spent * (
                    refit_threads if inner == LIBRARY else 1
                )
            else:
                found[phase] += spent
    unused = lanes * wall - found.total()
    if unused > 1e-9:  # one thread did what all others waited for
        found["other cores idle before and after the search"] = unused
    return +found, +main


def measure(
    rows: int = 50_000,
    columns: int = 30,
    seconds: float = 60.0,
    n_jobs: int = 2,
    tracking: bool = False,
    families: tuple[str, ...] = FAMILIES,
    both: bool = False,
) -> dict[str, Any]:
    """Return the account of one study for each family."""
    found: dict[str, Any] = {"rows": rows, "columns": columns, "seconds": seconds, "tracking": tracking}
    for family in families:
        found[family] = apart("benchmarks.overhead.share:study", family, rows, columns, seconds, n_jobs, tracking, both)
    return found


def report(found: dict[str, Any]) -> str:
    """Return what was measured as text."""
    texts = []
    for family in (name for name in FAMILIES if name in found):
        those = found[family]
        whole = those["lanes"] * those["wall"]
        rows = [[phase, spent, f"{spent / whole:.1%}"] for phase, spent in those["phases"].items()]
        by_worker = ", ".join(f"{share:.1%}" for share in those["share_of_search_by_worker"])
        texts.append(
            f"{family}: {those['share']:.1%} of {those['lanes']} lanes x {those['wall']:.1f} s in the library's update "
            f"and eval calls (target {TARGET:.0%}); {by_worker} of the {those['search']:.1f} s of the search in each "
            f"worker; {those['trials']} trials, {those['pruned']} pruned, {those['rounds']} rounds\n\n"
            + table(["phase", "seconds", "share"], rows)
        )
        main = [[phase, spent] for phase, spent in those["main_thread_during_search"].items()]
        texts.append(table(["main thread, while the workers run", "seconds"], main))
    return "\n\n".join(texts)


def problems(found: dict[str, Any]) -> list[str]:
    """Return what must not be: nothing, for shares of time depend on what else runs on the machine."""
    return []
