"""Which runs a profile has, in which order, and what they take."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.quality.peers import FAMILIES, PEERS

START_SECONDS = 9.0
"""Of a process before its clock starts, and of scoring after it: imports, reading the data."""
FIXED_SECONDS = 6.0
"""Of a peer that does one fixed thing, about."""
OVERSHOOT = 1.1
"""Peers that refit after their time take about a tenth more; on large sets some take until they are killed."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One run: what is found again when a sitting goes on.

    Parameters
    ----------
    set, family, peer : str
        Names.
    budget : float or None
        Seconds; None for a peer that has no use for them.
    seed : int
        Of the division of the rows and of the peer.
    """

    set: str
    family: str
    budget: float | None
    seed: int
    peer: str

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Run:
        """Return the run that a line of results is about."""
        budget = record["budget"]
        return cls(
            str(record["set"]),
            str(record["family"]),
            None if budget is None else float(budget),
            int(record["seed"]),
            str(record["peer"]),
        )


@dataclasses.dataclass(frozen=True)
class Profile:
    """What is run.

    Parameters
    ----------
    sets, peers, families : tuple of str
        Names.
    budgets : tuple of float
        Seconds.
    seeds : tuple of int
        Each divides the rows anew.
    """

    sets: tuple[str, ...]
    peers: tuple[str, ...]
    budgets: tuple[float, ...]
    seeds: tuple[int, ...]
    families: tuple[str, ...] = FAMILIES

    def runs(self) -> list[Run]:
        """Return all runs in their order.

        Seed by seed and budget by budget, so that an unfinished benchmark is a smaller whole one. Within these, the
        pairs of set and family come in an order drawn once, and each pair's peers right after each other in an order
        drawn anew: a machine that slows down slows all of them.
        """
        made = []
        for seed in self.seeds:
            for position, budget in enumerate(self.budgets):
                stream = random.Random(f"{seed} {budget}")
                cells = [(name, family) for name in self.sets for family in self.families]
                stream.shuffle(cells)
                for name, family in cells:
                    peers = [peer for peer in self.peers if family in PEERS[peer].families]
                    stream.shuffle(peers)
                    for peer in peers:
                        if PEERS[peer].budgeted:
                            made.append(Run(name, family, budget, seed, peer))
                        elif position == 0:
                            made.append(Run(name, family, None, seed, peer))
        return made


def estimate(runs: Iterable[Run]) -> float:
    """Return the seconds that runs take, about."""
    return sum(START_SECONDS + (FIXED_SECONDS if run.budget is None else OVERSHOOT * run.budget) for run in runs)


SMALL_SETS = ("diabetes", "breast_cancer", "ames_price", "crash_deaths")
HOUR_SETS = ("breast_cancer", "digits", "ames_price", "crash_deaths", "course_ratings", "flights_june")
FULL_SETS = (
    "diabetes", "breast_cancer", "digits", "ames_price", "bace_potency", "mnist5k", "bike_hourly", "crash_deaths",
    "vehicle_make", "adult", "diamonds", "course_ratings", "hospital_readmission", "flights_delay",
)  # fmt: skip
PROFILES = {
    "smoke": Profile(SMALL_SETS, ("gbtune", "script", "flaml_auto", "default"), (6.0,), (0,)),
    "hour": Profile(HOUR_SETS, ("gbtune", "script", "flaml_auto", "tuner_cv", "pytabkit_td"), (20.0,), (0, 1)),
    "full": Profile(FULL_SETS, tuple(PEERS), (15.0, 60.0, 240.0), (0, 1, 2)),
}
"""Fixed before any result was seen; README.md says why these."""


def describe(runs: Sequence[Run]) -> str:
    """Return how many runs there are, and what they take."""
    hours = estimate(runs) / 3600
    words = f"{hours:.1f} hours" if hours > 1.5 else f"{60 * hours:.0f} minutes"
    return f"{len(runs)} runs, about {words}"
