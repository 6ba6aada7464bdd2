"""Processes for tests that kill, fill or share: they start at once."""

from __future__ import annotations

import multiprocessing
from typing import Any


def ready_processes() -> Any:
    """A `multiprocessing` context whose children come from a server that has imported all and trained nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gbtune.api", "gbtune.isolation", "xgboost", "lightgbm", "sklearn.datasets"])
    return context
