"""Several fitted models as one: the mean of what they predict.

It is scikit-learn's own ``VotingClassifier`` (soft) or ``VotingRegressor`` around fitted estimators: it predicts, is
copied and pickled as any estimator. On disk it is one native file for each model, without pickles.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gbtune.json_record import JsonRecord

if TYPE_CHECKING:
    from gbtune.families.base import ModelFamily


FINAL_MODEL_KEY = "gbtune:final_model"
"""User attribute of a study: its `FinalModel`."""


@dataclasses.dataclass(frozen=True)
class FinalModel(JsonRecord):
    """Which trials' configurations a study's final model was fitted with.

    Parameters
    ----------
    trials : tuple of int
        Their numbers, the best first; one that was fitted with several seeds so often.
    left_out : int, default 0
        How many more were wanted, and did not fit into the time.
    rounds : tuple of int, default ()
        Of each, where the first grew further than its trial.

    Examples
    --------
    >>> from gbtune.ensemble import FinalModel
    >>> FinalModel((7, 3, 12), left_out=2).words
    'mean of 3, fitted like trials 7, 3 and 12 on all rows (for 2 more there was no time)'
    >>> FinalModel((7, 3, 7, 7)).words
    'mean of 4, fitted like trials 7 (3 seeds) and 3 on all rows'
    >>> FinalModel((7,), rounds=(80,)).words
    'fitted like trial 7 on all rows, with 80 rounds: it was still improving at its last'
    >>> FinalModel((7, 3), rounds=(80, 75)).words
    'mean of 2, fitted like trials 7 and 3 on all rows, with 80 and 75 rounds: 7 was still improving at its last'
    """

    trials: tuple[int, ...]
    left_out: int = 0
    rounds: tuple[int, ...] = ()

    @property
    def words(self) -> str:
        """What the model is made of."""
        seeds = Counter(self.trials)
        *others, last = (f"{trial} ({count} seeds)" if count > 1 else str(trial) for trial, count in seeds.items())
        which = f"trials {', '.join(others)} and {last}" if others else f"trial {last}"
        mean = f"mean of {len(self.trials)}, " if len(self.trials) > 1 else ""
        more = f" (for {self.left_out} more there was no time)" if self.left_out else ""
        further = ""
        if self.rounds:
            *some, final = map(str, self.rounds)
            counts = f"{', '.join(some)} and {final}" if some else final
            first = self.trials[0] if some else "it"
            further = f", with {counts} rounds: {first} was still improving at its last"
        return f"{mean}fitted like {which} on all rows{further}{more}"


def average(models: Sequence[Any], y: NDArray[Any], *, classify: bool) -> Any:
    """Return an estimator whose prediction is the mean of the models': of probabilities, or of values.

    Parameters
    ----------
    models : sequence of estimators
        Fitted on the same columns and classes; one alone is returned as it is.
    y : array of shape (n_samples,)
        For a classification every class at least once, as integer codes.
    classify : bool
        Whether classes are predicted.

    Returns
    -------
    estimator
        ``VotingClassifier`` or ``VotingRegressor``.

    Notes
    -----
    The plain mean: weights found by greedy selection (Caruana et al. 2004, Ensemble selection from libraries of models)
    were not better on small data.

    Examples
    --------
    >>> import numpy as np
    >>> from gbtune.ensemble import average, members
    >>> from sklearn.linear_model import Ridge
    >>> X, y = np.array([[0.0], [1.0], [2.0]]), np.array([0.0, 1.0, 2.0])
    >>> model = average([Ridge(alpha).fit(X, y) for alpha in (0, 2)], y, classify=False)
    >>> float(model.predict([[2.0]])[0]), len(members(model))
    (1.75, 2)
    """
    if len(models) == 1:
        return models[0]
    from sklearn.ensemble import VotingClassifier, VotingRegressor
    from sklearn.frozen import FrozenEstimator
    from sklearn.preprocessing import LabelEncoder
    from sklearn.utils import Bunch

    named = [(str(position), FrozenEstimator(model)) for position, model in enumerate(models)]
    mean = VotingClassifier(named, voting="soft") if classify else VotingRegressor(named)
    # What `fit` sets. It would train nothing, but the caller's autologging, if it is on, would make a run of it.
    mean.estimators_, mean.named_estimators_ = [frozen for _, frozen in named], Bunch(**dict(named))
    if classify:
        mean.le_ = LabelEncoder().fit(y)
        mean.classes_ = mean.le_.classes_
    return mean


def can_be_averaged(model: Any) -> bool:
    """Return whether scikit-learn takes the model for a classifier or a regressor; a plug-in's may be anything."""
    from sklearn.base import is_classifier, is_regressor

    return hasattr(model, "__sklearn_tags__") and (is_classifier(model) or is_regressor(model))


def members(model: Any) -> list[Any]:
    """Return the models that `average` was given, the best first; of any other model, itself."""
    if type(model).__name__ not in ("VotingClassifier", "VotingRegressor"):
        return [model]
    return [frozen.estimator for frozen in model.estimators_]


def feature_importances(model: Any) -> NDArray[Any] | None:
    """Return the importances of the columns, shape (n_features,): the mean of shares, where models are several."""
    found = [getattr(each, "feature_importances_", None) for each in members(model)]
    known = [np.asarray(each, dtype=np.float64) for each in found if each is not None]
    if len(known) < 2:
        return known[0] if known else None
    mean: NDArray[Any] = np.mean([each / max(each.sum(), 1e-300) for each in known], axis=0)
    return mean


def save(family: ModelFamily, model: Any, folder: Path) -> list[str]:
    """Write one native file for each model; return their names, relative to `folder`.

    Parameters
    ----------
    family : ModelFamily
        Of all of them.
    model : estimator
        A single one, or what `average` has made.
    folder : pathlib.Path
        It is there already.

    Returns
    -------
    list of str
        The family's own file for a single model; ``2/model.txt`` for the third of several.
    """
    models = members(model)
    if len(models) == 1:
        family.save(model, folder / family.model_file)
        return [family.model_file]
    names = [f"{position}/{family.model_file}" for position in range(len(models))]
    for name, each in zip(names, models, strict=True):
        (folder / name).parent.mkdir()
        family.save(each, folder / name)
    return names


def load(family: ModelFamily, folder: Path, names: Sequence[str], task: str, n_classes: int) -> Any:
    """Read what `save` wrote.

    Parameters
    ----------
    family : ModelFamily
        Of all of them.
    folder : pathlib.Path
        Where the files are.
    names : sequence of str
        What `save` returned.
    task : {"binary", "multiclass", "regression"}
        What is predicted.
    n_classes : int
        0 for a regression.

    Returns
    -------
    estimator
        That predicts as the saved one.
    """
    y = np.arange(n_classes) if n_classes else np.zeros(1)
    return average([family.load(folder / name, task) for name in names], y, classify=n_classes > 0)
