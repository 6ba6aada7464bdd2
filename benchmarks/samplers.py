"""What an ask costs: milliseconds of each sampler, on the shipped spaces, with more and more trials behind it."""

from __future__ import annotations

import functools
import platform
import re
import statistics
import time
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from gbtune.errors import MissingLibrary
from gbtune.samplers import NAMES, resolve_sampler
from gbtune.slots import GENERATION, SLOT_KEY
from gbtune.spaces import SearchSpace
from gbtune.study import quiet_optuna

SPACES = ("xgboost/core", "xgboost/wide")
BEHIND = (12, 28, 100, 300)
"""Told trials: generations of `tune` begin there."""
SAMPLERS: dict[str, Any] = {
    **{name: name for name in NAMES if name != "grid"},  # a grid is not asked for: its cells are a list
    '{"max_depth": "grid", "*": "tpe"}': {"max_depth": "grid", "*": "tpe"},
}
PAGE = Path(__file__).parents[1] / "docs" / "samplers.md"


def ask(study: optuna.Study, space: SearchSpace, slot: int) -> tuple[optuna.Trial, float]:
    """Start the trial of a slot as `gbtune.tune` does; return it, and the milliseconds until it had its parameters."""
    template = optuna.create_trial(state=TrialState.RUNNING, user_attrs={SLOT_KEY: slot})
    started = time.thread_time()  # of one core: other processes do not count
    trial = optuna.Trial(study, study._storage.create_new_trial(study._study_id, template_trial=template))
    space.suggest(trial, rounds=False)
    return trial, 1000 * (time.thread_time() - started)


def value_of(params: dict[str, Any]) -> float:
    """A smooth function of a configuration, with one best: the samplers' work does not depend on what it is."""
    depth, rate = params["max_depth"], params["learning_rate"]
    return float((depth - 7) ** 2 / 20 + (rate - 0.05) ** 2 * 50 + (params["subsample"] - 0.8) ** 2)


def milliseconds(sampler: Any, space: SearchSpace, behind: Iterable[int] = BEHIND, repeats: int = 3) -> list[float]:
    """Return the median time of an ask after so many told trials, over some generations of asks.

    The trials behind are the sampler's own for CMA-ES, whose state is in them, and random ones for the others.
    """
    found = []
    for count in behind:
        times = []
        for repeat in range(repeats):
            study = optuna.create_study(sampler=resolve_sampler(sampler, space, study_seed=repeat).sampler)
            own, random = study.sampler, resolve_sampler("random", space, study_seed=repeat).sampler
            study.sampler = own if sampler == "cmaes" else random
            for slot in range(count):
                trial = ask(study, space, slot)[0]
                study.tell(trial, value_of(trial.params))
            study.sampler = own
            times += [ask(study, space, count + place)[1] for place in range(GENERATION)]
        found.append(statistics.median(times))
    return found


def table(names: Iterable[str], spaces: Iterable[str], behind: Iterable[int], repeats: int) -> str:
    """Return the table in markdown, with the machine below."""
    loaded, counts = [SearchSpace.load(name).for_levels(0) for name in spaces], list(behind)
    lines = [
        "| sampler | " + " | ".join(f"{space.name}, {count}" for space in loaded for count in counts) + " |",
        "|---|" + "---:|" * (len(loaded) * len(counts)),
    ]
    for name in names:
        measure = functools.partial(milliseconds, SAMPLERS[name], behind=counts, repeats=repeats)
        try:
            cells = [f"{value:.1f}" for space in loaded for value in measure(space)]
        except MissingLibrary:
            cells = ["not installed"] * (len(loaded) * len(counts))
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    versions = [f"{name} {_version(name)}" for name in ("optuna", "cmaes", "torch")]
    sizes = [f"{space.key} samples {len(space.distributions(rounds=False))} parameters" for space in loaded]
    about = f"{'; '.join(sizes)}. Medians of {repeats * GENERATION} asks; Python {platform.python_version()}, "
    about += f"{', '.join(versions)}; {_cpu()}."
    return "\n".join([*lines, "", about])


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _cpu() -> str:
    try:
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def rewrite(page: Path, name: str, text: str) -> None:
    """Put a table between ``<!-- table: NAME -->`` and ``<!-- end table -->``."""
    before = page.read_text(encoding="utf-8")
    start, end = f"<!-- table: {name} -->\n", "<!-- end table -->"
    after, count = re.subn(f"({start}).*?({end})", lambda match: match[1] + text + "\n" + match[2], before, flags=re.S)
    if count != 1:
        raise ValueError(f"{page} must have the lines {start.strip()!r} and {end!r} once, found them {count} times.")
    page.write_text(after, encoding="utf-8")


def run(
    *,
    update: bool,
    names: Iterable[str] = tuple(SAMPLERS),
    spaces: Iterable[str] = SPACES,
    behind: Iterable[int] = BEHIND,
    repeats: int = 3,
    page: Path = PAGE,
) -> int:
    """Print the table; with `update`, write it into the page too."""
    with quiet_optuna():
        text = table(names, spaces, behind, repeats)
    print(text)
    if update:
        rewrite(page, "ask", text)
    return 0
