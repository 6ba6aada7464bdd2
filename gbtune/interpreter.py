"""Starts new interpreters that talk over a connection.

Not `multiprocessing`: a fork after OpenMP hangs, and a spawn imports the caller's ``__main__`` again, so that scripts
without a main guard and notebooks would not work.
"""

from __future__ import annotations

import contextlib
import multiprocessing.connection
import multiprocessing.spawn
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection
from typing import Any

# The new interpreter takes the caller's module path before it imports anything else than the standard library.
_BOOTSTRAP = """
import sys
from importlib import import_module
from multiprocessing import connection
kind = connection.PipeConnection if sys.platform == "win32" else connection.Connection
parent = kind(int(sys.argv[1]))
sys.path[:], module, name = parent.recv()
getattr(import_module(module), name)(parent)
"""


def start_interpreter(
    module: str, name: str, *, descriptors: tuple[int, ...] = (), environment: Mapping[str, str] | None = None
) -> tuple[subprocess.Popen[bytes], Connection]:
    """Start an interpreter that calls a function with its end of a connection.

    What it prints goes to this process's stderr. It starts with interrupts blocked: a Ctrl-C at the terminal reaches
    all processes, and this one decides what to do about it.

    Parameters
    ----------
    module, name : str
        Of the function.
    descriptors : tuple of int, default ()
        Files that it inherits (not on Windows).
    environment : mapping, optional
        Variables to set beside those of this process.

    Returns
    -------
    process, connection
        The process, and this side's end.

    Raises
    ------
    OSError
        If no process can be started.
    """
    connection, far_end = multiprocessing.connection.Pipe()
    handle = far_end.fileno()
    options: dict[str, Any]
    if sys.platform == "win32":
        os.set_handle_inheritable(handle, True)
        options = {"startupinfo": subprocess.STARTUPINFO(lpAttributeList={"handle_list": [handle]})}
    else:
        options = {"pass_fds": (handle, *descriptors)}
    try:
        with _interrupts_blocked():
            process = subprocess.Popen(
                [os.fsdecode(multiprocessing.spawn.get_executable()), "-P", "-c", _BOOTSTRAP, str(handle)],
                stdin=subprocess.DEVNULL,
                stdout=2,
                env={**os.environ, **(environment or {})},
                **options,
            )
    except BaseException:
        connection.close()
        raise
    finally:
        far_end.close()
    with contextlib.suppress(OSError):  # it died at once: whoever speaks to it will see
        connection.send((sys.path, module, name))
    return process, connection


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Have a process born with Ctrl-C blocked: it may come before the worker can say that it ignores it."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
