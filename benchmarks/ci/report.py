"""What a run found, for people (a table of old and new numbers) and for machines (JUnit)."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.ci.judging import RULES, is_worse, rise, shown

Cases = Mapping[str, Mapping[str, float]]


def markdown(
    before: Cases, now: Cases, problems: Mapping[str, Sequence[str]], versions: Mapping[str, tuple[str | None, str]]
) -> str:
    """Return the report: verdict, what got worse, all numbers, versions that differ.

    Parameters
    ----------
    before, now : mapping of str to mapping of str to float
        Case to numbers, of the baseline and of this run.
    problems : mapping of str to sequence of str
        Case to what got worse, in words.
    versions : mapping of str to (str or None, str)
        Packages whose version is not that of the baseline, to both.
    """
    worse = [f"- **{case}**: {words}" for case, found in problems.items() for words in found]
    lines = ["# Worse than the baseline" if worse else "# Not worse than the baseline", "", *worse]
    lines += [""] if worse else []
    groups: dict[tuple[str, ...], list[str]] = {}
    for case, numbers in now.items():
        groups.setdefault(tuple(name for name in RULES if name in numbers), []).append(case)
    for names, cases in groups.items():
        lines.append(f"| | {' | '.join(cases)} |")
        lines.append(f"|---|{'---:|' * len(cases)}")
        for name in names:
            cells = [_cell(name, before.get(case, {}).get(name), now[case][name]) for case in cases]
            lines.append(f"| {_label(name)} | {' | '.join(cells)} |")
        lines.append("")
    lines.append(
        "The baseline's number → this run's; one number where they are equal. In brackets: the rise that passes. "
        "Smaller is better."
    )
    lines += [f"- {package}: {then} in the baseline, {here} here" for package, (then, here) in versions.items()]
    return "\n".join(lines) + "\n"


def _label(name: str) -> str:
    rule = RULES[name]
    return f"{rule.words} ({'only shown' if rule.tolerance is None else f'{100 * rule.tolerance:g} %'})"


def _cell(name: str, before: float | None, now: float) -> str:
    if before is None:
        return f"new: {shown(now)}"
    if before == now:
        return shown(now)
    words = f"{shown(before)} → {shown(now)} ({rise(before, now)})"
    return f"**{words}**" if is_worse(name, before, now) else words


def write_junit(path: Path, now: Cases, problems: Mapping[str, Sequence[str]]) -> None:
    """Write one test case per case; a failure says what got worse."""
    failures = str(sum(map(bool, problems.values())))
    suite = ET.Element("testsuite", name="benchmarks.ci", tests=str(len(now)), failures=failures)
    for case, numbers in now.items():
        element = ET.SubElement(
            suite, "testcase", classname="benchmarks.ci", name=case, time=str(numbers.get("seconds", 0))
        )
        if problems[case]:
            ET.SubElement(element, "failure", message="; ".join(problems[case]))
    ET.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)
