"""Which numbers may rise, and how far, before the build fails. Of all of them a smaller one is better."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Rule:
    """What a number is, and what is too much.

    Parameters
    ----------
    words : str
        For people.
    tolerance : float or None
        The relative rise that still passes. 0: none. None: the number is shown, and never judged.
    """

    words: str
    tolerance: float | None


EXACT, ROUNDING, LOSS, HELD_OUT, REPLAYED = 0.0, 0.05, 0.01, 0.05, 0.001
RULES: Mapping[str, Rule] = {
    # Costs of a study. Another processor may round a last digit differently: a curve then stops a few rounds later.
    "binnings": Rule("binned matrices built", EXACT),
    "rounds": Rule("boosting rounds grown", ROUNDING),
    "rows_evaluated": Rule("rows that the library evaluated", ROUNDING),
    # For each trial that is the best so far: it depends on which of two side by side ends first, by 20 % as seen.
    "rows_predicted": Rule("rows that the library predicted", 1.0),
    "rows_scored": Rule("rows that our metrics scored", ROUNDING),
    "sampled": Rule("trials among the first 10 that the sampler drew", EXACT),
    # Quality of a study.
    "loss_at_end": Rule("best loss at the end", LOSS),
    "held_out_loss": Rule("loss of the final model on the held-out quarter", HELD_OUT),
    # Quality at any time: the mean of many replays, which need no booster.
    "left_after_5": Rule("share of the default's loss left after 5 trials", REPLAYED),
    "left_after_10": Rule("share of the default's loss left after 10 trials", REPLAYED),
    "left_after_20": Rule("share of the default's loss left after 20 trials", REPLAYED),
    "left_after_rounds": Rule("share of the default's loss left after 10,000 rounds", REPLAYED),
    "replayed_rounds": Rule("boosting rounds replayed", ROUNDING),
    # Costs of 200 trials without a booster.
    "trials": Rule("trials begun", EXACT),
    "records_written": Rule("trial records written", EXACT),
    "record_bytes": Rule("bytes of trial records", ROUNDING),  # seconds have more or fewer digits
    # It depends on the machine's mood how often the thread that waits for a trial looks around: 0.5 % seen.
    "records_read": Rule("trial records read", ROUNDING),
    "storage_calls": Rule("calls of the storage", ROUNDING),
    "trials_listed": Rule("trials listed by the storage", ROUNDING),
    "own_calls": Rule("calls of gbtune's functions", ROUNDING),
    # For people.
    "default_loss": Rule("loss of the library's default", None),
    "pruned": Rule("trials pruned", None),
    "seconds": Rule("seconds", None),
}
"""The numbers by name, in the order in which they are shown."""


def is_worse(name: str, before: float, now: float) -> bool:
    """Whether a number has risen by more than it may.

    Examples
    --------
    >>> from benchmarks.ci.judging import is_worse
    >>> is_worse("rounds", 1000, 1050), is_worse("rounds", 1000, 1051)
    (False, True)
    >>> is_worse("binnings", 11, 12), is_worse("binnings", 11, 1), is_worse("seconds", 1, 100)
    (True, False, False)
    """
    tolerance = RULES[name].tolerance
    return tolerance is not None and not now <= before + tolerance * abs(before)  # not a number is worse, too


def problems(before: Mapping[str, float], now: Mapping[str, float]) -> list[str]:
    """Say in words what got worse.

    Parameters
    ----------
    before, now : mapping of str to float
        The numbers of one case. One that is missing on either side is a problem: the baseline is another one's.

    Examples
    --------
    >>> from benchmarks.ci.judging import problems
    >>> problems({"binnings": 11, "loss_at_end": 0.08}, {"binnings": 121, "loss_at_end": 0.0801})
    ['binned matrices built rose from 11 to 121 (+1000 %; allowed is +0 %)']
    """
    found = [
        f"{RULES[name].words} rose from {shown(before[name])} to {shown(now[name])} "
        f"({rise(before[name], now[name])}; allowed is +{100 * (RULES[name].tolerance or 0):g} %)"
        for name in RULES
        if name in before and name in now and is_worse(name, before[name], now[name])
    ]
    judged = [name for name in RULES if RULES[name].tolerance is not None]
    missing = [name for name in judged if (name in before) != (name in now)]
    if missing:
        words = ", ".join(RULES[name].words for name in missing)
        found.append(f"not both in the baseline and measured: {words}. Write the baseline with --update")
    return found


def rise(before: float, now: float) -> str:
    """Return the relative change, such as ``+12 %``.

    Examples
    --------
    >>> from benchmarks.ci.judging import rise
    >>> rise(50, 56), rise(0.08, 0.0796), rise(0, 3)
    ('+12 %', '-0.5 %', 'from nothing')
    """
    if not before:
        return "from nothing"
    percent = 100 * (now - before) / abs(before)
    return f"{percent:+.1f} %" if abs(percent) < 10 else f"{percent:+.0f} %"


def shown(value: float) -> str:
    """Return a count with all its digits, a loss with five.

    Examples
    --------
    >>> from benchmarks.ci.judging import shown
    >>> shown(88024), shown(0.0795780113)
    ('88,024', '0.079578')
    """
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.5g}"
