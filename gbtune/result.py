"""The result of a study: the best parameters, a fitted model, and the words for it."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray

from gbtune import ensemble, families
from gbtune.display import Frame, in_notebook, open_in_browser, show_in_notebook
from gbtune.encoding import Encoded, Encoder
from gbtune.errors import InvalidArgument
from gbtune.facts import collect_facts, read_records, stored_final_model
from gbtune.records import Receipt, StudyRecord, TrialRecord
from gbtune.report import render_report
from gbtune.storage import journal
from gbtune.study import quiet_optuna
from gbtune.summary import SummaryFacts, summary_html, summary_markdown, summary_text

if TYPE_CHECKING:
    from gbtune.promotion import Promotion

_FORMAT = 1
_STUDY_FILE = "study.log"


class TuningResult:
    """What `gbtune.tune` found.

    Parameters
    ----------
    study : optuna.Study
        The finished study.
    model : object
        Fitted on all encoded rows: the library's ordinary scikit-learn estimator with `best_params`, but for rounds
        that the end of the time took or gave; or scikit-learn's ``VotingClassifier`` or ``VotingRegressor`` over those
        of the `members`. Its classes are integer codes; `predict` gives labels.
    encoder : Encoder
        Turns X into what `model` takes.
    seconds : float
        Wall time.
    receipt : Receipt, optional
        What the tracker wrote.
    warnings : tuple of str, default ()
        Sentences the summary shows.

    Examples
    --------
    >>> import gbtune
    >>> from sklearn.datasets import load_wine
    >>> X, y = load_wine(return_X_y=True, as_frame=True)
    >>> result = gbtune.tune_xgb(X, y, space="grid-mini", n_trials=3, tracking=False, progress=False)
    >>> result.best_score == result.study.best_value
    True
    >>> result.predict(X).shape, result.predict_proba(X).shape
    ((178,), (178, 3))
    """

    def __init__(
        self,
        study: optuna.Study,
        model: Any,
        encoder: Encoder,
        *,
        seconds: float,
        receipt: Receipt | None = None,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.study, self.model, self.encoder = study, model, encoder
        self.seconds, self.receipt, self.warnings = seconds, receipt or Receipt(), warnings
        self.promotion: Promotion | None = None
        """What became of the registered version: champion or not, and the numbers. None if nothing was decided."""

    # -- what was found -------------------------------------------------------------------------------------

    @property
    def facts(self) -> SummaryFacts:
        """Everything the summary says."""
        return collect_facts(
            self.study,
            seconds=self.seconds,
            warnings=(*self.warnings, *self.receipt.problems),
            run_url=self.receipt.url,
            run_id=self.receipt.run_id,
            model_uri=self.receipt.model_uri,
            tracking_uri=self.receipt.tracking_uri,
            registered=None if self.promotion is None else self.promotion.words,
        )

    @property
    def record(self) -> StudyRecord:
        """What was tuned on what."""
        return read_records(self.study)[0]

    @property
    def best_trial(self) -> TrialRecord:
        """The record of the best trial."""
        best = self.facts.best
        assert best is not None  # a result exists only after a trial completed
        return best

    @property
    def members(self) -> tuple[int, ...]:
        """Numbers of the trials whose configurations `model` was fitted with, the best first; one for a single model.

        A configuration that was fitted with several seeds is there as often. The library's own estimators are
        ``gbtune.ensemble.members(result.model)``, in the same order.
        """
        final = stored_final_model(self.study)
        return (self.best_trial.number,) if final is None else final.trials

    @property
    def best_params(self) -> dict[str, Any]:
        """Sampled, derived and fixed parameters and ``n_estimators``, as keyword arguments of the library's class.

        As they were scored: a model that the end of the time cut, or that grew on in what was left of it, has other
        rounds (``result.model.get_params()``).

        With a learning-rate schedule `ModelFamily.estimator_arguments` gives them: it is a callback in the libraries.
        With ``enable_categorical=False`` ``XGBClassifier`` takes numbers only: give it the codes of the categories that
        `encode` returns, missing where they are -1.
        """
        return self.best_trial.all_params

    @property
    def best_score(self) -> float:
        """Mean over folds of the metric, in its natural sign; equals ``study.best_value``."""
        score = self.best_trial.score
        assert score is not None
        return score

    @property
    def fold_scores(self) -> NDArray[np.float64]:
        """The best trial's score on each fold, shape (n_folds,)."""
        return np.asarray(self.best_trial.fold_scores)

    @property
    def baseline_score(self) -> float | None:
        """The library default's score on the same folds; None if it did not complete."""
        baseline = self.facts.baseline
        return None if baseline is None else baseline.score

    @property
    def gain(self) -> float | None:
        """Mean improvement over the baseline, paired by fold; positive is better."""
        gain = self.facts.gain
        return None if gain is None else gain[0]

    @property
    def gain_se(self) -> float | None:
        """Standard error of `gain` over folds; None for a hold-out."""
        gain = self.facts.gain
        return None if gain is None else gain[1]

    @property
    def trials(self) -> pd.DataFrame:
        """One row per finished trial: number, state, score, folds, rounds, seconds, and a column per parameter."""
        return trials_frame(read_records(self.study)[1])

    @property
    def run_id(self) -> str | None:
        """The study's MLflow run."""
        return self.receipt.run_id

    @property
    def url(self) -> str | None:
        """Where to look at it in MLflow."""
        return self.receipt.url

    def __repr__(self) -> str:
        return summary_text(self.facts)

    def _repr_html_(self) -> str:
        return summary_html(self.facts)

    # -- looking at it --------------------------------------------------------------------------------------

    def show(self, path: str | Path | None = None, *, height: int = 800) -> Path | None:
        """Show the study's report: in a notebook below the cell, elsewhere in the browser.

        The report is one HTML page that holds all it needs (about 5 MB: the figures' library is inside), the same
        that MLflow has as ``report.html``.

        Parameters
        ----------
        path : str or Path, optional
            Where to write the page. Default: in a notebook nowhere, elsewhere a new file in the temporary folder.
        height : int, default 800
            Of the frame in the notebook, in pixels.

        Returns
        -------
        Path or None
            The file; None if none was written. Where there is no browser, as on a server, the file is all there is,
            and its name is printed.

        See Also
        --------
        save_report : Only writes the page.

        Examples
        --------
        >>> import gbtune, tempfile
        >>> from sklearn.datasets import load_diabetes
        >>> X, y = load_diabetes(return_X_y=True)
        >>> result = gbtune.tune_lgbm(X, y, n_trials=2, tracking=False, progress=False)
        >>> result.show()  # doctest: +SKIP
        >>> page = result.save_report(f"{tempfile.mkdtemp()}/report.html")
        >>> page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
        True
        """
        if in_notebook():
            page = self._report()
            show_in_notebook(Frame(page, height=height, title=f"Report of {self.study.study_name}"))
            return None if path is None else _write_page(page, path)
        if path is None:
            handle, path = tempfile.mkstemp(prefix="gbtune-report-", suffix=".html")
            os.close(handle)
        written = self.save_report(path)
        if not open_in_browser(written.as_uri()):
            print(f"There is no browser here. The report is in {written}")
        return written

    def save_report(self, path: str | Path) -> Path:
        """Write the study's report, one HTML page that also works as an e-mail attachment.

        Parameters
        ----------
        path : str or Path
            Of the file. Its folder is made if it is missing; a file that is there is replaced.

        Returns
        -------
        Path
            The file, absolute.
        """
        return _write_page(self._report(), path)

    def _report(self) -> str:
        return render_report(self.study, summary_markdown(self.facts), seconds=self.seconds)

    # -- using it -------------------------------------------------------------------------------------------

    def encode(self, X: Any) -> Encoded:
        """Return raw X as `model` takes it: columns in order, categories by value, unseen ones missing.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            With the columns of the training data.

        Raises
        ------
        InvalidData
            If columns are missing, unexpected, or of another kind than in training.
        """
        return self.encoder.encode(X)

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict labels or values of raw X, shape (n_samples,)."""
        prediction = np.asarray(self.model.predict(self.encode(X)))
        if not self.encoder.classes:
            return prediction
        return self.encoder.decode(prediction.astype(np.int64))

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Predict class probabilities of raw X, shape (n_samples, n_classes), columns as in ``encoder.classes``.

        Raises
        ------
        InvalidArgument
            For a regression.
        """
        if not self.encoder.classes:
            raise InvalidArgument("predict_proba needs a classification task, this is a regression. Use predict.")
        return np.asarray(self.model.predict_proba(self.encode(X)), dtype=np.float64)

    # -- keeping it -----------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> Path:
        """Write the result to a folder, without pickles.

        The model in its library's own format, the columns as JSON, the study as an Optuna journal.

        Parameters
        ----------
        folder : str or Path
            Created; must not exist, or be empty.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        InvalidArgument
            If the folder is not empty.

        Examples
        --------
        >>> import gbtune, tempfile
        >>> from sklearn.datasets import load_diabetes
        >>> X, y = load_diabetes(return_X_y=True)
        >>> result = gbtune.tune_lgbm(X, y, n_trials=2, tracking=False, progress=False)
        >>> folder = result.save(tempfile.mkdtemp())
        >>> bool((gbtune.TuningResult.load(folder).predict(X) == result.predict(X)).all())
        True
        """
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise InvalidArgument(f"save needs an empty folder, {path} has files in it. Choose another one.")
        record = self.record
        family = families.get(record.family)
        files = ensemble.save(family, self.model, path)
        with quiet_optuna():
            copy = optuna.create_study(
                study_name=self.study.study_name, storage=journal(path / _STUDY_FILE), direction=self.study.direction
            )
        copy.add_trials(self.study.get_trials(deepcopy=False))
        for key, value in self.study.user_attrs.items():
            copy.set_user_attr(key, value)
        about = {
            "format": _FORMAT,
            "study": self.study.study_name,
            "family": record.family,
            "task": record.task,
            "seconds": self.seconds,
            "receipt": dataclasses.asdict(self.receipt),
            "warnings": self.warnings,
            "columns": self.encoder.to_dict(),
            "files": files,
        }
        (path / "result.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
        return path

    @classmethod
    def load(cls, folder: str | Path) -> TuningResult:
        """Read what `save` wrote.

        Raises
        ------
        InvalidArgument
            If the folder holds no result, or one of a newer format.
        """
        path = Path(folder)
        if not (path / "result.json").is_file():
            raise InvalidArgument(f"load needs a folder written by TuningResult.save; {path} has no result.json.")
        about = json.loads((path / "result.json").read_text(encoding="utf-8"))
        if about["format"] > _FORMAT:
            raise InvalidArgument(f"{path} was saved by a newer gbtune (format {about['format']}). Upgrade gbtune.")
        family, encoder = families.get(about["family"]), Encoder.from_dict(about["columns"])
        receipt = {**about["receipt"], "problems": tuple(about["receipt"]["problems"])}
        return cls(
            optuna.load_study(study_name=about["study"], storage=journal(path / _STUDY_FILE)),
            ensemble.load(family, path, about.get("files") or [family.model_file], about["task"], len(encoder.classes)),
            encoder,
            seconds=about["seconds"],
            receipt=Receipt(**receipt),
            warnings=tuple(about["warnings"]),
        )


def _write_page(page: str, path: str | Path) -> Path:
    written = Path(path).absolute()
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(page, encoding="utf-8")
    return written


def trials_frame(records: list[TrialRecord]) -> pd.DataFrame:
    """Return records as a table, one row per trial.

    Examples
    --------
    >>> from gbtune.records import TrialRecord
    >>> from gbtune.result import trials_frame
    >>> trials_frame([TrialRecord(0, "complete", {"max_depth": 3}, score=0.5)])["param_max_depth"].tolist()
    [3]
    """
    rows = [
        {
            "number": record.number,
            "state": record.state,
            "reason": record.reason,
            "kind": record.kind,
            "score": record.score,
            "partial_score": record.partial_score,
            "folds": len(record.fold_scores),
            "rounds": record.rounds,
            "rounds_grown": sum(record.rounds_grown),
            "seconds": sum(record.seconds.values()),
            "provenance": record.provenance,
            **{f"metric_{name}": value for name, value in record.extra.items()},
            **{f"param_{name}": value for name, value in record.params.items()},
        }
        for record in records
    ]
    return pd.DataFrame(rows)
