"""Tables in markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table: the first column is text, the others numbers, floats with three digits.

    Examples
    --------
    >>> from benchmarks.overhead.tables import table
    >>> print(table(["phase", "seconds"], [["library", 57.123], ["waiting", 0.25]]))
    | phase | seconds |
    |---|---:|
    | library | 57.1 |
    | waiting | 0.25 |
    """
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    lines += [f"| {' | '.join(map(_cell, row))} |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
