"""The table of what an ask costs can be made, and goes where it belongs."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import samplers


def test_the_table_has_a_row_for_each_sampler_and_replaces_only_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table: ask -->\nold\n<!-- end table -->\nafter\n", encoding="utf-8")
    names = ["tpe", "qmc"]
    samplers.run(update=True, names=names, spaces=["xgboost/core"], behind=[3, 12], repeats=1, page=page)
    printed = capsys.readouterr().out.splitlines()
    assert page.read_text(encoding="utf-8").splitlines() == [
        "before",
        "<!-- table: ask -->",
        *printed,
        "<!-- end table -->",
        "after",
    ]
    rows = [line.strip("| ").split(" | ") for line in printed[2:4]]
    assert [row[0] for row in rows] == ["`tpe`", "`qmc`"]
    assert all(float(cell) > 0 for row in rows for cell in row[1:])


def test_a_page_without_the_place_for_it_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing here\n", encoding="utf-8")
    with pytest.raises(ValueError, match="table: ask"):
        samplers.rewrite(page, "ask", "text")


def test_the_page_has_the_places() -> None:
    text = samplers.PAGE.read_text(encoding="utf-8")
    assert text.count("<!-- table: ask -->") == text.count("<!-- table: quality -->") == 1
