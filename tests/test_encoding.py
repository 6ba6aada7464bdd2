"""Columns of any library become numbers and categories, the same way every time."""

from __future__ import annotations

import copy
import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from gbtune.columns import as_table
from gbtune.encoding import Encoder, fit_encode
from gbtune.errors import InvalidData

NAN = float("nan")


def fitted(X):
    return fit_encode(as_table(X))


def arrow(values, dtype):
    return pd.array(values, dtype=pd.ArrowDtype(dtype))


NUMBERS = {
    "int": ([1, 2, 3], [1.0, 2.0, 3.0]),
    "int8": (np.array([1, 2, 3], dtype=np.int8), [1.0, 2.0, 3.0]),
    "float": ([1.5, NAN, 3.0], [1.5, NAN, 3.0]),
    "bool": ([True, False, True], [1.0, 0.0, 1.0]),
    "nullable int": (pd.array([1, None, 3], dtype="Int64"), [1.0, NAN, 3.0]),
    "nullable float": (pd.array([1.5, None, 3], dtype="Float64"), [1.5, NAN, 3.0]),
    "nullable bool": (pd.array([True, None, False], dtype="boolean"), [1.0, NAN, 0.0]),
    "arrow int": (arrow([1, None, 3], pa.int64()), [1.0, NAN, 3.0]),
    "arrow float": (arrow([1.5, None, 3], pa.float64()), [1.5, NAN, 3.0]),
    "arrow bool": (arrow([True, None, False], pa.bool_()), [1.0, NAN, 0.0]),
    "arrow decimal": (arrow([Decimal("1.5"), None, Decimal(3)], pa.decimal128(5, 2)), [1.5, NAN, 3.0]),
    "arrow null": (arrow([None] * 3, pa.null()), [NAN] * 3),
    "object numbers": (pd.Series([1, None, 2.5], dtype=object), [1.0, NAN, 2.5]),
    "object bools": (pd.Series([True, None, False], dtype=object), [1.0, NAN, 0.0]),
    "object decimals": (pd.Series([Decimal("1.5"), pd.NA, 2], dtype=object), [1.5, NAN, 2.0]),
    "object of nothing": (pd.Series([None, NAN, pd.NA], dtype=object), [NAN] * 3),
    "str of nothing": (pd.Series([None] * 3, dtype="str"), [NAN] * 3),
    "category of nothing": (pd.Categorical([None] * 3, categories=["a"]), [NAN] * 3),
    "pandas sparse": (pd.arrays.SparseArray([0.0, 0.0, 2.0]), [0.0, 0.0, 2.0]),
}
CATEGORIES = {
    "str": (pd.Series(["b", None, "a"]), ["b", None, "a"], ["a", "b"]),
    "object of str": (pd.Series(["b", None, "a"], dtype=object), ["b", None, "a"], ["a", "b"]),
    "object with NaN and NA": (pd.Series(["b", pd.NA, NAN], dtype=object), ["b", None, None], ["b"]),
    "nullable string": (pd.array(["b", None, "a"], dtype="string"), ["b", None, "a"], ["a", "b"]),
    "arrow string": (arrow(["b", None, "a"], pa.string()), ["b", None, "a"], ["a", "b"]),
    "arrow dictionary": (
        pd.Series(pd.arrays.ArrowExtensionArray(pa.array(["b", None, "a"]).dictionary_encode())),
        ["b", None, "a"],
        ["b", "a"],
    ),
    "category keeps its order": (
        pd.Categorical(["hi", None, "lo"], categories=["lo", "mid", "hi"], ordered=True),
        ["hi", None, "lo"],
        ["lo", "hi"],
    ),
    "int category": (pd.Categorical([30, None, 4], categories=[30, 4]), [30, None, 4], [30, 4]),
    "float category": (pd.Categorical([0.5, None, 2.0]), ["0.5", None, "2.0"], [0.5, 2.0]),
    "bool category": (pd.Categorical([True, None, False]), ["True", None, "False"], [False, True]),
    "intervals": (pd.cut([1, 9, 2], [0, 5, 10]), ["(0, 5]", "(5, 10]", "(0, 5]"], ["(0, 5]", "(5, 10]"]),
}


@pytest.mark.parametrize("values, expected", NUMBERS.values(), ids=NUMBERS)
def test_numbers_become_floats(values, expected):
    X = pd.DataFrame({"c": values})
    before = copy.deepcopy(X)
    encoder, encoded = fitted(X)
    assert encoder.kinds == {"c": "number"}
    assert encoded["c"].dtype == np.float64
    np.testing.assert_array_equal(encoded["c"], expected)
    pd.testing.assert_frame_equal(encoder.encode(X), encoded)
    pd.testing.assert_frame_equal(X, before)


@pytest.mark.parametrize("values, expected, levels", CATEGORIES.values(), ids=CATEGORIES)
def test_text_and_categories_become_categories(values, expected, levels):
    X = pd.DataFrame({"c": values})
    before = copy.deepcopy(X)
    encoder, encoded = fitted(X)
    assert encoder.kinds == {"c": "category"}
    assert encoder.columns[0].levels == tuple(levels)
    assert list(map(type, encoder.columns[0].levels)) == list(map(type, levels))
    assert not encoded["c"].cat.ordered
    assert [None if pd.isna(value) else value for value in encoded["c"]] == expected
    again = Encoder.from_dict(json.loads(json.dumps(encoder.to_dict(), allow_nan=False)))
    assert again == encoder
    pd.testing.assert_frame_equal(again.encode(X), encoded)
    pd.testing.assert_frame_equal(X, before)


@pytest.mark.parametrize("name", CATEGORIES)
def test_both_boosters_take_every_encoded_category(name):
    import lightgbm
    import xgboost

    _, encoded = fitted(pd.DataFrame({"c [<": pd.concat([pd.Series(CATEGORIES[name][0])] * 20), "n": range(60)}))
    y = np.arange(60) % 2
    matrix = xgboost.QuantileDMatrix(encoded, y, enable_categorical=True, nthread=1)
    xgboost.train({"nthread": 1}, matrix, 2).predict(matrix)
    lightgbm.train({"verbosity": -1, "num_threads": 1}, lightgbm.Dataset(encoded, y), 2).predict(encoded)


def test_float32_stays_and_is_kept_for_new_data():
    encoder, encoded = fitted(np.ones((3, 2), dtype=np.float32))
    assert set(encoded.dtypes) == {np.dtype(np.float32)}
    assert set(encoder.encode(np.ones((3, 2))).dtypes) == {np.dtype(np.float32)}
    assert set(encoder.encode([[1, None], [2, 3]]).dtypes) == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    "X",
    [
        np.array([[1, 2], [3, 4]]),
        np.asfortranarray([[1.0, 2.0], [3.0, 4.0]]),
        [[1, 2], [3, 4]],
        ([1, 2], (3, 4)),
        np.ma.masked_array([[1.0, 2.0], [3.0, 4.0]]),
        np.array([[1, 2], [3, 4]], dtype=object),
    ],
    ids=["int array", "fortran array", "list", "tuple", "masked", "object array"],
)
def test_columns_without_names_are_numbered(X):
    encoder, encoded = fitted(X)
    assert encoder.names == ("x0", "x1")
    pd.testing.assert_frame_equal(encoded, pd.DataFrame({"x0": [1.0, 3.0], "x1": [2.0, 4.0]}))
    pd.testing.assert_frame_equal(encoder.encode(X), encoded)


def test_masked_values_are_missing():
    _, encoded = fitted(np.ma.masked_array([[1.0, 2.0], [3.0, 4.0]], mask=[[False, True], [False, False]]))
    assert np.isnan(encoded.iloc[0, 1])


def test_anything_with_to_pandas_is_read():
    table = pa.table({"s": ["b", "a"], "d": pa.array(["x", "y"]).dictionary_encode(), "i": [1, None]})
    encoder, encoded = fitted(table)
    assert encoder.kinds == {"s": "category", "d": "category", "i": "number"}
    pd.testing.assert_frame_equal(encoder.encode(table), encoded)


def test_text_in_an_array_is_read_column_by_column():
    encoder, _ = fitted(np.array([[1, "a"], [None, "b"]], dtype=object))
    assert encoder.kinds == {"x0": "number", "x1": "category"}
    assert fitted(np.array([["1", "a"], ["2", "b"]]))[0].kinds == {"x0": "category", "x1": "category"}


# ---- sparse ----


@pytest.mark.parametrize("make", [sp.csr_matrix, sp.csr_array, sp.csc_matrix, sp.coo_array, sp.lil_matrix])
def test_sparse_input_stays_sparse(make):
    dense = np.array([[0.0, 1.0, 0.0], [2.0, 0.0, NAN]])
    X = make(dense)
    before = X.toarray().copy()
    encoder, encoded = fitted(X)
    assert type(encoded) is sp.csr_matrix
    np.testing.assert_array_equal(encoded.toarray(), dense)
    np.testing.assert_array_equal(X.toarray(), before)
    assert encoder.names == ("x0", "x1", "x2")
    again = Encoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    assert again == encoder
    for form in (X, dense, pd.DataFrame(dense)):
        np.testing.assert_array_equal(again.encode(form).toarray(), dense)


def test_sparse_results_do_not_depend_on_storage():
    X = sp.coo_matrix(([1.0, 2.0, 0.0], ([0, 0, 1], [1, 1, 0])), shape=(2, 2))
    _, encoded = fitted(X)
    assert encoded.nnz == 1
    assert encoded[0, 1] == 3.0


def test_sparse_float32_stays_and_integers_become_float64():
    assert fitted(sp.eye_array(3, dtype=np.float32))[1].dtype == np.float32
    assert fitted(sp.eye_array(3, dtype=np.int32))[1].dtype == np.float64


def test_a_sparse_matrix_can_follow_a_dense_one():
    encoder, encoded = fitted(np.eye(3))
    pd.testing.assert_frame_equal(encoder.encode(sp.csr_matrix(np.eye(3))), encoded)


@pytest.mark.parametrize(
    "X, message",
    [
        (sp.csr_matrix(np.array([[1.0, np.inf]])), "finite"),
        (sp.csr_matrix(np.array([[1j, 0]])), "real numbers"),
        (sp.csr_matrix((0, 3)), "at least one row"),
        (sp.coo_array(np.ones(3)), "two dimensions"),
    ],
)
def test_sparse_input_that_cannot_be_used_is_refused(X, message):
    with pytest.raises(InvalidData, match=message):
        fitted(X)


# ---- what is refused ----


def test_all_columns_that_cannot_be_used_are_named_in_one_error():
    X = pd.DataFrame(
        {
            "when": pd.date_range("2020", periods=3),
            "zone": pd.date_range("2020", periods=3, tz="UTC"),
            "long": pd.to_timedelta([1, 2, 3], unit="h"),
            "wave": [1j, 2j, 3j],
            "tags": [["a"], [], ["b"]],
            "mixed": pd.Series([1, "a", None], dtype=object),
            "levels": pd.Categorical([1, "a", 1], categories=[1, "a"]),
            "arrow": arrow([1, 2, 3], pa.timestamp("ns")),
            "month": pd.period_range("2020", periods=3, freq="M"),
            "bytes": pd.Series([b"a", b"b", b"c"], dtype=object),
            "fine": [1, 2, 3],
        }
    )
    with pytest.raises(InvalidData) as caught:
        Encoder.fit(X)
    message = str(caught.value)
    for name in X.columns:
        assert (f"'{name}' (" in message) == (name != "fine")
    for part in (
        "datetime64",
        ".dt.year",
        "total_seconds",
        "complex128",
        "list",
        "int, str",
        "to_numeric",
        "period[M]",
    ):
        assert part in message


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("dtype", [float, object, "Float64"])
def test_infinite_values_are_refused_by_column(value, dtype):
    X = pd.DataFrame({"a": [1.0, NAN], "b": pd.Series([value, 1.0], dtype=dtype), "c": ["x", "y"]})
    with pytest.raises(InvalidData, match=r"finite.*: 'b'\. Replace"):
        Encoder.fit(X)
    encoder = Encoder.fit(X.assign(b=1.0))
    with pytest.raises(InvalidData, match="'b'"):
        encoder.encode(X)
    with pytest.raises(InvalidData, match="'x1'"):
        Encoder.fit(np.ones((2, 2))).encode(np.array([[1.0, value]]))


@pytest.mark.parametrize(
    "X, message",
    [
        (pd.DataFrame([[1, 2, 3]], columns=["a", "b", "a"]), "duplicate: 'a'"),
        (pd.DataFrame([[1, 2]], columns=[0, "0"]), "duplicate: '0'"),
        (pd.DataFrame({"a": []}), r"shape is \(0, 1\)"),
        (pd.DataFrame(index=range(3)), r"shape is \(3, 0\)"),
        (np.ones(3), "it has 1"),
        (np.ones((2, 2, 2)), "it has 3"),
        ([1, 2, 3], "it has 1"),
        ([[1, 2], [3]], "equally long"),
        (pd.Series([1, 2]), "it has 1"),
        ({"a": [1]}, "it is a dict"),
        ("text", "it is a str"),
        (None, "it is a NoneType"),
    ],
)
def test_what_is_no_table_is_refused(X, message):
    with pytest.raises(InvalidData, match=message):
        Encoder.fit(X)


# ---- names ----


def test_names_a_booster_refuses_are_replaced_and_stay_unique():
    names = ["a[b", "a]b", "a_b", 'q"', "sp ace", "<", "", 7, "ok", "é", ("t", 1)]
    encoder, encoded = fitted(pd.DataFrame([range(len(names))] * 2, columns=pd.Index(names, tupleize_cols=False)))
    assert encoder.names == tuple(map(str, names))
    assert list(encoded.columns) == [
        "a_b_2", "a_b_3", "a_b", "q_", "sp_ace", "_", "__2", "7", "ok", "é", "('t'__1)",
    ]  # fmt: skip


# ---- new data ----

TRAIN = pd.DataFrame({"town": ["York", "Bath", None], "rooms": [1, 2, 3], "code": pd.Categorical([10, 20, 30])})


def test_columns_are_put_in_order_and_the_index_is_fresh():
    encoder, encoded = fitted(TRAIN)
    pd.testing.assert_frame_equal(encoder.encode(TRAIN[["code", "town", "rooms"]].set_index([[7, 7, 9]])), encoded)


def test_missing_and_unexpected_columns_are_named():
    encoder = Encoder.fit(TRAIN)
    with pytest.raises(InvalidData, match=r"Missing: 'rooms'\. Unexpected: 'floor', 'roof'"):
        encoder.encode(TRAIN.drop(columns="rooms").assign(floor=1, roof=2))
    with pytest.raises(InvalidData, match="duplicate: 'rooms'"):
        encoder.encode(pd.concat([TRAIN, TRAIN[["rooms"]]], axis=1))
    with pytest.raises(InvalidData, match="3 columns; it has 2"):
        encoder.encode(np.ones((2, 2)))
    with pytest.raises(InvalidData, match="2 columns; it has 3"):
        Encoder.fit(np.ones((2, 2))).encode(TRAIN)
    with pytest.raises(InvalidData, match="4 columns; it has 2"):
        Encoder.fit(sp.eye_array(4)).encode(sp.csr_matrix(np.eye(2)))


def test_frames_and_arrays_can_follow_each_other():
    encoder, encoded = fitted(TRAIN)
    pd.testing.assert_frame_equal(encoder.encode(TRAIN.to_numpy(dtype=object)), encoded)
    encoder, encoded = fitted(np.array([[1.0, 2.0], [3.0, 4.0]]))
    pd.testing.assert_frame_equal(encoder.encode(pd.DataFrame({"a": [1, 3], "b": [2, 4]})), encoded)
    pd.testing.assert_frame_equal(encoder.encode(pd.DataFrame({"x1": [2, 4], "x0": [1, 3]})), encoded)


def test_unseen_categories_are_missing():
    encoded = Encoder.fit(TRAIN).encode(pd.DataFrame({"town": ["Hull", "York"], "rooms": 1, "code": [10, 11]}))
    assert encoded["town"].isna().tolist() == [True, False]
    assert encoded["code"].isna().tolist() == [False, True]
    assert encoded["town"].cat.categories.tolist() == ["Bath", "York"]


@pytest.mark.parametrize(
    "values",
    [
        [10, 30, None],
        [10.0, 30.0, NAN],
        ["10", "30", None],
        pd.Categorical([10, 30, None]),
        pd.Categorical(["10", "30", "x"]),
        pd.array([10, 30, None], dtype="Int64"),
        pd.Series(["10", "30", "unseen"], dtype=object),
    ],
    ids=["int", "float", "str", "category", "text category", "nullable", "object"],
)
def test_categories_are_matched_by_value_in_any_type(values):
    encoder = Encoder.fit(pd.DataFrame({"code": pd.Categorical([10, 20, 30])}))
    assert encoder.encode(pd.DataFrame({"code": values}))["code"].cat.codes.tolist() == [0, 2, -1]


def test_numbers_match_text_levels_by_their_text():
    encoder = Encoder.fit(pd.DataFrame({"code": ["10", "20", "3.5"]}))
    assert encoder.encode(pd.DataFrame({"code": [10.0, 3.5, 99.0]}))["code"].cat.codes.tolist() == [0, 2, -1]


def test_a_category_in_another_type_of_which_nothing_matches_is_an_error():
    with pytest.raises(InvalidData, match=r"'town' was a category with values such as 'Bath'.*such as 1\.0"):
        Encoder.fit(TRAIN).encode(TRAIN.assign(town=[1, 2, 3]))
    assert Encoder.fit(TRAIN).encode(TRAIN.assign(town=NAN))["town"].isna().all()


@pytest.mark.parametrize(
    "values",
    [
        [1, 2, 3],
        [True, False, True],
        pd.Categorical([1, 2, 2]),
        pd.Categorical([True, False, None]),
        pd.array([1, None, 3], dtype="Int64"),
        pd.Series([1, None, 2.5], dtype=object),
        [None, None, None],
        pd.Series([None] * 3, dtype="str"),
    ],
    ids=["int", "bool", "category", "bool category", "nullable", "object", "None", "empty text"],
)
def test_a_number_column_takes_every_form_of_number(values):
    encoded = Encoder.fit(TRAIN).encode(TRAIN.assign(rooms=values))
    expected = [NAN if pd.isna(value) else float(value) for value in pd.Series(values)]
    np.testing.assert_array_equal(encoded["rooms"], expected)


def test_columns_that_changed_their_kind_are_named_together():
    changed = TRAIN.assign(rooms=["1", "two", "3"], town=pd.date_range("2020", periods=3))
    with pytest.raises(InvalidData) as caught:
        Encoder.fit(TRAIN).encode(changed)
    assert "'rooms' was numbers in training and now holds text such as '1'" in str(caught.value)
    assert "'town' was a category in training and now is datetime64" in str(caught.value)


def test_a_column_without_values_in_training_takes_anything_later():
    encoder = Encoder.fit(pd.DataFrame({"a": [None, None], "b": [1, 2]}))
    for values in (["x", "y"], pd.date_range("2020", periods=2), [None, None]):
        assert encoder.encode(pd.DataFrame({"a": values, "b": 1}))["a"].isna().all()


def test_no_rows_can_be_encoded():
    encoder, encoded = fitted(TRAIN)
    nothing = encoder.encode(TRAIN.iloc[:0])
    assert nothing.shape == (0, 3)
    assert (nothing.dtypes == encoded.dtypes).all()


# ---- nothing is shared ----


@pytest.mark.parametrize("form", [np.asarray, pd.DataFrame], ids=["array", "frame"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_what_is_encoded_for_a_prediction_is_a_copy(form, dtype):
    source = np.ones((3, 2), dtype=dtype)
    X = form(source, copy=False)
    encoded = fitted(X)[0].encode(X)
    source[:] = 9.0
    assert (np.asarray(X) == 9.0).all()
    assert (encoded == 1.0).all(axis=None)
    encoded.iloc[0, 0] = 5.0
    assert (source == 9.0).all()


def test_a_sparse_matrix_encoded_for_a_prediction_is_a_copy():
    X = sp.csr_matrix(np.eye(3))
    assert not np.shares_memory(fitted(X)[0].encode(X).data, X.data)


# ---- whatever the data ----

FORMS = {
    "str": st.text(max_size=3),
    "float": st.floats(-1e30, 1e30),
    "int": st.integers(-(2**40), 2**40),
    "bool": st.booleans(),
}


@st.composite
def frames(draw):
    n_rows = draw(st.integers(1, 8))
    columns = {}
    for name in draw(st.lists(st.text(max_size=4), min_size=1, max_size=5, unique=True)):
        form = draw(st.sampled_from(sorted(FORMS)))
        cells = st.one_of(st.none(), FORMS[form])
        column = pd.Series(draw(st.lists(cells, min_size=n_rows, max_size=n_rows)), dtype=object)
        how = draw(st.sampled_from(["object", "inferred", "category"]))
        if how == "category":
            column = column.astype("category")
        elif how == "inferred":
            column = column.infer_objects()
        columns[name] = column
    return pd.DataFrame(columns)


@given(X=frames(), data=st.data())
@settings(max_examples=200, deadline=None)
def test_encoding_is_the_same_after_json_in_any_order_and_by_parts(X, data):
    before = copy.deepcopy(X)
    encoder, encoded = fitted(X)
    again = Encoder.from_dict(json.loads(json.dumps(encoder.to_dict(), allow_nan=False)))
    assert again == encoder
    shuffled = X[data.draw(st.permutations(list(X.columns)))]
    pd.testing.assert_frame_equal(again.encode(shuffled), encoded)
    rows = data.draw(st.lists(st.integers(0, len(X) - 1), max_size=5))
    pd.testing.assert_frame_equal(encoder.encode(X.iloc[rows]), encoded.iloc[rows].reset_index(drop=True))
    pd.testing.assert_frame_equal(X, before)
