"""The progress bar of a study, on stderr."""

from __future__ import annotations

import importlib.util
import sys
import threading
import time
from types import TracebackType
from typing import Any, Self

from gbtune.errors import InvalidArgument
from gbtune.optional import require
from gbtune.records import Direction, TrialRecord
from gbtune.summary import format_score


class Progress:
    """Show trials done, the best score so far and how many trials were pruned.

    A context manager; `update` and `say` may be called from any thread. With ``enabled=False`` it
    writes nothing at all.

    Parameters
    ----------
    enabled : bool, default True
        Whether to show anything.
    total : int, optional
        Trials planned. Default: unknown; the bar then counts the seconds of `timeout`, or, without
        one, shows counts only.
    timeout : float, optional
        Seconds planned.
    done, pruned, failed : int, default 0
        Trials that earlier runs of the study finished, and those among them that were pruned or failed.
    metric : str, default ""
        Name of the metric, shown before the best score.
    direction : {"minimize", "maximize"}, default "minimize"
        Of the metric: the best score is the lowest or the highest.

    Raises
    ------
    InvalidArgument
        If the direction is neither.
    MissingLibrary
        On entering, when tqdm is not installed.

    Examples
    --------
    >>> from gbtune.progress import Progress
    >>> from gbtune.records import TrialRecord
    >>> with Progress(enabled=False, total=2, metric="log_loss") as progress:
    ...     progress.say("5 stratified folds")
    ...     progress.update(TrialRecord(0, "complete", {}, score=0.4), best_score=0.4)
    """

    def __init__(
        self,
        enabled: bool = True,
        total: int | None = None,
        timeout: float | None = None,
        done: int = 0,
        pruned: int = 0,
        failed: int = 0,
        metric: str = "",
        direction: Direction = "minimize",
    ) -> None:
        if direction not in ("minimize", "maximize"):
            raise InvalidArgument(f"A direction is 'minimize' or 'maximize'; given {direction!r}.")
        self.enabled = enabled and sys.stderr is not None  # a windowed Python on Windows has none
        self.total, self.timeout = total, timeout
        self.metric, self.direction = metric, direction
        self._bar: Any = None
        self._done, self._pruned, self._failed = done, pruned, failed
        self._lock = threading.Lock()
        self._start = 0.0

    def __enter__(self) -> Self:
        if self.enabled:
            by_time = self.total is None and self.timeout is not None
            amount = "{n:.0f}/{total:.0f} s" if by_time else "{n_fmt}/{total_fmt} trials [{elapsed}<{remaining}]"
            if self.total is None and not by_time:
                amount = "{n_fmt} trials [{elapsed}]"
            whole = "{percentage:3.0f}%|{bar}| " if self.total is not None or by_time else ""
            self._start = time.monotonic()
            self._bar = _bar_class()(
                total=self.timeout if by_time else self.total,
                initial=0 if by_time else self._done,
                file=sys.stderr,
                bar_format=f"{whole}{amount}{{postfix}}",
                # A log file keeps every refresh as a line of its own.
                mininterval=0.1 if sys.stderr.isatty() else 10,
                dynamic_ncols=True,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def update(self, record: TrialRecord, best_score: float | None) -> None:
        """Count one finished trial.

        Parameters
        ----------
        record : TrialRecord
            Of the trial that finished.
        best_score : float or None
            The best score so far, in the metric's natural sign; None before one is known.
        """
        with self._lock:
            self._done += 1
            self._pruned += record.state == "pruned"
            self._failed += record.state == "failed"
            if self._bar is None:
                return
            end = "lowest" if self.direction == "minimize" else "highest"
            words = [f"{end} {self.metric} {format_score(best_score)}"] if best_score is not None else []
            by_time = self.total is None and self.timeout is not None
            if by_time:
                words.append(f"{self._done} trials")
            words += [f"{n} {state}" for n, state in ((self._pruned, "pruned"), (self._failed, "failed")) if n]
            self._bar.set_postfix_str(", ".join(words), refresh=False)
            if by_time:
                elapsed = min(time.monotonic() - self._start, float(self.timeout or 0))
                self._bar.update(elapsed - self._bar.n)
            else:
                self._bar.update(1)

    def say(self, line: str) -> None:
        """Print one line on stderr, above the bar where there is one."""
        if not self.enabled:
            return
        if self._bar is None:
            print(line, file=sys.stderr)
        else:
            self._bar.write(line, file=sys.stderr)


def _bar_class() -> Any:
    # In a notebook without ipywidgets tqdm.auto warns; the plain bar works there as it is.
    widgets = importlib.util.find_spec("ipywidgets") is not None
    return require("tqdm.auto" if widgets else "tqdm", needed_for="Showing progress").tqdm
