"""docs/mlflow.md: its code runs, its commands exist, its tables name what a study writes."""

from __future__ import annotations

import ast
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import mlflow
import pytest
from mlflow.cli import cli as mlflow_command

from gbtune.cli import main as gbtune_command
from gbtune.cli.promote import EXIT_CODES

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "mlflow.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


def section(heading: str) -> str:
    text = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    assert text, f"no section {heading!r}"
    return text


def first_cells(text: str) -> set[str]:
    """What stands in backticks in the first column of a section's tables."""
    rows = re.findall(r"^\| (`.*?) \|", text, re.M)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The page's Python, all of it in order, in an empty folder; only with fewer trials."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID"):
            patch.delenv(name, raising=False)
        patch.chdir(tmp_path_factory.mktemp("page"))
        mlflow.MlflowClient(tracking_uri=f"sqlite:///{Path('mlflow.db').resolve()}").search_experiments()
        names: dict[str, Any] = {}
        try:
            for code in blocks("python"):
                exec(compile(re.sub(r"n_trials=\d+", "n_trials=2", code), "docs/mlflow.md", "exec"), names)
        finally:
            mlflow.set_tracking_uri(None)
            os.environ.pop("MLFLOW_TRACKING_URI", None)
        yield names


@pytest.fixture(scope="module")
def runs(followed: dict[str, Any]) -> dict[str, list[mlflow.entities.Run]]:
    """The runs of the page's store, by kind."""
    client = mlflow.MlflowClient(followed["result"].receipt.tracking_uri)
    (experiment,) = client.search_experiments(filter_string="name = 'gbtune'")
    found: dict[str, list[mlflow.entities.Run]] = {}
    for run in client.search_runs([experiment.experiment_id]):
        found.setdefault(run.data.tags["gbtune.kind"], []).append(run)
    return found


def lines(program: str) -> list[str]:
    """The commands of the page, without what the shell does with their exit code."""
    found = [re.split(r" \|\| | +# ", line)[0] for block in blocks("bash") for line in block.splitlines()]
    return list(dict.fromkeys(line for line in found if line.startswith(f"{program} ")))


def plain(tag: str) -> str:
    """A tag as the page writes it, where names are made from data."""
    if tag == "gbtune.promotion.words":
        return tag
    return re.sub(r"(gbtune\.(?:version|score|promotion))\..+", r"\1.<name>", tag)


def undocumented(tags: dict[str, str]) -> set[str]:
    return {plain(tag) for tag in tags if tag.startswith("gbtune.")} - first_cells(section("Names, tags and metrics"))


@pytest.mark.parametrize("line", [*lines("gbtune"), *lines("mlflow")])
def test_the_commands_take_these_arguments(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    program, *words = shlex.split(line)
    command: click.Command = {"gbtune": gbtune_command, "mlflow": mlflow_command}[program]
    name: str | None = program
    while isinstance(command, click.Group):
        name, found, words = command.resolve_command(click.Context(command), words)
        assert found is not None
        command = found
    command.make_context(name, words).close()


def test_every_command_is_on_the_page() -> None:
    for name in ("ui", "promote", "rollback"):
        assert any(line.split()[1] == name for line in lines("gbtune"))


def test_the_exit_codes_are_those_of_the_command() -> None:
    shown = set(
        re.findall(r"\d", " ".join(re.findall(r"^\| ([\d, ]+) \|", section("In continuous integration"), re.M)))
    )
    assert shown == {*map(str, EXIT_CODES.values()), "1", "2"}


def test_the_code_loads_the_model_that_was_tuned(followed: dict[str, Any]) -> None:
    result, X = followed["result"], followed["X"]
    assert (followed["predictions"] == result.predict(X)).all()
    assert (followed["probabilities"] == result.predict_proba(X)).all()


def test_the_tables_name_every_tag(followed: dict[str, Any], runs: dict[str, list[mlflow.entities.Run]]) -> None:
    assert set(runs) == {"study", "trial", "final"}
    client = mlflow.MlflowClient(followed["result"].receipt.tracking_uri)
    for run in (run for group in runs.values() for run in group):
        assert not undocumented(run.data.tags), run.info.run_name
    version = client.get_model_version("cancer", "1")
    assert not undocumented(version.tags)
    assert not undocumented(client.get_logged_model(version.tags["gbtune.model_id"]).tags)


def test_the_tables_name_every_metric(runs: dict[str, list[mlflow.entities.Run]]) -> None:
    values = {"metric": "log_loss", "i": r"\d+", "name": r"\w+", "phase": r"\w+"}
    patterns = [
        re.sub(r"<(\w+)>", lambda found: values[found[1]], name)
        for name in first_cells(section("Names, tags and metrics"))
    ]
    for run in (run for group in runs.values() for run in group):
        for metric in run.data.metrics:
            assert any(re.fullmatch(pattern, metric) for pattern in patterns), f"not on the page: {metric}"


def strings_of_the_code() -> str:
    """All strings of the code that writes, without those that stand alone: docstrings."""
    found = []
    for path in (ROOT / "gbtune" / "tracking").glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        strings = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        found += [node.value for node in strings if id(node) not in alone]
    return "\n".join(found)


def test_the_tables_name_nothing_that_is_never_written() -> None:
    written = strings_of_the_code()
    assert "gbtune.promotion" in written and "gbtune.promotion.champion" not in written, "a docstring is no code"
    for name in first_cells(section("Names, tags and metrics")):
        if name.startswith("gbtune."):
            assert name.removesuffix(".<name>") in written or name.removesuffix(".words") in written, name


def test_the_files_are_those_of_the_study(followed: dict[str, Any]) -> None:
    client = mlflow.MlflowClient(followed["result"].receipt.tracking_uri)
    written = {item.path for item in client.list_artifacts(followed["result"].run_id)}
    assert written == first_cells(section("Files"))
