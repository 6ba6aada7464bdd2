"""The contract of a model family: one boosting library seen as a plug-in.

The life of a family in a study:

1. `ModelFamily.prepare` is called once. It returns a `Prepared`, which bins the feature
   matrix when it is first needed: once per distinct set of data-level parameters (such as
   ``max_bin``), however many trials follow.
2. `Prepared.train_fold` is called once per trial and fold, from several threads at once. It
   returns a `FoldFit`, whose booster can grow further.
3. `ModelFamily.fit` is called once at the end, with the best parameters and exactly the
   common round. It may take the binned matrix from `prepared`.
4. `ModelFamily.save` and `load` move a fitted estimator to and from one native file.

Arguments belong to the caller: a family changes none of them.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import scipy.sparse as sp

from gbtune.errors import InvalidArgument, InvalidData, UnknownName
from gbtune.records import FloatArray, Folds

if TYPE_CHECKING:
    from gbtune.data import Dataset

OnRound = Callable[["FoldFit"], bool]
"""Called after each round with the fit; returns True to stop growing."""

Enough = Callable[[int], bool]
"""Asked after each round with the number of rounds grown; returns True to stop growing."""

Params = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class BinningCosts:
    """Bytes per cell of a family's binned matrices, for the estimate of `gbtune.memory`.

    The defaults are guesses for a family that nobody has measured.

    Parameters
    ----------
    dense : float
        Per cell of columns without missing values.
    missing : float
        Per present cell when values are missing.
    sparse : float
        Per stored cell of a sparse X.
    sampled : float
        Per cell of the first 200,000 rows while bins are being found; given back afterwards.
    copied : float
        Copies of the raw data while a fold is being binned, as a share of them; given back afterwards.
    """

    dense: float = 4.0
    missing: float = 5.0
    sparse: float = 5.0
    sampled: float = 0.0
    copied: float = 1.0


@dataclasses.dataclass(frozen=True)
class Capabilities:
    """What a family can do, declared so that the contract tests can hold it to its word.

    Parameters
    ----------
    parameters : frozenset of str
        The parameters it takes: names of the library's scikit-learn class that shape the trees, and
        `gbtune.families.schedules.PARAMETERS` if it honours learning-rate schedules.
    losses : frozenset of str
        Training losses: ``"log_loss_binary"``, ``"log_loss_multiclass"``, ``"squared_error"``,
        ``"poisson"``.
    resumable : bool
        A `FoldFit` can grow after it stopped; needed for lock-step.
    sparse : bool
        Takes scipy-sparse X.
    categories : bool
        Takes pandas ``category`` columns natively.
    native_metrics : mapping of str to str
        The library's metric names to ours, e.g. ``{"auc": "roc_auc"}``.
    binning : BinningCosts, optional
        What its binned matrices cost.
    stoppable : bool, default False
        `ModelFamily.fit` takes `enough`. Without it a refit that takes longer than thought goes beyond a deadline.
    binned_by : frozenset of str, default frozenset()
        Those of `parameters` that change how X is binned: for each of their values the data are binned, and kept.
    """

    parameters: frozenset[str]
    losses: frozenset[str]
    resumable: bool
    sparse: bool
    categories: bool
    native_metrics: Mapping[str, str]
    binning: BinningCosts = BinningCosts()
    stoppable: bool = False
    binned_by: frozenset[str] = frozenset()


class FoldFit(abc.ABC):
    """One booster growing on one fold. Used by one thread at a time."""

    @property
    @abc.abstractmethod
    def curve(self) -> FloatArray:
        """Validation loss after each round, shape (rounds,): the library's own training loss."""

    @abc.abstractmethod
    def grow(self, rounds: int, on_round: OnRound | None = None) -> None:
        """Grow to `rounds` rounds in all, or until `on_round` returns True.

        A round in which nothing can be split repeats the last loss and counts: the library's own training counts it
        too, and with row sampling a later round may split again.
        """

    @abc.abstractmethod
    def predict(self, rounds: int | None = None) -> FloatArray:
        """Predict the fold's validation rows on the response scale, with the first `rounds` rounds.

        Returns probabilities of class 1 of shape (n_valid,) for a binary task, of shape
        (n_valid, n_classes) for a multiclass one, values of shape (n_valid,) for regression.
        None: all rounds grown so far, which is nearly free.
        """

    @property
    def rounds(self) -> int:
        """Rounds grown so far."""
        return len(self.curve)

    @property
    def last_loss(self) -> float:
        """Validation loss after the latest round."""
        return float(self.curve[-1])


class Prepared(abc.ABC):
    """Data and folds of one study, binned once and shared by trials that run side by side."""

    def with_folds(self, folds: Folds) -> Prepared | None:
        """Return the same data, binned already, with other folds; None, the default: they are prepared anew."""
        return None

    @abc.abstractmethod
    def train_fold(self, params: Params, fold: int, rounds: int, seed: int, on_round: OnRound | None = None) -> FoldFit:
        """Grow a booster on the training rows of `fold`. Thread-safe.

        Parameters
        ----------
        params : mapping
            Keyword arguments of the library's scikit-learn class; an unknown name raises `UnknownName`.
        fold : int
            0-based.
        rounds : int
            Grow at most so many rounds; 0 only sets the booster up.
        seed : int
            Of the booster's random streams.
        on_round : callable, optional
            Called after each round; returns True to stop.
        """


class ModelFamily(abc.ABC):
    """A boosting library as a plug-in: registered in the entry-point group ``gbtune.families``."""

    name: ClassVar[str]
    extra: ClassVar[str]
    """What to give to ``pip install`` when the library is missing."""
    default_space: ClassVar[str]
    """Name of the search space used when none is asked for."""
    capabilities: ClassVar[Capabilities]
    default_params: ClassVar[Params]
    """The library's default parameters, written out: the baseline."""
    default_rounds: ClassVar[int] = 100
    model_file: ClassVar[str]
    """File name, with the ending the library wants, of a saved model."""

    @abc.abstractmethod
    def prepare(self, data: Dataset, folds: Folds, loss: str, *, threads: int = 1) -> Prepared:
        """Return the prepared data of a study. Cheap: binning waits until it is needed.

        Raises `MissingLibrary` when the library is not installed.
        """

    @abc.abstractmethod
    def fit(
        self,
        data: Dataset,
        params: Params,
        rounds: int,
        seed: int,
        *,
        loss: str,
        threads: int = 1,
        prepared: Prepared | None = None,
        enough: Enough | None = None,
    ) -> Any:
        """Return the library's ordinary scikit-learn estimator, fitted on all rows of `data`.

        Classes are the integer codes of ``data.y``. With `prepared`, its binned matrix is used again. `enough` is
        given to a family that is `Capabilities.stoppable`, and ends the training early.
        """

    def first_rounds(self, estimator: Any, rounds: int) -> Any:
        """Return a fitted estimator that has the first so many rounds alone; None where the library has no way to.

        It predicts what `fit` with so many rounds gives. Asked for where a model came apart in its later rounds.
        """
        return None

    @abc.abstractmethod
    def save(self, estimator: Any, path: Path) -> None:
        """Write a fitted estimator to one native file."""

    @abc.abstractmethod
    def load(self, path: Path, task: str) -> Any:
        """Read what `save` wrote: an estimator that predicts the same. `task` as in `Dataset`."""

    def estimator_arguments(self, params: Params) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what the library's own scikit-learn class needs to be fitted with these parameters.

        Only a family with parameters that its class does not know, such as learning-rate schedules, overrides this.

        Parameters
        ----------
        params : mapping
            As `fit` takes them, with or without ``n_estimators``: e.g. ``result.best_params``.

        Returns
        -------
        init, fit : dict, dict
            Keyword arguments of the class, and of its method ``fit`` beside X and y.

        Raises
        ------
        UnknownName, InvalidArgument
            As in `fit`.

        Examples
        --------
        >>> import gbtune
        >>> family = gbtune.families.get("lightgbm")
        >>> init, fit = family.estimator_arguments({"max_depth": 3, "learning_rate_schedule": "cosine"})
        >>> init, list(fit)
        ({'max_depth': 3, 'learning_rate': 0.1}, ['callbacks'])
        """
        return dict(params), {}


def check_params(family: ModelFamily | type[ModelFamily], params: Iterable[str]) -> None:
    """Raise `UnknownName` for a parameter that the family does not know.

    Libraries accept any name, with a warning at best, and then ignore it.
    """
    known = family.capabilities.parameters
    for name in params:
        if name not in known:
            hint = "Names are those of the library's scikit-learn class."
            raise UnknownName(f"{family.name} parameter", name, known, hint)


def check_data(family: ModelFamily, data: Dataset, loss: str) -> None:
    """Refuse what a family does not declare that it can learn, before it is given any of it.

    Raises
    ------
    InvalidData
        For a sparse X or categorical columns.
    InvalidArgument
        For a training loss.
    """
    able = family.capabilities
    if sp.issparse(data.X) and not able.sparse:
        raise InvalidData(f"Family {family.name!r} does not take a sparse X: give X.toarray(), or another family.")
    if data.categorical and not able.categories:
        names = ", ".join(map(repr, data.categorical[:5]))
        raise InvalidData(
            f"Family {family.name!r} takes numbers only, and X has {len(data.categorical)} columns of text or "
            f"categories: {names}. Encode them, e.g. with sklearn.preprocessing.OrdinalEncoder, or take another family."
        )
    if loss not in able.losses:
        raise InvalidArgument(
            f"Family {family.name!r} trains on {', '.join(sorted(able.losses))}; task and metric need {loss}. "
            "Take another family, task or metric."
        )


def probabilities(prediction: Any) -> FloatArray:
    """Return float64 predictions; rows of a matrix are scaled to sum to one.

    Boosters predict in single precision, and scikit-learn's log loss wants sums exact to double precision.
    """
    values = np.asarray(prediction, dtype=np.float64)
    return values / values.sum(axis=1, keepdims=True) if values.ndim == 2 else values


def frozen(values: Params) -> Params:
    """Return a read-only copy."""
    return MappingProxyType(dict(values))
