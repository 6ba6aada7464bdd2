"""All that is wrong with a search-space file at once, where `SearchSpace.load` stops at the first rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from gbtune import families
from gbtune.errors import GbtuneError, InvalidSpace, UnknownName
from gbtune.families.base import check_params
from gbtune.spaces.base import Parameter, SampledParameter
from gbtune.spaces.files import DICTIONARY, HEADER, REQUIRED, SCHEMA, parse
from gbtune.spaces.folders import FRAGMENTS
from gbtune.spaces.numeric import RoundsParameter
from gbtune.spaces.parameters import FixedParameter, parameter_from_dict
from gbtune.spaces.space import SearchSpace

ROUNDS = "n_estimators"
"""The number of rounds, which every family has although none counts it among its parameters."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something to say about a search-space file.

    Parameters
    ----------
    file : str
        Its path, as it was given.
    level : {"error", "note"}
        A note costs nothing: the file can be used as it is.
    text : str
        The key and the rule, e.g. ``"[parameters.max_depth] high: must be at least low = 9, got 3."``

    Examples
    --------
    >>> from gbtune.spaces.validation import Finding
    >>> print(Finding("my.toml", "note", "portfolio: it is empty."))
    my.toml: note: portfolio: it is empty.
    """

    file: str
    level: Literal["error", "note"]
    text: str

    def __str__(self) -> str:
        return f"{self.file}: {self.level}: {self.text}"


def space_files(path: Path) -> list[tuple[Path, str | None]]:
    """Return the space files that `path` stands for, each with the key it must have.

    Parameters
    ----------
    path : Path
        A file, which may have any name; a folder of ``<family>/<name>.toml``; or the folder of one family.

    Returns
    -------
    list of (Path, str or None)
        Sorted. The key is the ``"family/name"`` that folder and file spell, None for a file.

    Raises
    ------
    InvalidSpace
        If a folder holds no space file.

    Examples
    --------
    >>> from gbtune.spaces import builtin_folder
    >>> from gbtune.spaces.validation import space_files
    >>> [key for _, key in space_files(builtin_folder()) if key.endswith("core")]
    ['lightgbm/core', 'xgboost/core']
    """
    if not path.is_dir():
        return [(path, None)]
    found = []
    for depth, pattern in enumerate(("*.toml", "*/*.toml", f"*/{FRAGMENTS}/*.toml")):
        for file in path.glob(pattern):
            above = file.parent.parent if file.parent.name == FRAGMENTS else file.parent
            # A folder of loose files may have any name; <family>/<name>.toml may not.
            strict = depth > 0 or above.resolve().name in families.available()
            found.append((file, f"{above.resolve().name}/{file.stem}" if strict else None))
    if not found:
        raise InvalidSpace(f"{path}: the folder holds no space: no .toml file, and none in a folder of it.")
    return sorted(found)


def examine(path: Path, key: str | None = None) -> list[Finding]:
    """Return all that is to be said about one search-space file.

    Parameters
    ----------
    path : Path
        The file.
    key : str, optional
        The ``"family/name"`` it must have, because of where it lies.

    Returns
    -------
    list of Finding
        Errors in the order of the file; only without one, notes on portfolio values that a study would move. What
        depends on a broken parameter is not reported a second time.

    Examples
    --------
    >>> from gbtune.spaces import builtin_folder
    >>> from gbtune.spaces.validation import examine
    >>> examine(builtin_folder() / "xgboost" / "tabarena-2025.toml", "xgboost/tabarena-2025")
    []
    """
    try:
        raw = parse(path)
    except InvalidSpace as error:
        return [Finding(str(path), "error", str(error).removeprefix(f"{path}: "))]
    # What no part shows alone, such as a fragment with a portfolio, is left to the whole.
    errors = _errors_of_parts(raw, path, key) or _refused(SearchSpace.load, raw)
    if errors:
        return [Finding(str(path), "error", text) for text in errors]
    return [Finding(str(path), "note", text) for text in _moved(SearchSpace.load(raw))]


def _errors_of_parts(raw: Mapping[str, Any], path: Path, key: str | None) -> list[str]:
    errors = _header_errors(raw)
    name = f"{raw.get('family')}/{raw.get('name')}"
    if key is not None and name != key:
        errors.append(f"family, name: must repeat the names of the folder and the file, {key!r}, got {name!r}.")
    if key is not None and (raw.get("fragment") is True) is not (path.parent.name == FRAGMENTS):
        errors.append(f"fragment: what lies in a folder {FRAGMENTS!r} has fragment = true, and nothing else has.")
    family, problems = _family(raw.get("family"))
    errors += problems
    tables = raw.get("parameters")
    if isinstance(tables, Mapping) and tables:
        sound, problems = _sound_parameters(tables, family)
        errors += problems + _portfolio_errors(raw.get("portfolio", ()), tables, sound)
    return errors


def _header_errors(raw: Mapping[str, Any]) -> list[str]:
    errors = [f"{given}: {UnknownName('key', given, HEADER)}" for given in raw if given not in HEADER]
    missing = [needed for needed in REQUIRED if needed not in raw]
    errors += [f"{needed}: the key is missing; a space needs {', '.join(REQUIRED)}." for needed in missing]
    for given, value in raw.items():
        in_parts = given == "portfolio" or (given == "parameters" and isinstance(value, Mapping) and value)
        if given in HEADER and not in_parts:
            errors += _refused(_load_changed, {given: value})
    return errors


def _family(name: object) -> tuple[families.ModelFamily | None, list[str]]:
    if not isinstance(name, str) or not name:
        return None, []  # told with the header
    try:
        return families.get(name), []
    except UnknownName as error:
        return None, [f"family: {error} Install the package that has it."]
    except Exception as error:  # a stranger's code
        return None, [f"family: the family {name!r} cannot be loaded. {type(error).__name__}: {error}"]


def _sound_parameters(
    tables: Mapping[str, Any], family: families.ModelFamily | None
) -> tuple[dict[str, Parameter], list[str]]:
    """Return the parameters that break no rule, by name, and what is wrong with the others."""
    sound: dict[str, Parameter] = {}
    broken: set[str] = set()
    errors: list[str] = []
    for name, table in tables.items():
        built: list[Parameter] = []
        problems = _refused(
            lambda name, table, built=built: built.append(parameter_from_dict(name, table)), name, table
        )
        if family is not None and name != ROUNDS:
            problems += [f"[parameters.{name}]: {each}" for each in _refused(check_params, family, [name])]
        # What needs a broken parameter is no better than that, and not to blame for it.
        usable = bool(built) and not _needs(built[0]) & broken
        if usable and not (cross := _refused(_space_of, [*sound.values(), built[0]])):
            sound[name] = built[0]
        else:
            problems += cross if usable else []
            broken.add(name)
        errors += problems
    return sound, errors


def _needs(parameter: Parameter) -> set[str]:
    derived = parameter.derived if isinstance(parameter, FixedParameter) else None
    return {other for other, _ in parameter.when} | ({derived.of} if derived is not None else set())


def _portfolio_errors(entries: Any, tables: Mapping[str, Any], sound: Mapping[str, Parameter]) -> list[str]:
    if not isinstance(entries, list | tuple):
        return _refused(_load_changed, {"portfolio": entries})
    errors: list[str] = []
    # Values of broken parameters are right or wrong with them.
    kept = {"parameters": {name: tables[name] for name in sound}} if sound else {}
    broken = tables.keys() - sound.keys()
    for position, entry in enumerate(entries):
        if isinstance(entry, Mapping) and isinstance(entry.get("params"), Mapping):
            entry = {**entry, "params": {name: value for name, value in entry["params"].items() if name not in broken}}
        before = [{"params": {}, "provenance": "-"}] * position  # so that the message counts from the first entry
        errors += _refused(_load_changed, {**kept, "portfolio": [*before, entry]})
    return errors


def _moved(space: SearchSpace) -> Iterator[str]:
    """Yield the entries of the portfolio that a study moves into the space."""
    parameters = {parameter.name: parameter for parameter in space.parameters}
    for position, entry in enumerate(space.portfolio, start=1):
        moves = []
        for name, value in entry.params.items():
            parameter = parameters[name]
            if isinstance(parameter, RoundsParameter):
                continue  # read off the curve, whatever the entry says
            if isinstance(parameter, SampledParameter):
                nearest: Any = parameter.project(value)
            else:
                nearest = parameter.value if isinstance(parameter, FixedParameter) else value
            if nearest is not None and nearest != value:
                moves.append(f"{nearest!r} for {name} {value!r}")
        if moves:
            yield f"[[portfolio]] number {position}: outside of the space; tried is {', '.join(moves)}."


def _refused(build: Callable[..., object], *arguments: Any) -> list[str]:
    """Return the rule that ``build(*arguments)`` breaks, if any."""
    try:
        build(*arguments)
    except GbtuneError as error:
        return [str(error).removeprefix(f"{DICTIONARY}: ")]
    return []


def _load_changed(changes: Mapping[str, Any]) -> SearchSpace:
    """Load a space that is right but for `changes`: a space tells the first rule it breaks and no other."""
    right = {"schema": SCHEMA, "family": "x", "name": "x", "parameters": {"x": {"kind": "fixed", "value": 1}}}
    return SearchSpace.load({**right, **changes})


def _space_of(parameters: Iterable[Parameter]) -> SearchSpace:
    return SearchSpace(family="x", name="x", parameters=tuple(parameters))


def summary_of(findings: Iterable[Finding], files: int) -> str:
    """Return the last line of a validation.

    Examples
    --------
    >>> from gbtune.spaces.validation import Finding, summary_of
    >>> summary_of([Finding("a.toml", "error", "schema: the key is missing.")], 2)
    '2 files: 1 error, 0 notes'
    """
    levels = [finding.level for finding in findings]
    errors, notes = levels.count("error"), levels.count("note")
    return f"{_count(files, 'file')}: {_count(errors, 'error')}, {_count(notes, 'note')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
