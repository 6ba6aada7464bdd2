"""What ``gbtune spaces`` prints: tables of spaces, one space, the differences of two."""

from __future__ import annotations

import dataclasses
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gbtune import families
from gbtune.errors import UnknownName
from gbtune.spaces import Parameter, PortfolioEntry, SearchSpace
from gbtune.spaces.edits import described
from gbtune.spaces.folders import located
from gbtune.spaces.fragments import PLUS
from gbtune.spaces.validation import examine

Row = dict[str, Any]
WIDEST = 100
"""Columns of the text: longer lines are hard to read."""
SUMMARY_WIDTH = 36
"""With less space than this in its column a summary has a line of its own."""


def rows(family: str | None = None) -> list[Row]:
    """Return what is known of each space and then of each fragment, by key.

    Raises
    ------
    UnknownName
        If there is neither a space nor a model family of that name.

    Examples
    --------
    >>> from gbtune.cli.catalogue import rows
    >>> first = rows("lightgbm")[0]
    >>> first["space"], first["parameters"], first["status"]
    ('lightgbm/autogluon-hpo', 4, 'recommended')
    """
    files = [pair for fragments in (False, True) for pair in sorted(located(fragments=fragments).items())]
    known = {key.partition("/")[0] for key, _ in files} | set(families.available())
    if family is not None and family not in known:
        raise UnknownName("family", family, known)
    return [_row(key, path) for key, path in files if family is None or key.partition("/")[0] == family]


def _row(key: str, path: Path) -> Row:
    family, _, name = key.partition("/")
    row: Row = {"space": key, "family": family, "name": name, "file": str(path)}
    problems = [finding.text for finding in examine(path, key) if finding.level == "error"]
    if problems:  # a broken file of a plug-in must not hide the others
        row |= {"version": "", "parameters": None, "status": "invalid", "fragment": False, "license": ""}
        return {**row, "summary": problems[0]}
    space = SearchSpace.load(path)
    return {
        **row,
        "version": space.version,
        "parameters": len(space.distributions(rounds=False)),
        "status": space.status,
        "fragment": space.fragment,
        "license": space.license,
        "summary": space.summary,
    }


def text_table(listed: Sequence[Row]) -> str:
    """Return a table for the terminal.

    Examples
    --------
    >>> from gbtune.cli.catalogue import rows, text_table
    >>> print(text_table(rows("xgboost")[1:2]).splitlines()[0])  # as wide as the terminal
    SPACE         VERSION  TUNED  STATUS       SUMMARY
    """
    head = ("SPACE", "VERSION", "TUNED", "STATUS", "SUMMARY")
    cells = [(_shown_key(r), r["version"], _count(r), r["status"], r["summary"]) for r in listed]
    wide = [max(len(line[column]) for line in (head, *cells)) for column in range(4)]
    indent = sum(wide) + 2 * len(wide)
    beside = _width() - indent >= SUMMARY_WIDTH
    lines = []
    for space, version, tuned, status, summary in (head, *cells):
        left = f"{space:{wide[0]}}  {version:{wide[1]}}  {tuned:>{wide[2]}}  {status:{wide[3]}}  "
        if beside:
            lines.append(_wrapped(summary, left, " " * indent))
        else:  # a column of a few words is hard to read
            lines += [left.rstrip(), *([_wrapped(summary, "    ", "    ")] if status != head[3] else [])]
    return "\n".join(lines)


def markdown_table(listed: Sequence[Row]) -> str:
    """Return a Markdown table, as in docs/spaces.md.

    Examples
    --------
    >>> from gbtune.cli.catalogue import markdown_table, rows
    >>> print(markdown_table(rows("xgboost")[:1]))
    | space | tuned | status | summary |
    |---|---|---|---|
    | `xgboost/autogluon-hpo` | 4 | recommended | AutoGluon's own search space for tuning: four parameters |
    """
    lines = ["| space | tuned | status | summary |", "|---|---|---|---|"]
    for row in listed:
        summary = row["summary"].replace("|", "\\|")
        lines.append(f"| `{_shown_key(row)}` | {_count(row)} | {row['status']} | {summary} |")
    return "\n".join(lines)


def _count(row: Row) -> str:
    return "" if row["parameters"] is None else str(row["parameters"])


def _shown_key(row: Row) -> str:
    """Return the key, in which a fragment has the plus that adds it."""
    return f"{row['family']}/{PLUS}{row['name']}" if row["fragment"] else str(row["space"])


def description(space: SearchSpace) -> str:
    """Return all that a file says, for the terminal.

    Examples
    --------
    >>> from gbtune.cli.catalogue import description
    >>> from gbtune.spaces import SearchSpace
    >>> print(description(SearchSpace.load("xgboost/tabzilla-2023")).splitlines()[1])
    TabZilla (176 data sets): four parameters, 500 rounds
    """
    kind = "fragment" if space.fragment else "search space"
    status = "recommended" if space.status == "recommended" else "for comparison"
    lines = [f"{space.key}  ({kind}, version {space.version}, {status})"]
    lines += [_wrapped(space.summary)] if space.summary else []
    lines += ["", f"Tasks: {', '.join(space.tasks)}"]
    lines += [_wrapped(f"Licence: {space.license}", after="  ")] if space.license else []
    lines += ["", "Parameters", *_parameter_lines(space)]
    if space.portfolio:
        lines += ["", f"Portfolio, tried first in this order ({len(space.portfolio)})"]
        lines += [_entry_text(position, entry) for position, entry in enumerate(space.portfolio, start=1)]
    if space.sources:
        lines += ["", "Sources", *(_wrapped(source, "  ", "    ") for source in space.sources)]
    return "\n".join(lines)


def _parameter_lines(space: SearchSpace) -> list[str]:
    wide = [
        max(len(text) for text in texts) for texts in zip(*((p.name, p.kind) for p in space.parameters), strict=True)
    ]
    indent = " " * (sum(wide) + 6)
    lines = []
    for parameter in space.parameters:
        head = f"  {parameter.name:{wide[0]}}  {parameter.kind:{wide[1]}}  "
        lines.append(_wrapped(_range_text(parameter), head, indent))
        lines += [_wrapped(parameter.why, f"{indent}(", f"{indent} ") + ")"] if parameter.why else []
    return lines


def _range_text(parameter: Parameter) -> str:
    grid = getattr(parameter, "grid", ())
    return described(parameter) + (f"; grid {', '.join(map(repr, grid))}" if grid else "")


def _entry_text(position: int, entry: PortfolioEntry) -> str:
    point = ", ".join(f"{name} {value!r}" for name, value in entry.params.items()) or "all defaults"
    tasks = f" ({', '.join(entry.tasks)})" if entry.tasks else ""
    return _wrapped(point, f"  {position:2}  ", " " * 6) + "\n" + _wrapped(entry.provenance + tasks, " " * 8, " " * 8)


@dataclasses.dataclass(frozen=True)
class Difference:
    """One thing that two spaces do differently; None where a space lacks it."""

    what: str
    first: str | None
    second: str | None


def differences(a: SearchSpace, b: SearchSpace) -> list[Difference]:
    """Return what differs between two searches; names, versions and texts do not count.

    Examples
    --------
    >>> from gbtune.cli.catalogue import differences
    >>> from gbtune.spaces import SearchSpace
    >>> core = SearchSpace.load("xgboost/core")
    >>> [each.what for each in differences(core, core.override(max_depth=(3, 5)))]
    ['max_depth']
    """
    found = [
        Difference(what, first, second)
        for what, first, second in (("family", a.family, b.family), ("tasks", ", ".join(a.tasks), ", ".join(b.tasks)))
        if first != second
    ]
    ours, theirs = ({p.name: p for p in space.parameters} for space in (a, b))
    for name in dict.fromkeys((*ours, *theirs)):
        pair = [each.get(name) for each in (ours, theirs)]
        tables = [_table(parameter) for parameter in pair]
        if tables[0] != tables[1]:
            texts = [parameter and f"{parameter.kind}: {_range_text(parameter)}" for parameter in pair]
            # six digits are shown, and the seventh may be the difference
            found.append(Difference(name, *(texts if texts[0] != texts[1] else map(str, tables))))
    shared = [[name for name in each if name in ours and name in theirs] for each in (ours, theirs)]
    if shared[0] != shared[1]:
        found.append(Difference("order", ", ".join(shared[0]), ", ".join(shared[1])))
    first, second = (_portfolio_text(space.portfolio, other.portfolio) for space, other in ((a, b), (b, a)))
    if [_point(entry) for entry in a.portfolio] != [_point(entry) for entry in b.portfolio]:
        found.append(Difference("portfolio", first, second))
    return found


def differences_text(a: SearchSpace, b: SearchSpace, found: Iterable[Difference]) -> str:
    """Return the differences for the terminal: ``-`` is of the first space, ``+`` of the second.

    Examples
    --------
    >>> from gbtune.cli.catalogue import differences, differences_text
    >>> from gbtune.spaces import SearchSpace
    >>> core = SearchSpace.load("xgboost/core")
    >>> other = core.without("subsample").override(max_depth=(3, 5))
    >>> print(differences_text(core, other, differences(core, other)[:2]))
    --- xgboost/core
    +++ xgboost/core
    max_depth
      - int: 3 to 12; default 6; grid 3, 6, 9, 12
      + int: 3 to 5; default 5; grid 3
    subsample
      - float: 0.5 to 1; default 1; grid 0.7, 1.0
    """
    lines = [f"--- {a.key}", f"+++ {b.key}"]
    for difference in found:
        lines.append(difference.what)
        for sign, text in (("-", difference.first), ("+", difference.second)):
            lines += [_wrapped(text, f"  {sign} ", "    ")] if text is not None else []
    return "\n".join(lines)


def _table(parameter: Parameter | None) -> dict[str, Any] | None:
    """Return all of a parameter that a search depends on."""
    return None if parameter is None else {key: value for key, value in parameter.to_dict().items() if key != "why"}


def _point(entry: PortfolioEntry) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    return dict(entry.params), entry.tasks


def _portfolio_text(entries: Sequence[PortfolioEntry], others: Sequence[PortfolioEntry]) -> str | None:
    if not entries:
        return None
    elsewhere = [_point(entry) for entry in others]
    own = sum(_point(entry) not in elsewhere for entry in entries)
    noun = "entry" if len(entries) == 1 else "entries"
    return f"{len(entries)} {noun}, {own} of them here alone" if own else f"{len(entries)} {noun}, all of them in both"


def _width() -> int:
    return max(60, min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns))


def _wrapped(text: str, before: str = "", after: str = "") -> str:
    lines = textwrap.TextWrapper(
        _width(), initial_indent=before, subsequent_indent=after, break_long_words=False, break_on_hyphens=False
    )
    return lines.fill(text) or before.rstrip()
