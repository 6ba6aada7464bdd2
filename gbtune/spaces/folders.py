"""Where search spaces are found: the folders that entry points name, ours among them."""

from __future__ import annotations

import importlib.metadata
import os
import warnings
from pathlib import Path

from gbtune.errors import GbtuneWarning, InvalidSpace, UnknownName

ENTRY_POINT_GROUP = "gbtune.search_spaces"
BUILTIN = "gbtune.spaces:builtin_folder"
FRAGMENTS = "fragments"
"""Folder of a family's fragments, beside its spaces."""


def builtin_folder() -> Path:
    """Return the folder of the spaces that come with gbtune.

    It is the target of gbtune's own entry point in the group ``gbtune.search_spaces``. An entry
    point of that group yields a path, or a callable without arguments that returns one, of a
    folder laid out as ``<family>/<name>.toml``.

    Returns
    -------
    pathlib.Path
        The installed folder; in a checkout, its ``search_spaces/``.

    Raises
    ------
    InvalidSpace
        If neither exists: the installation is damaged.

    Examples
    --------
    >>> from gbtune.spaces import builtin_folder
    >>> (builtin_folder() / "xgboost" / "core.toml").is_file()
    True
    """
    package = Path(__file__).resolve().parent.parent
    # exactly two places: a wheel has the first, a checkout (also an editable install) the second
    places = (package / "_search_spaces", package.parent / "search_spaces")
    for place in places:
        if place.is_dir():
            return place
    raise InvalidSpace(
        f"gbtune's own search spaces are missing: neither {places[0]} nor {places[1]} is a folder. "
        "Install gbtune again."
    )


def available(family: str | None = None, *, fragments: bool = False) -> list[str]:
    """Return the names of all spaces that can be loaded by name, sorted.

    Parameters
    ----------
    family : str, optional
        Only the spaces of this model family.
    fragments : bool, default False
        The fragments, which are added to a space, instead of the whole spaces.

    Returns
    -------
    list of str
        Names of the form ``"family/name"``.

    Warns
    -----
    GbtuneWarning
        For each plug-in that cannot be read, with its error; its spaces are left out.

    Examples
    --------
    >>> from gbtune.spaces import available
    >>> [key for key in available("lightgbm") if "grid" in key]
    ['lightgbm/grid', 'lightgbm/grid-mini', 'lightgbm/mljar-grid']
    >>> available("xgboost", fragments=True)
    ['xgboost/imbalance', 'xgboost/regularization', 'xgboost/schedules']
    """
    files = located(fragments=fragments)
    return sorted(key for key in files if family is None or key.partition("/")[0] == family)


def located(*, fragments: bool = False) -> dict[str, Path]:
    """Return the file of each space, or of each fragment, by its name ``"family/name"``.

    Examples
    --------
    >>> from gbtune.spaces.folders import located
    >>> located()["xgboost/core"].name
    'core.toml'
    """
    return _files(FRAGMENTS if fragments else "")


def find(key: str) -> Path:
    """Return the file of the space or fragment ``"family/name"``.

    Raises
    ------
    UnknownName
        If no folder has it; the message has the nearest name.
    """
    files = _files()
    if key not in files:  # spaces come first
        files = {**_files(FRAGMENTS), **files}
    if key not in files:
        hint = "A file of your own is given by its path, which ends in '.toml'."
        raise UnknownName("search space", key, files, hint)
    return files[key]


def _files(within: str = "") -> dict[str, Path]:
    """Return the files by ``"family/name"``: those in ``<family>/``, or in the folder `within` of it."""
    files: dict[str, Path] = {}
    for plugin, folder in _folders():
        for path in sorted(folder.glob(f"*/{within}/*.toml" if within else "*/*.toml")):
            key = f"{path.relative_to(folder).parts[0]}/{path.stem}"
            if key in files and files[key].resolve() != path.resolve():
                _warn(plugin, f"its space {key!r} is hidden by {files[key]}. Rename it")
            files.setdefault(key, path)
    return files


def _folders() -> list[tuple[str, Path]]:
    """Return (plug-in, folder) pairs: gbtune's own first, so that no plug-in replaces its spaces."""
    points = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    ours = [point for point in points if point.value == BUILTIN]
    # without package metadata (a plain checkout on the path) our own entry point is not listed
    folders = [] if ours else [("gbtune", builtin_folder())]
    for point in ours + sorted((p for p in points if p not in ours), key=lambda p: (p.name, p.value)):
        try:
            target = point.load()
            folder = Path(os.fspath(target() if callable(target) else target))
            if not folder.is_dir():
                raise NotADirectoryError(f"{folder} is not a folder")
        except Exception as error:  # a stranger's code: whatever it raises must not stop the study
            problem = f"{type(error).__name__}: {error}"
            _warn(point.name, f"{problem}. Its spaces are left out: repair or uninstall it")
        else:
            folders.append((point.name, folder))
    return folders


def _warn(plugin: str, problem: str) -> None:
    message = f"Search-space plug-in {plugin!r} (entry point group {ENTRY_POINT_GROUP!r}): {problem}."
    warnings.warn(message, GbtuneWarning, stacklevel=2)
