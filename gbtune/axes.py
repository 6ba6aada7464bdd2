"""The vertical axes of parallel coordinates: where a parameter's values lie, and what is written beside them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna

from gbtune.figures import GRID, INK, safe
from gbtune.summary import format_value

_N_TICKS = 5
_ABSENT = -0.06  # below the axis: the trial did not have the parameter


@dataclasses.dataclass(frozen=True)
class Axis:
    """One vertical axis.

    Parameters
    ----------
    name : str
        What it shows.
    places : tuple of float
        Of each trial: 0 at the bottom, 1 at the top, below 0 where the trial has no value.
    labels : tuple of str
        Of each trial.
    ticks : mapping of float to str
        Place to label.
    """

    name: str
    places: tuple[float, ...]
    labels: tuple[str, ...]
    ticks: Mapping[float, str]


def numeric_axis(name: str, values: Sequence[float | None], *, log: bool = False) -> Axis:
    """Return the axis of numbers, from the smallest to the largest.

    Parameters
    ----------
    name : str
        What it shows.
    values : sequence of float or None
        One of each trial.
    log : bool, default False
        Whether equal ratios are equally far apart.

    Examples
    --------
    >>> from gbtune.axes import numeric_axis
    >>> numeric_axis("eta", [0.01, 1.0, 0.1], log=True).places
    (0.0, 1.0, 0.5)
    """
    known = np.asarray([value for value in values if value is not None], dtype=float)
    ends = np.log(known.min()) if log else known.min(), np.log(known.max()) if log else known.max()
    span = float(ends[1] - ends[0])

    def place(value: float | None) -> float:
        if value is None:
            return _ABSENT
        return (float(math.log(value) if log else value) - float(ends[0])) / span if span else 0.5

    ticks = np.linspace(*ends, num=_N_TICKS) if span else np.asarray(ends[:1])
    ticks = np.exp(ticks) if log else ticks
    if all(isinstance(value, int) for value in values if value is not None):  # there is no depth of 4.5
        ticks = np.unique(ticks.round())
    shown = {place(float(tick)): f"{tick:.3g}" for tick in ticks}
    if any(value is None for value in values):
        shown[_ABSENT] = "none"
    return Axis(name, tuple(place(v) for v in values), tuple(_label(v) for v in values), shown)


def categorical_axis(name: str, values: Sequence[Any]) -> Axis:
    """Return the axis of a few choices, evenly spaced; numbers in their order.

    Parameters
    ----------
    name : str
        What it shows.
    values : sequence
        One of each trial; None where it has none.
    """
    choices = sorted({v for v in values if v is not None}, key=lambda choice: (isinstance(choice, str), choice))
    step = 1.0 / max(1, len(choices) - 1)
    places = {choice: i * step if len(choices) > 1 else 0.5 for i, choice in enumerate(choices)}
    return Axis(
        name,
        tuple(_ABSENT if v is None else places[v] for v in values),
        tuple(_label(v) for v in values),
        {place: _label(choice) for choice, place in places.items()} | ({_ABSENT: "none"} if None in values else {}),
    )


def parameter_axes(trials: Sequence[optuna.trial.FrozenTrial], first: Iterable[str] = ()) -> list[Axis]:
    """Return one axis per sampled parameter, by name.

    Parameters
    ----------
    trials : sequence of optuna.trial.FrozenTrial
        In the order of `Axis.places`.
    first : iterable of str, default ()
        Parameters whose axes come before the others.
    """
    found: dict[str, list[optuna.distributions.BaseDistribution]] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            found.setdefault(name, []).append(distribution)
    axes = []
    for name in dict.fromkeys([*(name for name in first if name in found), *sorted(found)]):
        values = [trial.params.get(name) for trial in trials]
        if any(isinstance(d, optuna.distributions.CategoricalDistribution) for d in found[name]):
            axes.append(categorical_axis(name, values))
        else:
            axes.append(numeric_axis(name, values, log=all(getattr(d, "log", False) for d in found[name])))
    return axes


def log_ticks(low: float, high: float) -> list[float]:
    """Return a few round numbers between two positive ones, for a logarithmic axis.

    Examples
    --------
    >>> from gbtune.axes import log_ticks
    >>> log_ticks(0.001, 0.3), log_ticks(9, 250)
    ([0.001, 0.01, 0.1], [10.0, 20.0, 50.0, 100.0, 200.0])
    """
    tens = [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    ticks = [float(f"{ten:g}") for ten in tens if low <= ten <= high]
    if len(ticks) < 2 or high / low < 100:
        ticks = [float(f"{ten * step:g}") for ten in tens for step in (1, 2, 5) if low <= ten * step <= high]
    return ticks[:: max(1, len(ticks) // 5)] or [low]


def draw_axes(figure: Any, axes: Sequence[Axis]) -> Any:
    """Draw the axes side by side into a figure, and return it."""
    figure.update_xaxes(
        tickvals=list(range(len(axes))),
        ticktext=[safe(axis.name) for axis in axes],
        range=(-0.2, len(axes) - 0.8),
        showgrid=False,
        side="top",
        showline=False,
        tickangle=-20,
        automargin=True,
    )
    figure.update_yaxes(visible=False, range=(-0.08, 1.08), fixedrange=True)
    line = {"type": "line", "y0": 0, "y1": 1, "line": {"color": GRID, "width": 1}, "layer": "below"}
    note = {"showarrow": False, "xanchor": "left", "xshift": 4, "font": {"size": 10, "color": INK}}
    return figure.update_layout(  # all at once: one by one, plotly checks each again
        shapes=[{**line, "x0": x, "x1": x} for x in range(len(axes))],
        annotations=[
            {**note, "x": x, "y": place, "text": safe(text)}
            for x, axis in enumerate(axes)
            for place, text in axis.ticks.items()
        ],
    )


def _label(value: Any) -> str:
    return "none" if value is None else format_value(value)
