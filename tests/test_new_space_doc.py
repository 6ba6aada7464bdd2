"""docs/new-space.md, done literally: a space from its file to a name."""

from __future__ import annotations

from pathlib import Path

from contracts.pages import follow


def test_the_page_is_followed_to_a_named_space(tmp_path: Path) -> None:
    contracts, tuned, installed, loaded = follow("new-space.md", tmp_path)
    assert " passed" in contracts and "failed" not in contracts
    assert "max_depth" in tuned
    assert "Successfully installed our-spaces" in installed
    assert "xgboost/shallow" in loaded
