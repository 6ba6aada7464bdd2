"""MLflow's own server as a child process: the UI of a store that has no server."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from gbtune.errors import InvalidArgument, TrackingUnavailable
from gbtune.locations import public_uri, sqlite_path

DEFAULT_PORT = 5000
PORTS_TRIED = 100
START_SECONDS = 180.0
"""A server that takes longer to start never will; on a busy machine half a minute was seen."""
STOP_SECONDS = 10.0
"""How long requests that are being answered may hold up the end."""
POLL_SECONDS = 0.2
_TAIL = 12
"""Lines of the server's log in the message of an error."""
_ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}


class UIServer:
    """A running ``mlflow server``; made by `ui_server`.

    Parameters
    ----------
    uri : str
        Of the store, as `resolve_uri` returns it.
    registry_uri : str, optional
        Of the model registry. Default: the same store.
    host, port : str, int
        Where it listens.
    """

    def __init__(self, uri: str, registry_uri: str | None, host: str, port: int) -> None:
        shown = _ANY_HOST.get(host, f"[{host}]" if ":" in host else host)
        self.url = f"http://{shown}:{port}"
        self._store = public_uri(uri)
        self._log = tempfile.TemporaryFile(prefix="gbtune-ui-")  # noqa: SIM115 - as long as the server
        command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"]
        # A session of its own: a Ctrl-C at the terminal reaches this process alone, and all the server's can be ended.
        self._process = subprocess.Popen(
            command,
            env=_environment(uri, registry_uri),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait_until_it_answers(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Return when the server answers, or as soon as `stopped` returns true.

        Raises
        ------
        TrackingUnavailable
            If it ends instead, or takes more than three minutes.
        """
        deadline = time.monotonic() + START_SECONDS
        while not stopped() and not self._answers():
            self.check()
            if time.monotonic() > deadline:
                raise TrackingUnavailable(self._told(f"did not answer within {START_SECONDS:g} s"))
            time.sleep(POLL_SECONDS)

    def check(self) -> None:
        """Raise `TrackingUnavailable` if the server has ended, with the end of its log."""
        code = self._process.poll()
        if code is not None:
            raise TrackingUnavailable(self._told(f"ended with exit code {code}"))

    def stop(self) -> None:
        """End the server and every process that it started."""
        if sys.platform == "win32":
            subprocess.run(["taskkill", "/T", "/F", "/PID", str(self._process.pid)], capture_output=True, check=False)
        else:
            if self._process.poll() is None:
                self._process.terminate()  # it tells its workers
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)  # whoever is left of its session
        self._process.wait()
        self._log.close()

    def _answers(self) -> bool:
        # No proxy: what the environment names as one does not know this machine's own addresses.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            opener.open(f"{self.url}/health", timeout=5.0).close()
        except (urllib.error.URLError, OSError):
            return False
        return True

    def _told(self, what: str) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()[-_TAIL:]
        return f"MLflow's server on {self._store} {what}. The end of its log:\n" + "\n".join(lines)


@contextlib.contextmanager
def ui_server(
    uri: str, registry_uri: str | None = None, *, host: str = "127.0.0.1", port: int | None = None
) -> Iterator[UIServer]:
    """Run ``mlflow server`` on a store for as long as the block lasts.

    Parameters
    ----------
    uri : str
        Of the store, as `resolve_uri` returns it; it must exist.
    registry_uri : str, optional
        Of the model registry. Default: the same store.
    host : str, default "127.0.0.1"
        The address to listen on.
    port : int, optional
        Default: 5000, or the next one that is free.

    Yields
    ------
    UIServer
        Started; it need not answer yet.

    Raises
    ------
    InvalidArgument
        If there is no store, if it is one that no server can open, or if the port is taken. Nothing is created.
    """
    check_store(uri)
    server = UIServer(uri, registry_uri, host, free_port(host, port))
    try:
        yield server
    finally:
        server.stop()


def check_store(uri: str) -> None:
    """Raise `InvalidArgument` if there is nothing that a server could show; MLflow would create it.

    Examples
    --------
    >>> from gbtune.tracking.server import check_store
    >>> check_store("sqlite:////nowhere/mlflow.db")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    gbtune.errors.InvalidArgument: There is no MLflow store at /nowhere/mlflow.db. Tune first, ...
    """
    path = sqlite_path(uri)
    if path is None and uri.startswith("file:"):
        path = Path(urllib.request.url2pathname(uri.removeprefix("file:")))
    if path is not None and not (path.is_dir() or (path.is_file() and path.stat().st_size)):
        raise InvalidArgument(
            f"There is no MLflow store at {path}. Tune first, which makes one, or go to the folder that has it, or "
            "say where it is: --tracking-uri, or the environment variable MLFLOW_TRACKING_URI."
        )
    if uri.partition(":")[0] in ("databricks", "databricks-uc", "uc"):
        raise InvalidArgument("Databricks shows its experiments itself: open the workspace in a browser.")


def free_port(host: str, port: int | None = None) -> int:
    """Return `port` if it is free; without one, 5000 or the next one that is.

    Raises
    ------
    InvalidArgument
        If it is taken, or if the host is no address of this machine.
    """
    for candidate in (port,) if port is not None else range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TRIED):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            socket.create_server((host, candidate), family=family).close()
        except OSError as error:
            reason = error
        else:
            return candidate
    raise InvalidArgument(
        f"MLflow's server cannot listen on {host}, port {port or f'{DEFAULT_PORT} and the next {PORTS_TRIED - 1}'} "
        f"({reason.strerror or reason}). Give another --port, or --host."
    )


def _environment(uri: str, registry_uri: str | None) -> dict[str, str]:
    """Return the server's environment; in its arguments every user of the machine could read the store's password."""
    path = sqlite_path(uri)
    given = {key: value for key, value in os.environ.items() if key != "MLFLOW_STATIC_PREFIX"}
    if path is not None:  # where gbtune itself keeps artifacts; MLflow's default depends on the current folder
        given.setdefault("MLFLOW_ARTIFACTS_DESTINATION", str(path.parent / "mlartifacts"))
    return given | {
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_REGISTRY_STORE_URI": registry_uri or uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # for language models only, and it keeps a core busy
        "PYTHONSAFEPATH": "1",  # a mlflow.py in the current folder is not MLflow
    }
