"""The worker processes of one evaluator: started together, lent to one call each, replaced when they die."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any

import cloudpickle

from gbtune.errors import GbtuneError, InvalidArgument
from gbtune.evaluation import Evaluator
from gbtune.isolation.data_file import DataFile
from gbtune.isolation.process import POLL_SECONDS, Worker


class Pool:
    """The workers of one evaluator."""

    def __init__(self, evaluator: Evaluator, size: int) -> None:
        self.evaluator, self.size = evaluator, size
        metrics = (evaluator.metric, *evaluator.extra_metrics)
        try:
            self.plugins = cloudpickle.dumps((evaluator.family, metrics, evaluator.rounds, evaluator.threads))
        except Exception as error:
            raise InvalidArgument(
                f"Workers in processes need a family and metrics that can be pickled; {type(error).__name__}: {error}. "
                "Keep open files, locks and connections out of them, or use isolation='thread'."
            ) from error
        self.owner = os.getpid()
        self.lock = threading.RLock()  # a garbage collection may close in the middle of a launch
        self.idle: queue.LifoQueue[Worker] = queue.LifoQueue()  # the last one used has binned its data
        self.workers: set[Worker] = set()
        self.data: DataFile | None = None
        self.starter: threading.Thread | None = None
        self.start_error: Exception | None = None
        self.closed = False

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Of the workers that are running."""
        with self.lock:
            return tuple(worker.process.pid for worker in self.workers if worker.process.poll() is None)

    def start(self) -> None:
        """Write the data and start all workers, in the background; once."""
        with self.lock:
            if self.closed:
                raise GbtuneError("The workers of this evaluator were ended by close(): make a new ProcessEvaluator.")
            if self.starter is None:
                self.starter = threading.Thread(target=self._start, name="gbtune-start-workers", daemon=True)
                self.starter.start()

    def _start(self) -> None:
        try:
            data = DataFile(self.evaluator, self.plugins)
            with self.lock:
                if self.closed:
                    data.close()
                    return
                self.data = data
            for _ in range(self.size):
                self._launch()
        except Exception as error:
            self.start_error = error

    def _launch(self) -> None:
        """Start one worker, which is idle: it may be borrowed while it still imports."""
        with self.lock:
            if self.data is None:
                return
            try:
                worker = Worker(self.data, self.evaluator.threads)
            except OSError as error:  # no room for one more process: the others go on
                if not self.workers:
                    self.start_error = GbtuneError(f"No worker process can be started: {error}.")
                    self.start_error.__cause__ = error
                return
            self.workers.add(worker)
        if self.closed:  # by a garbage collection, just now
            worker.end()
        else:
            self.idle.put(worker)

    def borrow(
        self, interrupted: Callable[[], str | None], params: Mapping[str, Any]
    ) -> tuple[Worker | None, str | None]:
        """Wait for a worker that is ready; or return the reason why the call is over."""
        self.start()
        while True:
            if (reason := interrupted()) is not None:
                return None, reason
            if self.closed:
                raise GbtuneError("The workers were ended by close() while this evaluation waited for one.")
            if self.start_error is not None:
                raise self.start_error
            try:
                worker = self.idle.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            if worker.was_ready and worker.process.poll() is not None:  # it died between two calls: nobody's loss
                self.take_back(worker)
                continue
            try:
                reason = worker.wait_until_ready(interrupted, params)
            except BaseException:
                self.take_back(worker)
                raise
            if reason is None:
                return worker, None
            self.take_back(worker)
            return None, reason

    def take_back(self, worker: Worker) -> None:
        """Make a worker idle again, or put a new one in its place."""
        if worker.free and worker.process.poll() is None:
            self.idle.put(worker)
            return
        worker.end()
        with self.lock:
            self.workers.discard(worker)
        self._launch()

    def close(self) -> None:
        """Kill all workers and remove the data; once."""
        if os.getpid() != self.owner:  # a fork of the process that started them
            return
        with self.lock:
            self.closed = True
            workers, self.workers = self.workers, set()
            data, self.data = self.data, None
        for worker in workers:
            worker.closed = True
            worker.process.kill()
        for worker in workers:
            worker.process.wait()
        if data is not None:
            data.close()
        with contextlib.suppress(queue.Empty):  # calls in progress close their own connections
            while True:
                self.idle.get_nowait().connection.close()
