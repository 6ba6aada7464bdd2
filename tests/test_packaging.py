"""What is built, installed and loaded: wheel, sdist, editable checkout."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import gbtune

ROOT = Path(__file__).parents[1]
SPACES = sorted(path.relative_to(ROOT / "search_spaces") for path in (ROOT / "search_spaces").rglob("*.toml"))


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheel and sdist, built from the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return folder


def test_the_wheel_holds_package_spaces_and_type_marker(distributions: Path) -> None:
    (wheel,) = distributions.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert SPACES
    assert {f"gbtune/_search_spaces/{path.as_posix()}" for path in SPACES} <= names
    assert {"gbtune/__init__.py", "gbtune/py.typed", "gbtune/testing/families.py"} <= names
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"gbtune"}, "nothing else becomes a global import name"


def test_the_sdist_holds_the_spaces_and_the_tests(distributions: Path) -> None:
    (sdist,) = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"search_spaces/{path.as_posix()}" for path in SPACES} <= names
    assert {"pyproject.toml", "LICENSE", "README.md", "tests/test_packaging.py"} <= names


def test_a_space_loads_from_an_installed_wheel(distributions: Path, tmp_path: Path) -> None:
    # The dependencies come from the running environment; gbtune itself only from the wheel.
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    (wheel,) = distributions.glob("*.whl")
    target = next((tmp_path / "env" / "lib").glob("python*")) / "site-packages"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            "--target",
            str(target),
            str(wheel),
        ],
        check=True,
        timeout=120,
    )
    dependencies = Path(__import__("optuna").__file__).parents[1]
    script = f"""
import sys
sys.path.append({str(dependencies)!r})  # after the environment's own packages, and without its .pth files
import gbtune
from gbtune.spaces import SearchSpace, available
assert gbtune.__file__.startswith({str(target)!r}), gbtune.__file__
print(SearchSpace.load("xgboost/core").key, *available(), *available(fragments=True))
"""
    done = subprocess.run(
        [str(python), "-c", script], check=True, capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert done.stdout.split()[0] == "xgboost/core"
    assert set(done.stdout.split()[1:]) == {f"{path.parts[0]}/{path.stem}" for path in SPACES}


def test_the_version_is_written_once() -> None:
    from importlib.metadata import version

    assert version("gbtune") == gbtune.__version__
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "version" not in project and "version" in project["dynamic"]


def test_the_built_in_plug_ins_use_the_public_door() -> None:
    from importlib.metadata import entry_points

    assert {point.name for point in entry_points(group="gbtune.families")} >= {"xgboost", "lightgbm"}
    assert len(entry_points(group="gbtune.search_spaces")) >= 1


def test_the_readmes_commands_are_those_of_continuous_integration() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "bash .ci/setup && .venv/bin/python docs/quickstart.py" in readme
    assert "bash .ci/setup && .venv/bin/python -m pytest -n 3" in readme
    assert "bash .ci/setup\n" in run and "\n.venv/bin/python -m pytest -n 3\n" in run
