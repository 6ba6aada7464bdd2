"""Where the time goes: seconds of each thread by phase, none counted twice."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from unittest import mock

Place = tuple[str, str]
"""A function as ``"module:Class.method"``, and the phase that its own time belongs to."""


class _Thread:
    """The phases one thread is in, the innermost last."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stack: list[str] = []
        self.since = 0.0
        self.seconds: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()


class Phases:
    """Counts seconds and calls of functions by thread and phase.

    A phase's seconds are its own: those of a phase within it are that one's. Within a phase of `contexts`, phases are
    named after it too: ``"refit: library"``.

    Parameters
    ----------
    clock : callable, default time.perf_counter
        `time.thread_time` counts what a thread computes, not what it waits.
    contexts : iterable of str, default ()
        Phases whose inner phases are counted apart.

    Examples
    --------
    >>> from benchmarks.overhead.phases import Phases
    >>> ticks = iter(range(10))
    >>> phases = Phases(clock=lambda: float(next(ticks)))
    >>> inner = phases.timed(lambda: None, "inner")
    >>> phases.timed(lambda: inner(), "outer")()
    >>> next(iter(phases.seconds().values()))
    {'outer': 2.0, 'inner': 1.0}
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter, contexts: Iterable[str] = ()) -> None:
        self._clock, self._contexts = clock, frozenset(contexts)
        self._costs = (0.0, 0.0)
        self._here = threading.local()
        self._threads: list[_Thread] = []
        self._lock = threading.Lock()

    def calibrate(self, calls: int = 20_000) -> None:
        """Take off what the counting itself costs, as measured on an empty function.

        With a clock of CPU time and calls by the dozen per trial that is a tenth of a millisecond of each.
        """
        apart = Phases(self._clock)
        inner = apart.timed(lambda: None, "inner")

        def call() -> None:
            for _ in range(calls):
                inner()

        apart.timed(call, "outer")()
        spent = apart.total()
        self._costs = spent["outer"] / calls, spent["inner"] / calls

    def timed(self, function: Callable[..., Any], phase: str) -> Callable[..., Any]:
        """Return a function that counts its calls and its own time."""

        @functools.wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            thread = self._thread()
            self._enter(thread, phase)
            try:
                return function(*args, **kwargs)
            finally:
                self._leave(thread)

        return inner

    @contextlib.contextmanager
    def watching(self, places: Iterable[Place]) -> Iterator[Phases]:
        """Count the calls of these functions while the block runs.

        Raises
        ------
        AttributeError
            If one of them is not there any more.
        """
        with contextlib.ExitStack() as stack:
            for place, phase in places:
                module, _, path = place.partition(":")
                *owners, name = path.split(".")
                owner = functools.reduce(getattr, owners, importlib.import_module(module))
                raw = inspect.getattr_static(owner, name)
                function = raw.__func__ if isinstance(raw, classmethod | staticmethod) else raw
                timed: Any = self.timed(function, phase)
                stack.enter_context(mock.patch.object(owner, name, type(raw)(timed) if function is not raw else timed))
            yield self

    def seconds(self) -> dict[str, dict[str, float]]:
        """Return the seconds so far, by thread and phase; phases that are not over count what inner ones ended."""
        return {thread.name: dict(thread.seconds) for thread in self._threads}

    def calls(self) -> Counter[str]:
        """Return the calls so far, by phase."""
        return sum((thread.calls for thread in self._threads), Counter())

    def total(self) -> Counter[str]:
        """Return the seconds so far by phase, over all threads."""
        return sum((thread.seconds for thread in self._threads), Counter())

    def _thread(self) -> _Thread:
        found: _Thread | None = getattr(self._here, "thread", None)
        if found is None:
            current = threading.current_thread()
            with self._lock:
                found = self._here.thread = _Thread(f"{current.name} #{len(self._threads)}")
                self._threads.append(found)
        return found

    def _enter(self, thread: _Thread, phase: str) -> None:
        now = self._clock()
        if thread.stack:
            thread.seconds[thread.stack[-1]] += now - thread.since
            context = thread.stack[-1].partition(": ")[0]
            if context in self._contexts:
                phase = f"{context}: {phase}"
        thread.stack.append(phase)
        thread.calls[phase] += 1
        thread.since = now

    def _leave(self, thread: _Thread) -> None:
        now, (outer, inner) = self._clock(), self._costs
        thread.seconds[thread.stack.pop()] += now - thread.since - inner
        thread.since = now + outer
