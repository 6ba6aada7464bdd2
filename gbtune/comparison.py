"""Champion against challenger: two recipes, fitted again on the same fresh folds, paired by fold."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from gbtune import families
from gbtune.columns import text_of
from gbtune.data import Dataset
from gbtune.errors import GbtuneError, InvalidArgument
from gbtune.evaluation import Evaluator
from gbtune.fresh_folds import GROUPS_MISSING, OWN_FOLDS, fresh_folds, is_number
from gbtune.held_out import BestHeldOut
from gbtune.json_record import JsonRecord
from gbtune.metrics import Metric, metric_named
from gbtune.recipe import RecipeDict, check_recipe, kinds_of, members_of, read_data, rounds_of, tree_params
from gbtune.records import CVResult, Direction, Folds
from gbtune.rounds import Rounds
from gbtune.seeds import seed as derive_seed
from gbtune.study_metrics import check_metric_fits_data
from gbtune.summary import format_estimate, format_score, paired_gain

BY_POSITION = ("monotone_constraints", "interaction_constraints")
"""Parameters that name columns by their position."""


@dataclasses.dataclass(frozen=True)
class Comparison(JsonRecord):
    """What came of comparing two recipes.

    Parameters
    ----------
    metric : str
        Name of the metric.
    direction : {"minimize", "maximize"}
        Of the metric.
    reason : str
        Why the two cannot be compared, in words; empty if they can. Nothing was trained then.
    same : bool
        The two recipes are one and the same but for seeds, so nothing was trained: the gain is 0.
    folds, folds_fingerprint, data_fingerprint : str
        On what: folds for people, hashes of their positions and of the data.
    n_rows : int
        Rows of the data.
    champion_scores, challenger_scores : tuple of float, one per fold
        The metric in its natural sign, of models that were fitted on the other folds.
    gain : float or None
        Mean over folds of the challenger's improvement on the champion; positive is better, whatever the direction.
    gain_se : float or None
        Its standard error, paired by fold (`gbtune.summary.paired_gain`); None for a hold-out.
    seconds : float
        It took.

    Examples
    --------
    >>> from gbtune.comparison import Comparison
    >>> Comparison("rmse", "minimize", gain=1.5, gain_se=0.4).better
    True
    >>> Comparison("rmse", "minimize", gain=1.5, gain_se=1.6).better
    False
    >>> Comparison("rmse", "minimize", gain=-1.5, gain_se=1.4).worse
    True
    """

    metric: str
    direction: Direction
    reason: str = ""
    same: bool = False
    folds: str = ""
    folds_fingerprint: str = ""
    data_fingerprint: str = ""
    n_rows: int = 0
    champion_scores: tuple[float, ...] = ()
    challenger_scores: tuple[float, ...] = ()
    gain: float | None = None
    gain_se: float | None = None
    seconds: float = 0.0

    @property
    def comparable(self) -> bool:
        """Whether the two could be compared."""
        return not self.reason

    @property
    def better(self) -> bool:
        """Whether the challenger is better by more than the paired standard error."""
        return self.gain is not None and self.gain_se is not None and self.gain > self.gain_se

    @property
    def worse(self) -> bool:
        """Whether the challenger is worse by more than the paired standard error; without one, whether it is worse."""
        return self.gain is not None and self.gain < -(self.gain_se or 0.0)

    @property
    def words(self) -> str:
        """The numbers, in words."""
        if self.reason:
            return f"not comparable: {self.reason}"
        if self.same:
            return "the same recipe as the champion's, but for seeds and data"
        theirs, ours = (format_score(float(np.mean(s))) for s in (self.champion_scores, self.challenger_scores))
        assert self.gain is not None
        if self.gain_se is None:
            verdict = "one fold, so no standard error: noise cannot be told from gain"
        elif self.better:
            verdict = "better by more than the standard error"
        elif self.worse:
            verdict = "worse by more than the standard error"
        else:
            verdict = "not better by more than the standard error"
        gain = format_estimate(self.gain, self.gain_se)
        return (
            f"{self.metric} {ours}, the champion's {theirs}: gain {gain}, {verdict} ({self.folds} of {self.n_rows:,} "
            "rows, both refitted)"
        )


def compare(
    champion: RecipeDict,
    challenger: RecipeDict,
    X: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    groups: Any = None,
    cv: Any = None,
    metric: Metric | None = None,
    n_jobs: int = 1,
) -> Comparison:
    """Fit two recipes again on the same folds, which neither search used, and compare them fold by fold.

    The recipes may be of different families, and made from other rows than these: both are fitted to these.

    Parameters
    ----------
    champion, challenger : mapping
        What ``recipe.json`` holds: see `gbtune.recipe`.
    X : array-like of shape (n_samples, n_features)
        With the columns of the challenger.
    y : array-like of shape (n_samples,)
        Labels or values.
    sample_weight : array-like of shape (n_samples,), optional
        Scores are weighted by it; a model is fitted with it if its recipe is ``weighted``.
    groups : array-like of shape (n_samples,), optional
        Kept together in folds.
    cv : int, float, splitter or iterable of (train, valid), optional
        Instead of fresh folds: as in `gbtune.tune`, and needed where the challenger's folds were its caller's own. A
        number keeps to groups and to time. Whether they are fresh is then the caller's to know.
    metric : Metric, optional
        The challenger's, if it is no built-in one.
    n_jobs : int, default 1
        Boosters that grow side by side, one thread each.

    Returns
    -------
    Comparison
        If the two cannot be compared, with the `reason`.

    Raises
    ------
    InvalidArgument
        If an argument is malformed or missing, or the challenger's recipe is malformed.
    InvalidData
        If the data are not what the challenger's recipe was made for.

    Notes
    -----
    Fresh folds are dealt as the challenger's search dealt its own (stratified, by group), by another seed; windows in
    time cannot be shuffled, so there is another number of them. Both recipes get the same seeds: what differs is the
    recipe.

    Examples
    --------
    >>> import gbtune
    >>> from gbtune.comparison import compare
    >>> from gbtune.recipe import describe_recipe
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> objective = gbtune.Objective("lightgbm", X, y)
    >>> def recipe(**params):
    ...     return describe_recipe(objective.evaluator, params, study_seed=0, seed=7, threads=1, versions={})
    >>> found = compare(recipe(max_depth=1, n_estimators=2), recipe(max_depth=3, n_estimators=30), X, y)
    >>> len(found.challenger_scores), found.better
    (5, True)
    """
    check_recipe(challenger)
    early = _without_training(champion, challenger)
    if early is not None:
        return early
    _check_given(champion, challenger, sample_weight, groups, cv)
    data = read_data(challenger, X, y, sample_weight=sample_weight, groups=groups)
    return compare_on(data, champion, challenger, cv=cv, metric=metric, n_jobs=n_jobs)


def compare_on(
    data: Dataset,
    champion: RecipeDict,
    challenger: RecipeDict,
    *,
    cv: Any = None,
    metric: Metric | None = None,
    n_jobs: int = 1,
) -> Comparison:
    """Compare two recipes as `compare` does, on data that are read already.

    Parameters
    ----------
    data : Dataset
        As the challenger's recipe describes it.
    champion, challenger, cv, metric, n_jobs
        As in `compare`.
    """
    early = _without_training(champion, challenger)
    if early is not None:
        return early
    started = time.monotonic()
    result = Comparison(challenger["metric"], challenger["direction"])
    if champion["weighted"] and data.sample_weight is None:
        return dataclasses.replace(result, reason="the champion was fitted with weights, and none are given")
    if challenger.get("folds_kind") == "custom" and cv is None:
        return dataclasses.replace(result, reason=OWN_FOLDS)
    metric = _metric(challenger, metric)
    folds = fresh_folds(data, champion, challenger, cv=cv)
    check_metric_fits_data(metric, data, folds)
    scores = _fold_scores(data, folds, metric, (champion, challenger), n_jobs)
    gain, error = paired_gain(scores[1], scores[0], challenger["direction"])
    return dataclasses.replace(
        result,
        folds=folds.description,
        folds_fingerprint=folds.fingerprint,
        data_fingerprint=data.fingerprint,
        n_rows=data.n_rows,
        champion_scores=scores[0],
        challenger_scores=scores[1],
        gain=gain,
        gain_se=error,
        seconds=time.monotonic() - started,
    )


def _without_training(champion: RecipeDict, challenger: RecipeDict) -> Comparison | None:
    """Return the comparison if it needs no training."""
    result = Comparison(challenger["metric"], challenger["direction"])
    reason = why_not_comparable(champion, challenger)
    if reason:
        return dataclasses.replace(result, reason=reason)
    theirs, ours = ([(tree_params(m), rounds_of(m)) for m in members_of(recipe)] for recipe in (champion, challenger))
    if all(champion[key] == challenger[key] for key in ("family", "weighted", "loss")) and theirs == ours:
        return dataclasses.replace(result, same=True, gain=0.0, gain_se=0.0)
    return None


def why_not_comparable(champion: RecipeDict, challenger: RecipeDict) -> str:
    """Return in words why two recipes cannot be compared; empty if they can.

    They can if task, classes, metric and columns (names and kinds, in any order) are the same. The order of the
    columns matters to a champion with parameters that go by position, as monotone constraints do.

    Examples
    --------
    >>> from gbtune.comparison import why_not_comparable
    >>> why_not_comparable({"family": "xgboost"}, {"family": "lightgbm"}).partition(":")[0]
    "the champion's recipe cannot be used"
    """
    try:
        check_recipe(champion)
        families.get(champion["family"])
    except GbtuneError as error:
        return f"the champion's recipe cannot be used: {str(error).rstrip('.')}"
    for key in ("task", "metric", "direction"):
        if champion[key] != challenger[key]:
            return f"the champion's {key} is {champion[key]}, the challenger's {challenger[key]}"
    theirs, ours = ([text_of(label) for label in recipe["classes"]] for recipe in (champion, challenger))
    if theirs != ours:
        return f"the champion's classes are {', '.join(theirs[:10])}, the challenger's {', '.join(ours[:10])}"
    before, now = kinds_of(champion), kinds_of(challenger)
    lost, added = [name for name in before if name not in now], [name for name in now if name not in before]
    if lost or added:
        only = {"champion": lost, "challenger": added}
        words = [f"only the {who} has {_listed(names)}" for who, names in only.items() if names]
        return f"the columns differ: {'; '.join(words)}"
    other = [name for name in now if now[name] != before[name] and "empty" not in (now[name], before[name])]
    if other:
        words = [f"{name} ({before[name]}, now {now[name]})" for name in other]
        return f"columns are of another kind: {_listed(words)}"
    members = members_of(champion)
    by_position = [name for name in BY_POSITION if any(_goes_by_position(m["params"].get(name)) for m in members)]
    if by_position and list(before) != list(now):
        return f"the champion's {' and '.join(by_position)} go by position, and the columns are in another order"
    as_numbers = any(member["params"].get("enable_categorical") is False for member in members)
    if as_numbers and not _levels_in_order(champion, challenger):
        return "the champion takes categories for numbers (enable_categorical=False), and levels are in another order"
    return ""


def _levels_in_order(champion: RecipeDict, challenger: RecipeDict) -> bool:
    """Whether the levels that both know come in the same order, in every column."""
    theirs, ours = (
        {column["name"]: [text_of(level) for level in column["levels"]] for column in recipe["columns"]["columns"]}
        for recipe in (champion, challenger)
    )
    for name, levels in theirs.items():
        common = set(levels) & set(ours[name])
        if [level for level in levels if level in common] != [level for level in ours[name] if level in common]:
            return False
    return True


def _goes_by_position(value: Any) -> bool:
    return value is not None and not isinstance(value, Mapping)


def _listed(names: Sequence[str], limit: int = 8) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _check_given(champion: RecipeDict, challenger: RecipeDict, sample_weight: Any, groups: Any, cv: Any) -> None:
    for who, recipe in (("challenger", challenger), ("champion", champion)):
        if recipe["weighted"] and sample_weight is None:
            raise InvalidArgument(f"The {who} was fitted with weights: give sample_weight (--weight COLUMN).")
    kind = challenger.get("folds_kind")
    if kind == "group" and groups is None and (cv is None or is_number(cv)):
        raise InvalidArgument(GROUPS_MISSING)
    if kind == "custom" and cv is None:
        raise InvalidArgument(f"{OWN_FOLDS[0].upper()}{OWN_FOLDS[1:]}.")


def _metric(recipe: RecipeDict, given: Metric | None) -> Metric:
    if given is None:
        try:
            given = metric_named(recipe["metric"])
        except InvalidArgument as error:
            raise InvalidArgument(
                f"The metric {recipe['metric']!r} is none of gbtune's own: give it, metric=gbtune.Metric(...)."
            ) from error
    if (given.name, given.direction) != (recipe["metric"], recipe["direction"]):
        raise InvalidArgument(f"metric must be the recipe's, {recipe['metric']!r}; got {given.name!r}.")
    return given


def _fold_scores(
    data: Dataset, folds: Folds, metric: Metric, recipes: Sequence[RecipeDict], n_jobs: int
) -> list[tuple[float, ...]]:
    """Return each recipe's score on each fold; the recipes side by side if there are cores."""
    seed, stop = derive_seed(recipes[-1]["study_seed"], "promotion"), threading.Event()
    evaluators = [_evaluator(recipe, data, folds, metric) for recipe in recipes]  # bad input fails before any tree

    def evaluated(member: RecipeDict, evaluator: Evaluator) -> CVResult:
        together = n_jobs > len(recipes) and evaluator.family.capabilities.resumable
        return evaluator.evaluate(
            tree_params(member),
            seed=seed,
            rounds=Rounds.exactly(rounds_of(member)),
            schedule="rounds" if together else "folds",
            workers=max(1, n_jobs // len(recipes)),
            interrupted=lambda: "interrupt" if stop.is_set() else None,
        )

    def scored(recipe: RecipeDict, evaluator: Evaluator) -> tuple[float, ...]:
        members = members_of(recipe)
        if len(members) == 1:
            return evaluated(recipe, evaluator).fold_scores
        sums: list[Any] = [0.0] * len(folds)
        for member in members:
            evaluator.held_out = BestHeldOut()
            evaluated(member, evaluator)
            found = evaluator.held_out.found
            if found is None:  # stopped, or it could not predict
                raise GbtuneError("A model of the mean was not evaluated on all folds: repeat the comparison.")
            sums = [total + predicted for total, predicted in zip(sums, found.predictions, strict=True)]
        weight = data.sample_weight
        return tuple(
            metric.score(data.y[valid], total / len(members), None if weight is None else weight[valid])
            for total, (_, valid) in zip(sums, folds.splits, strict=True)
        )

    with ThreadPoolExecutor(max(1, min(len(recipes), n_jobs))) as pool:
        try:
            return list(pool.map(scored, recipes, evaluators))
        except BaseException:
            stop.set()
            raise


def _evaluator(recipe: RecipeDict, data: Dataset, folds: Folds, metric: Metric) -> Evaluator:
    # Scored by the metric's own function: two libraries' validation losses are not equal to the last digit.
    plain = dataclasses.replace(metric, loss=None)
    evaluator = Evaluator(families.get(recipe["family"]), data, folds, [plain], Rounds.exactly(rounds_of(recipe)))
    if data.sample_weight is not None and not recipe["weighted"]:  # scored by weight, not fitted with it
        unweighted = dataclasses.replace(data, sample_weight=None)
        evaluator.prepared = evaluator.family.prepare(unweighted, folds, evaluator.loss, threads=1)
    return evaluator
