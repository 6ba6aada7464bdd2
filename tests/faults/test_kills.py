"""SIGKILL at random moments: what is finished stays, and the study ends as if nothing had happened."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults.killing import CASES, PAIRED, Case, main


def check(kills: int, cases: list[Case], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = main(kills, folder, cases=cases)
    with capsys.disabled():
        print(f"\n{counts}")
    assert counts.kills == kills and counts.trials > 0
    assert not counts.details
    assert counts.lost == counts.repeated == counts.running == counts.differences == 0


def test_twenty_kills_change_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(20, PAIRED, tmp_path, capsys)


@pytest.mark.nightly
def test_two_hundred_kills_change_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(200, CASES, tmp_path, capsys)
