"""docs/benchmarks.md: its jobs run, and fail when the new model is worse; its commands exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import xgboost
from click.testing import CliRunner
from quick import quick_space

from benchmarks.__main__ import main as benchmarks_command
from gbtune.cli import main as gbtune_command
from gbtune.cli.promote import EXIT_CODES
from gbtune.tracking.champions import Champions

PAGE = (Path(__file__).parents[1] / "docs" / "benchmarks.md").read_text(encoding="utf-8")
NOT_WORSE, WORSE = 12, 1
"""Trials: one is the library's default, which is clearly worse than what twelve trials find."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


FILES = {code.splitlines()[0].removeprefix("# "): code for code in blocks("python")}
REGISTRY, WITHOUT = (block.splitlines() for block in blocks("bash"))


@pytest.fixture(autouse=True)
def _folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cancer_means: tuple[pd.DataFrame, pd.Series]
) -> Iterator[None]:
    """An empty folder with rows to train on."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    X, y = cancer_means
    X.assign(churned=y).to_csv("rows.csv", index=False)
    with xgboost.config_context(nthread=1):  # many tests run side by side
        yield


def exit_code(line: str, trials: int) -> int:
    """Run a command of the page in this process, with fewer and quicker trials."""
    program, *words = shlex.split(line)
    if program == "gbtune":
        return CliRunner().invoke(gbtune_command, words).exit_code
    assert program == "python"
    (name,) = words
    code, changed = re.subn(r"n_trials=50", f"n_trials={trials}, space=SPACE, progress=False", FILES[name])
    assert changed == 1
    try:
        exec(compile(code, name, "exec"), {"SPACE": quick_space("xgboost")})
    except SystemExit as end:
        return 1 if isinstance(end.code, str) else int(end.code or 0)
    return 0


def build(lines: list[str], trials: int) -> int:
    """Run the steps of a job until one fails."""
    return next((code for code in (exit_code(line, trials) for line in lines) if code), 0)


def test_the_job_with_a_registry_fails_when_the_new_model_is_worse() -> None:
    store = f"sqlite:///{Path('mlflow.db').resolve()}"
    mlflow.MlflowClient(store).search_experiments()
    assert build(REGISTRY, NOT_WORSE) == 0, "there was no champion"
    assert build(REGISTRY, WORSE) == EXIT_CODES["kept champion"]
    assert Champions("churn", store).champion == "1"


def test_the_job_without_a_registry_fails_when_the_new_parameters_are_worse() -> None:
    assert build(WITHOUT, NOT_WORSE) == 0
    kept = Path("champion.json").read_text()
    assert build(WITHOUT, WORSE) == 1 and Path("champion.json").read_text() == kept


def test_the_job_of_the_hosted_service_has_the_same_steps() -> None:
    (service,) = blocks("yaml")
    assert [line.partition("run: ")[2] for line in service.splitlines() if "run: " in line][1:] == REGISTRY


def test_the_exit_codes_are_those_of_the_command() -> None:
    table = PAGE.partition("| exit code |")[2].partition("\n\n")[0]
    named = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", table, re.M) for code in row.split(",")}
    assert named == {*EXIT_CODES.values(), 1, 2}


def test_every_benchmark_is_on_the_page_and_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        benchmarks_command(["--help"])
    (known,) = set(re.findall(r"\{([\w,-]+)\}", capsys.readouterr().out))
    section = PAGE.partition("## gbtune's own benchmarks")[2]
    assert set(re.findall(r"^\| `python -m benchmarks ([\w-]+)` ", section, re.M)) == set(known.split(","))
