"""Imports go down only; heavy libraries stay in their files."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gbtune

PACKAGE = Path(gbtune.__file__).parent
# The house, floor by floor: a module imports only from its own floor's earlier modules and from floors below.
FLOORS: list[set[str]] = [
    {"errors", "json_record", "records", "thinning", "seeds", "optional", "locations", "interpreter"},
    {
        "spaces",
        "families",
        "columns",
        "encoding",
        "data",
        "scores",
        "metrics",
        "study_metrics",
        "resampling",
        "group_folds",
        "row_sample",
        "ensemble",
        "recipe",
        "soundness",
    },
    {
        "held_out",
        "rounds",
        "early_stopping",
        "evaluation",
        "isolation",
        "memory",
        "settled",
        "samplers",
        "pruners",
        "storage",
        "leases",
        "slots",
        "tracking",
        "views",
    },
    {
        "planning",
        "diagnostics",
        "cautions",
        "study_record",
        "objective",
        "narrowing",
        "growth",
        "study",
        "points",
        "runner",
        "summary",
        "facts",
        "figures",
        "axes",
        "parameter_plots",
        "prediction_plots",
        "display",
        "plots",
        "report_sections",
        "report",
        "progress",
        "result",
        "final_model",
        "outcome",
        "earlier",
        "warm_start",
        "fresh_folds",
        "comparison",
        "promotion",
        "after_study",
    },
    {"review", "ending", "tuning", "api"},
    {"cli"},
]
HOMES = {"mlflow": "tracking", "xgboost": "families/xgboost.py", "lightgbm": "families/lightgbm.py"}
SIDE = "testing"


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    """The module or package of the first level that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    """Dotted names that a file imports when it runs; what only type checkers read is left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    type_checking = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    for node in nodes:
        if id(node) in type_checking:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def floor_of(name: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if name in rooms)


def test_every_module_has_a_floor() -> None:
    known = set().union(*FLOORS) | {SIDE, "__init__", "_search_spaces"}
    assert {room(path) for path in modules()} <= known


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path: Path) -> None:
    here = room(path)
    if here in (SIDE, "__init__"):
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "gbtune" or len(parts) < 2 or not any(parts[1] in rooms for rooms in FLOORS):
            assert parts[:2] != ["gbtune", SIDE], f"{path.name} imports the test kit"
            continue
        assert floor_of(parts[1]) <= floor_of(here), f"{path.name} on floor {floor_of(here)} imports {name}"


def test_modules_of_one_floor_do_not_import_in_circles() -> None:
    graph: dict[str, set[str]] = {}
    for path in modules():
        if room(path) not in (SIDE, "__init__"):
            names = {name.split(".")[1] for name in imports(path) if name.startswith("gbtune.")}
            graph.setdefault(room(path), set()).update(names & set().union(*FLOORS) - {room(path)})
    resolved: set[str] = set()
    while ready := {name for name, needs in graph.items() if name not in resolved and needs <= resolved}:
        resolved |= ready
    assert resolved == set(graph), f"a circle among {set(graph) - resolved}"


@pytest.mark.parametrize("library", HOMES)
def test_a_heavy_library_is_imported_in_its_home_alone(library: str) -> None:
    for path in modules():
        inside = str(path.relative_to(PACKAGE)).startswith((HOMES[library], SIDE))
        uses = any(name.split(".")[0] == library for name in imports(path))
        assert inside or not uses, f"{path} imports {library}"


@pytest.mark.parametrize("library", ["mlflow", "xgboost", "lightgbm", "sklearn"])
def test_no_file_imports_a_heavy_library_at_its_top(library: str) -> None:
    for path in modules():
        tops = {name.split(".")[0] for name in imports(path, top_level_only=True)}
        # The template runs inside a logged model, where its libraries are all there is.
        assert library not in tops or path.name == "model_script.py", f"{path} imports {library} at its top"


def test_importing_gbtune_imports_no_heavy_library() -> None:
    script = """
import sys
import gbtune
heavy = {"mlflow", "xgboost", "lightgbm", "sklearn"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
gbtune.tune_xgb, gbtune.Objective, gbtune.MLflowTracker, gbtune.SearchSpace, gbtune.Metric
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_no_file_is_much_longer_than_four_hundred_lines() -> None:
    long = {path.name: n for path in modules() if (n := len(path.read_text(encoding="utf-8").splitlines())) > 440}
    assert not long
