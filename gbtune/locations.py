"""Where things are: the tracking store, and the files that a study keeps beside it."""

from __future__ import annotations

import os
import re
import urllib.parse
import zlib
from pathlib import Path

from gbtune.errors import InvalidArgument

STUDIES_FOLDER = "gbtune-studies"
"""Holds a folder per study: its journal, and what MLflow has not acknowledged yet."""
MASK = "***"
"""Stands for a password."""
_LONGEST_NAME = 100
_SECRET = re.compile("password|passwd|pwd|token|secret|odbc_connect", re.IGNORECASE)
_LOGIN = re.compile(r"^((?!https?:)[\w+.-]+://[^:/@?]*:)[^@]+@")
"""As SQLAlchemy reads it: a password may hold a slash or a question mark, which the standard library ends it at."""


def resolve_uri(tracking_uri: str | None) -> str:
    """Return the absolute URI of the tracking store to use.

    Parameters
    ----------
    tracking_uri : str or None
        None: ``MLFLOW_TRACKING_URI`` from the environment, else ``mlflow.db`` in the current folder.

    Raises
    ------
    InvalidArgument
        If it is not a URI.

    Examples
    --------
    >>> from gbtune.locations import resolve_uri
    >>> resolve_uri("http://localhost:5000/")
    'http://localhost:5000'
    >>> resolve_uri("mlflow.db")
    Traceback (most recent call last):
    gbtune.errors.InvalidArgument: tracking_uri must be a URI, e.g. 'sqlite:///mlflow.db'; got 'mlflow.db'.
    """
    given = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    if not isinstance(given, str) or not (":" in given or given in ("databricks", "databricks-uc", "uc")):
        if tracking_uri is not None:
            raise InvalidArgument(f"tracking_uri must be a URI, e.g. 'sqlite:///mlflow.db'; got {tracking_uri!r}.")
        given = Path(given).absolute().as_uri()  # the environment may name a folder; MLflow judges it
    path = sqlite_path(given)
    if path is not None:
        head, question, options = given.partition("?")
        return f"{head.partition('://')[0]}:///{path.absolute().as_posix()}{question}{options}"
    return given.rstrip("/") if given.startswith("http") else given


def resolve_registry(tracking_uri: str | None, registry_uri: str | None) -> str | None:
    """Return the URI of the model registry; None if it is the tracking store.

    Parameters
    ----------
    tracking_uri, registry_uri : str or None
        As given. ``MLFLOW_REGISTRY_URI`` of the environment goes with the environment's tracking store, not with one
        that was named.

    Examples
    --------
    >>> from gbtune.locations import resolve_registry
    >>> resolve_registry("sqlite:///mlflow.db", None) is None
    True
    """
    if registry_uri is None and tracking_uri is None:
        return os.environ.get("MLFLOW_REGISTRY_URI")
    return registry_uri


def sqlite_path(uri: str) -> Path | None:
    """Return the file of a SQLite URI; None for other stores."""
    head = uri.partition("?")[0]
    scheme, separator, rest = head.partition(":///")
    if not separator or scheme.partition("+")[0] != "sqlite" or not rest or rest.startswith(("file:", ":memory:")):
        return None
    return Path(rest)


def public_uri(uri: str) -> str:
    """Return the URI without its passwords, for messages: neither before the host nor among the options.

    Examples
    --------
    >>> from gbtune.locations import public_uri
    >>> public_uri("postgresql://me:secret@host/db")
    'postgresql://me:***@host/db'
    >>> public_uri("postgresql://host/db?user=me&password=secret")
    'postgresql://host/db?user=me&password=***'
    """
    password = urllib.parse.urlsplit(uri).password
    if password:
        uri = uri.replace(f":{password}@", f":{MASK}@", 1)
    else:
        uri = _LOGIN.sub(rf"\1{MASK}@", uri)
    head, question, options = uri.partition("?")
    return head + question + "&".join(_public_option(option) for option in options.split("&"))


def _public_option(option: str) -> str:
    name, _, value = option.partition("=")
    return f"{name}={MASK}" if value and _SECRET.search(urllib.parse.unquote(name)) else option


def is_place(storage: str) -> bool:
    """Return whether another process finds a study's storage by this description: an absolute path or a URL.

    Others, such as a Redis journal or a gRPC proxy, are known by the name of their class alone.

    Examples
    --------
    >>> from gbtune.locations import is_place
    >>> is_place("postgresql://host/db"), is_place("JournalStorage"), is_place("sqlite:///:memory:"), is_place("")
    (True, False, False, False)
    """
    if "://" not in storage:
        return bool(storage) and Path(storage).is_absolute()
    in_memory = storage.partition("://")[2] in ("", "/") or ":memory:" in storage or "mode=memory" in storage
    return not (storage.startswith("sqlite") and in_memory)


def studies_root(tracking_uri: str | None = None) -> Path:
    """Return the folder of all studies' files: beside an embedded tracking store, else in the current folder.

    Parameters
    ----------
    tracking_uri : str, optional
        As `resolve_uri` takes it.

    Examples
    --------
    >>> from gbtune.locations import studies_root
    >>> studies_root("sqlite:////data/mlflow.db").as_posix()
    '/data/gbtune-studies'
    """
    path = sqlite_path(resolve_uri(tracking_uri))
    return (Path.cwd() if path is None else path.parent) / STUDIES_FOLDER


def study_folder(root: Path, name: str) -> Path:
    """Return the folder of the study with this name; it need not exist.

    Examples
    --------
    >>> from pathlib import Path
    >>> from gbtune.locations import study_folder
    >>> study_folder(Path("studies"), "churn").as_posix(), study_folder(Path("studies"), "a/b").as_posix()
    ('studies/churn', 'studies/a_b-07f4401c')
    """
    clean = re.sub(r"[^\w.-]+", "_", name).strip(".")[:_LONGEST_NAME] or "_"
    # Some file systems ignore the case of letters; a name with others than these keeps its own folder.
    plain = clean == name and name == name.lower()
    return root / (clean if plain else f"{clean}-{zlib.crc32(name.encode()):08x}")
