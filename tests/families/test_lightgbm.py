"""What is LightGBM's alone."""

from __future__ import annotations

import pandas as pd
import pytest

import gbtune


def test_nothing_is_printed_from_any_thread(
    diabetes: tuple[pd.DataFrame, pd.Series], capfd: pytest.CaptureFixture[str]
) -> None:
    space = gbtune.SearchSpace.load("lightgbm/native").override(n_estimators=(50, 60), min_child_samples=(64, 128))
    gbtune.tune_lgbm(
        *diabetes, space=space, pruner="successive-halving", n_trials=4, n_jobs=2, tracking=False, progress=False
    )
    printed = capfd.readouterr()
    assert "[LightGBM]" not in printed.out + printed.err
