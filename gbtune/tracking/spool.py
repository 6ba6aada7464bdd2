"""What the tracking store has not acknowledged yet, in files beside the study."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
from filelock import FileLock, Timeout

from gbtune import ensemble, families
from gbtune.errors import InvalidArgument
from gbtune.locations import is_place, studies_root, study_folder
from gbtune.records import ModelBundle, StudyOutcome, StudyRecord, TrialRecord
from gbtune.tracking.artifacts import json_text

PREFIX = "spool-"
STUDY, TRIALS, OUTCOME, REPORT, MODEL = "study.json", "trials.jsonl", "outcome.json", "report.html", "model"
_SETTINGS, _LOCK, _KEPT = "tracker.json", "lock", "trials-*.jsonl"


class Spool:
    """The spool of one study: enough to write all of it to a store, without the process that ran it.

    ====================  ============================================================================
    ``study.json``        the study's record
    ``tracker.json``      experiment, model name and the like, so that it is written to the same place
    ``trials.jsonl``      a finished trial per line, without its folds' curves; gone once all are acknowledged,
                          or ``trials-<number>.jsonl`` if no other process can open the study's storage
    ``outcome.json``      how the study ended, without trials, report and model
    ``report.html``       the report
    ``model``             the booster's native file and what it needs to predict; no pickle
    ====================  ============================================================================

    Several processes may append trials at once; the last one removes what is not needed any more. A write that fails
    (a full disk, a folder that is read-only) raises nothing: `problem` says it.

    Parameters
    ----------
    folder : pathlib.Path
        Created by the first write.

    Attributes
    ----------
    problem : str or None
        Why something is missing here; None while all is here.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from gbtune.testing.trackers import example_outcome, example_study, example_trials
    >>> from gbtune.tracking.spool import Spool
    >>> spool = Spool(pathlib.Path(tempfile.mkdtemp()) / "spool")
    >>> spool.start(example_study())
    []
    >>> spool.append(example_trials()[0])
    >>> study, trials, outcome = spool.read()
    >>> study.name, [trial.number for trial in trials], outcome
    ('example', [0], None)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.problem: str | None = None
        self._lock: FileLock | None = None
        self._study: StudyRecord | None = None
        self._settings: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"Spool({str(self.folder)!r})"

    @classmethod
    def of(cls, study: StudyRecord, tracking_uri: str | None) -> Spool:
        """Return the spool of a study, beside the tracking store or else in the current folder."""
        return cls(study_folder(studies_root(tracking_uri), study.name) / f"{PREFIX}{study.uid[:8]}")

    # -- writing --------------------------------------------------------------------------------------------

    def start(self, study: StudyRecord, settings: Mapping[str, Any] | None = None) -> list[TrialRecord]:
        """Note the study, and return the trials that an earlier process left unacknowledged.

        As long as another process is at work in this study, its trials are its own: none is returned.
        """
        left: list[TrialRecord] = []
        self._study = study
        with self._noting():
            self.folder.mkdir(parents=True, exist_ok=True)
            if self._acquire():
                left = self._read(TRIALS)
            self._write(STUDY, study.to_json())
            if settings is not None:
                self.set(**settings)
        return left

    def set(self, **settings: Any) -> None:
        """Keep settings of the tracker; those that are there already stay."""
        with self._noting():
            self._settings = {**settings, **(self._settings or {}), **self.settings()}
            self._write(_SETTINGS, json_text(self._settings))

    def append(self, trial: TrialRecord) -> None:
        """Note a finished trial, in one write."""
        with self._noting():
            try:
                self._append(trial)
            except FileNotFoundError:
                self._restore()
                self._append(trial)
            self._restore()

    def finish(self, outcome: StudyOutcome, *, with_model: bool = True) -> None:
        """Note how the study ended, and the trials that are missing here."""
        self.problem = None
        with self._noting():
            self._restore()
            known = {trial.number for trial in self.trials()}
            for trial in outcome.trials:
                if trial.number not in known and trial.state != "running":
                    self._append(trial)
            bundle = outcome.model if with_model else None
            if bundle is not None:
                _save_model(bundle, self.folder / MODEL)
            self._write(REPORT, outcome.report_html)
            facts = {
                "schema": 1,
                "state": outcome.state,
                "best": None if outcome.best is None else outcome.best.number,
                "best_params": dict(outcome.best_params),
                "baseline_score": outcome.baseline_score,
                "gain": outcome.gain,
                "gain_se": outcome.gain_se,
                "summary": outcome.summary,
                "ended_at": outcome.ended_at,
                "register": outcome.register,
                "promote": outcome.promote,
                "importances": dict(outcome.importances),
                "n_trials": sum(trial.state != "running" for trial in outcome.trials),
                "model": bundle is not None,
            }
            self._write(OUTCOME, json_text(facts))

    def acknowledge(self, storage: str = "") -> None:
        """Remove what the store has, unless another process is still at work in this study.

        Parameters
        ----------
        storage : str
            Where the study is kept. A path or a URL: all but the trials stays, which that storage has. In memory
            (empty): everything goes, and the study's folder if nothing else is in it. Other storages, which nobody
            finds by their name: everything stays, as it is all that a later `gbtune sync` can read.
        """
        with contextlib.suppress(OSError, Timeout):
            if not self.folder.exists() or not self._acquire():
                return
            if not storage:
                self._remove()
            elif is_place(storage):
                (self.folder / TRIALS).unlink(missing_ok=True)
            elif (self.folder / TRIALS).exists():
                number = len(list(self.folder.glob(_KEPT)))
                (self.folder / TRIALS).rename(self.folder / _KEPT.replace("*", str(number)))
        self.release()

    def release(self) -> None:
        """Let another process take over."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    # -- reading --------------------------------------------------------------------------------------------

    def read(self) -> tuple[StudyRecord, list[TrialRecord], StudyOutcome | None]:
        """Return the study, its trials here by number, and how it ended; None if it has not.

        Raises
        ------
        InvalidArgument
            If there is no study here.
        """
        try:
            study = StudyRecord.from_json((self.folder / STUDY).read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError) as error:
            raise InvalidArgument(f"{self.folder} holds no study that can be read: {error}.") from error
        trials = self.trials()
        return study, trials, self.outcome(trials)

    def trials(self) -> list[TrialRecord]:
        """Return the trials here, by number; a line that a kill or a full disk cut off is left out."""
        return self._read(_KEPT, TRIALS)

    def _read(self, *patterns: str) -> list[TrialRecord]:
        found: dict[int, TrialRecord] = {}
        for path in (path for pattern in patterns for path in sorted(self.folder.glob(pattern))):
            for line in path.read_bytes().split(b"\n"):
                with contextlib.suppress(ValueError, TypeError, AttributeError):
                    trial = TrialRecord.from_json(line.decode())
                    found[trial.number] = trial
        return [found[number] for number in sorted(found)]

    def outcome(self, trials: Sequence[TrialRecord]) -> StudyOutcome | None:
        """Return how the study ended.

        Parameters
        ----------
        trials : sequence of TrialRecord
            All of the study's: they may be in its own storage.

        Returns
        -------
        StudyOutcome or None
            None if the study has not ended, or has other trials than when it did.
        """
        try:
            facts = json.loads((self.folder / OUTCOME).read_text(encoding="utf-8"))
            finished = [trial for trial in trials if trial.state != "running"]
            best = next((trial for trial in finished if trial.number == facts["best"]), None)
            if len(finished) != facts["n_trials"] or (best is None) != (facts["best"] is None):
                return None
            report = (self.folder / REPORT).read_text(encoding="utf-8")
            model = _load_model(self.folder / MODEL) if facts["model"] else None
            values = {f.name: facts[f.name] for f in dataclasses.fields(StudyOutcome) if f.name in facts}
        except (OSError, KeyError, ValueError):
            return None
        return StudyOutcome(**{**values, "best": best, "trials": list(trials), "model": model, "report_html": report})

    def settings(self) -> dict[str, Any]:
        """Return what `set` kept."""
        try:
            kept: dict[str, Any] = json.loads((self.folder / _SETTINGS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return kept

    # -- files ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # also of a plug-in family's save, or of an exotic column
            self.problem = self.problem or f"{type(error).__name__}: {error}"

    def _acquire(self) -> bool:
        """Take the lock, without waiting; return whether it is held."""
        if self._lock is None:
            lock = FileLock(self.folder / _LOCK, thread_local=False)
            with contextlib.suppress(Timeout):
                lock.acquire(timeout=0)
                self._lock = lock
        return self._lock is not None

    def _restore(self) -> None:
        """Write again what a process that ended at the same time has removed."""
        if (self.folder / STUDY).exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._study is not None:
            self._write(STUDY, self._study.to_json())
            if self._settings is not None:
                self._write(_SETTINGS, json_text(self._settings))

    def _remove(self) -> None:
        """Remove the folder; what another process puts there meanwhile stays."""
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != _LOCK:
                path.unlink(missing_ok=True)
        self.release()
        (self.folder / _LOCK).unlink(missing_ok=True)
        for folder in (self.folder, self.folder.parent, self.folder.parent.parent):
            folder.rmdir()

    def _append(self, trial: TrialRecord) -> None:
        data = trial.to_json().encode() + b"\n"
        with (self.folder / TRIALS).open("a+b", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
                if file.read(1) != b"\n":  # a cut line stays one that nobody can read
                    data = b"\n" + data
            if file.write(data) != len(data):
                raise OSError(f"{self.folder / TRIALS} was cut off: is the disk full?")

    def _write(self, name: str, text: str) -> None:
        """Write a file as a whole or not at all."""
        path = self.folder / f"{name}.{os.getpid()}.new"
        path.write_text(text, encoding="utf-8")
        path.replace(self.folder / name)


def spools(folder: Path) -> list[Spool]:
    """Return the spools in a study's folder, or the one that `folder` is.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from gbtune.tracking.spool import spools
    >>> spools(pathlib.Path(tempfile.mkdtemp()))
    []
    """
    if (folder / STUDY).exists():
        return [Spool(folder)]
    return [Spool(path) for path in sorted(folder.glob(f"{PREFIX}*")) if (path / STUDY).exists()]


def _save_model(bundle: ModelBundle, folder: Path) -> None:
    from gbtune.tracking.model_registry import write_data

    new = folder.with_name(f"{folder.name}.{os.getpid()}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    write_data(bundle, new)
    (new / "requirements.json").write_text(json_text(list(bundle.requirements)), encoding="utf-8")
    _save_example(bundle.example, new)
    shutil.rmtree(folder, ignore_errors=True)
    new.replace(folder)


def _load_model(folder: Path) -> ModelBundle:
    read = {
        name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("model", "schema", "recipe", "requirements")
    }
    model, family = read["model"], families.get(read["model"]["family"])
    files = model.get("files") or [model["file"]]  # up to gbtune 0.5 there was one
    return ModelBundle(
        family=family.name,
        estimator=ensemble.load(family, folder, files, model["task"], len(model["classes"])),
        columns=read["schema"],
        task=model["task"],
        classes=tuple(model["classes"]),
        example=_load_example(folder),
        requirements=tuple(read["requirements"]),
        recipe=read["recipe"],
    )


def _save_example(example: Any, folder: Path) -> None:
    """Write the example rows; those in a form that no file format takes are left out."""
    if isinstance(example, pd.DataFrame):
        names = [name if isinstance(name, int | str) else str(name) for name in example.columns]
        plain = example.set_axis([str(position) for position in range(len(names))], axis="columns")
        try:
            plain.to_parquet(folder / "example.parquet", engine="pyarrow")  # which is a dependency of mlflow
        except Exception:  # objects of several types, intervals and the like: pyarrow has an exception for each
            texts = plain.astype(object).map(str, na_action="ignore")
            texts.to_parquet(folder / "example.parquet", engine="pyarrow")
        (folder / "example.json").write_text(json.dumps(names), encoding="utf-8")
    elif scipy.sparse.issparse(example):
        rows: Any = example
        scipy.sparse.save_npz(folder / "example.npz", rows)
    elif isinstance(example, np.ndarray) and example.dtype != object:
        np.save(folder / "example.npy", example, allow_pickle=False)


def _load_example(folder: Path) -> Any:
    if (folder / "example.parquet").exists():
        frame = pd.read_parquet(folder / "example.parquet", engine="pyarrow")
        names = json.loads((folder / "example.json").read_text(encoding="utf-8"))
        return frame.set_axis(names, axis="columns")
    if (folder / "example.npz").exists():
        return scipy.sparse.load_npz(folder / "example.npz")
    return np.load(folder / "example.npy", allow_pickle=False) if (folder / "example.npy").exists() else None
