"""The table of how far a model may grow is of the curves as they are, and what is recorded is not grown again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import growth
from benchmarks.__main__ import main
from gbtune.growth import STEEP, longest
from gbtune.metrics import metric_named
from gbtune.records import TrialRecord


def test_a_sitting_records_each_curve_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "curves.jsonl"
    arguments = ["growth", "--out", str(out), "--sets", "diabetes", "--rounds", "32"]
    assert main(arguments) == 0
    curves = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    configurations = 1 + growth.ENTRIES * len(growth.RATES)
    assert len(curves) == 2 * configurations and all(len(line["curve"]) == 32 for line in curves)
    table = capsys.readouterr().out
    assert "| steepness | cases |" in table and "diabetes, lightgbm, default" in table
    assert main(arguments) == 0
    assert len(out.read_text(encoding="utf-8").splitlines()) == 2 * configurations
    assert "default" not in capsys.readouterr().out


def test_only_a_curve_at_its_best_is_looked_at() -> None:
    falling, rising = [1 / r for r in range(1, 401)], [1 + abs(r - 4) / 10 for r in range(1, 401)]
    sudden = [1 - max(0, r - 60) / 1e6 for r in range(1, 401)]
    assert growth.cases([sudden])["steep"].tolist()[-1] != growth.cases([sudden])["steep"].tolist()[-1], "not a number"
    looks = growth.cases([falling, rising])
    assert len(looks) == len(growth.LOOKS)
    assert looks[4].tolist() == pytest.approx([-0.75] * len(growth.LOOKS))
    assert looks["steep"].between(0.4, 0.6).all()


def test_the_rule_stands_on_edges_of_the_table() -> None:
    assert {steep for steep, _ in STEEP} <= set(growth.EDGES)
    assert {times for _, times in STEEP} <= set(growth.TIMES)
    rounds = tuple(range(1, 21))
    record = TrialRecord(0, "complete", {}, rounds=20, curve_rounds=rounds, curve=tuple(1 / r for r in rounds))
    assert longest(record, 20, 3000, metric_named("log_loss")) == 40
