"""What runs inside a worker process: an ordinary evaluator, asked over a connection.

The main thread trains. A second thread reads what the parent sends, so that a deadline is heard in the middle of a
round, and so that the process ends when its parent does, whatever it is doing.

Messages from the parent, in order: one `Setup`, then any number of `Call`; during a call ``("answer", prune)`` to each
report, ``("abandon", None)`` instead when the parent's report raised, and ``("interrupt", reason)``.
Messages to the parent: ``("ready", None)`` once; then per call any number of
``("report", (step, value, fold_scores))``, ``("held_out", HeldOut)`` if the call set a bar and it was passed, and one
of ``("result", CVResult)``, ``("error", Failure)``, ``("abandoned", None)``.
"""

from __future__ import annotations

import dataclasses
import os
import pickle
import queue
import shutil
import signal
import threading
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle

from gbtune.errors import GbtuneError
from gbtune.evaluation import Evaluator, Schedule
from gbtune.held_out import BestHeldOut
from gbtune.rounds import Rounds

PARENT_CHECK_SECONDS = 0.5
"""The closed connection tells that the parent is gone, unless a process that it forked holds it open."""


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a worker is told first.

    Parameters
    ----------
    parent : int
        Process id.
    path : str
        File written by joblib: data, folds, and what cloudpickle wrote of family, metrics, rounds and threads.
    folder : str or None
        Removed when the parent is found dead.
    """

    parent: int
    path: str
    folder: str | None


@dataclasses.dataclass(frozen=True)
class Call:
    """The arguments of one `Evaluator.evaluate`, and the loss below which its predictions are wanted."""

    params: Mapping[str, Any]
    seed: int
    n_folds: int
    rounds: Rounds
    schedule: Schedule
    workers: int
    reports: bool
    bar: float | None = None


@dataclasses.dataclass(frozen=True)
class Failure:
    """An exception on its way to the parent.

    Parameters
    ----------
    pickled : bytes
        The exception, or its type, arguments and attributes.
    whole : bool
        Which of the two.
    text : str
        Its traceback.
    """

    pickled: bytes
    whole: bool
    text: str

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Return what `rebuild` needs. What cannot be pickled becomes a GbtuneError of the same words."""
        text = "".join(traceback.format_exception(error))
        try:
            pickled = cloudpickle.dumps(error)
            pickle.loads(pickled)  # an __init__ with other arguments than those it passes on fails only here
            return cls(pickled, True, text)
        except Exception:
            pass
        try:
            pickled = cloudpickle.dumps((type(error), error.args, vars(error)))
            pickle.loads(pickled)
            return cls(pickled, False, text)
        except Exception:
            return cls(pickle.dumps(GbtuneError(f"{type(error).__qualname__}: {error}")), True, text)

    def rebuild(self) -> Exception:
        """Return the exception; its cause shows the worker's traceback."""
        found = pickle.loads(self.pickled)
        if not self.whole:
            kind, args, attributes = found
            found = kind.__new__(kind, *args)
            found.args = args
            vars(found).update(attributes)
        error: Exception = found
        error.__cause__ = WorkerTraceback(self.text)
        return error


class WorkerTraceback(Exception):
    """The traceback of an exception in the process where it was raised, as text."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


class _Abandoned(Exception):
    """The parent's report raised: its evaluation is over."""


class _Parent:
    """The connection, read by a thread of its own."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.setup: Setup = connection.recv()
        self.calls: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.reason: str | None = None
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            while True:
                while not self.connection.poll(PARENT_CHECK_SECONDS):
                    if os.name == "posix" and os.getppid() != self.setup.parent:
                        raise EOFError
                message = self.connection.recv()
                if isinstance(message, Call):
                    self.reason = None  # an interrupt that came after the end of the call before
                    self.calls.put(message)
                elif message[0] == "interrupt":
                    self.reason = message[1]
                else:
                    self.answers.put(message)
        finally:  # the parent is gone, and native code may be training: no ordinary exit
            if self.setup.folder is not None:
                shutil.rmtree(self.setup.folder, ignore_errors=True)
            os._exit(1)

    def report(self, step: int, value: float, fold_scores: Sequence[float]) -> bool:
        self.connection.send(("report", (step, value, tuple(fold_scores))))
        kind, prune = self.answers.get()
        if kind == "abandon":
            raise _Abandoned
        return bool(prune)


def serve(connection: Connection) -> None:
    """Answer calls until the parent ends this process or is gone itself.

    Parameters
    ----------
    connection : multiprocessing.connection.Connection
        To the parent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent decides
    parent = _Parent(connection)
    try:
        evaluator = _evaluator(parent.setup)
    except Exception as error:
        connection.send(("error", Failure.of(error)))
        return
    connection.send(("ready", None))
    while True:
        connection.send(_answer(evaluator, parent.calls.get(), parent))


def _evaluator(setup: Setup) -> Evaluator:
    import joblib

    data, folds, plugins = joblib.load(setup.path, mmap_mode="r")
    family, metrics, rounds, threads = pickle.loads(plugins)
    return Evaluator(family, data, folds, metrics, rounds, threads=threads)


def _answer(evaluator: Evaluator, call: Call, parent: _Parent) -> tuple[str, Any]:
    limited = evaluator.limited(call.n_folds, call.rounds)
    limited.held_out = None if call.bar is None else BestHeldOut(call.bar)
    try:
        result = limited.evaluate(
            call.params,
            seed=call.seed,
            report=parent.report if call.reports else None,
            schedule=call.schedule,
            interrupted=lambda: parent.reason,
            workers=call.workers,
        )
    except _Abandoned:
        return "abandoned", None
    except Exception as error:
        return "error", Failure.of(error)
    if limited.held_out is not None and limited.held_out.found is not None:
        parent.connection.send(("held_out", limited.held_out.found))
    return "result", result
