"""Which checks of a contract fail on a subject: for tests that plant a fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from gbtune.testing.contract import Contract

S = TypeVar("S")


def failures(contract: Contract[S], make: Callable[[], S]) -> dict[str, str]:
    """Run every check of a contract on a fresh subject; return the message of each one that fails."""
    found = {}
    for name in contract.checks:
        try:
            contract.run_check(name, make())
        except AssertionError as error:
            found[name] = str(error)
    return found
