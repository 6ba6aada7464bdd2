"""The data of an evaluator in one file that all its workers map."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from gbtune.errors import GbtuneError
from gbtune.evaluation import Evaluator
from gbtune.memory import raw_bytes, usable_memory

SHARED_MEMORY = Path("/dev/shm")
NAMELESS = sys.platform == "linux"
"""A file without a name can be opened again by its descriptor: see `DataFile`."""


class DataFile:
    """The data and the folds of an evaluator in a file for all workers.

    On Linux the file has no name: it is gone with the last process that has it open, however that ends. Elsewhere it
    has a folder, removed by `close`, or by the workers when they find their parent dead.
    """

    def __init__(self, evaluator: Evaluator, plugins: bytes) -> None:
        content = (evaluator.data, evaluator.folds, plugins)
        self.folder: str | None = None
        self.descriptors: tuple[int, ...] = ()
        for place in _places(raw_bytes(evaluator)):
            try:
                self._write(content, place)
                return
            except OSError as error:
                self.close()
                last = error
        raise GbtuneError(
            f"The data for the worker processes could not be written: {last}. Make room in the folder for temporary "
            f"files ({tempfile.gettempdir()}; TMPDIR names another), or use isolation='thread'."
        ) from last

    def _write(self, content: object, place: str | None) -> None:
        import joblib

        if NAMELESS:
            with tempfile.TemporaryFile(dir=place) as file:
                joblib.dump(content, file)
                file.flush()
                self.descriptors = (os.dup(file.fileno()),)
            self.path = f"/proc/self/fd/{self.descriptors[0]}"
        else:
            self.folder = tempfile.mkdtemp(prefix="gbtune-", dir=place)
            self.path = os.path.join(self.folder, "data.joblib")  # noqa: PTH118
            joblib.dump(content, self.path)

    def close(self) -> None:
        """Remove the file."""
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = ()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None


def _places(size: int) -> list[str | None]:
    """Return where a file of `size` bytes may go: memory if there is plenty, else the usual folder."""
    try:
        room = shutil.disk_usage(SHARED_MEMORY).free
    except OSError:
        return [None]
    usable = usable_memory()
    plenty = room >= 2 * size and (usable is None or usable >= 4 * size)
    return [str(SHARED_MEMORY), None] if plenty else [None]
