"""A connection to one MLflow store: where it is, whether it answers, and the few calls gbtune makes.

Everything goes through `MlflowClient` with explicit ids. The caller's tracking URI, active run,
experiment and environment are read once or not at all, and never written.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shlex
import socket
import sqlite3
import sys
import tempfile
import threading
import time
import urllib.parse
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from gbtune.errors import InvalidArgument
from gbtune.locations import public_uri, resolve_uri, sqlite_path
from gbtune.optional import require
from gbtune.records import StudyRecord
from gbtune.tracking.projection import Point, cut
from gbtune.tracking.view import run_page, view_page, view_tag
from gbtune.tracking.worker import FIRST_SECONDS, Abandoned, beat, is_simultaneous

PROBE_SECONDS = 5.0
"""A server that takes longer to say it is there is not there."""
PROBE_EVERY = 5.0
"""Seconds for which an answer is believed. Whoever dies in between costs one attempt: see `Worker`."""

_DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_REPEATS_ERRORS = ("mlflow.store.db.utils", "urllib3.connectionpool")  # loggers whose errors are raised, too
_TELLS_NEWS = ("mlflow.pyfunc", "mlflow.models.model", "mlflow.store.model_registry.abstract_store")
# File systems whose locks work between processes, which write-ahead logging needs.
_LOCAL_FILE_SYSTEMS = {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "overlay"}


class StoreUnreachable(ConnectionError):
    """The tracking store does not answer."""


class Store:
    """A lazily opened MLflow store; used by one thread at a time, and by a forked process on its own connection.

    Parameters
    ----------
    uri : str
        As `resolve_uri` returns it.
    registry_uri : str, optional
        Of the model registry. Default: the same store.
    """

    def __init__(self, uri: str, registry_uri: str | None = None) -> None:
        self.uri = uri
        self.registry_uri = registry_uri or uri
        self._client: Any = None
        self._pid = os.getpid()
        self._answered = float("-inf")
        self._experiments: dict[str, str] = {}

    @property
    def is_http(self) -> bool:
        """Whether it is behind a tracking server."""
        return self.uri.startswith(("http://", "https://"))

    @property
    def client(self) -> Any:
        """The `MlflowClient`; each use first makes sure that the attempt is still wanted and that somebody answers.

        MLflow retries a dead server for about four minutes per call, and its limits are environment variables,
        which are not ours to write: so gbtune asks first, briefly.
        """
        beat()
        if self._pid != os.getpid():
            self._forget_connections()
        if time.monotonic() - self._answered > PROBE_EVERY:
            self._probe()
            self._answered = time.monotonic()
            beat()
        if self._client is None:
            self._client = self._open()
            beat()
        return self._client

    def _open(self) -> Any:
        mlflow = require("mlflow", needed_for="Tracking in MLflow")
        beat()
        path = sqlite_path(self.uri)
        if path is None:
            return mlflow.MlflowClient(tracking_uri=self.uri, registry_uri=self.registry_uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _initialising(path):
            if not _has_tables(path):
                self._create(path.resolve(), mlflow)
            return mlflow.MlflowClient(tracking_uri=self.uri, registry_uri=self.registry_uri)

    def _create(self, path: Path, mlflow: Any) -> None:
        """Make a database with all its tables, or none: MLflow cannot go on with what a kill leaves half made."""
        draft = path.with_name(f".{path.name}.new")
        for leftover in path.parent.glob(f"{draft.name}*"):
            leftover.unlink()
        uri = f"sqlite:///{draft.as_posix()}"
        mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri).search_experiments(max_results=1)
        for engines in _engines():
            if uri in engines:
                engines.pop(uri).dispose()
        if _is_local_disk(path.parent):
            # Persists in the file: halves the cost of a trial, and readers do not block writers.
            with contextlib.closing(sqlite3.connect(draft)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
        draft.replace(path)

    def _forget_connections(self) -> None:
        """Leave the connections of the process that this one was forked from to that process."""
        self._pid, self._client, self._answered = os.getpid(), None, float("-inf")
        for engines in _engines():
            if self.uri in engines:
                engines[self.uri].dispose(close=False)

    def _probe(self) -> None:
        """Raise at once where MLflow would retry for minutes."""
        parts = urllib.parse.urlsplit(self.uri)
        path = sqlite_path(self.uri)
        if self.is_http:
            _probe_server(f"{self.uri}/health", public_uri(self.uri))
        elif path is not None:
            _check_writable(path)
        elif parts.scheme.partition("+")[0] in _DATABASE_PORTS:
            # a missing driver is an ImportError here, with its name
            require("sqlalchemy", pip="mlflow", needed_for="Tracking in a database").engine.make_url(
                self.uri
            ).get_dialect().import_dbapi()
            address = (parts.hostname or "localhost", parts.port or _DATABASE_PORTS[parts.scheme.partition("+")[0]])
            try:
                socket.create_connection(address, timeout=PROBE_SECONDS).close()
            except OSError as error:
                raise StoreUnreachable(f"{public_uri(self.uri)} does not answer: {error}") from error

    def experiment_id(self, name: str) -> str:
        """Return the experiment's id; create it if it is missing.

        In a SQLite store its artifacts go to ``mlartifacts`` beside the database, an absolute place: MLflow's own
        default depends on the folder a process happens to run in.
        """
        if name not in self._experiments:
            found = self.client.get_experiment_by_name(name) or self._create_experiment(name)
            if found.lifecycle_stage != "active":
                raise InvalidArgument(
                    f"The MLflow experiment {name!r} is deleted, so nothing can be written to it: "
                    "restore it (mlflow experiments restore) or give MLflowTracker(experiment=...) another name."
                )
            self._experiments[name] = found.experiment_id
        return self._experiments[name]

    def _create_experiment(self, name: str) -> Any:
        path = sqlite_path(self.uri)
        location = None if path is None else (path.parent / "mlartifacts").as_uri()
        try:
            return self.client.get_experiment(self.client.create_experiment(name, artifact_location=location))
        except Exception:
            found = self.client.get_experiment_by_name(name)  # another process was faster
            if found is None:
                raise
            return found

    def search(self, experiment_id: str, tags: dict[str, str]) -> list[Any]:
        """Return the runs that carry all these tags, oldest first."""
        where = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        runs: list[Any] = []
        token = None
        while True:
            page = self.client.search_runs(
                [experiment_id], where, max_results=1000, order_by=["attributes.start_time ASC"], page_token=token
            )
            runs.extend(page)
            token = page.token
            if not token:
                return runs

    def log(
        self,
        run_id: str,
        points: Sequence[Point] = (),
        params: dict[str, str] | None = None,
        tags: dict[str, str] | None = None,
        model_id: str | None = None,
    ) -> None:
        """Write metrics, parameters and tags of a run in one call."""
        from mlflow.entities import Metric, Param, RunTag

        # The model's page shows the metrics that name it.
        owner = {"model_id": model_id, "run_id": run_id} if model_id else {}
        self.client.log_batch(
            run_id,
            metrics=[Metric(p.key, p.value, p.timestamp, p.step, **owner) for p in points],
            params=[Param(key, value) for key, value in (params or {}).items()],
            tags=[RunTag(key, value) for key, value in (tags or {}).items()],
        )

    def terminate(self, run_id: str, status: str, end: int) -> None:
        """Set a run's status and end time.

        `MlflowClient.set_terminated` prints two lines per run to stdout with a tracking server, unless
        an environment variable says otherwise; the store underneath does the same work in silence.
        """
        try:
            update = self.client._tracking_client.store.update_run_info
        except AttributeError:  # another MLflow: rather loud than not at all
            self.client.set_terminated(run_id, status, end)
            return
        from mlflow.entities import RunStatus

        update(run_id, RunStatus.from_string(status), end, None)

    def write_view(self, study: StudyRecord, text: str, experiment_id: str) -> bool:
        """Write a study's view; return whether the store took it.

        Nothing depends on it, so a refusal is no error. A store that is away is the next call's news.
        """
        for _ in range(2):
            try:
                self.client.set_experiment_tag(experiment_id, view_tag(study), text)
            except Abandoned:
                raise
            except Exception as error:
                if not is_simultaneous(error):
                    return False
            else:
                beat()
                return True
        return False

    def view_url(self, study: StudyRecord, experiment_id: str) -> str | None:
        """Return the link to a study's view, which must have been written; None for a store without a server."""
        return self.page_url(view_page(study, experiment_id))

    def run_url(self, experiment_id: str, run_id: str) -> str | None:
        """Return the link to a run's page; None for a store without a server."""
        return self.page_url(run_page(experiment_id, run_id))

    def page_url(self, page: str) -> str | None:
        """Return the link to a page of MLflow's UI; None for a store without a server."""
        if not self.is_http:
            return None
        parts = urllib.parse.urlsplit(self.uri)
        return f"{urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition('@')[2]))}/{page}"

    def ui_command(self, study: str) -> str:
        """Return the command that starts MLflow's UI on this store and prints the link to a study.

        Examples
        --------
        >>> from gbtune.tracking.store import Store
        >>> Store("sqlite:////data/mlflow.db").ui_command("my study")
        "gbtune ui 'my study' --tracking-uri sqlite:////data/mlflow.db"
        """
        words = ["gbtune", "ui", study]
        if self.uri != resolve_uri(None):
            words += ["--tracking-uri", public_uri(self.uri)]
        return shlex.join(words)


def what_went_wrong(error: BaseException) -> str:
    """Return an error of MLflow, of its servers or its databases in one line, without the SQL.

    Examples
    --------
    >>> from gbtune.tracking.store import what_went_wrong
    >>> what_went_wrong(RuntimeError("database is locked [SQL: UPDATE runs SET ...]"))
    'RuntimeError: database is locked'
    """
    text = " ".join(str(error).partition("[SQL:")[0].split()) or "no details"
    # the same cause reads the same, whatever was asked for
    text = re.sub(r"API request to \S+ failed with exception |with url: \S+ |<\S+ object at 0x\w+>: ", "", text)
    return f"{type(error).__name__}: {cut(text, 300)}"


def _probe_server(url: str, shown: str) -> None:
    require("mlflow", needed_for="Tracking in MLflow")
    import requests  # a dependency of mlflow; follows the same proxies

    try:
        requests.get(url, timeout=PROBE_SECONDS, allow_redirects=False).close()
    except requests.exceptions.SSLError:
        return  # somebody answers; MLflow has its own settings for certificates
    except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
        raise StoreUnreachable(f"{shown} does not answer: {type(error).__name__}") from error


def _check_writable(path: Path) -> None:
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise NotADirectoryError(f"{path} cannot be created: {folder} is not a folder")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise PermissionError(f"{path} cannot be written")


def _engines() -> Iterator[dict[str, Any]]:
    """Return the connections that MLflow keeps, by URI."""
    for store in ("mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store"):
        yield getattr(getattr(sys.modules.get(store), "SqlAlchemyStore", None), "_engine_map", {})


@contextlib.contextmanager
def _initialising(path: Path) -> Iterator[None]:
    """Let one process at a time make the tables of a new database; two at once would both fail."""
    user = getattr(os, "getuid", lambda: 0)()
    lock = FileLock(Path(tempfile.gettempdir()) / f"gbtune-{user}-{zlib.crc32(bytes(path.absolute())):08x}.mlflow.lock")
    with contextlib.suppress(OSError):  # where there can be no lock, MLflow's own must do
        lock.acquire(timeout=FIRST_SECONDS)
    try:
        yield
    finally:
        lock.release()


def _has_tables(path: Path) -> bool:
    """Return whether a database is more than an empty file.

    Raises
    ------
    InvalidArgument
        If the file is something else.
    """
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as connection:
            return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None
    except sqlite3.OperationalError:  # it does not exist yet, or is busy: then it has some
        return path.exists() and path.stat().st_size > 0
    except sqlite3.DatabaseError as error:
        raise InvalidArgument(f"{path} is not a SQLite database ({error}): name another file.") from error


def _is_local_disk(folder: Path) -> bool:
    """Return whether a folder is surely not on a network disk; only Linux can tell without a library."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    folder = folder.resolve()
    best, kind = -1, ""
    for line in mounts:
        _, point, file_system, *_ = line.split(" ")
        mount = Path(point.replace("\\040", " "))
        if folder.is_relative_to(mount) and len(mount.parts) >= best:
            best, kind = len(mount.parts), file_system
    return kind in _LOCAL_FILE_SYSTEMS


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide what MLflow logs because of this thread: news, and errors that it raises as well.

    A full disk would otherwise be a page of traceback per trial, and a dead server a line per attempt. What
    other threads cause stays.
    """
    thread = threading.get_ident()

    def keep(record: logging.LogRecord) -> bool:
        news = record.levelno <= logging.INFO
        return record.thread != thread or not (news or record.name in _REPEATS_ERRORS)

    loggers = [logging.getLogger(name) for name in (*_REPEATS_ERRORS, *_TELLS_NEWS)]
    for logger in loggers:
        logger.addFilter(keep)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(keep)
