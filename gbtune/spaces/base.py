"""What all kinds of parameter share: name, condition, plain values, messages."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, TypeGuard

import numpy as np

from gbtune.errors import InvalidSpace, UnknownName

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import BaseTrial

Scalar = bool | int | float | str

MAX_IMPLICIT_GRID = 20
"""An integer or stepped range of at most this many values is its own grid."""


def invalid(name: str, key: str, rule: str) -> NoReturn:
    """Raise `InvalidSpace` that names the parameter, the key and the rule."""
    raise InvalidSpace(f"[parameters.{name}] {key}: {rule}.")


def is_number(value: object) -> TypeGuard[float]:
    """Whether `value` is a real number (a truth value is none, NaN is none)."""
    return not isinstance(value, bool) and isinstance(value, numbers.Real) and not math.isnan(value)


def plain(value: Any) -> Any:
    """Return `value` as plain Python: numpy scalars become Python's."""
    return value.item() if isinstance(value, np.generic) else value


def is_scalar(value: object) -> bool:
    """Whether `value` may stand in a space: a truth value, a finite number or a text."""
    return isinstance(value, bool | str) or (is_number(value) and math.isfinite(value))


def _pairs(name: str, key: str, value: Any) -> tuple[tuple[str, Scalar | tuple[Scalar, ...]], ...]:
    items = tuple(value.items()) if isinstance(value, Mapping) else value
    for item in items if isinstance(items, tuple) else (value,):
        if not isinstance(item, tuple) or len(item) != 2 or not isinstance(item[0], str) or not _is_wanted(item[1]):
            rule = "must map a parameter's name to one plain value, or to a list of two or more"
            invalid(name, key, f"{rule}, got {value!r}")
    return tuple(
        (other, distinct(name, key, wanted) if isinstance(wanted, list | tuple) else plain(wanted))
        for other, wanted in items
    )


def _is_wanted(value: object) -> bool:
    several = isinstance(value, list | tuple) and len(value) > 1 and all(map(is_scalar, value))
    return several or is_scalar(value)


HIGH_CARDINALITY: Literal["high-cardinality"] = "high-cardinality"
MANY_LEVELS = 64
"""More levels than this in a column of categories are many: what one split of XGBoost sets apart at most
(`max_cat_threshold`)."""
FEWEST_LEVELS = {"categorical": 0, HIGH_CARDINALITY: MANY_LEVELS}
"""What a parameter may require, to the number of levels that some column must have more than."""


def alternatives(wanted: Any) -> tuple[Any, ...]:
    """Return the values of a condition, any of which fulfils it."""
    return wanted if isinstance(wanted, tuple) else (wanted,)


def distinct(name: str, key: str, value: Any) -> tuple[Any, ...]:
    """Return `value` as a tuple of plain values, each once, or raise `InvalidSpace`."""
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence | np.ndarray):
        invalid(name, key, f"must be a list of values, got {value!r}")
    values = tuple(plain(item) for item in value)
    for item in values:
        if not is_scalar(item):
            invalid(name, key, f"must hold truth values, finite numbers or texts only, got {item!r}")
    if any(item in values[:position] for position, item in enumerate(values)):
        invalid(name, key, f"must hold each value once, got {list(values)!r}")
    return values


def check_keys(
    name: str, key: str, table: Mapping[str, Any], *, required: Sequence[str], optional: Sequence[str]
) -> None:
    """Raise `InvalidSpace` if `table` has an unknown key or lacks a required one."""
    known = {*required, *optional}
    for given in table:
        if given not in known:
            invalid(name, key or str(given), str(UnknownName("key", given, known)).rstrip("."))
    for needed in required:
        if needed not in table:
            invalid(name, key or needed, f"the key {needed!r} is missing")


def no_grid(name: str) -> NoReturn:
    """Raise `InvalidSpace`: the parameter has no finite grid."""
    more = f"or a range of at most {MAX_IMPLICIT_GRID} values"
    invalid(name, "grid", f"a grid needs finitely many values: give 'grid' {more}, fix it or leave it out")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parameter:
    """What every kind has in common.

    Parameters
    ----------
    name : str
        Keyword argument of the library's scikit-learn class.
    when : mapping, default {}
        The parameter counts only while each named earlier parameter has the given value, or one of a tuple of them.
    requires : {"categorical", "high-cardinality"}, optional
        The parameter means something only if the data have categorical columns; is worth trials only if one of these
        has more than `MANY_LEVELS` levels.
    why : str, default ""
        Reason for an unusual bound.
    """

    kind: ClassVar[str]
    name: str
    when: Any = ()
    requires: Literal["categorical", "high-cardinality"] | None = None
    why: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise InvalidSpace(f"[parameters] {self.name!r}: a parameter's name must be a Python identifier.")
        object.__setattr__(self, "when", _pairs(self.name, "when", self.when))
        if self.requires not in (None, *FEWEST_LEVELS):
            known = " or ".join(f'"{each}"' for each in FEWEST_LEVELS)
            invalid(self.name, "requires", f"must be {known} or left out, got {self.requires!r}")
        if not isinstance(self.why, str):
            invalid(self.name, "why", f"must be a text, got {self.why!r}")
        self._check()

    def _check(self) -> None:
        raise NotImplementedError

    def active(self, values: Mapping[str, Any]) -> bool:
        """Whether the condition holds for the `values` of the earlier parameters."""
        return all(other in values and values[other] in alternatives(wanted) for other, wanted in self.when)

    def to_dict(self) -> dict[str, Any]:
        """Return the table of the file: plain values, defaults of the format left out."""
        table: dict[str, Any] = {"kind": self.kind}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "name" or value == field.default or value is None:
                continue
            if field.name == "when":
                value = {other: list(wanted) if isinstance(wanted, tuple) else wanted for other, wanted in value}
            elif dataclasses.is_dataclass(value) and not isinstance(value, type):
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
