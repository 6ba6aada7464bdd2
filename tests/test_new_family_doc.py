"""docs/new-family.md, done literally: a stranger's family, from its first file to a tuned model."""

from __future__ import annotations

from pathlib import Path

import pytest
from contracts.pages import ROOT, follow, steps

OUTSIDE = ROOT / "tests" / "outside_package"


def test_the_page_shows_the_outside_package() -> None:
    shown = {step.path: step.text for step in steps("new-family.md") if step.path}
    for path, text in shown.items():
        assert text == (OUTSIDE / path).read_text(encoding="utf-8"), f"{path} differs: the page shows it as it is"
    files = {str(path.relative_to(OUTSIDE)) for path in OUTSIDE.rglob("*.*") if path.suffix in (".py", ".toml")}
    assert set(shown) == files - {"conftest.py"}


@pytest.mark.nightly  # two environments and the whole kit; what it installs is tested in tests/contracts as well
def test_the_page_is_followed_to_a_tuned_model(tmp_path: Path) -> None:
    installed, contracts, tuned = follow("new-family.md", tmp_path)
    assert "Successfully installed gbtune-histgb" in installed
    assert " passed" in contracts and "failed" not in contracts
    assert "log_loss" in tuned and "learning_rate" in tuned
    assert (tmp_path / "work" / "mlflow.db").exists()
