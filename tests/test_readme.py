"""What the README says, done literally."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna

from gbtune.facts import read_records
from gbtune.storage import journal

README = Path(__file__).parents[1] / "README.md"


def block_after(heading: str) -> str:
    text = README.read_text(encoding="utf-8").partition(f"## {heading}\n")[2]
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


def test_kill_it_and_run_it_again(tmp_path: Path) -> None:
    code = block_after("Kill it, run it again")
    assert sum(bool(line.strip()) for line in code.splitlines()) == 4
    (tmp_path / "script.py").write_text(code, encoding="utf-8")
    path = tmp_path / "gbtune-studies" / "diabetes" / "study.journal"

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "script.py"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def finished() -> int:
        if not path.exists():
            return 0
        try:
            study = optuna.load_study(study_name="diabetes", storage=journal(path))
        except KeyError:
            return 0
        return sum(trial.state.is_finished() for trial in study.trials)

    first = start()
    deadline = time.monotonic() + 120
    while finished() < 4:
        assert first.poll() is None and time.monotonic() < deadline, "it has not come far enough"
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = finished()
    assert 0 < before < 20
    assert start().wait(timeout=300) == 0
    records = read_records(optuna.load_study(study_name="diabetes", storage=journal(path)))[1]
    kept = [record for record in records if record.reason != "killed"]
    assert len(kept) == 20 == len({record.slot for record in kept})
    assert (tmp_path / "mlflow.db").exists()
