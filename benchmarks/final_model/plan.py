"""Which studies are recorded, and in which order."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

FAMILIES = ("lightgbm", "xgboost")


@dataclasses.dataclass(frozen=True)
class Depth:
    """How many models of a study are fitted and kept. Counted from the best configuration.

    Parameters
    ----------
    refits : int
        Configurations fitted again on all training rows.
    further : int, default 10
        Evenly spread over the complete trials behind these: with them the median configuration is known.
    scaled : int, default 10
        Refits that also predict after other numbers of rounds.
    folds : int, default 10
        Configurations whose fold models are kept, with their predictions of their own validation rows.
    seeds : int, default 4
        Refits of the best configuration with other seeds.
    """

    refits: int
    further: int = 10
    scaled: int = 10
    folds: int = 10
    seeds: int = 4


@dataclasses.dataclass(frozen=True)
class Case:
    """One study.

    Parameters
    ----------
    set : str
        As in `benchmarks.quality.sets`.
    family : str
        ``"lightgbm"`` or ``"xgboost"``.
    division : int
        Of the rows: which quarter is held out, which of the others are drawn, and the seed of the study.
    n_trials : int
        Of the study.
    depth : Depth
        What is kept.
    rows : int, optional
        So many training rows are drawn at random; None: all.
    lowest_rate : float, default 0
        No smaller learning rate is sampled: for cases that would take too long. 0: the space as it is.
    checkpoints : tuple of int, default ()
        The best configurations among so many first trials are kept too.
    """

    set: str
    family: str
    division: int
    n_trials: int
    depth: Depth
    rows: int | None = None
    lowest_rate: float = 0.0
    checkpoints: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """What the recording is called."""
        return f"{self.set}-{self.rows or 'all'}-{self.family}-{self.n_trials}-{self.division}"

    def path(self, folder: Path) -> Path:
        """Return the file of the recording."""
        return folder / f"{self.name}.npz"


SMALL: dict[str, int | None] = {
    "diabetes": None, "breast_cancer": None, "ames_price": 500, "bace_potency": 500, "digits": 500, "adult": 500,
    "crash_deaths": 800, "course_ratings": 600, "hospital_readmission": 800, "bike_hourly": 600, "flights_june": 800,
    "diamonds": 500,
}  # fmt: skip
MIDDLE: dict[str, int | None] = {
    "ames_price": None, "digits": None, "crash_deaths": 8000, "adult": 4000, "course_ratings": 5000,
    "hospital_readmission": 6000, "bike_hourly": 5000, "diamonds": 3000,
}  # fmt: skip
LARGE: dict[str, int | None] = {
    "adult": 30_000, "crash_deaths": None, "diamonds": 30_000, "course_ratings": 20_000,
    "hospital_readmission": 20_000, "flights_june": 15_000,
}  # fmt: skip
LONG: dict[str, int | None] = {"diabetes": None, "breast_cancer": None, "ames_price": 500}
"""Sets to training rows; None: all that are not held out. Chosen before anything was recorded."""
CHECKPOINTS = (20, 50, 100, 200, 500, 1000, 2000)


def _cases(
    sets: dict[str, int | None], divisions: Iterable[int], n_trials: int, depth: Depth, **more: Any
) -> list[Case]:
    """Return the cases of one kind, in an order drawn once for each division."""
    made = []
    for division in divisions:
        names = random.Random(division).sample(list(sets), len(sets))
        made += [
            Case(name, family, division, n_trials, depth, sets[name], **more)
            for name, family in itertools.product(names, FAMILIES)
        ]
    return made


def mixed(*kinds: Sequence[Case]) -> list[Case]:
    """Return all cases, those of each kind evenly spread: an unfinished recording is a smaller whole one."""
    placed = [((i + 0.5) / len(kind), case) for kind in kinds for i, case in enumerate(kind)]
    return [case for _, case in sorted(placed, key=lambda place: place[0])]


_LONG_DEPTH = Depth(refits=20, scaled=0, folds=1, seeds=0)
PROFILES: dict[str, list[Case]] = {
    "smoke": _cases({"diabetes": None}, (0,), 12, Depth(refits=5, further=2, scaled=2, folds=2), lowest_rate=0.1),
    "full": [
        *_cases(SMALL, range(2), 60, Depth(refits=20), lowest_rate=0.03),
        *mixed(
            _cases(SMALL, range(2, 6), 60, Depth(refits=20), lowest_rate=0.03),
            _cases(MIDDLE, range(2), 60, Depth(refits=20, folds=5), lowest_rate=0.03),
            _cases(LARGE, range(1), 25, Depth(refits=20, folds=3, scaled=5), lowest_rate=0.05),
            _cases(LONG, range(5), max(CHECKPOINTS), _LONG_DEPTH, lowest_rate=0.03, checkpoints=CHECKPOINTS),
        ),
    ],
}
