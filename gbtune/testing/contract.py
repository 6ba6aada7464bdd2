"""What all contract kits share: named checks, what a subject's claims imply, declared gaps, and the count.

A check is a generator: it yields the name of each case once it has examined it. What a subject claims implies which
cases there must be; a check that examined fewer has failed. So a kit cannot pass by running nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np

from gbtune.errors import InvalidArgument, UnknownName

S = TypeVar("S")
C = TypeVar("C", bound="type[ContractTests]")
ONCE = "once"
WHOLE = "test_nothing_is_left_out"
_SILENCING = ("skip", "skipif", "xfail")


@dataclasses.dataclass(frozen=True)
class Gap:
    """A check that is known to fail, and why. Strict: once it passes, the gap itself is the failure.

    Parameters
    ----------
    kind : {"notimpl", "notyet", "never"}
        We have not written it; the library under it cannot do it yet; it cannot be.
    reason : str
        For people; required.

    Raises
    ------
    InvalidArgument
        Without a reason.

    Examples
    --------
    >>> from gbtune.testing import notyet
    >>> str(notyet("the library keeps one global random stream"))
    'notyet: the library keeps one global random stream'
    """

    kind: Literal["notimpl", "notyet", "never"]
    reason: str

    def __post_init__(self) -> None:
        if not isinstance(self.reason, str) or not self.reason.strip():
            raise InvalidArgument(f"A gap needs a reason, got {self.reason!r}. Say why in one sentence.")

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}"


def notimpl(reason: str) -> Gap:
    """Declare a gap that is ours: nobody has written it."""
    return Gap("notimpl", reason)


def notyet(reason: str) -> Gap:
    """Declare a gap of the library under a plug-in: it cannot do it yet."""
    return Gap("notyet", reason)


def never(reason: str) -> Gap:
    """Declare a gap that stays: it cannot be."""
    return Gap("never", reason)


Gaps = Mapping[str, Gap]


@dataclasses.dataclass(frozen=True)
class Report:
    """What a kit has run.

    Parameters
    ----------
    contract, subject : str
        E.g. ``"family"``, ``"xgboost"``.
    ran : mapping of str to tuple of str
        Check to the cases it has examined.
    gaps : mapping of str to Gap
        Checks that failed as declared.
    not_implied : tuple of str
        Checks that nothing the subject claims asks for.
    """

    contract: str
    subject: str
    ran: Mapping[str, tuple[str, ...]]
    gaps: Gaps
    not_implied: tuple[str, ...]

    @property
    def count(self) -> int:
        """Cases examined, over all checks."""
        return sum(map(len, self.ran.values()))

    def __str__(self) -> str:
        text = f"{self.contract} {self.subject}: {self.count} cases in {len(self.ran)} checks passed"
        if self.gaps:
            text += "; gaps: " + ", ".join(f"{name} ({gap})" for name, gap in self.gaps.items())
        if self.not_implied:
            text += "; not claimed: " + ", ".join(self.not_implied)
        return text


@dataclasses.dataclass(frozen=True)
class Check(Generic[S]):
    """One check of a contract.

    Parameters
    ----------
    function : callable
        Takes the subject; a generator of the names of the cases it has examined.
    implied : callable
        Takes the subject; returns the cases that its claims imply. None: the check is not run.
    """

    function: Callable[[S], Iterator[str]]
    implied: Callable[[S], Collection[str]]

    @property
    def sentence(self) -> str:
        """What it is about: the first line of the docstring."""
        return (self.function.__doc__ or "").strip().partition("\n")[0]


class Contract(Generic[S]):
    """The checks of one kind of plug-in, in order.

    Parameters
    ----------
    name : str
        The kind: ``"family"``. Also the pytest fixture that gives the plug-in.
    label : callable
        Takes a subject; returns its name for messages.
    """

    def __init__(self, name: str, label: Callable[[S], str]) -> None:
        self.name, self.label = name, label
        self.checks: dict[str, Check[S]] = {}

    def check(
        self, implied: Callable[[S], Collection[str]] = lambda subject: (ONCE,)
    ) -> Callable[[Callable[[S], Iterator[str]]], Callable[[S], Iterator[str]]]:
        """Add the decorated generator to the contract; by default it examines one case, `ONCE`."""

        def add(function: Callable[[S], Iterator[str]]) -> Callable[[S], Iterator[str]]:
            self.checks[function.__name__] = Check(function, implied)
            return function

        return add

    def add(self, name: str, function: Callable[[S], None]) -> None:
        """Add a plain function of one case to the contract."""

        @functools.wraps(function)
        def examine(subject: S) -> Iterator[str]:
            function(subject)
            yield ONCE

        self.checks[name] = Check(examine, lambda subject: (ONCE,))

    def run(self, make: Callable[[], S], gaps: Gaps | None = None) -> Report:
        """Run every check that is implied, each on a fresh subject.

        Raises
        ------
        AssertionError
            If a check fails, examines fewer cases than the subject's claims imply, or passes although a gap is
            declared.
        UnknownName
            If a gap names no check.
        """
        gaps = gaps or {}
        self.check_gaps(gaps)
        ran: dict[str, tuple[str, ...]] = {}
        label = ""
        for name in self.checks:
            subject = make()
            label = self.label(subject)
            if name in gaps:
                self.run_gap(name, subject, gaps[name])
            elif cases := self.run_check(name, subject):
                ran[name] = cases
        left_out = tuple(name for name in self.checks if name not in ran and name not in gaps)
        return Report(self.name, label, ran, dict(gaps), left_out)

    def run_check(self, name: str, subject: S) -> tuple[str, ...]:
        """Run one check and return the cases it has examined: all that are implied."""
        __tracebackhide__ = True  # pytest shows the sentence
        check, examined = self.checks[name], []
        implied = tuple(check.implied(subject))
        if not implied:
            return ()
        about = f"{self.name} {self.label(subject)}, {name}"
        try:
            for case in check.function(subject):
                examined.append(case)
        except Exception as error:
            place = f" (after {examined[-1]!r})" if examined else ""
            problem = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
            raise AssertionError(f"{about}{place}: {check.sentence} {problem}") from error
        missing = [case for case in implied if case not in examined]
        if missing:
            raise AssertionError(
                f"{about}: {len(implied) - len(missing)} of {len(implied)} implied cases were examined; "
                f"left out: {', '.join(missing)}."
            )
        return tuple(examined)

    def run_gap(self, name: str, subject: S, gap: Gap) -> str:
        """Run a check that must fail; return how it did."""
        about = f"{self.name} {self.label(subject)}, {name}"
        if not self.checks[name].implied(subject):
            raise AssertionError(f"{about}: nothing claimed implies this check, so there is no gap ({gap}): remove it.")
        try:
            self.run_check(name, subject)
        except AssertionError as error:
            return str(error)
        raise AssertionError(f"{about}: the check passes now, the gap is closed ({gap}): remove it from gaps.")

    def check_gaps(self, gaps: Gaps) -> None:
        """Raise `UnknownName` for a gap that names no check."""
        for name in gaps:
            if name not in self.checks:
                raise UnknownName(f"check of the {self.name} contract", name, self.checks)

    def as_tests(self, cls: C) -> C:
        """Give a pytest class one test for each check, and one that counts them."""
        cls.contract = self
        for name, check in self.checks.items():
            setattr(cls, f"test_{name}", _as_test(self.name, name, check.sentence))
        setattr(cls, WHOLE, _whole)
        return cls


class ContractTests:
    """Base of the pytest classes: subclass one of them and define its fixture.

    `gaps` maps a check's name (the test's, without ``test_``) to `notimpl`, `notyet` or `never`, each with a reason.
    """

    contract: ClassVar[Contract[Any]]
    gaps: ClassVar[Gaps] = {}
    shared: ClassVar[bool] = True
    """Whether all checks examine one subject, made from what the fixture gave first; else each has its own."""
    _ran: ClassVar[dict[tuple[str, str], tuple[str, ...]]]
    _subjects: ClassVar[dict[str, Any]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._ran, cls._subjects = {}, {}

    def subject(self, given: Any) -> Any:
        """Return what the checks examine, from what the fixture gave."""
        return given

    def _subject(self, given: Any, variant: str) -> Any:
        if not self.shared:
            return self.subject(given)
        if variant not in self._subjects:
            self._subjects[variant] = self.subject(given)
        return self._subjects[variant]


def _as_test(fixture: str, name: str, sentence: str) -> Callable[..., None]:
    def test(self: ContractTests, request: Any, **given: Any) -> None:
        __tracebackhide__ = True
        import pytest

        variant = _variant(request.node)
        subject, gap = self._subject(given[fixture], variant), self.gaps.get(name)
        self._ran[f"test_{name}", variant] = ()
        if gap is not None:
            how = self.contract.run_gap(name, subject, gap)
            pytest.xfail(f"{gap} ({how})")
        cases = self.contract.run_check(name, subject)
        if not cases:
            pytest.skip(f"nothing that {self.contract.label(subject)} claims implies this check")
        self._ran[f"test_{name}", variant] = cases

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    arguments = [inspect.Parameter(argument, kind) for argument in ("self", "request", fixture)]
    # pytest asks for fixtures by the names in the signature, and calls by keyword.
    test.__signature__ = inspect.Signature(arguments)  # type: ignore[attr-defined]
    test.__name__ = f"test_{name}"
    test.__qualname__ = f"ContractTests.test_{name}"
    test.__doc__ = sentence
    return test


def _variant(node: Any) -> str:
    """Tell the variants of a parametrised fixture apart."""
    return str(node.callspec.id) if hasattr(node, "callspec") else ""


def _whole(self: ContractTests, request: Any) -> None:
    """Every check is there, unaltered, and has run."""
    import pytest

    cls, contract = type(self), self.contract
    contract.check_gaps(self.gaps)
    original = next(base for base in cls.__mro__ if WHOLE in vars(base))
    for name in contract.checks:
        test = getattr(cls, f"test_{name}", None)
        marks = {mark.name for mark in [*getattr(cls, "pytestmark", ()), *getattr(test, "pytestmark", ())]}
        if test is not vars(original)[f"test_{name}"] or marks.intersection(_SILENCING):
            raise AssertionError(
                f"{cls.__name__} replaces or silences test_{name}. If it cannot pass, declare it: "
                f"gaps = {{{name!r}: notyet('the reason')}}."
            )
    try:
        request.getfixturevalue(contract.name)
    except pytest.skip.Exception as error:
        raise AssertionError(
            f"The fixture {contract.name!r} of {cls.__name__} skips ({error}): nothing is checked. Where a library is "
            "missing, leave the whole module out with pytest.importorskip."
        ) from None
    except pytest.fail.Exception:
        pass  # a parametrised fixture: only tests that name it get it
    if "PYTEST_XDIST_WORKER" in os.environ:
        return  # the other workers have some of the tests
    selected = [
        (item.originalname, _variant(item))
        for item in request.session.items
        if getattr(item, "cls", None) is cls and item.originalname in {f"test_{name}" for name in contract.checks}
    ]
    if len({name for name, _ in selected}) < len(contract.checks):
        pytest.skip(f"{len(selected)} of {len(contract.checks)} checks were selected: the count is not checked")
    missing = sorted({name for name, variant in selected if (name, variant) not in cls._ran})
    if missing:
        raise AssertionError(
            f"{cls.__name__} ran {len(contract.checks) - len(missing)} of {len(contract.checks)} checks; "
            f"not run: {', '.join(missing)}."
        )


def must(condition: object, sentence: str) -> None:
    """Raise `AssertionError` with a sentence unless the condition holds; works under ``python -O``, too."""
    if not condition:
        raise AssertionError(sentence)


def must_equal(found: Any, wanted: Any, sentence: str, *, rtol: float = 0.0) -> None:
    """Raise `AssertionError` unless two arrays are equal, or close with `rtol`; NaN equals NaN."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    if found.shape != wanted.shape:
        raise AssertionError(f"{sentence} Shapes are {found.shape} and {wanted.shape}.")
    if rtol and found.dtype.kind == "f":
        same = np.isclose(found, wanted, rtol=rtol, atol=rtol * 1e-3, equal_nan=True)
    elif found.dtype.kind == "f":
        same = (found == wanted) | (np.isnan(found) & np.isnan(wanted.astype(np.float64)))
    else:
        same = found == wanted
    if not np.all(same):
        first = int(np.flatnonzero(~np.ravel(same))[0])
        raise AssertionError(
            f"{sentence} {int(np.size(same) - np.sum(same))} of {np.size(same)} values differ; the first are "
            f"{np.ravel(found)[first]!r} and {np.ravel(wanted)[first]!r}."
        )


def must_raise(errors: type[Exception], call: Callable[[], object], sentence: str) -> Exception:
    """Return the exception of the given kind that `call` raises; raise `AssertionError` otherwise."""
    try:
        call()
    except errors as error:
        return error
    except Exception as error:
        raise AssertionError(f"{sentence} It raised {type(error).__name__}: {error}") from error
    raise AssertionError(f"{sentence} Nothing was raised.")
