"""Floor 2: trackers, which show a study to people. MLflow is imported in here alone, inside functions."""

from __future__ import annotations

from gbtune.tracking.base import Tracker
from gbtune.tracking.mlflow import MLflowTracker

__all__ = ["MLflowTracker", "Tracker"]
