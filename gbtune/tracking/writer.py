"""What a process that writes to MLflow runs: see `gbtune.tracking.process`."""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import os
import signal
import sys
import threading
import time
import warnings
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from gbtune.errors import GbtuneError, GbtuneWarning
from gbtune.tracking.line import KEPT_SECONDS
from gbtune.tracking.model_registry import import_what_saving_needs

if TYPE_CHECKING:
    from gbtune.tracking.mlflow import MLflowTracker
    from gbtune.tracking.worker import Worker

_LOOKS_EVERY = 0.2


def _warm_up() -> None:
    """Import what writing needs, in one thread: two that import at once may clash.

    What imports make is no garbage: not to look for any saves a fifth of the time.
    """
    gc.disable()
    with contextlib.suppress(Exception):  # a missing MLflow is the tracker's news
        importlib.import_module("mlflow")
        import_what_saving_needs()
    gc.freeze()
    gc.enable()


def _end_with(parent: int) -> None:
    """End this process when its parent has: the study's next one writes what is missing, and both would write it twice.

    A killed parent closes the connection, but nobody reads that while the end of a study is being written.
    """
    while os.getppid() == parent:  # on Windows for ever: there it ends with the connection
        time.sleep(_LOOKS_EVERY)
    os._exit(0)


def serve(connection: Connection) -> None:
    """Be the other process: run the tracker until the connection ends, or nobody wants it after a study.

    It is told ``("start", ...)``, ``("trial", record)`` and ``("finish", outcome)``, and ``("hold", None)`` when it is
    the next study's.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    lock = threading.Lock()

    def say(kind: str, content: Any = None) -> None:
        with lock:
            connection.send((kind, content))

    def written(worker: Worker) -> None:
        say("written", worker.pace)

    tracker: MLflowTracker | None = None
    waits = False
    try:
        _warm_up()
        while True:
            if waits and not connection.poll(KEPT_SECONDS):
                return  # the study has ended, and none has followed
            kind, content = connection.recv()
            waits = kind == "finish"
            answer: tuple[str, Any] | None = None
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", GbtuneWarning)
                try:
                    if kind == "start":
                        tracker, study, sys.argv, folder = content
                        if folder is not None:
                            with contextlib.suppress(OSError):
                                os.chdir(folder)
                        tracker.study_started(study)
                        tracker._queue("", lambda: say("ready", time.monotonic()))  # once the study's run is written
                        answer = ("started", None)
                    elif kind == "trial":
                        assert tracker is not None
                        tracker.trial_finished(content)
                        tracker._queue("", functools.partial(written, tracker._worker))
                    elif kind == "finish":
                        assert tracker is not None
                        answer = ("finished", tracker.study_finished(content))
                except GbtuneError as error:
                    answer = ("error", error)
            for warning in caught:
                if issubclass(warning.category, GbtuneWarning):
                    say("warning", str(warning.message))
            if answer is not None:
                say(*answer)
    except (EOFError, OSError):
        pass  # all has been said, or the parent is dead: what is not written is in the spool
    finally:
        os._exit(0)  # MLflow's threads and exit handlers have nothing left to do
