"""Where studies are kept: Optuna storages by name, path or URL, and one lock per study.

The default is Optuna's journal file, which costs a tenth of a database per trial. Its lock is one that the
operating system releases when a process dies, and a line that a kill or a full disk cut off is removed before
the next one is written.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock

from gbtune.errors import GbtuneError, InvalidArgument, MissingLibrary, StudyFailed
from gbtune.locations import public_uri, sqlite_path

JOURNAL = "study.journal"
_FIRST_BYTES = b'{"op_code"'
_POLL_SECONDS = 0.003
_SQLITE_SECONDS = 60
"""How long a process waits for another one's write; SQLite's own five seconds are few on a busy disk."""


class _Lock:
    """A lock between processes that ends with its process; may be entered again and again."""

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(str(path))

    def __enter__(self) -> None:
        self._lock.acquire(poll_interval=_POLL_SECONDS)

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class JournalLock(BaseJournalFileLock):
    """A journal's lock that ends with its process, and keeps the journal's lines whole.

    Optuna's own locks are files that a killed process leaves behind; the next one then waits for half a minute.

    Parameters
    ----------
    path : str or Path
        Of the journal.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._lock = FileLock(f"{path}.lock")

    def acquire(self) -> bool:
        """Wait for the lock; remove a line that was not finished."""
        self._lock.acquire(poll_interval=_POLL_SECONDS)
        mend_journal(self._path)
        return True

    def release(self) -> None:
        """Let others write."""
        mend_journal(self._path)  # what a full disk cut off would stand in the middle later
        self._lock.release()


def mend_journal(path: Path) -> None:
    """Cut off what stands after the last line break: a write that was interrupted.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from gbtune.storage import mend_journal
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "study.journal"
    >>> _ = path.write_text("whole" + chr(10) + "ha")
    >>> mend_journal(path)
    >>> path.read_text().splitlines()
    ['whole']
    """
    with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        position, tail = end, b""
        while position > 0 and b"\n" not in tail:
            start = max(0, position - (1 if tail == b"" else 1 << 16))
            file.seek(start)
            tail = file.read(position - start)
            position = start
        keep = position + tail.rfind(b"\n") + 1
        if keep < end:
            file.truncate(keep)


def journal(path: str | Path) -> JournalStorage:
    """Return the storage of a journal file; its folder is created.

    Raises
    ------
    InvalidArgument
        If the file is something else.

    Examples
    --------
    >>> import optuna, tempfile
    >>> from gbtune.storage import journal
    >>> optuna.create_study(storage=journal(tempfile.mkdtemp() + "/new/study.journal")).trials
    []
    """
    where = Path(path).absolute()
    where.parent.mkdir(parents=True, exist_ok=True)
    if where.is_file():
        with where.open("rb") as file:
            head = file.read(len(_FIRST_BYTES))
        if not _FIRST_BYTES.startswith(head):  # mending it would cut it up
            hint = f" Write sqlite:///{where.as_posix()}." if head.startswith(b"SQLite") else ""
            raise InvalidArgument(f"{where} is not a journal of Optuna's, so no study can be kept in it.{hint}")
    return JournalStorage(JournalFileBackend(str(where), lock_obj=JournalLock(where)))


def open_storage(storage: str | Path | BaseStorage | None, folder: Path) -> BaseStorage:
    """Return the storage of a named study.

    Parameters
    ----------
    storage : str, Path, optuna storage or None
        A database URL, the path of a journal file, or a storage. None: a journal in `folder`.
    folder : Path
        The study's folder.

    Raises
    ------
    InvalidArgument
        If it is none of these, or the place cannot be opened.
    MissingLibrary
        If a database needs a driver that is not installed.
    """
    if isinstance(storage, BaseStorage):
        return storage
    try:
        if storage is None:
            return journal(folder / JOURNAL)
        if isinstance(storage, Path) or (isinstance(storage, str) and "://" not in storage):
            return journal(storage)
        if isinstance(storage, str):
            path = sqlite_path(storage)
            if path is None:
                return optuna.storages.get_storage(storage)
            path.absolute().parent.mkdir(parents=True, exist_ok=True)
            # Two processes that create the tables at once would both fail.
            with FileLock(f"{path.absolute()}.lock"):
                url = RDBStorage(storage, engine_kwargs={"connect_args": {"timeout": _SQLITE_SECONDS}})
            return optuna.storages.get_storage(url)
    except ImportError as error:
        raise MissingLibrary(f"storage={_shown(storage)!r} needs a database driver: {error}") from error
    except GbtuneError:
        raise
    except Exception as error:
        if not (is_storage_error(error) or isinstance(error, ValueError)):
            raise
        where = str(folder / JOURNAL) if storage is None else _shown(storage)
        reason = str(error).replace(str(storage), where).partition("(Background on this error")[0].strip()
        raise InvalidArgument(f"The storage {where} cannot be opened: {reason}. Choose another storage=.") from error
    raise InvalidArgument(
        f"storage must be a database URL, the path of a journal file or an Optuna storage, got "
        f"{type(storage).__name__}."
    )


def is_storage_error(error: Exception) -> bool:
    """Return whether an error is that of a file or a database."""
    if isinstance(error, OSError | optuna.exceptions.StorageInternalError):
        return True
    return type(error).__module__.partition(".")[0] in ("sqlalchemy", "sqlite3", "grpc")


@contextlib.contextmanager
def writing(study: optuna.Study) -> Iterator[None]:
    """Turn a storage's error (a full disk, a lost database) into the study's clear end.

    Raises
    ------
    StudyFailed
        From the storage's error.
    """
    try:
        yield
    except Exception as error:
        if not is_storage_error(error):
            raise
        raise StudyFailed(
            f"The study's storage {describe(study) or 'in memory'} cannot be used: {type(error).__name__}: {error}. "
            "What is finished is safe there. Mend the cause, for example free some space, and run the same call again."
        ) from error


def is_in_memory(study: optuna.Study) -> bool:
    """Return whether nobody but this process can see the study."""
    return isinstance(study._storage, InMemoryStorage)


def describe(study: optuna.Study) -> str:
    """Return where a study is kept: a path or a URL without a password; empty in memory."""
    if is_in_memory(study):
        return ""
    found = _place(study._storage)
    return type(study._storage).__name__ if found is None else found


def study_lock(study: optuna.Study, purpose: str = "slots") -> AbstractContextManager[Any]:
    """Return a lock among the processes of this machine that share a study; it ends with its process.

    It stands beside the file of the storage, else in the folder for temporary files.
    """
    if is_in_memory(study):
        return contextlib.nullcontext()
    place = _place(study._storage)
    path = None if place is None else (sqlite_path(place) if "://" in place else Path(place))
    name = f"{zlib.crc32(study.study_name.encode()):08x}.{purpose}.lock"
    if path is not None:
        return _Lock(path.with_name(f"{path.name}.{name}"))
    user = getattr(os, "getuid", lambda: 0)()
    return _Lock(Path(tempfile.gettempdir()) / f"gbtune-{user}-{name}")


def _place(storage: BaseStorage) -> str | None:
    """Return the file or URL of a storage, as far as Optuna tells."""
    inner = getattr(storage, "_backend", storage)  # a cached database, or a journal's file
    if isinstance(inner, RDBStorage):
        path = sqlite_path(inner.url)
        return public_uri(inner.url) if path is None else f"sqlite:///{path.absolute().as_posix()}"
    path = getattr(inner, "_file_path", None)
    return None if path is None else str(Path(path).absolute())


def _shown(storage: object) -> str:
    return public_uri(storage) if isinstance(storage, str) else str(storage)
