"""Groups dealt into parts: whole, in proportion, by chance."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from gbtune.group_folds import deal_groups

SIZES = st.lists(st.integers(1, 40), min_size=5, max_size=40)


def groups_of(sizes: list[int]) -> NDArray[np.intp]:
    return np.repeat(np.arange(len(sizes)), sizes)


@given(sizes=SIZES, n_parts=st.integers(2, 5), seed=st.integers(0, 1000))
@settings(max_examples=100, deadline=None)
def test_parts_differ_by_no_more_rows_than_the_largest_group_has(sizes: list[int], n_parts: int, seed: int) -> None:
    groups = groups_of(sizes)
    part_of = deal_groups(groups, np.zeros(len(groups), int), [1 / n_parts] * n_parts, seed=seed)
    rows = np.bincount(part_of[groups], minlength=n_parts)
    assert rows.min() > 0 and rows.max() - rows.min() <= max(sizes)


@given(sizes=SIZES, share=st.floats(0.05, 0.95), seed=st.integers(0, 1000))
@settings(max_examples=100, deadline=None)
def test_a_hold_out_misses_its_share_by_no_more_than_a_group_and_is_never_empty(
    sizes: list[int], share: float, seed: int
) -> None:
    groups = groups_of(sizes)
    held_out = deal_groups(groups, np.zeros(len(groups), int), [1 - share, share], seed=seed)[groups]
    assert 0 < held_out.sum() < len(groups)
    assert abs(held_out.sum() - share * len(groups)) <= max(sizes)


@pytest.mark.parametrize("n_groups, rows, n_classes", [(40, 600, 2), (300, 3000, 5), (1500, 4000, 3)])
def test_classes_are_spread_as_evenly_as_scikit_learn_spreads_them(n_groups: int, rows: int, n_classes: int) -> None:
    random = np.random.default_rng(0)
    groups = np.unique(random.choice(n_groups, rows, p=random.dirichlet(np.ones(n_groups))), return_inverse=True)[1]
    classes = (groups % n_classes + (random.random(rows) < 0.3)) % n_classes

    def unevenness(part: NDArray[np.intp]) -> float:
        shares = [np.bincount(classes[part == k], minlength=n_classes) / np.bincount(classes) for k in range(5)]
        return float(np.std(shares, axis=0).mean())

    theirs = np.empty(rows, int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        splits = StratifiedGroupKFold(5, shuffle=True, random_state=0).split(groups, classes, groups)
        for fold, (_, valid) in enumerate(splits):
            theirs[valid] = fold
    ours = deal_groups(groups, classes, [0.2] * 5, seed=0)[groups]
    assert unevenness(ours) <= unevenness(theirs) + 0.003


def test_groups_that_are_alike_are_dealt_evenly_whatever_their_number() -> None:
    groups = groups_of([2, 1] * 50_000)
    classes = (groups % 4 == 1).astype(int)
    parts = deal_groups(groups, classes, [0.2] * 5, seed=0)[groups]
    for each in (0, 1):
        assert np.ptp(np.bincount(parts[classes == each])) <= 2


def test_another_seed_deals_other_parts_and_the_same_one_the_same() -> None:
    groups = groups_of(list(range(1, 41)))
    one, again, other = (deal_groups(groups, groups % 2, [0.2] * 5, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).mean() > 0.3


def test_no_part_is_empty_where_classes_keep_to_groups_of_their_own() -> None:
    for seed in range(10):
        assert set(deal_groups(np.repeat([0, 1], 10), np.repeat([0, 1], 10), [0.5, 0.5], seed=seed)) == {0, 1}
        assert set(deal_groups(np.repeat([0, 1], 10), np.zeros(20, int), [0.9, 0.1], seed=seed)) == {0, 1}
