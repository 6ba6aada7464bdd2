"""Every name in our studies: the same trials for every number of cores, and after interruptions."""

from __future__ import annotations

import copy
import functools
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from stub import SPACE, stub_objective
from test_resume import after, by_slot, go_on

from gbtune.objective import BASELINE
from gbtune.pruners import RacingPruner
from gbtune.samplers import resolve_sampler
from gbtune.samplers.names import EXTRAS
from gbtune.samplers.tpe import parameter_groups
from gbtune.storage import journal
from gbtune.study import Clock, Point, open_study

SEED = 3
CONDITIONAL: dict[str, Any] = copy.deepcopy(SPACE)
CONDITIONAL["parameters"]["learning_rate"] = {"kind": "categorical", "choices": [0.05, 0.1, 0.3], "default": 0.1}
CONDITIONAL["parameters"]["split"]["when"] = {"learning_rate": 0.1}
SPACES = {"plain": SPACE, "conditional": CONDITIONAL}
SAMPLERS: dict[str, Any] = {
    **{name: name for name in ("tpe", "random", "gp", "cmaes", "qmc")},
    "grid and tpe": {"split": "grid", "*": "tpe"},
    "qmc and grid": {"split": "qmc", "*": "grid"},
    "cmaes and random": {"split": "random", "*": "cmaes"},
}
PAIRS = [
    *((name, "plain") for name in SAMPLERS),
    *((name, "conditional") for name in ("tpe", "gp", "cmaes", "qmc", "qmc and grid")),
]
# Torch and what it needs is five gigabytes: it is there in the nightly tier.
CASES = [pytest.param(pair, marks=pytest.mark.nightly if "gp" in pair else ()) for pair in PAIRS]
N_TRIALS = 28


def require_extra(sampler: Any) -> None:
    """Skip where the library behind a sampler is not installed."""
    for name in [sampler] if isinstance(sampler, str) else sampler.values():
        if name in EXTRAS:
            for library in (EXTRAS[name], "greenlet") if name == "gp" else (EXTRAS[name],):
                pytest.importorskip(library)


@pytest.fixture(params=CASES, ids=[" on ".join(pair) for pair in PAIRS])
def case(request: pytest.FixtureRequest) -> tuple[str, str]:
    require_extra(SAMPLERS[request.param[0]])
    return request.param


def opened(sampler: Any, space: dict[str, Any], storage: Any, seed: int | None = SEED) -> optuna.Study:
    plan = resolve_sampler(sampler, stub_objective(space=space).space, study_seed=seed)
    return open_study(
        "kept", storage, sampler=plan.sampler, pruner=RacingPruner(), direction="minimize", default_name=""
    )


def points(space: dict[str, Any]) -> list[Point]:
    start = {"learning_rate": 0.1, "split": 0.5}
    entry = {"learning_rate": 0.3} if space is CONDITIONAL else {"learning_rate": 0.3, "split": 0.2}
    return [Point(start, BASELINE, "library default"), Point(entry, "portfolio")]


def run(study: optuna.Study, space: dict[str, Any], *, on_train: Any = None, **arguments: Any) -> None:
    go_on(study, N_TRIALS, points=points(space), objective=stub_objective(on_train, space=space), **arguments)


@functools.cache
def never_stopped(sampler: str, space: str) -> dict[int, Any]:
    study = opened(SAMPLERS[sampler], SPACES[space], optuna.storages.InMemoryStorage())
    run(study, SPACES[space])
    return by_slot(study)


def test_a_study_is_the_same_for_every_number_of_cores(case: tuple[str, str]) -> None:
    sampler, space = SAMPLERS[case[0]], SPACES[case[1]]
    study = opened(sampler, space, optuna.storages.InMemoryStorage())
    run(study, space, n_jobs=3)
    assert len(study.trials) == N_TRIALS
    assert by_slot(study) == never_stopped(*case)


def test_a_study_that_was_interrupted_ends_as_if_it_never_had_been(tmp_path: Path, case: tuple[str, str]) -> None:
    sampler, space, path = SAMPLERS[case[0]], SPACES[case[1]], tmp_path / "kept.journal"
    for trainings in (11, 23, 31):
        clock = Clock(None)
        study = opened(sampler, space, journal(path))
        run(study, space, on_train=after(trainings, clock.interrupt.set), clock=clock, n_jobs=2)
    study = opened(sampler, space, journal(path))
    run(study, space)
    assert len(study.trials) > N_TRIALS, "some were cut off and run again"
    assert by_slot(study) == never_stopped(*case)


@pytest.mark.parametrize("sampler", ["tpe", "qmc", {"split": "grid", "*": "random"}], ids=str)
def test_without_a_seed_two_studies_differ(sampler: Any) -> None:
    drawn = []
    for _ in range(2):
        plan = resolve_sampler(sampler, stub_objective().space, study_seed=None)
        study = optuna.create_study(sampler=plan.sampler)
        drawn.append([stub_objective().space.suggest(study.ask(), rounds=False) for _ in range(6)])
    assert drawn[0] != drawn[1]


def test_the_evolution_of_cma_es_goes_on() -> None:
    """Its state survives from one ask to the next: there is more than one generation."""
    require_extra("cmaes")
    study = opened("cmaes", SPACE, optuna.storages.InMemoryStorage())
    go_on(study, 44, points=points(SPACE))
    generations = [trial.system_attrs.get("cma:generation") for trial in study.trials]
    assert max(number for number in generations if number is not None) >= 1


@pytest.mark.nightly
@pytest.mark.parametrize("space", SPACES)
def test_the_gaussian_process_is_asked_once_ten_trials_are_complete(space: str) -> None:
    require_extra("gp")
    study = opened("gp", SPACES[space], optuna.storages.InMemoryStorage())
    run(study, SPACES[space])
    complete = [trial.state == optuna.trial.TrialState.COMPLETE for trial in study.trials]
    modelled = ["gp:relative_params:0" in trial.system_attrs for trial in study.trials]
    assert sum(modelled) >= 4
    assert sum(complete[: modelled.index(True)]) >= 10


def test_a_grid_beside_another_sampler_comes_equally_often_in_a_study_with_prescribed_points() -> None:
    study = opened({"split": "grid", "*": "random"}, SPACE, optuna.storages.InMemoryStorage())
    run(study, SPACE)
    splits = [trial.params["split"] for trial in study.trials[2:]]
    assert sorted(splits.count(value) for value in (0.3, 0.5, 0.7)) == [8, 9, 9]


def test_a_conditional_space_keeps_its_groups() -> None:
    study = opened("tpe", CONDITIONAL, optuna.storages.InMemoryStorage())
    run(study, CONDITIONAL)
    assert [sorted(group) for group in parameter_groups(study)] == [["learning_rate"], ["split"]]
    last = study.get_trials()[-1]
    assert sorted(study.sampler.infer_relative_search_space(study, last)) == ["learning_rate", "split"]


@pytest.mark.parametrize("name", [pytest.param("gp", marks=pytest.mark.nightly), "cmaes", "cmaes and random"])
def test_no_sampler_warns_about_spaces_that_it_cannot_model_at_once(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    require_extra(SAMPLERS[name])
    optuna.logging.enable_propagation()
    try:
        run(opened(SAMPLERS[name], CONDITIONAL, optuna.storages.InMemoryStorage()), CONDITIONAL)
    finally:
        optuna.logging.disable_propagation()
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == []


@pytest.mark.parametrize("name", EXTRAS)
def test_a_missing_library_is_reported_when_the_sampler_is_chosen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = importlib.import_module

    def without(module: str, *more: Any) -> Any:
        if module == EXTRAS[name]:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
        return imported(module, *more)

    monkeypatch.setattr(importlib, "import_module", without)
    space = stub_objective().space
    objects = {"gp": optuna.samplers.GPSampler, "cmaes": optuna.samplers.CmaEsSampler}
    for chosen in (name, {"split": name, "*": "tpe"}):
        with pytest.raises(ImportError, match=rf'pip install "gbtune\[{name}\]"'):
            resolve_sampler(chosen, space, study_seed=0)
    if name == "cmaes":  # an object of Optuna's can be made without it, and would fail at its second trial
        with pytest.raises(ImportError, match=rf'pip install "gbtune\[{name}\]"'):
            resolve_sampler(objects[name](seed=0), space, study_seed=0)


def test_choosing_a_sampler_imports_no_library_of_another_one() -> None:
    script = """
import sys
from gbtune.samplers import resolve_sampler
from gbtune.spaces import SearchSpace
resolve_sampler({"max_depth": "grid", "*": "qmc"}, SearchSpace.load("xgboost/core"), study_seed=0)
assert not {"torch", "cmaes", "sklearn"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
