"""X, y, weights and groups become a Dataset, or an error before the first tree."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp

from gbtune import data as data_module
from gbtune.data import Dataset
from gbtune.errors import GbtuneWarning, InvalidArgument, InvalidData

X4 = pd.DataFrame({"a": [1.0, 2.0, None, 4.0], "b": ["x", "y", "x", None]})
X30 = np.arange(60.0).reshape(30, 2)


def of(y, **more):
    return Dataset.from_arrays(np.arange(len(y), dtype=float).reshape(-1, 1), y, **more)


# ---- task and labels ----


@pytest.mark.parametrize(
    "y, classes",
    [
        (["no", "yes", "no", "yes"], ("no", "yes")),
        (np.array(["no", "yes", "no", "yes"]), ("no", "yes")),
        (pd.Series(["no", "yes", "no", "yes"], dtype=object), ("no", "yes")),
        (pd.array(["no", "yes", "no", "yes"], dtype="string"), ("no", "yes")),
        (pd.Series(["no", "yes", "no", "yes"], dtype=pd.ArrowDtype(pa.string())), ("no", "yes")),
        (pa.chunked_array([["no", "yes"], ["no", "yes"]]), ("no", "yes")),
        (pa.array(["no", "yes", "no", "yes"]).dictionary_encode(), ("no", "yes")),
        (pd.Categorical(["no", "yes", "no", "yes"], categories=["yes", "no", "unused"]), ("no", "yes")),
        ([False, True, False, True], (False, True)),
        (pd.array([False, True, False, True], dtype="boolean"), (False, True)),
        (pd.Series([False, True, False, True], dtype=object), (False, True)),
        ([3, 7, 3, 7], (3, 7)),
        (np.array([3, 7, 3, 7], dtype=np.uint8), (3, 7)),
        (pd.array([3, 7, 3, 7], dtype="Int64"), (3, 7)),
        (pd.Index([3, 7, 3, 7]), (3, 7)),
        ((1.0, 2.0, 1.0, 2.0), (1.0, 2.0)),
        (pd.Categorical([3, 7, 3, 7]), (3, 7)),
    ],
    ids=lambda value: type(value).__name__,  # no addresses: parallel test runs compare names
)
def test_two_different_labels_are_a_binary_task(y, classes):
    before = copy.deepcopy(y)
    data = Dataset.from_arrays(X4, y)
    assert data.task == "binary"
    assert data.y.dtype == np.int64
    assert data.y.tolist() == [0, 1, 0, 1]
    assert data.classes == classes
    assert list(map(type, data.classes)) == list(map(type, classes))
    assert data.encoder.decode(data.y).tolist() == [classes[0], classes[1]] * 2
    assert np.asarray(before).tolist() == np.asarray(y).tolist()


@pytest.mark.parametrize(
    "y, task, classes",
    [
        (list("abc") * 10, "multiclass", ("a", "b", "c")),
        (list("abc"), "multiclass", ("a", "b", "c")),
        ([0, 1, 2] * 10, "multiclass", (0, 1, 2)),
        (pd.Categorical([5, 1, 2] * 10), "multiclass", (1, 2, 5)),
        ([0.0, 1.0, 2.0] * 10, "regression", ()),
        ([0, 1, 2, 3, 4, 5] * 5, "regression", ()),  # each five times only: too few rows a class
        ([*range(21)] * 10, "regression", ()),
        ([0.5, 1.5] * 10, "regression", ()),
        (pd.array([1.5, 2, 3] * 10, dtype="Float64"), "regression", ()),
        (pd.Series([1, 2.5, 4] * 10, dtype=object), "regression", ()),
    ],
)
def test_the_task_is_inferred_and_said(y, task, classes):
    data = of(y)
    assert data.task == task
    assert data.classes == classes
    assert data.n_classes == len(classes)
    assert data.notes[0].startswith(f"Task: {task} (inferred from")
    if task == "regression":
        assert data.y.dtype == np.float64


@pytest.mark.parametrize(
    "y, task, expected",
    [
        ([0, 1, 2, 3], "classification", "multiclass"),
        ([0, 1, 0, 1], "classification", "binary"),
        ([0, 1, 0, 1], "binary", "binary"),
        ([0.0, 1.0, 2.0, 2.0], "multiclass", "multiclass"),
        ([0, 1, 0, 1], "regression", "regression"),
    ],
)
def test_a_given_task_is_taken(y, task, expected):
    data = of(y, task=task)
    assert data.task == expected
    assert "inferred" not in data.notes[0]


@pytest.mark.parametrize(
    "y, task, message",
    [
        ([0, 1, 2, 3], "binary", "two different labels in y; it has 4. Use task='multiclass'"),
        ([0, 1, 0, 1], "multiclass", "three or more different labels in y; it has 2. Use task='binary'"),
        (list("abab"), "regression", "task='regression' needs a y of numbers"),
        ([True, False, True, False], "regression", "needs a y of numbers; its dtype is bool"),
        (pd.Categorical([1, 2, 3, 4]), "regression", "needs a y of numbers; its dtype is category"),
        ([0.5, 1.0, 2.0, 3.0], "classification", "holds fractions such as 0.5"),
    ],
)
def test_a_task_that_does_not_fit_y_is_refused(y, task, message):
    with pytest.raises(InvalidData, match=message):
        of(y, task=task)


def test_an_unknown_task_is_refused():
    with pytest.raises(InvalidArgument, match=r"task must be one of 'binary'.*got 'ranking'"):
        of([0, 1], task="ranking")


# ---- what is refused ----


@pytest.mark.parametrize(
    "y, message",
    [
        ([1, 1, 1, 1], "at least two different values; all 4 are 1"),
        (["a"] * 4, "all 4 are 'a'"),
        ([2.5] * 4, "all 4 are 2.5"),
        ([1.0, None, 2.0, np.nan], r"y must not be missing \(NaN, None\); 2 of 4 \(at position 1, 3\) are missing"),
        (["a", None, "b", "a"], r"1 of 4 \(at position 1\) is missing"),
        (pd.array([1, None, 2, 3], dtype="Int64"), "is missing"),
        (pd.Categorical(["a", None, "b", "a"]), "is missing"),
        ([1.0, np.inf, 2.0, -np.inf], r"y must be finite; 2 of 4 \(at position 1, 3\)"),
        ([[1], [0], [1], [0]], r"y must have one dimension.*\(4, 1\)"),
        (np.zeros((4, 2)), r"one dimension.*\(4, 2\)"),
        (pd.DataFrame({"y": [1, 0, 1, 0]}), r"one dimension.*\(4, 1\)"),
        (sp.csr_matrix(np.eye(4)), "one dimension"),
        (3, r"one dimension, a value per row of X; its shape is \(\)"),
        ([1, "a", 2, "b"], "one type.*it holds int, str"),
        ([True, 1, "a", 0], "one type"),
        (pd.date_range("2020", periods=4), "its dtype is datetime64"),
        ([1j, 2, 3, 4], "its dtype is complex128"),
        ([1, 0, 1], "equally long: X has 4 rows, y has 3 values"),
    ],
)
def test_a_y_that_cannot_be_used_is_refused(y, message):
    with pytest.raises(InvalidData, match=message):
        Dataset.from_arrays(X4, y)


@pytest.mark.parametrize(
    "weight, message",
    [
        ([1, 2, 3], "sample_weight has 3 values"),
        ([1, -1, 1, -2], r"at least 0; 2 of 4 \(at position 1, 3\) are negative"),
        ([1, np.nan, 1, 1], "must not be missing"),
        ([1, np.inf, 1, 1], "must be finite"),
        ([0, 0, 0, 0], "all are 0"),
        (list("abcd"), "must hold numbers"),
        (np.ones((4, 1)), "one dimension"),
    ],
)
def test_weights_that_cannot_be_used_are_refused(weight, message):
    with pytest.raises(InvalidData, match=message):
        Dataset.from_arrays(X4, [0, 1, 0, 1], sample_weight=weight)


@pytest.mark.parametrize(
    "groups, message",
    [
        ([1, 2, 3], "groups has 3 values"),
        ([1, None, 2, 2], "groups must not be missing"),
        (pd.Series([{}, {}, {}, {}]), "hashable"),
        (np.ones((4, 1)), "one dimension"),
    ],
)
def test_groups_that_cannot_be_used_are_refused(groups, message):
    with pytest.raises(InvalidData, match=message):
        Dataset.from_arrays(X4, [0, 1, 0, 1], groups=groups)


def test_a_y_that_single_precision_cannot_hold_is_refused_and_one_that_it_rounds_is_warned_about():
    spread = np.linspace(-2, 2, 30)
    with pytest.raises(
        InvalidData, match=r"near 1e\+09 are 64 apart, and the standard deviation of y is 1\.19\. Give y -"
    ):
        of(1e9 + spread, task="regression")
    with pytest.warns(GbtuneWarning, match=r"near 5e\+06 are 0\.5 apart"):
        of(5e6 + spread, task="regression")
    assert of(5e5 + spread, task="regression").task == of(1e9 * spread, task="regression").task == "regression"


def test_one_row_is_refused():
    with pytest.raises(InvalidData, match="at least 2 rows"):
        Dataset.from_arrays([[1.0]], [1])
    with pytest.raises(InvalidData, match="at least one row"):
        Dataset.from_arrays(np.ones((0, 3)), [])


def test_input_errors_are_value_errors():
    with pytest.raises(ValueError, match="equally long"):
        Dataset.from_arrays(X4, [0, 1])


# ---- the dataset ----


def test_weights_and_groups_are_kept_in_plain_form():
    data = Dataset.from_arrays(
        X4, [0, 1, 0, 1], sample_weight=pd.array([1, 2, 0, 1], dtype="Int64"), groups=pd.Series(list("aabb"))
    )
    assert data.sample_weight.dtype == np.float64
    assert data.sample_weight.tolist() == [1, 2, 0, 1]
    assert data.groups.tolist() == list("aabb")
    assert (data.n_rows, data.n_columns, data.n_classes) == (4, 2, 2)
    assert data.categorical == ("b",)
    assert list(data.X.index) == [0, 1, 2, 3]


def test_the_dataset_survives_pickling():
    data = Dataset.from_arrays(X4, [0, 1, 0, 1])
    again = pickle.loads(pickle.dumps(data))
    assert again.fingerprint == data.fingerprint
    pd.testing.assert_frame_equal(again.encoder.encode(X4), data.X)


def test_the_callers_objects_are_never_changed_and_nothing_but_floats_is_shared():
    X, y = np.arange(60.0).reshape(30, 2), np.arange(30.0)
    weight, groups = np.ones(30), np.arange(30)
    y_labels = np.arange(30) % 2
    given = (X, y, weight, groups, y_labels)
    before = copy.deepcopy(given)
    data = Dataset.from_arrays(X, y, sample_weight=weight, groups=groups)
    labels = Dataset.from_arrays(X, y_labels)
    for now, then in zip(given, before, strict=True):
        np.testing.assert_array_equal(now, then)
    kept = copy.deepcopy((data.y, data.sample_weight, data.groups, labels.y))
    for array in (y, weight, groups, y_labels):
        array[:] = 77
    for now, then in zip((data.y, data.sample_weight, data.groups, labels.y), kept, strict=True):
        np.testing.assert_array_equal(now, then)
    with pytest.raises(ValueError, match="read-only"):
        data.X.to_numpy()[0, 0] = 5.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", [np.asarray, pd.DataFrame, np.asfortranarray], ids=["array", "frame", "by column"])
def test_floats_are_neither_copied_nor_widened(form, dtype):
    X = form(np.random.default_rng(0).normal(size=(30, 3)).astype(dtype))
    data = Dataset.from_arrays(X, np.arange(30.0))
    assert set(data.X.dtypes) == {np.dtype(dtype)}
    assert all(np.shares_memory(data.X.iloc[:, i].to_numpy(), np.asarray(X)) for i in range(3))


def test_beside_text_floats_are_not_copied_either():
    numbers = np.random.default_rng(0).normal(size=30).astype(np.float32)
    X = pd.DataFrame({"number": numbers, "text": list("abc") * 10}, copy=False)
    assert np.shares_memory(Dataset.from_arrays(X, np.arange(30.0)).X["number"].to_numpy(), numbers)


def test_numbers_of_an_arrow_table_without_missing_values_are_not_copied():
    column = pa.array(np.random.default_rng(0).normal(size=30).astype(np.float32))
    table = pa.table({"a": column, "b": pa.array(["x", "y", None] * 10)})
    data = Dataset.from_arrays(table, np.arange(30.0))
    assert data.X["a"].dtype == np.float32
    assert np.shares_memory(data.X["a"].to_numpy(), column.to_numpy())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_sparse_matrix_is_neither_copied_nor_made_dense(dtype):
    X = sp.random(30, 4, density=0.4, format="csr", random_state=0).astype(dtype)
    data = Dataset.from_arrays(X, np.arange(30.0))
    assert data.X.dtype == dtype
    assert np.shares_memory(data.X.data, X.data)


def test_a_sparse_matrix_with_stored_zeros_is_left_as_it_is_and_used_without_them():
    X = sp.csr_matrix((np.array([1.0, 0.0, 2.0]), np.array([0, 1, 1]), np.array([0, 2, 3])), shape=(2, 2))
    assert Dataset.from_arrays(X, [0.5, 1.5]).X.nnz == 2
    assert X.nnz == 3


def test_the_index_of_the_caller_does_not_matter():
    X = X4.set_index([[3, 3, 9, 9]])
    pd.testing.assert_frame_equal(Dataset.from_arrays(X, [0, 1, 0, 1]).X, Dataset.from_arrays(X4, [0, 1, 0, 1]).X)


def test_a_y_in_another_order_by_index_is_warned_about():
    y = pd.Series([0, 1, 0, 1])
    with pytest.warns(GbtuneWarning, match=r"index of y .* y\.loc\[X\.index\]"):
        Dataset.from_arrays(X4, y.iloc[[2, 0, 1, 3]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Dataset.from_arrays(X4.iloc[[2, 0, 1, 3]], y.iloc[[2, 0, 1, 3]])
        Dataset.from_arrays(X4.iloc[[2, 0, 1, 3]], y.to_numpy())


def test_notes_tell_of_columns_that_look_like_identifiers():
    X = pd.DataFrame({"a[0]": range(200), "id": [f"i{i}" for i in range(200)]})
    notes = Dataset.from_arrays(X, [0, 1] * 100).notes
    assert any("identifier" in note and "'id'" in note for note in notes)


def test_notes_tell_of_columns_without_values():
    X = pd.DataFrame({"late": [np.nan, 1.0] * 5, "text": [None] * 10, "numbers": [np.nan] * 10, "full": range(10)})
    (note,) = [note for note in Dataset.from_arrays(X, [0, 1] * 5).notes if "no value" in note]
    assert "'text', 'numbers'." in note
    assert not any("no value" in note for note in Dataset.from_arrays(X[["late", "full"]], [0, 1] * 5).notes)


# ---- fingerprint ----

Y4 = [0, 1, 0, 1]


def test_equal_data_have_equal_fingerprints_in_any_form():
    expected = Dataset.from_arrays(X4, Y4).fingerprint
    as_category = X4.assign(b=X4["b"].astype("category"), a=X4["a"].astype("Float64"))
    assert Dataset.from_arrays(as_category.set_index([[9, 8, 7, 6]]), Y4).fingerprint == expected
    negative_nan = X4.assign(a=X4["a"].where(X4["a"].notna(), -np.float64("nan")))
    assert Dataset.from_arrays(negative_nan, Y4).fingerprint == expected


@pytest.mark.parametrize(
    "X, y, more",
    [
        (X4.rename(columns={"a": "c"}), Y4, {}),
        (X4.fillna({"a": 3.0}), Y4, {}),
        (X4.replace({"b": {"x": "z"}}), Y4, {}),
        (X4.iloc[[1, 0, 2, 3]], Y4, {}),
        (X4, [0, 1, 1, 0], {}),
        (X4, ["n", "y", "n", "y"], {}),
        (X4, Y4, {"task": "regression"}),
        (X4, Y4, {"sample_weight": [1, 1, 1, 2]}),
        (X4, Y4, {"groups": [1, 1, 1, 2]}),
    ],
)
def test_any_change_of_the_data_changes_the_fingerprint(X, y, more):
    assert Dataset.from_arrays(X, y, **more).fingerprint != Dataset.from_arrays(X4, Y4).fingerprint


def test_only_the_partition_of_groups_counts():
    by_name = Dataset.from_arrays(X4, Y4, groups=list("ppqq"))
    by_number = Dataset.from_arrays(X4, Y4, groups=[5, 5, 3, 3])
    assert by_name.fingerprint == by_number.fingerprint


def test_sparse_data_have_a_fingerprint():
    X = sp.csr_matrix(np.eye(4))
    first = Dataset.from_arrays(X, Y4)
    assert first.fingerprint == Dataset.from_arrays(X.tocoo(), Y4).fingerprint
    assert first.fingerprint != Dataset.from_arrays(2 * X, Y4).fingerprint
    assert first.categorical == ()


def test_of_large_data_spread_rows_are_hashed(monkeypatch):
    monkeypatch.setattr(data_module, "MAX_HASHED_CELLS", 20)  # of 60 cells: every third row
    y = np.arange(30) % 2
    other = X30.copy()
    other[1, 0] = -1.0
    assert Dataset.from_arrays(X30, y).fingerprint == Dataset.from_arrays(other, y).fingerprint
    other[3, 0] = -1.0
    assert Dataset.from_arrays(X30, y).fingerprint != Dataset.from_arrays(other, y).fingerprint


def test_the_fingerprint_is_computed_once():
    data = Dataset.from_arrays(X4, Y4)
    assert data.fingerprint is data.fingerprint
    assert dataclasses.replace(data, y=1 - data.y).fingerprint != data.fingerprint
