"""The line to a process that writes to MLflow, and what becomes of the process between two studies."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import os
import queue
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gbtune.interpreter import start_interpreter
from gbtune.locations import sqlite_path
from gbtune.tracking.model_registry import ModelFiles

if TYPE_CHECKING:
    from gbtune.tracking.mlflow import MLflowTracker

FIRST_SECONDS = 4.0
"""For a new interpreter, MLflow's import and a new store, while the cores are busy with trials."""
IMPORT_SECONDS = 2.0
"""Those of `FIRST_SECONDS` for which the process needs no study yet, and which one that is kept has behind it."""
LAST_SECONDS = 0.8
"""For the end of a study whose run is in the store already: results, files, model."""
TRIAL_SECONDS = 0.03
"""For a trial, until it is known how long the first ones have taken."""
MOST_SLOWNESS = 3.0
"""Not more: a server that does not answer is no busy machine."""
KEPT_SECONDS = 60.0
"""After the end of a study its process waits so long for another one: MLflow's import takes three seconds of a core,
which that study then has for its trials."""
_ALMOST = 5.0
_OWN_LIMITS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""MLflow's own last for minutes; in a process of ours they can be set. The user's own go first."""
_SAYS_NOTHING = ("PYTEST_CURRENT_TEST", "COLUMNS", "LINES")
"""Variables that differ all the time and change nothing."""


class Line:
    """A process of ours, and the connection to it.

    Parameters
    ----------
    tracker : MLflowTracker
        What it is started for.

    Raises
    ------
    OSError
        If no process can be started.
    """

    def __init__(self, tracker: MLflowTracker) -> None:
        self.owner, self.world, self.folder = os.getpid(), _world(), current_folder()
        self.stores: dict[str, tuple[int, int] | None] = {}
        """What it has opened, with what file that was."""
        self.inner, self._hearing = tracker, threading.Lock()
        self.imports = IMPORT_SECONDS
        own = {name: value for name, value in _OWN_LIMITS.items() if name not in os.environ}
        self.process, self.connection = start_interpreter("gbtune.tracking.writer", "serve", environment=own)
        self.began, self.outbox = time.monotonic(), queue.SimpleQueue[Any]()
        self.told_at: float | None = None
        self.ready_at: float | None = None
        self.broken = False
        self.unwritten, self.pace = 0, TRIAL_SECONDS
        threading.Thread(target=self._post, daemon=True).start()

    def suits(self, tracker: MLflowTracker) -> bool:
        """Whether it can be used again, and would do for this tracker what a new process does.

        MLflow reads variables when it likes, and keeps a store that it has opened by its address: in whatever folder
        that was, and if the file has been deleted since.
        """
        alive = self.owner == os.getpid() and not self.broken and self.process.poll() is None
        if not alive or self.world != _world():
            return False
        opened = [store for store in _stores(tracker) if store in self.stores]
        same_files = all(self.stores[store] == _file_of(store) for store in opened)
        return same_files and (not opened or self.folder == current_folder())

    def rest(self) -> None:
        """Remember what the process has opened, at the end of a study."""
        self.stores.update((store, _file_of(store)) for store in _stores(self.inner))

    def begin_again(self, tracker: MLflowTracker) -> None:
        """Forget the study before, and have the process wait for the next one however long that takes."""
        self.hear()
        self.outbox.put(("hold", None))
        self.folder, self.inner = current_folder(), tracker
        self.began, self.told_at, self.ready_at, self.unwritten = time.monotonic(), None, None, 0
        self.imports = 0.0

    @property
    def stands_still(self) -> bool:
        """Whether it lives and takes what it is told, and yet may not have answered."""
        return not self.broken and self.process.poll() is None

    @property
    def ready(self) -> bool:
        """Whether the process has come to the first trial."""
        return self.ready_at is not None

    @property
    def first_seconds(self) -> float:
        """What getting ready usually takes."""
        return FIRST_SECONDS - IMPORT_SECONDS + self.imports

    @property
    def getting_ready(self) -> float:
        """Seconds it took, or has taken so far, without those in which it had nothing to do."""
        now = time.monotonic() if self.ready_at is None else self.ready_at
        idle = max(0.0, (now if self.told_at is None else self.told_at) - self.began - self.imports)
        return now - self.began - idle

    @property
    def slowness(self) -> float:
        """How many times as long as usual that is: other work keeps the machine busy."""
        return min(max(1.0, self.getting_ready / self.first_seconds), MOST_SLOWNESS)

    def _post(self) -> None:
        """Send what there is, off the path of tuning: a process that is stopped takes nothing."""
        while (message := self.outbox.get()) is not None:
            try:
                self.connection.send(without_library(message))
            except Exception:  # it died, or a model cannot be saved
                self.broken = True
                return

    def hear(self) -> list[tuple[str, Any]]:
        """Return what has come. Thread-safe."""
        heard = []
        try:
            with self._hearing:
                while not self.connection.closed and self.connection.poll():
                    heard.append(self.connection.recv())
        except (EOFError, OSError):
            self.broken = True
        for kind, content in heard:
            if kind == "ready":
                self.ready_at = content  # when it was: it may be heard much later
            elif kind == "written":
                self.unwritten, self.pace = self.unwritten - 1, content
        return heard

    def wait(self, seconds: float) -> None:
        """Wait until there is something to hear."""
        with contextlib.suppress(OSError):
            self.connection.poll(seconds)

    def end(self, seconds: float) -> None:
        """Close the connection, and end the process if it has not ended by itself after so many seconds."""
        self.outbox.put(None)
        self.connection.close()
        try:
            self.process.wait(seconds)
        except Exception:
            self.process.kill()
            self.process.wait()


class Kept:
    """The process of the study that has ended last."""

    def __init__(self) -> None:
        self._line: Line | None = None
        self._until, self._lock = 0.0, threading.Lock()

    def keep(self, line: Line) -> None:
        """Keep a process whose study is written."""
        line.rest()
        with self._lock:
            before, self._line, self._until = self._line, line, time.monotonic() + KEPT_SECONDS - _ALMOST
        if before is not None:  # of a study beside it
            before.end(0.0)

    def take(self, tracker: MLflowTracker) -> Line | None:
        """Return a process that does for this tracker what a new one would, or None."""
        with self._lock:
            line, self._line, until = self._line, None, self._until
        if line is None:
            return None
        if time.monotonic() < until and line.suits(tracker):
            line.begin_again(tracker)
            return line
        if line.owner == os.getpid():
            line.end(0.0)
        return None

    def end(self) -> None:
        """End it."""
        with self._lock:
            line, self._line = self._line, None
        if line is not None and line.owner == os.getpid():
            line.end(0.0)


KEPT = Kept()
atexit.register(KEPT.end)


def _world() -> tuple[dict[str, str], list[str]]:
    """What a process takes over from this one."""
    return {name: value for name, value in os.environ.items() if name not in _SAYS_NOTHING}, [*sys.path]


def _stores(tracker: MLflowTracker) -> list[str]:
    return [store for store in (tracker.tracking_uri, tracker.registry_uri) if store is not None]


def _file_of(store: str) -> tuple[int, int] | None:
    """Return what tells a store's file from another of the same name; None where there is no file."""
    path = sqlite_path(store)
    with contextlib.suppress(OSError):
        if path is not None:
            status = path.stat()
            return status.st_dev, status.st_ino
    return None


def current_folder() -> str | None:
    """The current folder; None where it is gone."""
    with contextlib.suppress(OSError):
        return str(Path.cwd())
    return None


def without_library(message: tuple[str, Any]) -> tuple[str, Any]:
    """Put native files in the place of a fitted estimator, which nobody can unpickle without its library's import."""
    kind, content = message
    if kind != "finish" or content.model is None:
        return message
    model = dataclasses.replace(content.model, estimator=ModelFiles.of(content.model))
    return kind, dataclasses.replace(content, model=model)
