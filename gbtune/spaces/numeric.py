"""The kinds of parameter that are numbers in a range."""

from __future__ import annotations

import dataclasses
import math
import numbers
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution, IntDistribution

from gbtune.spaces.base import MAX_IMPLICIT_GRID, SampledParameter, distinct, invalid, is_number, no_grid

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


@dataclasses.dataclass(frozen=True, kw_only=True)
class FloatParameter(SampledParameter):
    """A real number in ``[low, high]``.

    Parameters
    ----------
    low, high, default : float
        Both ends belong to the range.
    log : bool, default False
        Sample on the log scale.
    step : float, optional
        Only `low` plus whole steps. Not together with `log`.
    grid : sequence of float, default ()
        The values of a grid search. Without it a range of at most 20 steps is its own grid.
    name, when, requires, why
        As in `Parameter`.

    Examples
    --------
    >>> from gbtune.spaces import FloatParameter
    >>> FloatParameter(name="learning_rate", low=0.01, high=0.3, log=True, default=0.1).project(7)
    0.3
    """

    kind = "float"
    low: float
    high: float
    default: float
    log: bool = False
    step: float | None = None
    grid: Any = ()

    def _check(self) -> None:
        for key in ("low", "high", "default") + (("step",) if self.step is not None else ()):
            value = getattr(self, key)
            if not is_number(value) or not math.isfinite(value):
                invalid(self.name, key, f"must be a finite number, got {value!r}")
            object.__setattr__(self, key, float(value))
        _check_range(self)
        object.__setattr__(self, "grid", tuple(map(float, _check_grid(self))))

    def distribution(self) -> FloatDistribution:
        """Return Optuna's distribution."""
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def suggest(self, trial: BaseTrial) -> float:
        """Ask `trial` for a value."""
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)

    def project(self, value: Any) -> float:
        """Return the nearest value; the default for what is no number."""
        if not is_number(value):
            return self.default
        clipped = min(max(float(value), self.low), self.high)
        if self.step is None:
            return clipped
        return _on_step(self.low, self.step, round((clipped - self.low) / self.step))

    def grid_values(self) -> tuple[float, ...]:
        """Return `grid`, or all values of a small range."""
        if self.grid or self.low == self.high:
            return self.grid or (self.low,)
        count = 0 if self.step is None else round((self.high - self.low) / self.step) + 1
        if self.step is None or count > MAX_IMPLICIT_GRID:
            no_grid(self.name)
        return tuple(_on_step(self.low, self.step, k) for k in range(count))


@dataclasses.dataclass(frozen=True, kw_only=True)
class IntParameter(SampledParameter):
    """A whole number in ``[low, high]``.

    Parameters
    ----------
    low, high, default : int
        Both ends belong to the range.
    log : bool, default False
        Sample on the log scale.
    step : int, default 1
        Only `low` plus whole steps. Not together with `log`.
    grid : sequence of int, default ()
        The values of a grid search. Without it a range of at most 20 values is its own grid.
    name, when, requires, why
        As in `Parameter`.

    Examples
    --------
    >>> from gbtune.spaces import IntParameter
    >>> IntParameter(name="max_depth", low=3, high=12, default=6).project(4.4)
    4
    """

    kind = "int"
    low: int
    high: int
    default: int
    log: bool = False
    step: int = 1
    grid: Any = ()

    def _check(self) -> None:
        for key in ("low", "high", "default", "step"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, numbers.Integral):
                invalid(self.name, key, f"must be a whole number, got {value!r}")
            object.__setattr__(self, key, int(value))
        _check_range(self)
        object.__setattr__(self, "grid", tuple(map(int, _check_grid(self))))

    def distribution(self) -> IntDistribution:
        """Return Optuna's distribution."""
        return IntDistribution(self.low, self.high, log=self.log, step=self.step)

    def suggest(self, trial: BaseTrial) -> int:
        """Ask `trial` for a value."""
        return trial.suggest_int(self.name, self.low, self.high, step=self.step, log=self.log)

    def project(self, value: Any) -> int:
        """Return the nearest value; the default for what is no number."""
        if not is_number(value):
            return self.default
        clipped = float(min(max(value, self.low), self.high))
        return self.low + self.step * round((clipped - self.low) / self.step)

    def grid_values(self) -> tuple[int, ...]:
        """Return `grid`, or all values of a small range."""
        if self.grid:
            return tuple(self.grid)
        values = range(self.low, self.high + 1, self.step)
        if len(values) > MAX_IMPLICIT_GRID:
            no_grid(self.name)
        return tuple(values)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoundsParameter(IntParameter):
    """The number of boosting rounds: a whole number in ``[low, high]`` on the log scale.

    The kind tells an evaluation that it need not sample this parameter: one training up to
    `high` rounds answers every smaller number. An objective that samples it may do so.

    Parameters
    ----------
    low, high, default : int
        Both ends belong to the range.
    grid : sequence of int, default ()
        The values of a grid search that does sample it.
    name, requires, why
        As in `Parameter`; no `when`, `log` or `step`.

    Examples
    --------
    >>> from gbtune.spaces import RoundsParameter
    >>> RoundsParameter(name="n_estimators", low=50, high=3000, default=300).distribution()
    IntDistribution(high=3000, log=True, low=50, step=1)
    """

    kind = "rounds"
    log: bool = dataclasses.field(default=True, init=False)
    step: int = dataclasses.field(default=1, init=False)

    def _check(self) -> None:
        super()._check()
        if self.when:
            invalid(self.name, "when", "the number of rounds cannot depend on another parameter")


def _check_range(parameter: FloatParameter | IntParameter) -> None:
    name, low, high, step = parameter.name, parameter.low, parameter.high, parameter.step
    if low > high:
        invalid(name, "high", f"must be at least low = {low!r}, got {high!r}")
    if not isinstance(parameter.log, bool):
        invalid(name, "log", f"must be true or false, got {parameter.log!r}")
    if parameter.log and low <= 0:
        invalid(name, "low", f"must be above 0 because the scale is logarithmic, got {low!r}")
    if parameter.log and step not in (None, 1):
        invalid(name, "step", f"cannot be combined with log = true, got {step!r}")
    if step is not None:
        if step <= 0:
            invalid(name, "step", f"must be above 0, got {step!r}")
        # Optuna would lower `high` and warn at each trial
        if (Decimal(str(high)) - Decimal(str(low))) % Decimal(str(step)) != 0:
            invalid(name, "high", f"must be low = {low!r} plus whole steps of {step!r}, got {high!r}")
    if parameter.project(parameter.default) != parameter.default:
        steps = f" in steps of {step!r}" if step not in (None, 1) else ""
        invalid(name, "default", f"must be from {low!r} to {high!r}{steps}, got {parameter.default!r}")


def _check_grid(parameter: FloatParameter | IntParameter) -> tuple[Any, ...]:
    values = distinct(parameter.name, "grid", parameter.grid)
    for value in values:
        if not is_number(value) or parameter.project(value) != value:
            ends = f"from {parameter.low!r} to {parameter.high!r}"
            invalid(parameter.name, "grid", f"must hold values of the parameter, {ends}, got {value!r}")
    return values


def _on_step(low: float, step: float, count: int) -> float:
    return float(Decimal(str(low)) + count * Decimal(str(step)))  # 0.3, not 0.30000000000000004
