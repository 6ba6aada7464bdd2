"""scikit-learn's histogram gradient boosting as a model family of gbtune."""

from pathlib import Path


def search_spaces() -> Path:
    """Return the folder of the search spaces."""
    return Path(__file__).parent / "search_spaces"
