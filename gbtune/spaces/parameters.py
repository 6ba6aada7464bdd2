"""The kinds of parameter that are no range: choices and constants; and a kind from its table."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

from optuna.distributions import CategoricalDistribution

from gbtune.errors import InvalidSpace, UnknownName
from gbtune.spaces.base import (
    Parameter,
    SampledParameter,
    Scalar,
    check_keys,
    distinct,
    invalid,
    is_scalar,
    plain,
)
from gbtune.spaces.numeric import FloatParameter, IntParameter, RoundsParameter

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Rule = Literal["power_of_two", "equal"]


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
        object.__setattr__(self, "choices", distinct(self.name, "choices", self.choices))
        if not self.choices:
            invalid(self.name, "choices", "must hold at least one value, got none")
        object.__setattr__(self, "default", plain(self.default))
        object.__setattr__(self, "grid", distinct(self.name, "grid", self.grid))
        for key, values in (("default", (self.default,)), ("grid", self.grid)):
            for value in values:
                if value not in self.choices:
                    invalid(self.name, key, f"must be among the choices {list(self.choices)!r}, got {value!r}")
        object.__setattr__(self, "default", self.project(self.default))
        object.__setattr__(self, "grid", tuple(map(self.project, self.grid)))

    def distribution(self) -> CategoricalDistribution:
        """Return Optuna's distribution."""
        return CategoricalDistribution(self.choices)

    def suggest(self, trial: BaseTrial) -> Any:
        """Ask `trial` for a value."""
        return trial.suggest_categorical(self.name, self.choices)

    def project(self, value: Any) -> Any:
        """Return the choice equal to `value`, else the default."""
        value = plain(value)
        # the choice itself, not the equal value: 1.0 == 1 == True, and boosters tell them apart
        return next((choice for choice in self.choices if choice == value), self.default)

    def grid_values(self) -> tuple[Any, ...]:
        """Return `grid`, or all choices."""
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
            check_keys(self.name, "derived", self.derived, required=("rule", "of"), optional=("max",))
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
    if str(table.get("kind")) not in KINDS:
        problem = (
            UnknownName("kind", table["kind"], KINDS) if "kind" in table else f"missing; one of {', '.join(KINDS)}"
        )
        invalid(name, "kind", str(problem).rstrip("."))
    kind = KINDS[table["kind"]]
    fields = [f for f in dataclasses.fields(kind) if f.init and f.name != "name"]
    required = [f.name for f in fields if f.default is dataclasses.MISSING]
    check_keys(name, "", table, required=["kind", *required], optional=[f.name for f in fields])
    return kind(name=name, **{key: value for key, value in table.items() if key != "kind"})
