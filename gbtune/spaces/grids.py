"""The cells of a grid over a space with conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gbtune.spaces.base import Parameter, SampledParameter, invalid
from gbtune.spaces.numeric import RoundsParameter
from gbtune.spaces.parameters import FixedParameter

MAX_CELLS = 100_000
"""A grid of more cells than this is refused: it would not be finished, or not fit in memory."""


def grid_cells(parameters: Sequence[Parameter], rounds: bool) -> list[dict[str, Any]]:
    """Return each cell once, as the values of its sampled parameters; see `SearchSpace.grid`."""
    # inactive parameters add no dimension, so cells stay distinct where a plain product repeats them
    cells: list[dict[str, Any]] = [{}]
    sampled: set[str] = set()
    for parameter in parameters:
        if isinstance(parameter, RoundsParameter) and not rounds:
            continue
        grown: list[dict[str, Any]] = []
        for cell in cells:
            if not parameter.active(cell):
                grown.append(cell)
            elif isinstance(parameter, FixedParameter):
                grown.append({**cell, parameter.name: parameter.compute(cell)})
            elif isinstance(parameter, SampledParameter):
                sampled.add(parameter.name)
                grown += [{**cell, parameter.name: value} for value in parameter.grid_values()]
            if len(grown) > MAX_CELLS:
                rule = f"the grid has over {MAX_CELLS:,} cells. Give fewer values, or fix parameters"
                invalid(parameter.name, "grid", rule)
        cells = grown
    return [{name: value for name, value in cell.items() if name in sampled} for cell in cells]
