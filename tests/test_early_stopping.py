"""When a curve has been past its best for long enough: the rule read in one pass is the rule told round by round."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gbtune.early_stopping import stopping_round

LOSSES = st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0, math.nan, math.inf]), min_size=1, max_size=40)


def told_round_by_round(losses: list[float], patience: int) -> int | None:
    best, best_round = losses[0], 1
    for number, loss in enumerate(losses, start=1):
        if loss < best or (math.isnan(best) and not math.isnan(loss)):
            improved = not math.isnan(best)  # the first number after none is no improvement on anything
            best = loss
            if improved:
                best_round = number
        if number - best_round >= patience:
            return number
    return None


@given(LOSSES, st.integers(1, 12))
def test_it_is_the_first_round_without_an_improvement_for_so_many(losses: list[float], patience: int) -> None:
    assert stopping_round(np.array(losses), patience) == told_round_by_round(losses, patience)


def test_equal_losses_are_no_improvement() -> None:
    assert stopping_round(np.full(30, 0.5), patience=20) == 21


def test_a_curve_that_still_falls_has_no_end() -> None:
    assert stopping_round(np.linspace(1, 0, 500), patience=20) is None
