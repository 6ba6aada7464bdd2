"""The one function from which every random stream of a study is seeded."""

from __future__ import annotations

import functools
import zlib

import numpy as np


@functools.lru_cache(maxsize=1024)  # the boosters of all trials have the same few
def seed(study_seed: int, purpose: str, slot: int = 0, fold: int = 0) -> int:
    """Return the seed of one random stream.

    Parameters
    ----------
    study_seed : int
        The seed of the study, at least 0.
    purpose : str
        What the stream is for, e.g. ``"booster"``, ``"sampler"``, ``"folds"``.
    slot : int, default 0
        The trial's slot, for streams that differ between trials.
    fold : int, default 0
        The fold, for streams that differ between folds.

    Returns
    -------
    int
        In ``[0, 2**31)``, which every library accepts. Streams of different arguments are
        independent (numpy's `SeedSequence`).

    Examples
    --------
    >>> from gbtune.seeds import seed
    >>> seed(0, "booster", fold=1) == seed(0, "booster", fold=1)
    True
    >>> seed(0, "booster", fold=1) == seed(0, "booster", fold=2)
    False
    """
    entropy = [study_seed, zlib.crc32(purpose.encode()), slot, fold]
    return int(np.random.SeedSequence(entropy).generate_state(1)[0] >> 1)


def fresh_study_seed() -> int:
    """Return an unpredictable study seed, used (and recorded) when ``seed=None``."""
    return int(np.random.SeedSequence().generate_state(1)[0] >> 1)
