"""Milliseconds per trial of everything that is neither a booster nor a sampler, in studies of a family that is free.

Each thread's CPU time is counted, so that other processes on the machine change little. What Optuna itself takes to
keep a trial (parameters, attributes, reports, the end; any script that uses it pays that) is shown beside ours. What a
trial costs after n trials is the mean over the last tenth of the first n: a cost that grows with the study shows.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import numpy as np

from benchmarks.overhead.phases import Phases, Place
from benchmarks.overhead.process import apart
from benchmarks.overhead.tables import table
from gbtune.families.base import FoldFit, OnRound, Params, Prepared, frozen
from gbtune.testing.families import StubFamily

SAMPLERS = ("tpe", "random", "grid", "qmc", "gp", "cmaes")
SIZES = (10, 100, 1000)
SLOW_SIZE = 5000
FEWER = {"gp": 100, "cmaes": 1000}
"""Samplers that take minutes beyond so many trials."""
TARGET_MS, TARGET_TRIALS = 3.0, 1000
ROUNDS = 200
SAMPLER, STUB, ROUND, REST, OPTUNA = "sampler", "stub", "rounds", "rest", "optuna"
_PARAMETERS = 8


class FreeFamily(StubFamily):
    """The stub with parameters that do nothing, and curves that cost nothing: as wide as a real space."""

    capabilities = dataclasses.replace(
        StubFamily.capabilities,
        parameters=StubFamily.capabilities.parameters | {f"knob{number}" for number in range(_PARAMETERS)},
    )
    default_params: ClassVar[Params] = frozen(
        {**StubFamily.default_params, **{f"knob{number}": 0.5 for number in range(_PARAMETERS)}}
    )

    def prepare(self, data: Any, folds: Any, loss: str, *, threads: int = 1) -> Prepared:
        """See `ModelFamily.prepare`."""
        return _FreePrepared()

    def fit(self, data: Any, params: Any, rounds: int, seed: int, **more: Any) -> Any:
        """See `ModelFamily.fit`."""
        known = {name: value for name, value in params.items() if not name.startswith("knob")}
        return super().fit(data, known, rounds, seed, **more)


class _FreePrepared(Prepared):
    def train_fold(self, params: Params, fold: int, rounds: int, seed: int, on_round: OnRound | None = None) -> FoldFit:
        return _FreeFit(params, fold)


class _FreeFit(FoldFit):
    """A curve that falls at the learning rate to a level that depends on the parameters and the fold."""

    def __init__(self, params: Params, fold: int) -> None:
        knobs = sum((value - 0.3) ** 2 for name, value in params.items() if name.startswith("knob"))
        level = 1.0 + knobs + 0.1 * np.sin(fold + 10 * params["split"])
        self._whole = level + (1 - params["learning_rate"]) ** np.arange(1, ROUNDS + 1)
        self._done = 0

    @property
    def curve(self) -> Any:
        return self._whole[: self._done]

    @property
    def rounds(self) -> int:
        return self._done

    @property
    def last_loss(self) -> float:
        return float(self._whole[self._done - 1])

    def grow(self, rounds: int, on_round: OnRound | None = None) -> None:
        while self._done < rounds:
            self._done += 1
            if on_round is not None and on_round(self):
                return

    def predict(self, rounds: int | None = None) -> Any:
        return np.zeros(2)


def space() -> dict[str, Any]:
    """Return a search space of ten parameters, with 2 x 3^9 cells."""
    knob = {"kind": "float", "low": 0.0, "high": 1.0, "default": 0.5, "grid": [0.2, 0.5, 0.8]}
    return {
        "schema": 1,
        "family": "stub",
        "name": "free",
        "parameters": {
            "learning_rate": {
                "kind": "float", "low": 0.02, "high": 0.5, "log": True, "default": 0.1, "grid": [0.05, 0.2]
            },
            "split": {**knob, "low": 0.1, "high": 0.9},
            **{f"knob{number}": knob for number in range(_PARAMETERS)},
            "n_estimators": {"kind": "rounds", "low": 10, "high": ROUNDS, "default": 50},
        },
    }  # fmt: skip


def places() -> list[Place]:
    """Return what is timed; whatever else the two threads do is the rest."""
    samplers = [("gbtune.slots", "SlotSampler"), ("gbtune.samplers.sobol", "SobolSampler")]
    methods = ("before_trial", "infer_relative_search_space", "sample_relative", "sample_independent", "after_trial")
    return [
        ("gbtune.runner:Runner.run", REST),
        ("gbtune.runner:Runner._work", REST),
        *((f"{module}:{kind}.{method}", SAMPLER) for module, kind in samplers for method in methods),
        ("gbtune.slots:in_slot_order", REST),
        *((f"optuna.trial:Trial.{method}", OPTUNA) for method in ("_suggest", "report", "set_user_attr")),
        *((f"optuna.storages:{storage}.create_new_trial", OPTUNA) for storage in ("InMemoryStorage", "JournalStorage")),
        ("gbtune.runner:_tell_with_warning", OPTUNA),
        ("benchmarks.overhead.trials:_FreePrepared.train_fold", STUB),
        ("benchmarks.overhead.trials:_FreeFit.grow", ROUND),
    ]


def study(sampler: str, sizes: list[int], storage: str = "") -> dict[str, Any]:
    """Run one study of as many trials as the largest size; return what trials cost after each size.

    Parameters
    ----------
    sampler : str
        As `gbtune.tune` takes it.
    sizes : list of int
        Ascending.
    storage : str, default ""
        The path of a journal; empty: in memory.
    """
    import gbtune
    from gbtune.runner import Runner

    phases, seen = Phases(clock=time.thread_time), list[tuple[float, Counter[str]]]()
    phases.calibrate()
    grown = [0]
    pass_on = phases.timed(Runner._pass_on, REST)

    def noted(runner: Any, record: Any, mine: bool) -> None:
        pass_on(runner, record, mine)
        grown[0] += sum(record.rounds_grown)
        seen.append((time.perf_counter(), phases.total() + Counter({"grown": grown[0]})))

    X = np.linspace(0, 1, 40).reshape(-1, 1)
    kept: dict[str, Any] = {"study": "overhead", "storage": Path(storage)} if storage else {}
    with phases.watching(places()), mock.patch.object(Runner, "_pass_on", phases.timed(noted, STUB)):
        result = gbtune.tune(
            X,
            X[:, 0],
            task="regression",
            family=FreeFamily(),
            space=space(),
            sampler=sampler,
            n_trials=sizes[-1],
            n_jobs=1,
            ensemble=1,
            tracking=False,
            progress=False,
            **kept,
        )
    states = [str(state) for state in result.trials["state"]]
    return {
        "sampler": sampler,
        "storage": "journal" if storage else "memory",
        "trials": len(states),
        "complete": states.count("complete"),
        "sizes": {str(size): cost for size, cost in zip(sizes, _costs(seen, sizes), strict=True)},
    }


def _costs(seen: list[tuple[float, Counter[str]]], sizes: list[int]) -> Iterator[dict[str, float]]:
    """Yield milliseconds per trial over the last tenth before each size, and microseconds per round."""
    for size in sizes:
        first = max(0, size - max(size // 10, 8) - 1)  # whole generations: they are told together
        (began, before), (ended, after) = seen[first], seen[size - 1]
        trials, rounds = size - 1 - first, after["grown"] - before["grown"]
        spent = {name: 1e3 * (after[name] - before[name]) / trials for name in (REST, OPTUNA, SAMPLER, ROUND)}
        yield {
            "ours_ms": spent[REST],
            "optuna_ms": spent[OPTUNA],
            "sampler_ms": spent[SAMPLER],
            "us_per_round": 1e3 * spent[ROUND] * trials / max(rounds, 1),
            "wall_ms": 1e3 * (ended - began) / trials,
        }


def available(sampler: str) -> bool:
    """Return whether a sampler's library is installed."""
    from gbtune.errors import MissingLibrary
    from gbtune.samplers.names import check_installed

    try:
        check_installed(sampler)
    except MissingLibrary:
        return False
    return True


def measure(samplers: tuple[str, ...] = SAMPLERS, sizes: tuple[int, ...] = SIZES, journal: Path | None = None) -> Any:
    """Return what trials cost with each sampler that is installed, and with a journal for the first one.

    Parameters
    ----------
    samplers : tuple of str
        Names.
    sizes : tuple of int
        Trials after which the cost is read.
    journal : Path, optional
        A folder: then the first sampler's study is also kept in a journal there.
    """
    found: dict[str, Any] = {}
    for sampler in filter(available, samplers):
        fitting = [size for size in sorted(sizes) if size <= FEWER.get(sampler, max(sizes))]
        found[sampler] = apart("benchmarks.overhead.trials:study", sampler, fitting)
    if journal is not None and found:
        first = next(iter(found))
        found[f"{first}, journal"] = apart(
            "benchmarks.overhead.trials:study", first, sorted(sizes), str(journal / "study.journal")
        )
    return found


def report(found: Any) -> str:
    """Return what was measured as text."""
    heads = ["sampler", "after trials", "ours, ms", "Optuna, ms", "sampler, ms", "us per round", "wall, ms"]
    rows = [
        [name, int(size), *(cost[part] for part in ("ours_ms", "optuna_ms", "sampler_ms", "us_per_round", "wall_ms"))]
        for name, those in found.items()
        for size, cost in those["sizes"].items()
    ]
    about = f"CPU time per trial of {ROUNDS} rounds at most on 5 folds; target: {TARGET_MS:g} ms of ours after "
    return f"{table(heads, rows)}\n\n{about}{TARGET_TRIALS:,} trials."


def problems(found: Any) -> list[str]:
    """Return what must not be: nothing, for milliseconds depend on the machine."""
    return []
