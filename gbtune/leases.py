"""Leases: who runs a trial, and whether that process still lives.

Optuna's heartbeat serves ``study.optimize`` on databases only. Here trials are asked and told, also from journals and
through proxies, so each running trial names its owner, and each owner has a lease in the study: a machine, a
process and an expiry that a thread renews. A dead process on this machine is seen at once, one elsewhere when
its lease expires.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import optuna

from gbtune.storage import is_in_memory

OWNER_KEY = "gbtune:owner"
LEASE_PREFIX = "gbtune:lease:"
_OWN_START: dict[int, str] = {}
"""When this process started, by its number: asked for several times a second."""
LEASE_SECONDS = 120.0
"""A process on another machine that has not renewed for so long is dead."""
RENEW_SECONDS = 20.0


class Lease:
    """This process's lease on the trials it runs in one study; a context manager.

    Parameters
    ----------
    study : optuna.Study
        Kept in a storage, or in memory: then nobody else can see it, and nothing is written.

    Attributes
    ----------
    owner : str
        What its trials carry under ``"gbtune:owner"``.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self._shared = not is_in_memory(study)
        self.owner = uuid.uuid4().hex[:12]
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._shared:
            self._write(LEASE_SECONDS)
            self._thread = threading.Thread(target=self._renew, name="gbtune-lease", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join(RENEW_SECONDS)
            # A storage that cannot be written is somebody else's news; the dead process is seen anyway.
            with contextlib.suppress(Exception):
                self._write(0.0)

    def living(self) -> dict[str, dict[str, Any]]:
        """Return the leases of all living owners, this one included."""
        if not self._shared:
            return {self.owner: _identity()}
        leases = {
            key.removeprefix(LEASE_PREFIX): json.loads(value)
            for key, value in self._study.user_attrs.items()
            if key.startswith(LEASE_PREFIX)
        }
        return {owner: lease for owner, lease in leases.items() if owner == self.owner or is_alive(lease)}

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_SECONDS):
            with contextlib.suppress(Exception):  # tried again; the lease outlasts a few failures
                self._write(LEASE_SECONDS)

    def _write(self, seconds: float) -> None:
        lease = {**_identity(), "expires": time.time() + seconds if seconds else 0.0}
        self._study.set_user_attr(LEASE_PREFIX + self.owner, json.dumps(lease))


def is_alive(lease: dict[str, Any]) -> bool:
    """Return whether the process of a lease still lives, as far as can be told from here.

    Examples
    --------
    >>> from gbtune.leases import is_alive
    >>> is_alive({"machine": "elsewhere", "process": 1, "started": "", "expires": 0.0})
    False
    """
    if lease["expires"] <= 0:
        return False  # given back
    here = _identity()
    in_time = bool(lease["expires"] > time.time())
    if lease["machine"] != here["machine"]:
        return in_time
    started = _started(lease["process"])
    # Where nothing tells when a process started, its number alone says little.
    return started == lease["started"] and (bool(started) or in_time)


def same_machine(lease: dict[str, Any]) -> bool:
    """Return whether a lease is of a process on this machine."""
    return bool(lease["machine"] == _identity()["machine"])


def _identity() -> dict[str, Any]:
    process = os.getpid()
    if (started := _OWN_START.get(process)) is None:  # the first time, or after a fork
        started = _started(process)
        if started is not None:
            _OWN_START[process] = started
    return {"machine": _machine(), "process": process, "started": started}


@functools.cache
def _machine() -> str:
    """Name the place in which process numbers are unique: a boot of a machine, and there a container."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _started(process: int) -> str | None:
    """Return when a process started, so that a reused number is another one; None if there is none.

    Where that cannot be told it is the empty string.
    """
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        state, *fields = stat.rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]  # a zombie is dead
    if os.name == "nt":  # signal 0 is Ctrl-C there
        return ""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass  # it is somebody else's
    return ""
