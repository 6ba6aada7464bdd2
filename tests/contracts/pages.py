"""Follows a page of the documentation: writes the files it names, runs the commands it shows."""

from __future__ import annotations

import dataclasses
import os
import re
import site
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
# A file is its path alone on a line, in backticks, and the block after it.
_STEP = re.compile(
    r"^`(?P<path>[\w./-]+)`\n\n```\w+\n(?P<text>.*?)^```$|^```console\n(?P<commands>.*?)^```$", re.M | re.S
)


@dataclasses.dataclass(frozen=True)
class Step:
    """A file to write, or commands to run."""

    path: str = ""
    text: str = ""
    commands: tuple[str, ...] = ()


def steps(page: str) -> list[Step]:
    """Return the steps of a page in docs, in order."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = []
    for match in _STEP.finditer(text):
        if match["path"]:
            found.append(Step(match["path"], match["text"]))
        else:
            lines = match["commands"].splitlines()
            assert all(line.startswith("$ ") for line in lines), lines
            found.append(Step(commands=tuple(line.removeprefix("$ ") for line in lines)))
    # No block is left out because it is formed otherwise.
    assert text.count("\n```") == 2 * len(found), f"{page}: some blocks have no file name, or are no console"
    return found


def environment(folder: Path) -> dict[str, str]:
    """Make a virtual environment that sees this one's packages; return what its commands need. No network."""
    venv.create(folder, with_pip=False, symlinks=True)
    inside = sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)})
    ours = sorted({*site.getsitepackages(), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    lines = "".join(f"import site; site.addsitedir({path!r})\n" for path in ours)
    (Path(inside) / "packages_of_the_tests.pth").write_text(lines, encoding="utf-8")
    path = os.pathsep.join([str(folder / "bin"), os.environ.get("PATH", "")])
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV_", "MLFLOW_"))}
    quiet = {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return {**kept, **quiet, "PATH": path, "DO_NOT_TRACK": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def follow(page: str, folder: Path) -> list[str]:
    """Do what a page says, in an empty folder; return what each command wrote."""
    env = environment(folder / "environment")
    here = folder / "work"
    here.mkdir()
    outputs = []
    for step in steps(page):
        if step.path:
            path = here / step.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(step.text, encoding="utf-8")
        for command in step.commands:
            done = subprocess.run(
                command, shell=True, cwd=here, env=env, capture_output=True, text=True, timeout=300, check=False
            )
            assert done.returncode == 0, f"$ {command}\n{done.stdout}\n{done.stderr}"
            outputs.append(done.stdout)
    return outputs


def install(source: Path, target: Path) -> None:
    """Install a package into a folder, from its source and without a network."""
    command = f"-m pip install --quiet --no-index --no-deps --no-build-isolation --target {target} {source}"
    subprocess.run([sys.executable, *command.split()], check=True, timeout=120)
