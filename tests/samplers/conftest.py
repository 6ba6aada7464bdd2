"""Studies say nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gbtune.study import quiet_optuna


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with quiet_optuna():
        yield
