"""The public surface: what it is, that it is documented, that its examples run."""

from __future__ import annotations

import inspect

import pytest

import gbtune
from gbtune import api


def test_the_public_names_are_sorted_and_exist() -> None:
    assert gbtune.__all__ == sorted(gbtune.__all__)
    for name in gbtune.__all__:
        assert getattr(gbtune, name) is not None
    assert dir(gbtune) == gbtune.__all__


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="tune_catboost"):
        gbtune.tune_catboost


@pytest.mark.parametrize("name", [name for name in gbtune.__all__ if not name.startswith("__")])
def test_every_public_name_has_a_docstring_with_an_example(name: str) -> None:
    public = getattr(gbtune, name)
    text = inspect.getdoc(public)
    assert text
    if inspect.isfunction(public):
        assert ">>>" in text, f"{name} has no example"


def test_the_short_calls_have_the_signature_of_tune_less_the_family() -> None:
    parameters = dict(inspect.signature(gbtune.tune).parameters)
    del parameters["family"], parameters["unknown"]
    for short in (gbtune.tune_xgb, gbtune.tune_lgbm):
        assert dict(inspect.signature(short).parameters) == parameters
    assert list(api.Arguments.__annotations__) == list(parameters)[2:]


def test_every_argument_of_tune_is_documented_with_its_default() -> None:
    text = inspect.getdoc(gbtune.tune) or ""
    for name, parameter in inspect.signature(gbtune.tune).parameters.items():
        if name in ("unknown", "X", "y"):
            continue
        line = next(line for line in text.splitlines() if line.startswith(f"{name} :"))
        if parameter.default not in (None, inspect.Parameter.empty):
            shown = f'"{parameter.default}"' if isinstance(parameter.default, str) else str(parameter.default)
            assert f"default {shown}" in line, line
