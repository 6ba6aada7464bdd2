"""One worker process as its parent sees it; `gbtune.isolation.worker` is the other side."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

from gbtune.errors import WorkerDied
from gbtune.evaluation import Report
from gbtune.held_out import BestHeldOut
from gbtune.interpreter import start_interpreter
from gbtune.isolation.data_file import DataFile
from gbtune.isolation.worker import Call, Setup
from gbtune.records import CVResult

POLL_SECONDS = 0.05
"""How often a waiting call asks whether it is interrupted."""
ENDING_SECONDS = 10.0
"""A process that closed its connection is dying, perhaps writing a core file; then it is killed."""

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OMP_THREAD_LIMIT",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


class Worker:
    """One worker process, used by one thread at a time."""

    def __init__(self, data: DataFile, threads: int) -> None:
        self.free, self.was_ready, self.closed = True, False, False
        self.process, self.connection = start_interpreter(
            "gbtune.isolation.worker",
            "serve",
            descriptors=data.descriptors,
            environment=dict.fromkeys(_THREAD_VARIABLES, str(threads)),
        )
        with contextlib.suppress(OSError):  # it died at once: whoever borrows it will see
            self.connection.send(Setup(os.getpid(), data.path, data.folder))

    def wait_until_ready(self, interrupted: Callable[[], str | None], params: Mapping[str, Any]) -> str | None:
        """Return None when it is ready, or the reason of an interrupt, which leaves it as it is."""
        while not self.was_ready:
            if (reason := interrupted()) is not None:
                return reason
            message = self._received(params)
            if message is not None and message[0] == "error":
                self.free = False
                raise message[1].rebuild()
            self.was_ready = message is not None
        return None

    def run(
        self,
        call: Call,
        report: Report | None,
        interrupted: Callable[[], str | None],
        held_out: BestHeldOut | None = None,
    ) -> CVResult:
        """Have one call answered. `free` says afterwards whether it may have another."""
        self.free, told = False, False
        self._send(call, call.params)
        failed: BaseException | None = None
        while True:
            if not told and failed is None and (reason := interrupted()) is not None:
                self._send(("interrupt", reason), call.params)
                told = True
            message = self._received(call.params)
            if message is None:
                continue
            kind, content = message
            if kind == "report" and report is not None:
                try:
                    answer = ("answer", bool(report(*content)))
                except Exception as error:
                    failed, answer = error, ("abandon", False)
                self._send(answer, call.params)
                continue
            if kind == "held_out" and held_out is not None:
                held_out.take(content)
                continue
            self.free = True
            if failed is not None:
                raise failed
            if kind == "error":
                raise content.rebuild()
            result: CVResult = content
            return result

    def end(self) -> None:
        """Kill the process and close the connection."""
        self.process.kill()
        self.process.wait()
        self.connection.close()

    def _send(self, message: object, params: Mapping[str, Any]) -> None:
        try:
            self.connection.send(message)
        except OSError:
            raise self._died(params) from None

    def _received(self, params: Mapping[str, Any]) -> tuple[str, Any] | None:
        """Return the next message, or None if there is none for a moment."""
        try:
            if not self.connection.poll(POLL_SECONDS):
                return None
            message: tuple[str, Any] = self.connection.recv()
            return message
        except (EOFError, OSError, pickle.UnpicklingError):
            raise self._died(params) from None

    def _died(self, params: Mapping[str, Any]) -> WorkerDied:
        self.free = False
        try:
            status = self.process.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            return WorkerDied(self.process.pid, "closed its connection and goes on running", dict(params))
        reason = "was ended by close()" if self.closed else describe_exit(status)
        return WorkerDied(self.process.pid, reason if self.was_ready else f"{reason} while it started", dict(params))


def describe_exit(status: int) -> str:
    """Say in words how a process ended.

    Parameters
    ----------
    status : int
        As `subprocess.Popen.returncode`: below 0 the signal that killed it.

    Examples
    --------
    >>> from gbtune.isolation.process import describe_exit
    >>> describe_exit(-9)
    'was killed by signal 9 (SIGKILL); out of memory is the usual cause'
    >>> describe_exit(3)
    'exited with status 3'
    """
    if status >= 0:
        return f"exited with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        return f"was killed by signal {-status}"
    causes = {"SIGKILL": "; out of memory is the usual cause"}
    causes |= dict.fromkeys(("SIGABRT", "SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE"), "; it crashed in native code")
    return f"was killed by signal {-status} ({name}){causes.get(name, '')}"
