"""The kinds of parameter a search space is made of. Each checks itself when it is built."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, get_args

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from gbtune.errors import InvalidSpace, UnknownName

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Scalar = bool | int | float | str
Rule = Literal["power_of_two", "equal"]

MAX_IMPLICIT_GRID = 20
"""An integer or stepped range of at most this many values is its own grid."""


def invalid(name: str, key: str, rule: str) -> NoReturn:
    """Raise `InvalidSpace` that names the parameter, the key and the rule."""
    raise InvalidSpace(f"[parameters.{name}] {key}: {rule}.")


def is_number(value: object) -> bool:
    """Whether `value` is a real number (a truth value is none, NaN is none)."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and not math.isnan(value)


def plain(value: Any) -> Any:
    """Return `value` as plain Python: numpy scalars become Python's."""
    return value.item() if isinstance(value, np.generic) else value


def is_scalar(value: object) -> bool:
    """Whether `value` may stand in a space: a truth value, a finite number or a text."""
    return isinstance(value, bool | str) or (is_number(value) and math.isfinite(value))  # type: ignore[arg-type]


def _pairs(name: str, key: str, value: Any) -> tuple[tuple[str, Scalar], ...]:
    items = tuple(value.items()) if isinstance(value, Mapping) else tuple(tuple(pair) for pair in value)
    for item in items:
        if len(item) != 2 or not isinstance(item[0], str) or not is_scalar(item[1]):
            invalid(name, key, f"must map a parameter's name to one plain value, got {value!r}")
    return tuple((other, plain(wanted)) for other, wanted in items)


def _values(name: str, key: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence | np.ndarray):
        invalid(name, key, f"must be a list of values, got {value!r}")
    values = tuple(plain(item) for item in value)
    for item in values:
        if not is_scalar(item):
            invalid(name, key, f"must hold truth values, finite numbers or texts only, got {item!r}")
    if any(item in values[:position] for position, item in enumerate(values)):
        invalid(name, key, f"must hold each value once, got {list(values)!r}")
    return values


@dataclasses.dataclass(frozen=True)
class Derived:
    """How a value follows from an earlier parameter.

    Parameters
    ----------
    rule : {"power_of_two", "equal"}
        ``"power_of_two"``: two to the power of `of`, at most `max`. ``"equal"``: the same value.
    of : str
        The earlier parameter.
    max : int, optional
        Upper limit, for ``"power_of_two"`` alone. Default: none.

    Examples
    --------
    >>> from gbtune.spaces import Derived
    >>> Derived("power_of_two", of="max_depth", max=512).value({"max_depth": 10})
    512
    """

    rule: Rule
    of: str
    max: int | None = None

    def value(self, values: Mapping[str, Any]) -> Any:
        """Return the value that follows from `values`, which must hold the parameter `of`."""
        source = values[self.of]
        if self.rule == "equal":
            return source
        # never 2**source first: a depth of a million would build a huge integer only to cap it
        if self.max is not None and source >= self.max.bit_length():
            return self.max
        return 2 ** int(source)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parameter:
    """What every kind has in common.

    Parameters
    ----------
    name : str
        Keyword argument of the library's scikit-learn class.
    when : mapping, default {}
        The parameter counts only while each named earlier parameter has the given value.
    requires : {"categorical"}, optional
        The parameter means something only if the data have categorical columns.
    why : str, default ""
        Reason for an unusual bound.
    """

    kind: ClassVar[str]
    name: str
    when: Any = ()
    requires: Literal["categorical"] | None = None
    why: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise InvalidSpace(f"[parameters] {self.name!r}: a parameter's name must be a Python identifier.")
        object.__setattr__(self, "when", _pairs(self.name, "when", self.when))
        if self.requires not in (None, "categorical"):
            invalid(self.name, "requires", f'must be "categorical" or left out, got {self.requires!r}')
        if not isinstance(self.why, str):
            invalid(self.name, "why", f"must be a text, got {self.why!r}")
        self._check()

    def _check(self) -> None:
        raise NotImplementedError

    def active(self, values: Mapping[str, Any]) -> bool:
        """Whether the condition holds for the `values` of the earlier parameters."""
        return all(other in values and values[other] == wanted for other, wanted in self.when)

    def to_dict(self) -> dict[str, Any]:
        """Return the table of the file: plain values, defaults of the format left out."""
        table: dict[str, Any] = {"kind": self.kind}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "name" or value == field.default or value is None:
                continue
            if field.name == "when":
                value = dict(value)
            elif isinstance(value, Derived):
                value = {k: v for k, v in dataclasses.asdict(value).items() if v is not None}
            elif isinstance(value, tuple):
                value = list(value)
            table[field.name] = value
        return table


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampledParameter(Parameter):
    """A parameter whose value a sampler chooses."""

    default: Any

    def distribution(self) -> BaseDistribution:
        """Return Optuna's distribution."""
        raise NotImplementedError

    def suggest(self, trial: BaseTrial) -> Any:
        """Ask `trial` for a value."""
        raise NotImplementedError

    def project(self, value: Any) -> Any:
        """Return the nearest value of this parameter; the default for what has no nearest."""
        raise NotImplementedError

    def grid_values(self) -> tuple[Any, ...]:
        """Return the finitely many values of a grid."""
        raise NotImplementedError


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
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def suggest(self, trial: BaseTrial) -> float:
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)

    def project(self, value: Any) -> float:
        if not is_number(value):
            return self.default
        clipped = min(max(float(value), self.low), self.high)
        if self.step is None:
            return clipped
        return _on_step(self.low, self.step, round((clipped - self.low) / self.step))

    def grid_values(self) -> tuple[float, ...]:
        if self.grid or self.low == self.high:
            return self.grid or (self.low,)
        count = 0 if self.step is None else round((self.high - self.low) / self.step) + 1
        if self.step is None or count > MAX_IMPLICIT_GRID:
            _no_grid(self.name)
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
        return IntDistribution(self.low, self.high, log=self.log, step=self.step)

    def suggest(self, trial: BaseTrial) -> int:
        return trial.suggest_int(self.name, self.low, self.high, step=self.step, log=self.log)

    def project(self, value: Any) -> int:
        if not is_number(value):
            return self.default
        clipped = min(max(value, self.low), self.high)
        return self.low + self.step * round((clipped - self.low) / self.step)

    def grid_values(self) -> tuple[int, ...]:
        if self.grid:
            return tuple(self.grid)
        values = range(self.low, self.high + 1, self.step)
        if len(values) > MAX_IMPLICIT_GRID:
            _no_grid(self.name)
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class CategoricalParameter(SampledParameter):
    """One of a few values without an order.

    Parameters
    ----------
    choices : sequence of bool, int, float or str
        The values; a grid search takes them all unless `grid` names fewer.
    default : bool, int, float or str
        One of `choices`.
    grid : sequence, default ()
        Some of `choices`.
    name, when, requires, why
        As in `Parameter`.

    Examples
    --------
    >>> from gbtune.spaces import CategoricalParameter
    >>> CategoricalParameter(name="max_bin", choices=[127, 255], default=255).project(63)
    255
    """

    kind = "categorical"
    choices: Any
    default: Scalar
    grid: Any = ()

    def _check(self) -> None:
        object.__setattr__(self, "choices", _values(self.name, "choices", self.choices))
        if not self.choices:
            invalid(self.name, "choices", "must hold at least one value, got none")
        object.__setattr__(self, "default", plain(self.default))
        object.__setattr__(self, "grid", _values(self.name, "grid", self.grid))
        for key, values in (("default", (self.default,)), ("grid", self.grid)):
            for value in values:
                if value not in self.choices:
                    invalid(self.name, key, f"must be among the choices {list(self.choices)!r}, got {value!r}")
        object.__setattr__(self, "default", self.project(self.default))
        object.__setattr__(self, "grid", tuple(map(self.project, self.grid)))

    def distribution(self) -> CategoricalDistribution:
        return CategoricalDistribution(self.choices)

    def suggest(self, trial: BaseTrial) -> Any:
        return trial.suggest_categorical(self.name, self.choices)

    def project(self, value: Any) -> Any:
        value = plain(value)
        # the choice itself, not the equal value: 1.0 == 1 == True, and boosters tell them apart
        return next((choice for choice in self.choices if choice == value), self.default)

    def grid_values(self) -> tuple[Any, ...]:
        return tuple(self.grid or self.choices)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FixedParameter(Parameter):
    """A parameter that is not sampled: a constant, or derived from an earlier parameter.

    Parameters
    ----------
    value : bool, int, float or str, optional
        The constant. Exactly one of `value` and `derived` is given.
    derived : Derived or mapping, optional
        The rule.
    name, when, requires, why
        As in `Parameter`.

    Examples
    --------
    >>> from gbtune.spaces import FixedParameter
    >>> FixedParameter(name="subsample_freq", value=1).compute({})
    1
    """

    kind = "fixed"
    value: Any = None
    derived: Any = None

    def _check(self) -> None:
        if (self.value is None) == (self.derived is None):
            invalid(self.name, "value", "exactly one of 'value' and 'derived' must be given")
        if self.derived is None:
            object.__setattr__(self, "value", plain(self.value))
            if not is_scalar(self.value):
                got = f"got {self.value!r}"
                invalid(self.name, "value", f"must be a truth value, a finite number or a text, {got}")
            return
        if isinstance(self.derived, Mapping):
            _check_keys(self.name, "derived", self.derived, required=("rule", "of"), optional=("max",))
            object.__setattr__(self, "derived", Derived(**self.derived))
        if not isinstance(self.derived, Derived):
            invalid(self.name, "derived", f"must be a table with 'rule' and 'of', got {self.derived!r}")
        rule, limit = self.derived.rule, self.derived.max
        if rule not in get_args(Rule):
            invalid(self.name, "derived", str(UnknownName("rule", rule, get_args(Rule))).rstrip("."))
        if not isinstance(self.derived.of, str):
            invalid(self.name, "derived", f"'of' must name an earlier parameter, got {self.derived.of!r}")
        if limit is not None:
            if rule != "power_of_two":
                invalid(self.name, "derived", f"'max' belongs to the rule 'power_of_two' alone, not to {rule!r}")
            if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
                invalid(self.name, "derived", f"'max' must be a whole number of at least 1, got {limit!r}")

    def active(self, values: Mapping[str, Any]) -> bool:
        """Whether the condition holds and the parameter it is derived from is active."""
        return super().active(values) and (self.derived is None or self.derived.of in values)

    def compute(self, values: Mapping[str, Any]) -> Any:
        """Return the constant, or what follows from the earlier `values`."""
        return self.value if self.derived is None else self.derived.value(values)


KINDS: dict[str, type[Parameter]] = {
    kind.kind: kind for kind in (FloatParameter, IntParameter, CategoricalParameter, FixedParameter, RoundsParameter)
}


def parameter_from_dict(name: str, table: object) -> Parameter:
    """Build a parameter from its table of the file.

    Raises
    ------
    InvalidSpace
        If a key is missing, unknown or breaks a rule; the message names it.

    Examples
    --------
    >>> from gbtune.spaces.parameters import parameter_from_dict
    >>> parameter_from_dict("max_depth", {"kind": "int", "low": 3, "high": 12, "default": 6}).high
    12
    """
    if not isinstance(table, Mapping):
        raise InvalidSpace(f"[parameters.{name}]: must be a table, got {table!r}.")
    if table.get("kind") not in KINDS:
        problem = (
            UnknownName("kind", table["kind"], KINDS) if "kind" in table else f"missing; one of {', '.join(KINDS)}"
        )
        invalid(name, "kind", str(problem).rstrip("."))
    kind = KINDS[table["kind"]]
    fields = [f for f in dataclasses.fields(kind) if f.init and f.name != "name"]
    required = [f.name for f in fields if f.default is dataclasses.MISSING]
    _check_keys(name, "", table, required=["kind", *required], optional=[f.name for f in fields])
    return kind(name=name, **{key: value for key, value in table.items() if key != "kind"})


def _check_keys(
    name: str, key: str, table: Mapping[str, Any], *, required: Sequence[str], optional: Sequence[str]
) -> None:
    known = {*required, *optional}
    for given in table:
        if given not in known:
            invalid(name, key or str(given), str(UnknownName("key", given, known)).rstrip("."))
    for needed in required:
        if needed not in table:
            invalid(name, key or needed, f"the key {needed!r} is missing")


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
    values = _values(parameter.name, "grid", parameter.grid)
    for value in values:
        if not is_number(value) or parameter.project(value) != value:
            ends = f"from {parameter.low!r} to {parameter.high!r}"
            invalid(parameter.name, "grid", f"must hold values of the parameter, {ends}, got {value!r}")
    return values


def _on_step(low: float, step: float, count: int) -> float:
    return float(Decimal(str(low)) + count * Decimal(str(step)))  # 0.3, not 0.30000000000000004


def _no_grid(name: str) -> NoReturn:
    more = f"or a range of at most {MAX_IMPLICIT_GRID} values"
    invalid(name, "grid", f"a grid needs finitely many values: give 'grid' {more}, fix it or leave it out")
