"""The benchmark passes on its own baseline, and fails when a regression is planted."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from benchmarks import ci
from benchmarks.__main__ import main
from gbtune.families.xgboost import XGBoostPrepared

CASE = "breast_cancer-xgboost"


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A baseline of one short case, written by the code as it is."""
    path = tmp_path_factory.mktemp("baseline") / "baseline.json"
    assert ci.run(path.parent, update=True, trials=6, only=CASE, baseline=path) == 0
    return path


def test_unchanged_code_passes(baseline: Path, tmp_path: Path) -> None:
    assert ci.run(tmp_path, trials=6, only=CASE, baseline=baseline) == 0
    suite = ET.parse(tmp_path / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("1", "0")
    assert f"| {CASE} |" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_binning_in_every_trial_is_a_regression(
    baseline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrices = XGBoostPrepared._matrices

    def bin_again(self: XGBoostPrepared, max_bin: int, fold: int) -> Any:
        self._pairs.pop((max_bin, fold), None)
        return matrices(self, max_bin, fold)

    monkeypatch.setattr(XGBoostPrepared, "_matrices", bin_again)
    assert ci.run(tmp_path, trials=6, only=CASE, baseline=baseline) == 1
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "binnings rose from 11 to" in report
    assert ET.parse(tmp_path / "junit.xml").getroot().get("failures") == "1"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rounds_grown": 10}, "rounds_grown rose"),
        ({"score": 0.0001}, "score went"),
        ({"trials": 1}, "trials rose"),
    ],
)
def test_each_number_can_fail(baseline: Path, change: dict[str, float], words: str) -> None:
    before = json.loads(baseline.read_text(encoding="utf-8"))["cases"][CASE]
    now = ci.Outcome(**before)
    assert ci.problems(now, before) == []
    assert words in " ".join(ci.problems(now, {**before, **change}))


def test_the_committed_baseline_has_every_case() -> None:
    committed = json.loads(ci.BASELINE.read_text(encoding="utf-8"))
    assert set(committed["cases"]) == set(ci.cases()) and committed["trials"] == ci.TRIALS


def test_the_command_line_names_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0 and "ci" in capsys.readouterr().out
