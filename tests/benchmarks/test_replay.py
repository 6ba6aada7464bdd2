"""A replay answers as the boosters did, its committed counts are exact, and the defaults are those of the tables."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from sklearn.datasets import load_diabetes

from benchmarks.__main__ import main
from benchmarks.replay import portfolio, pruning, record, run, tables
from benchmarks.replay.family import N_FOLDS, ReplayFamily, levels
from benchmarks.replay.recording import CURVES, Recording, recordings
from benchmarks.replay.studies import run_study
from gbtune import families
from gbtune.data import Dataset
from gbtune.evaluation import Evaluator
from gbtune.pruners import RacingPruner
from gbtune.resampling import make_folds
from gbtune.rounds import Rounds
from gbtune.spaces import SearchSpace
from gbtune.study_metrics import resolve_metrics

CAP = 400


@pytest.fixture(scope="module")
def real() -> Evaluator:
    """LightGBM on real rows."""
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    data = Dataset.from_arrays(X.iloc[:200], y.iloc[:200], task="regression")
    metrics = resolve_metrics("rmse", data.task, {})
    folds = make_folds(N_FOLDS, data, seed=record.SEED)
    return Evaluator(families.get("lightgbm"), data, folds, metrics, Rounds(CAP))


@pytest.fixture(scope="module")
def small(real: Evaluator, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """A recording of the default and a few cells, written and read."""
    step = record.resolution(real)
    cells = [config for config in record.configurations("lightgbm") if config["kind"] != "portfolio"][::29]
    curves = tuple(record.grow(real, config["params"], CAP, step) for config in cells)
    about = {
        "set": "diabetes", "family": "lightgbm", "half": "A", "space": "lightgbm/native", "task": "regression",
        "loss": "rmse", "cap": CAP, "rows": 200, "levels": record.LATTICES["lightgbm"][1],
    }  # fmt: skip
    path = tmp_path_factory.mktemp("curves") / "diabetes-lightgbm.npz"
    Recording(about, tuple(cells), curves, step).save(path)
    return Recording.load(path)


def test_a_recording_comes_back_to_the_last_digit(real: Evaluator, small: Recording) -> None:
    again = record.grow(real, small.configs[1]["params"], CAP, small.step)
    for kept, grown in zip(small.curves[1], again, strict=True):
        np.testing.assert_array_equal(kept, grown)
    assert next(recordings(CURVES)).configs[0]["kind"] == "default"


@pytest.mark.parametrize("schedule", ["folds", "rounds"])
def test_a_replay_answers_as_the_booster_did(real: Evaluator, small: Recording, schedule: str) -> None:
    replay = ReplayFamily(small).objective().evaluator
    for config in small.configs:
        then = real.evaluate({**config["params"], **record.FEWER_BINS}, seed=record.SEED, schedule=schedule)
        now = replay.evaluate(config["params"], seed=record.SEED, schedule=schedule)
        np.testing.assert_allclose(now.fold_scores, then.fold_scores, rtol=1e-3)
        np.testing.assert_allclose(now.score, then.score, atol=2 * small.step)
        assert abs(sum(now.rounds_grown) - sum(then.rounds_grown)) <= 0.1 * sum(then.rounds_grown)


def test_the_folds_may_come_in_any_order(small: Recording) -> None:
    stream = np.random.default_rng(0)
    totals = set()
    for _ in range(10):
        order = tuple(int(fold) for fold in stream.permutation(N_FOLDS))
        evaluator = ReplayFamily(small, order).objective().evaluator
        results = [evaluator.evaluate(config["params"], seed=0) for config in small.configs]
        totals.add(round(sum(result.score or 0.0 for result in results), 9))
        assert [result.state for result in results] == ["complete"] * len(results)
    assert len(totals) == 1


def test_every_cell_is_met_by_a_sampler_that_draws_evenly() -> None:
    family = ReplayFamily(next(recordings(CURVES, ("diabetes-xgboost",))))
    counts = family.recording.about["levels"]
    for name, count in counts.items():
        values = levels(family.space, name, count)
        assert [family.cell({**family.space.defaults(), name: value})[name] for value in values] == values
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    met = Counter(family.index(family.space.suggest(study.ask(), rounds=False)) for _ in range(1000))
    assert len(met) == np.prod(list(counts.values()))
    assert {family.recording.configs[position]["kind"] for position in met} == {"cell"}


def test_a_pruner_is_judged_against_the_same_study_without_one() -> None:
    family = ReplayFamily(next(recordings(CURVES, ("diabetes-lightgbm",))))
    drawn = pruning.population(family, "all", np.random.default_rng(0), 24)
    points = [pruning.sampled(family, position) for position in drawn]
    full = run_study(family.objective(), len(points) + 1, points=points)
    same = pruning.judge(full, full, 1.0)
    assert (same.cost, same.kept, same.regret) == (1.0, True, 0.0)
    assert full[0].kind == "baseline" and full[0].rounds == 100
    raced = run_study(family.objective(), len(points) + 1, points=points, pruner=RacingPruner(z=0.0))
    assert pruning.judge(raced, full, 1.0).cost < 1


def test_the_quick_run_gives_the_committed_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--quick"]) == 0
    assert capsys.readouterr().out.strip() == "as committed"


def test_a_race_without_a_margin_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    behind = RacingPruner._is_behind

    def hasty(self: RacingPruner, known: Any, current: np.ndarray, n_folds: int) -> bool:
        self.z = 0.0
        return behind(self, known, current, n_folds)

    name, rules = "diabetes-xgboost", ("race, z = 1.5, startup 3", "median")
    committed = json.loads(run.EXPECTED.read_text(encoding="utf-8"))[name]
    before = {name: {rule: committed[rule] for rule in rules}}
    assert run.differences(run.quick([name], rules, ()), before) == []
    monkeypatch.setattr(RacingPruner, "_is_behind", hasty)
    differing = run.differences(run.quick([name], rules, ()), before)
    assert any(text.startswith(f"{name}, race, z = 1.5, startup 3, rounds") for text in differing)
    assert not any("median" in text for text in differing)


def rows_of(table: str) -> list[list[str]]:
    return [row.strip("| ").split(" | ") for row in tables.read(table).splitlines()[2:]]


def test_the_defaults_are_those_of_the_tables() -> None:
    races = {row[0]: row[1] for row in rows_of("default race")}
    assert races["from 1000 rows on"] == run.racing(run.LARGE)
    assert races["below 1000 rows"] == run.racing(run.SMALL)
    samplers = {row[0]: row[1] for row in rows_of("default sampler")}
    assert samplers["in the code"] == samplers["chosen on half A"] == run.default_sampler()
    assert [row[0] for row in rows_of("replay") if row[0].startswith("**")] == [
        f"**{run.racing(rows)}**" for rows in (run.LARGE, run.SMALL)
    ]


@pytest.mark.parametrize("space", run.SPACES)
def test_a_portfolio_is_in_the_order_of_its_table(space: str) -> None:
    ranked = [row[1] for row in rows_of(f"order {space}") if row[0] != "dropped"]
    assert [tables.named(entry.provenance) for entry in SearchSpace.load(space).portfolio] == ranked


@pytest.mark.parametrize("greedily", [False, True])
def test_an_order_is_chosen_without_the_set_that_it_is_scored_on(greedily: bool) -> None:
    entries = portfolio.entries(list(recordings()), "xgboost/core")
    changed = entries.regrets.copy()
    changed[:, 0] = changed[::-1, 0]
    other = dataclasses.replace(entries, regrets=changed)
    before, after = (portfolio.left_out(each, greedily=greedily) for each in (entries, other))
    assert before[0] == after[0] and before[1:] != after[1:]


def test_a_shipped_entry_is_one_of_the_published_ones_as_it_was_published() -> None:
    published = json.loads(record.CANDIDATES.read_text(encoding="utf-8"))
    for space in run.SPACES:
        known = [(entry["provenance"], entry["params"]) for entry in published[space]]
        shipped = SearchSpace.load(space).for_levels(0).portfolio
        assert all((entry.provenance, dict(entry.params)) in known for entry in shipped)


def test_the_curves_are_small_and_name_their_source() -> None:
    files = sorted(CURVES.glob("*.npz"))
    assert sum(path.stat().st_size for path in files) < 12_000_000
    for path in files:
        about = Recording.load(path).about
        assert about["origin"] and about["licence"] and path.stem == f"{about['set']}-{about['family']}"
    assert {Recording.load(path).about["half"] for path in files} == {"A", "B"}


def test_tables_are_written_between_their_markers(tmp_path: Path) -> None:
    (tmp_path / "replay.md").write_text("a\n<!-- table: x -->\nold\n<!-- end table -->\nb\n", encoding="utf-8")
    assert tables.write({"x": "new", "y": "not there"}, tmp_path) == ["x"]
    assert (tmp_path / "replay.md").read_text(encoding="utf-8") == "a\n<!-- table: x -->\nnew\n<!-- end table -->\nb\n"
    assert tables.read("x", tmp_path) == "new"
