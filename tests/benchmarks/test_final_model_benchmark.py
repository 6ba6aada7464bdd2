"""The benchmark of final models: real fits end to end, and the arithmetic of the report on a recording made by hand."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.__main__ import main
from benchmarks.final_model import compare, curves, plan, report, rules
from benchmarks.final_model.plan import Case, Depth, mixed
from benchmarks.final_model.recording import SCALES, Recording
from benchmarks.final_model.rules import BEST, RULES
from benchmarks.quality.sets import divide

Y = np.array([0.0, 0.0, 0.0, 0.0])


def trial(number: int, *fold_losses: float, kind: str = "sampled") -> dict[str, Any]:
    return {
        "number": number, "loss": float(np.mean(fold_losses)), "fold_losses": list(fold_losses), "rounds": 10,
        "kind": kind,
    }  # fmt: skip


def made_by_hand(**about: Any) -> Recording:
    """Five trials, the best is number 3. The held-out loss of a constant prediction is its distance to 0."""
    trials = (
        trial(0, 10, 12, kind="baseline"), trial(1, 6, 6), trial(2, 4, 6), trial(3, 3, 5), trial(4, 7, 11),
    )  # fmt: skip
    values = {0: 8.0, 1: -3.0, 2: 1.0, 3: 2.0, 4: 4.0}
    known = {
        "set": "a", "family": "lightgbm", "division": 0, "rows": 400, "columns": 3, "kind": "regression",
        "split": "random", "n_trials": 5, "refits": 5, "checkpoints": [], "lowest_rate": 0.0,
        "seconds": {"search": 10.0, "refits": 1.0, "fold models": 2.0},
    }  # fmt: skip
    return Recording(
        {**known, **about},
        trials,
        Y,
        np.array([0.0, 0.0]),
        refits={number: np.full(4, value) for number, value in values.items()},
        scaled={3: np.stack([np.full(4, 2.0 * scale) for scale in SCALES])},
        folds={number: np.stack([np.full(4, value - 1), np.full(4, value)]) for number, value in values.items()},
        out_of_fold={number: np.full(2, -value if number == 2 else value) for number, value in values.items()},
        seeds={3: np.stack([np.full(4, 1.0), np.full(4, 0.0)])},
    )


# -- rules ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "loss"),
    [
        (BEST, 2.0),
        ("top 2, refits", 1.5),  # of 2 and 1
        ("top 3, refits", 0.0),  # of 2, 1 and -3
        ("top 10, refits", 2.4),  # there are five
        ("best, fold models", 1.5),  # of 1 and 2
        ("best, refit + fold models", 5 / 3),
        ("best, 5 seeds", 1.0),  # of 2, 1 and 0
        ("best, rounds x 0.8", 1.6),
        ("top 10 that keep 80 % of the gain", 1.5),  # a loss of at most 5.4
        ("top 10 that keep 90 % of the gain", 2.0),  # of at most 4.7
        ("top 1 to 10 by out-of-fold loss", 1.5),  # 2, then (2 - 1) / 2, then -2 / 3
        ("greedy among the top 10", 1.35),  # 13 times number 2, 7 times number 3
        ("top 10 within 1 own standard error", 2.0),
        ("top 10 within 2 own standard errors", 0.5),  # 1 is 2 +- 1 behind; 2 is 1 +- 0 behind
        ("top 10 within 1 common standard error", 2.0),
        ("top 10 within 2 common standard errors", 1.5),  # of sqrt(1 / 2)
    ],
)
def test_a_rule_averages_the_models_it_names(rule: str, loss: float) -> None:
    recording = made_by_hand()
    assert recording.loss(RULES[rule](recording)) == pytest.approx(loss)


def test_a_model_that_was_not_recorded_leaves_the_rule_out() -> None:
    losses = compare.losses_of(dataclasses.replace(made_by_hand(), seeds={}), RULES)
    assert "best, 5 seeds" not in losses and losses[BEST] == 2.0


def test_every_rule_takes_the_best_alone_where_it_is_the_only_one() -> None:
    whole = made_by_hand()
    alone = dataclasses.replace(whole, trials=whole.trials[3:4])
    for name, rule in RULES.items():
        if "fold" not in name and "seeds" not in name and "rounds" not in name:
            assert alone.loss(rule(alone)) == 2.0, name


def test_rows_that_no_fold_validates_do_not_count_out_of_fold() -> None:
    recording = made_by_hand()
    early = {number: np.array([np.nan, values[0]]) for number, values in recording.out_of_fold.items()}
    windows = dataclasses.replace(recording, out_of_fold=early)
    assert [t["number"] for t in rules.by_out_of_fold(windows, range(1, 11))] == [3, 2]


def test_log_loss_takes_probabilities_of_one_class_or_of_all() -> None:
    two = dataclasses.replace(made_by_hand(kind="binary"), y=np.array([0, 1, 1, 1]))
    assert two.loss(np.full(4, 0.5)) == pytest.approx(math.log(2))
    three = dataclasses.replace(made_by_hand(kind="multiclass"), y=np.array([0, 1, 1, 1]))
    assert three.loss(np.full((4, 3), 1 / 3)) == pytest.approx(math.log(3))


# -- tables ---------------------------------------------------------------------------------------------------------


def test_the_unit_is_from_the_median_configuration_to_the_best() -> None:
    recording = made_by_hand()
    assert compare.spread(recording) == 2.0  # 1, 2, 3, 4, 8
    fewer = {number: values for number, values in recording.refits.items() if number != 4}
    # Of the three behind the two best only two are fitted: each counts for one and a half.
    assert compare.spread(dataclasses.replace(made_by_hand(refits=2), refits=fewer)) == 2.0


def test_the_summary_counts_cells_and_sets() -> None:
    found = [
        made_by_hand(),
        made_by_hand(division=1),
        dataclasses.replace(
            made_by_hand(set="b"), refits={n: np.full(4, 2.0) for n in range(4)} | {4: np.full(4, 1.0)}
        ),
    ]
    lines = compare.cells(found)
    row = compare.summary(lines).loc["top 2, refits"]
    assert row["relative"] == pytest.approx((25 + 25 + 0) / 3)
    assert row["t"] == pytest.approx((50 / 3) / (np.std([25, 25, 0], ddof=1) / math.sqrt(3)))
    assert row["t_sets"] == pytest.approx(1.0)  # 25 and 0
    assert (row["better"], row["worse"], row["cells"]) == (pytest.approx(2 / 3), 0, 3)
    share = lines[(lines["rule"] == "top 2, refits") & (lines["set"] == "a")]["share"]
    assert share.tolist() == pytest.approx([25, 25])


def test_the_choice_among_the_first_trials_knows_no_later_ones() -> None:
    lines = compare.by_trials([made_by_hand(checkpoints=[3, 5])], curves.SHOWN)
    losses = lines.pivot_table(index="rule", columns="trials", values="loss")
    assert losses.loc[BEST].tolist() == [1.0, 2.0]  # number 2, then number 3
    assert losses.loc["top 10, refits"].tolist() == pytest.approx([2.0, 2.4])
    change = lines.pivot_table(index="rule", columns="trials", values="change")
    assert change.loc[BEST].tolist() == pytest.approx([0, 100])
    to_best = lines.pivot_table(index="rule", columns="trials", values="to_best")
    assert to_best.loc["top 10, refits"].tolist() == pytest.approx([100, 140])


def test_the_report_has_every_table_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for division in range(2):
        made_by_hand(division=division).save(tmp_path / f"short-{division}.npz")
        made_by_hand(division=division, checkpoints=[3, 5]).save(tmp_path / f"long-{division}.npz")
    assert main(["final-model", "report", str(tmp_path), "--picture", str(tmp_path / "trials.svg")]) == 0
    printed = capsys.readouterr().out
    assert "| top 2, refits | +25 % | +25.00 % |" in printed
    assert f"| {BEST} | change | 0 | +100.00 ± 0.00 |" in printed
    assert "<svg" in (tmp_path / "trials.svg").read_text(encoding="utf-8")


def test_a_folder_without_recordings_says_how_to_make_some(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="final-model record --out"):
        report.run(tmp_path)


# -- recording ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recording]:
    """A study of twelve trials with LightGBM, recorded by the command, and read."""
    folder = tmp_path_factory.mktemp("recordings")
    command = ["final-model", "record", "--out", str(folder), "--only", "lightgbm"]
    assert main(command) == 0
    (path,) = folder.glob("*.npz")
    before = path.stat().st_mtime_ns
    assert main(command) == 0
    assert path.stat().st_mtime_ns == before, "what is there is not recorded again"
    return path, Recording.load(path)


def test_a_recording_holds_what_the_rules_ask_for(real: tuple[Path, Recording]) -> None:
    recording = real[1]
    held_out = divide("diabetes", None, 0)
    np.testing.assert_array_equal(recording.y, held_out.y_test)
    assert set(compare.losses_of(recording, RULES)) >= {BEST, "top 5, refits", "best, fold models", "best, 5 seeds"}
    assert recording.baseline is not None and recording.baseline["number"] == 0
    assert recording.loss(RULES[BEST](recording)) < np.std(recording.y)


def test_the_first_rounds_of_a_longer_fit_are_the_shorter_fit(real: tuple[Path, Recording]) -> None:
    recording = real[1]
    for number, stacked in recording.scaled.items():
        np.testing.assert_allclose(stacked[SCALES.index(1.0)], recording.refits[number], rtol=1e-9)
        assert not np.allclose(stacked[0], stacked[-1])


def test_fold_models_are_those_of_the_search(real: tuple[Path, Recording]) -> None:
    recording = real[1]
    for number, out_of_fold in recording.out_of_fold.items():
        of_trial = next(t for t in recording.trials if t["number"] == number)
        error = math.sqrt(np.mean((out_of_fold - recording.y_train) ** 2))
        assert error == pytest.approx(of_trial["loss"], rel=0.03)  # their bins have seen fewer rows
        assert recording.folds[number].shape == (5, len(recording.y))


def test_rows_are_drawn_anew_in_each_division_and_keep_their_order() -> None:
    from benchmarks.final_model.record import drawn

    case = Case("diabetes", "xgboost", 3, 5, Depth(refits=2), rows=50)
    whole = divide("diabetes", None, 3)
    part = drawn(whole, case)
    assert part.X.shape == (50, 10) and len(part.y) == 50 and len(part.y_test) == len(whole.y_test)
    merged = part.X.assign(y=part.y).merge(whole.X.assign(y=whole.y).reset_index(), how="left")
    assert merged["index"].is_monotonic_increasing
    other = drawn(whole, dataclasses.replace(case, division=4))
    assert not pd.Series(other.y).equals(pd.Series(part.y))


def test_an_unfinished_recording_is_a_smaller_whole_one() -> None:
    assert mixed("abcd", "xy") == ["a", "x", "b", "c", "y", "d"]  # type: ignore[arg-type, comparison-overlap]
    names = [case.name for case in plan.PROFILES["full"]]
    assert len(set(names)) == len(names)
    early = plan.PROFILES["full"][: len(names) // 3]
    assert {bool(case.checkpoints) for case in early} == {True, False}
