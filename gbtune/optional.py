"""Import a heavy library at the moment it is needed, with a clear error when it is missing."""

from __future__ import annotations

import importlib
from typing import Any

from gbtune.errors import MissingLibrary


def require(module: str, *, pip: str | None = None, needed_for: str) -> Any:
    """Import and return `module`.

    Parameters
    ----------
    module : str
        Dotted module name.
    pip : str, optional
        What to give to ``pip install``. Default: the first part of `module`.
    needed_for : str
        What the user wanted, for the error message.

    Raises
    ------
    MissingLibrary
        If it is not installed.

    Examples
    --------
    >>> from gbtune.optional import require
    >>> require("json", needed_for="this example").dumps(1)
    '1'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        root = module.partition(".")[0]
        if error.name is not None and error.name.partition(".")[0] != root:
            raise  # it is installed, and something inside it is broken: show that
        raise MissingLibrary(
            f"{needed_for} needs the package {root!r}, which is not installed. Run: python -m pip install {pip or root}"
        ) from error
