"""A reference (name, path, dictionary) to the checked contents of a search space, and back."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gbtune.errors import InvalidArgument, InvalidSpace, UnknownName
from gbtune.spaces.checks import STATUSES
from gbtune.spaces.folders import FRAGMENTS, available, find
from gbtune.spaces.parameters import parameter_from_dict
from gbtune.spaces.portfolio import TASKS, PortfolioEntry

if TYPE_CHECKING:
    from gbtune.spaces.space import SearchSpace

SCHEMA = 1
HEADER = (
    *("schema", "family", "name", "version", "summary", "status", "license", "fragment", "sources", "tasks"),
    *("parameters", "portfolio"),
)
REQUIRED = ("schema", "family", "name", "parameters")
DICTIONARY = "Search space (dictionary)"


def read(reference: object, family: str | None) -> tuple[str, Mapping[str, Any]]:
    """Return where `reference` was found, for messages, and its raw table."""
    if isinstance(reference, Mapping):
        return DICTIONARY, reference
    if not isinstance(reference, str | os.PathLike):
        raise InvalidArgument(
            "A search space is a name ('xgboost/core'), the path of a .toml file, a dictionary or a "
            f"SearchSpace, got {type(reference).__name__}: {reference!r}."
        )
    if isinstance(reference, os.PathLike) or reference.endswith((".toml", ".json")):
        path = Path(reference)
        return str(path), parse(path)
    if "/" not in reference and family is None:
        raise InvalidArgument(
            f"A search space's name needs its family: '<family>/{reference}'. Known: {', '.join(available())}."
        )
    key = reference if "/" in reference else f"{family}/{reference}"
    path = find(key)
    raw = parse(path)
    if (given := f"{raw.get('family')}/{raw.get('name')}") != key:
        rule = "must repeat the names of the folder and the file"
        raise InvalidSpace(f"{path}: family, name: {rule}, {key!r}, got {given!r}.")
    if (raw.get("fragment") is True) is not (path.parent.name == FRAGMENTS):
        rule = f"what lies in a folder {FRAGMENTS!r} has fragment = true, and nothing else has"
        raise InvalidSpace(f"{path}: fragment: {rule}, got {raw.get('fragment', False)!r}.")
    return str(path), raw


def parse(path: Path) -> Mapping[str, Any]:
    """Return the raw table of a file, or raise `InvalidSpace` that names it."""
    try:
        with path.open("rb") as file:
            if path.suffix == ".json":  # as a study leaves it in MLflow
                return _json_table(file.read())
            return tomllib.load(file)
    except OSError as error:
        reason = error.strerror or error
        raise InvalidSpace(f"{path}: the search-space file cannot be read: {reason}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSpace(f"{path}: the file is not valid TOML: {error}.") from error
    except json.JSONDecodeError as error:
        raise InvalidSpace(f"{path}: the file is not valid JSON: {error}.") from error


def _json_table(text: bytes) -> Mapping[str, Any]:
    table = json.loads(text)
    if not isinstance(table, dict):
        raise json.JSONDecodeError("an object is expected", text.decode(), 0)
    return table


def contents(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a `SearchSpace` from its raw table.

    Raises
    ------
    InvalidSpace
        If the table is malformed; the message names the key and the rule.
    """
    for key in raw:
        if key not in HEADER:
            raise InvalidSpace(f"{key}: {UnknownName('key', key, HEADER)}")
    for key in REQUIRED:
        if key not in raw:
            raise InvalidSpace(f"{key}: the key is missing; a space needs {', '.join(REQUIRED)}.")
    if raw["schema"] != SCHEMA or isinstance(raw["schema"], bool):
        raise InvalidSpace(
            f"schema: this gbtune reads schema {SCHEMA}, got {raw['schema']!r}. A higher one needs a newer gbtune."
        )
    if not isinstance(raw["parameters"], Mapping):
        raise InvalidSpace(f"parameters: must hold one table per parameter, got {raw['parameters']!r}.")
    return {
        "family": raw["family"],
        "name": raw["name"],
        "version": raw.get("version", "1"),
        "summary": raw.get("summary", ""),
        "status": raw.get("status", STATUSES[0]),
        "license": raw.get("license", ""),
        "fragment": raw.get("fragment", False),
        "sources": raw.get("sources", ()),
        "tasks": raw.get("tasks", TASKS),
        "parameters": tuple(parameter_from_dict(name, table) for name, table in raw["parameters"].items()),
        "portfolio": _portfolio(raw.get("portfolio", ())),
    }


def table(space: SearchSpace) -> dict[str, Any]:
    """Return the contents of `space` as plain values, in the order of a file; see `SearchSpace.to_dict`."""
    return {
        "schema": SCHEMA,
        "family": space.family,
        "name": space.name,
        "version": space.version,
        "summary": space.summary,
        "status": space.status,
        "license": space.license,
        **({"fragment": True} if space.fragment else {}),
        "sources": list(space.sources),
        "tasks": list(space.tasks),
        "parameters": {parameter.name: parameter.to_dict() for parameter in space.parameters},
        "portfolio": [entry.to_dict() for entry in space.portfolio],
    }


def _portfolio(tables: Any) -> tuple[PortfolioEntry, ...]:
    if not isinstance(tables, list | tuple) or not all(isinstance(table, Mapping) for table in tables):
        raise InvalidSpace(f"portfolio: must be a list of tables, [[portfolio]], got {tables!r}.")
    entries = []
    known = ("params", "provenance", "tasks")
    for position, table in enumerate(tables, start=1):
        for key in table:
            if key not in known:
                raise InvalidSpace(f"[[portfolio]] number {position}, {key}: {UnknownName('key', key, known)}")
        for key in known[:2]:
            if key not in table:
                raise InvalidSpace(f"[[portfolio]] number {position}, {key}: the key is missing.")
        entries.append(PortfolioEntry(**table))
    return tuple(entries)
