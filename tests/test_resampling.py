"""The cv argument becomes fixed folds."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneOut,
    ShuffleSplit,
    StratifiedKFold,
    TimeSeriesSplit,
)

from gbtune.data import Dataset
from gbtune.errors import GbtuneWarning, InvalidArgument, InvalidData
from gbtune.resampling import make_folds


def dataset(y, task=None, **more):
    return Dataset.from_arrays(np.arange(len(y), dtype=float).reshape(-1, 1), y, task=task, **more)


BINARY = dataset([0, 1, 1, 1] * 25)
REGRESSION = dataset(np.arange(100) / 7.0)
GROUPS = np.repeat(np.arange(20), 5)
GROUPED = dataset([0, 1, 1, 1] * 25, groups=GROUPS)
GROUPED_REGRESSION = dataset(np.arange(100) / 7.0, groups=[f"g{g}" for g in GROUPS])


def assert_partition(folds):
    held_out = np.concatenate([valid for _, valid in folds.splits])
    assert sorted(held_out) == list(range(folds.n_rows))
    for train, valid in folds.splits:
        assert sorted([*train, *valid]) == list(range(folds.n_rows))


def test_classification_gets_five_stratified_folds():
    folds = make_folds(None, BINARY, seed=0)
    assert folds.description == "5 stratified folds"
    assert_partition(folds)
    assert [BINARY.y[valid].sum() for _, valid in folds.splits] == [15] * 5
    assert folds.exchangeable


def test_regression_gets_shuffled_folds():
    folds = make_folds(4, REGRESSION, seed=0)
    assert folds.description == "4 folds"
    assert_partition(folds)
    assert folds.splits[0][1].tolist() != list(range(25))


@pytest.mark.parametrize("data", [GROUPED, GROUPED_REGRESSION], ids=["classification", "regression"])
@pytest.mark.parametrize("cv", [None, 4, 0.25])
def test_a_group_is_never_split(data, cv):
    folds = make_folds(cv, data, seed=0)
    for train, valid in folds.splits:
        assert not set(GROUPS[train]) & set(GROUPS[valid])
    assert "group" in folds.description


def test_a_group_hold_out_is_near_its_fraction_with_unequal_groups():
    rng = np.random.default_rng(0)
    groups = rng.choice(30, 600, p=rng.dirichlet(np.ones(30)))
    data = dataset(rng.integers(0, 2, 600), groups=groups)
    ((_, valid),) = make_folds(0.2, data, seed=0).splits
    assert 0.1 < len(valid) / 600 < 0.3


@pytest.mark.parametrize("cv, fraction", [(0.2, 0.2), (0.35, 0.35), (0.9, 0.9)])
def test_a_fraction_is_a_stratified_hold_out(cv, fraction):
    folds = make_folds(cv, BINARY, seed=0)
    ((train, valid),) = folds.splits
    assert len(train) + len(valid) == 100
    assert len(valid) == pytest.approx(100 * fraction, abs=1)
    assert BINARY.y[valid].mean() == pytest.approx(0.75, abs=0.03)
    assert folds.description == f"hold-out of {100 * fraction:g} %, stratified"


def test_one_default_fold_is_a_hold_out_of_a_fifth():
    folds = make_folds(None, BINARY, seed=0, default_folds=1)
    assert folds.description == "hold-out of 20 %, stratified"
    assert len(folds.splits[0][1]) == 20


def test_folds_depend_on_the_seed_alone():
    first, again, other = (make_folds(5, BINARY, seed=seed) for seed in (1, 1, 2))
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_the_default_takes_fewer_folds_where_the_data_cannot_fill_five():
    assert len(make_folds(None, dataset([0, 1] * 3, groups=[0, 0, 1, 1, 2, 2]), seed=0)) == 3
    assert len(make_folds(None, dataset([1.5, 2.5, 3.5]), seed=0)) == 3
    assert len(make_folds(None, dataset([0] * 20 + [1] * 3), seed=0)) == 3


# ---- rare classes ----


@pytest.mark.parametrize("n_folds", [2, 5, 10])
@given(counts=st.lists(st.integers(1, 12), min_size=3, max_size=8), seed=st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_rare_classes_are_spread_over_as_many_folds_as_they_have_rows(n_folds, counts, seed):
    counts = [12, *counts]
    y = np.repeat(np.arange(len(counts)), counts)
    data = dataset(y, task="multiclass")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", GbtuneWarning)
        folds = make_folds(n_folds, data, seed=seed)
    held_out = np.concatenate([valid for _, valid in folds.splits])
    for code, count in enumerate(counts):
        in_folds = [int((y[valid] == code).sum()) for _, valid in folds.splits]
        if count == 1:
            assert sum(in_folds) == 0
        else:
            assert sum(in_folds) == count
            assert max(in_folds) - min(in_folds) <= 1
    assert len(np.unique(held_out)) == len(held_out)
    for train, valid in folds.splits:
        assert len(train) + len(valid) == len(y)
        assert set(y[train]) == set(y)


def test_rare_classes_give_one_warning_that_counts_them():
    data = dataset(["a"] * 20 + ["b"] * 20 + ["c"] * 3 + ["d"], task="classification")
    with pytest.warns(GbtuneWarning, match="2 of 4 classes have fewer than 5 rows, 1 with one row") as caught:
        make_folds(5, data, seed=0)
    assert len(caught) == 1


def test_a_rare_class_with_groups_leaks_no_warning_of_scikit_learn():
    y = ["a"] * 20 + ["b"] * 20 + ["c"] * 3 + ["d"]
    data = dataset(y, groups=np.arange(44) // 3)
    with pytest.warns(GbtuneWarning) as caught:
        folds = make_folds(5, data, seed=0)
    assert len(caught) == 1
    held_out = np.concatenate([valid for _, valid in folds.splits])
    assert 43 not in held_out
    for train, valid in folds.splits:
        assert not set(data.groups[train]) & set(data.groups[valid])


def test_a_group_hold_out_has_its_share_of_rows_whose_classes_are_too_rare_for_one():
    data = dataset(np.repeat(np.arange(100), 9), task="multiclass", groups=np.arange(900))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GbtuneWarning)
        ((train, valid),) = make_folds(0.05, data, seed=0).splits
    assert len(valid) == 45 and set(data.y[train]) == set(range(100))


def test_a_group_that_has_a_class_for_itself_is_not_the_one_that_is_held_out():
    data = dataset([0] * 16 + [1] * 4, groups=[0] * 12 + [1] * 8)
    for seed in range(5):
        ((_, valid),) = make_folds(0.2, data, seed=seed).splits
        assert set(data.groups[valid]) == {0}


def test_a_large_group_hold_out_leaves_every_class_a_group_to_learn_from():
    y = np.r_[np.zeros(50, int), np.ones(50, int), 2, 2]
    data = dataset(y, task="multiclass", groups=np.r_[np.arange(100) // 2, 90, 91])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GbtuneWarning)
        ((train, valid),) = make_folds(0.9, data, seed=0).splits
    assert set(y[train]) == {0, 1, 2} and 0.8 < len(valid) / len(y) < 0.95


def test_a_hold_out_keeps_a_row_of_every_class_for_training():
    y = [0] * 50 + [1] * 2 + [2] * 2 + [3]
    with pytest.warns(GbtuneWarning, match="1 with one row"):
        ((train, _),) = make_folds(0.9, dataset(y, task="multiclass"), seed=0).splits
    assert set(np.array(y)[train]) == {0, 1, 2, 3}


# ---- somebody's splitter ----


def test_a_splitter_decides_and_is_left_as_it_is():
    cv = KFold(4, shuffle=True, random_state=np.random.RandomState(0))
    before = copy.deepcopy(cv.random_state.get_state()[1])
    folds = make_folds(cv, REGRESSION, seed=0)
    assert folds.description == "KFold, 4 folds"
    assert (cv.random_state.get_state()[1] == before).all()
    expected = KFold(4, shuffle=True, random_state=np.random.RandomState(0)).split(REGRESSION.X)
    for (train, valid), (train_expected, valid_expected) in zip(folds.splits, expected, strict=True):
        assert (train == train_expected).all()
        assert (valid == valid_expected).all()


@pytest.mark.parametrize("cv", [KFold(3, shuffle=True), ShuffleSplit(3)], ids=repr)
def test_a_shuffling_splitter_without_random_state_follows_the_study_seed(cv):
    first, again, other = (make_folds(cv, REGRESSION, seed=seed).fingerprint for seed in (0, 0, 1))
    assert first == again != other
    assert cv.random_state is None


def test_windows_in_time_are_not_exchangeable():
    folds = make_folds(TimeSeriesSplit(4), REGRESSION, seed=0)
    assert folds.description == "TimeSeriesSplit, 4 folds"
    assert not folds.exchangeable
    assert make_folds(KFold(4), REGRESSION, seed=0).exchangeable
    pairs = list(TimeSeriesSplit(3, max_train_size=20).split(REGRESSION.X))
    assert not make_folds(pairs, REGRESSION, seed=0).exchangeable


def test_a_group_splitter_gets_the_groups():
    folds = make_folds(GroupKFold(4), GROUPED, seed=0)
    for train, valid in folds.splits:
        assert not set(GROUPS[train]) & set(GROUPS[valid])


def test_a_splitter_of_two_arguments_is_enough():
    class Halves:
        def get_n_splits(self):
            return 1

        def split(self, X, y):
            yield np.arange(50), np.arange(50, 100)

    assert make_folds(Halves(), BINARY, seed=0).description == "Halves, 1 fold"


def test_leave_one_out_works():
    assert len(make_folds(LeaveOneOut(), dataset([1.5, 2.5, 4.0]), seed=0)) == 3


def test_scikit_learn_warning_of_a_stratified_splitter_becomes_ours():
    data = dataset(["a"] * 20 + ["b"] * 20 + ["c"] * 3)
    with pytest.warns(GbtuneWarning, match="1 of 3 classes has fewer than 5 rows") as caught:
        make_folds(StratifiedKFold(5), data, seed=0)
    assert len(caught) == 1


# ---- pairs ----


def test_positions_and_masks_are_the_same():
    valid = np.arange(0, 100, 3)
    mask = np.zeros(100, dtype=bool)
    mask[valid] = True
    by_mask = make_folds([(~mask, mask)], BINARY, seed=0)
    by_position = make_folds(iter([(np.flatnonzero(~mask)[::-1], valid.tolist())]), BINARY, seed=0)
    assert by_mask.fingerprint == by_position.fingerprint
    assert by_mask.description == "1 fold, given as positions"


REST = list(range(10, 100))


@pytest.mark.parametrize(
    "cv, message",
    [
        ([], "at least one"),
        ([(REST, [])], "at least one row"),
        ([(REST, [10, 3])], "must not overlap; 1 row in both, e.g. position 10"),
        ([(REST, [100])], "positions from 0 to 99"),
        ([(REST, [-1])], "positions from 0 to 99"),
        ([(REST, [1.0])], "int positions"),
        ([(REST, [1, 1])], "once"),
        ([(REST, [[1]])], "vector"),
        ([(REST, np.ones(3, dtype=bool))], "mask must have 100 values"),
        ((np.arange(50), np.arange(50, 100)), "pairs"),
        ([(REST,)], "pairs"),
        (True, "cv must be None"),
        ("5", "cv must be None"),
        (1, "at least 2 folds, got 1"),
        (0, "at least 2 folds"),
        (0.0, "between 0 and 1"),
        (5.0, "between 0 and 1"),
        (float("nan"), "between 0 and 1"),
        (object(), "cv must be None"),
        (GroupKFold(3), "needs groups"),
    ],
)
def test_a_cv_that_breaks_a_rule_is_refused(cv, message):
    with pytest.raises(InvalidArgument, match=message):
        make_folds(cv, BINARY, seed=0)


def test_a_splitter_that_fails_says_why():
    with pytest.raises(InvalidArgument, match="StratifiedKFold could not split 100 rows of a regression task"):
        make_folds(StratifiedKFold(3), REGRESSION, seed=0)


@pytest.mark.parametrize(
    "cv, data, message",
    [
        (101, BINARY, "at least as many rows; X has 100"),
        (21, GROUPED, "as many groups; there are 20"),
        (None, dataset([0, 1] * 5, groups=[0] * 10), "at least two different groups"),
        (0.2, dataset([0, 1] * 5, groups=[0] * 10), "at least two different groups"),
        (0.001, REGRESSION, "empty part"),
        (None, dataset([0, 1]), "two or more rows"),
        (KFold(2), dataset([0] * 5 + [1] * 5), "class 1 only"),
        (2, dataset([0, 1] * 5, groups=[0, 1] * 5), "only"),
        ([(range(5), range(5, 10))], dataset([0, 1] * 5, sample_weight=[1] * 5 + [0] * 5), "whole validation part"),
    ],
)
def test_data_that_cannot_be_split_so_are_refused(cv, data, message):
    with pytest.raises(InvalidData, match=message):
        make_folds(cv, data, seed=0)
