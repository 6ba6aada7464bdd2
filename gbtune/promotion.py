"""Which version of a registered model is the champion: `promote` compares and decides, `rollback` takes it back."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from gbtune.comparison import Comparison, compare, compare_on
from gbtune.errors import GbtuneWarning, InvalidArgument, UnknownName
from gbtune.metrics import Metric
from gbtune.progress import Progress
from gbtune.records import Receipt
from gbtune.tracking import MLflowTracker
from gbtune.tracking.champions import CHALLENGER, Champions, NoRecipe, Overtaken
from gbtune.tracking.model_registry import DECISION

if TYPE_CHECKING:
    from gbtune.objective import Objective

POLICIES = ("if_better", "always", "never")
Policy = Literal["if_better", "always", "never"] | Callable[[Comparison], bool]
"""A callable gets the `gbtune.comparison.Comparison` of two versions that can be compared, and returns whether to
promote."""
Decision = Literal["promoted", "kept champion", "not comparable", "overtaken", "rolled back"]
_REGISTERED = re.compile(r"models:/(?P<name>[^/@]+)/(?P<version>\d+)")


@dataclasses.dataclass(frozen=True)
class Promotion:
    """What was decided about a version.

    Parameters
    ----------
    name, version : str
        Of the registered model.
    champion : str or None
        The version that is champion now.
    decision : {"promoted", "kept champion", "not comparable", "overtaken", "rolled back"}
        "promoted": it is champion, since now or before. "overtaken": it was to be, and another version became it at
        the same time. "rolled back": it was, and `rollback` has taken it back.
    words : str
        One sentence for people, with the numbers.
    comparison : Comparison or None
        The numbers; None if nothing was compared now.
    """

    name: str
    version: str
    champion: str | None
    decision: Decision
    words: str
    comparison: Comparison | None = None

    @property
    def is_champion(self) -> bool:
        """Whether the version is the champion now."""
        return self.version == self.champion


def check_policy(policy: object) -> None:
    """Raise `InvalidArgument` if it is no policy.

    Examples
    --------
    >>> from gbtune.promotion import check_policy
    >>> check_policy("always")
    >>> check_policy("sometimes")
    Traceback (most recent call last):
    gbtune.errors.UnknownName: Unknown policy 'sometimes'. Known: always, if_better, never. Or a function of the \
comparison that returns whether to promote.
    """
    if isinstance(policy, str):
        if policy not in POLICIES:
            hint = "Or a function of the comparison that returns whether to promote."
            raise UnknownName("policy", policy, POLICIES, hint)
    elif not callable(policy):
        raise InvalidArgument(
            f"promote must be {', '.join(map(repr, POLICIES))} or a function of the comparison; got {policy!r}."
        )


def promote(
    name: str,
    X: Any = None,
    y: Any = None,
    *,
    version: str | int | None = None,
    policy: Policy = "if_better",
    sample_weight: Any = None,
    groups: Any = None,
    cv: Any = None,
    metric: Metric | None = None,
    n_jobs: int = 1,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
) -> Promotion:
    """Compare a version of a registered model with its champion, and promote it if it is better.

    Both recipes are fitted again on the same fresh folds of the data given: see `gbtune.comparison.compare`. The
    decision and its numbers are written on the version (tags ``gbtune.promotion.*``, and its description).

    Parameters
    ----------
    name : str
        Of the registered model.
    X : array-like of shape (n_samples, n_features), optional
        Data to compare on. Without them, the decision that is written on the version is returned; one to promote
        that was interrupted is completed.
    y : array-like of shape (n_samples,), optional
        Labels or values.
    version : str or int, optional
        Default: the one with the alias ``challenger``.
    policy : {"if_better", "always", "never"} or callable, default "if_better"
        "if_better": promoted if it is better by more than the paired standard error. "always": promoted, and nothing
        is trained. "never": compared only. A callable gets the `Comparison` and returns whether to promote; where the
        two cannot be compared, it is not asked and the champion stays.
    sample_weight, groups, cv, metric, n_jobs
        As in `gbtune.comparison.compare`.
    tracking_uri, registry_uri : str, optional
        As `gbtune.MLflowTracker` takes them.

    Returns
    -------
    Promotion
        What was decided. A version that is champion already, or the first one of its name, is "promoted".

    Raises
    ------
    InvalidArgument
        If there is no such model or version, an argument is malformed, or data are needed and not given.
    InvalidData
        If the data are not those of the version's recipe.

    Warns
    -----
    GbtuneWarning
        If somebody else changes the champion at the same time.

    Examples
    --------
    >>> from gbtune.promotion import promote
    >>> promote("churn", X, y).decision  # doctest: +SKIP
    'kept champion'
    """
    check_policy(policy)
    champions = Champions(name, tracking_uri, registry_uri)
    chosen = chosen_version(champions, version)
    if X is None and policy != "always":
        return _as_written(champions, chosen, complete=policy == "if_better")

    def run(champion: dict[str, Any], challenger: dict[str, Any]) -> Comparison:
        return compare(
            champion, challenger, X, y, sample_weight=sample_weight, groups=groups, cv=cv, metric=metric, n_jobs=n_jobs
        )

    return _decide(champions, chosen, policy, run)


def rollback(name: str, *, tracking_uri: str | None = None, registry_uri: str | None = None) -> Promotion:
    """Make the champion before the present one champion again; repeated, the one before that.

    Parameters
    ----------
    name : str
        Of the registered model.
    tracking_uri, registry_uri : str, optional
        As `gbtune.MLflowTracker` takes them.

    Returns
    -------
    Promotion
        Of the version that was champion.

    Raises
    ------
    InvalidArgument
        If there is none before it, or it has been deleted, or somebody else changes the champion meanwhile.

    Examples
    --------
    >>> from gbtune.promotion import rollback
    >>> rollback("churn").champion  # doctest: +SKIP
    '2'
    """
    champions = Champions(name, tracking_uri, registry_uri)
    try:
        was, now, rivals = champions.rollback()
    except Overtaken as error:
        raise InvalidArgument(f"Model {name!r} was not rolled back: {error}. Look, and repeat if need be.") from error
    _warn_about(champions, now, rivals)
    return Promotion(name, was, now, "rolled back", f"version {now} of {name!r} is champion again, not version {was}")


def after_study(
    objective: Objective,
    receipt: Receipt,
    policy: Policy,
    *,
    n_jobs: int,
    tracker: object,
    progress: bool,
) -> Promotion | None:
    """Decide about the version that a study has registered; whatever goes wrong is a warning.

    Parameters
    ----------
    objective : Objective
        Of the study, whose data are compared on.
    receipt : Receipt
        What the tracker wrote.
    policy : {"if_better", "always", "never"} or callable
        As in `promote`; "never" does not even compare.
    n_jobs : int
        Boosters that grow side by side.
    tracker : Tracker or None
        That registered it; only an `MLflowTracker` has champions.
    progress : bool
        Print the decision on stderr.

    Returns
    -------
    Promotion or None
        None if nothing was registered, or nothing decided.
    """
    found = _REGISTERED.fullmatch(receipt.model_uri or "")
    if found is None or policy == "never" or not isinstance(tracker, MLflowTracker):
        return None
    name, version = found["name"], found["version"]

    def run(champion: dict[str, Any], challenger: dict[str, Any]) -> Comparison:
        return compare_on(objective.data, champion, challenger, metric=objective.metric, n_jobs=n_jobs)

    try:
        champions = Champions(name, tracker.tracking_uri, tracker.registry_uri)
        if champions.tags(version).get(DECISION) == "rolled back":  # a person's decision stands
            decided = _as_written(champions, version, complete=False)
        else:
            decided = _decide(champions, version, policy, run)
        Progress(progress).say(f"gbtune: {decided.words}")
        return decided
    except (Exception, KeyboardInterrupt) as error:
        reason = f"{type(error).__name__}: {error}".rstrip(":. ")
        warnings.warn(
            f"Version {version} of {name!r} is registered; whether it is to be champion was not decided ({reason}). "
            f"Repeat: gbtune promote {shlex.quote(name)} --version {version} --data FILE --target COLUMN",
            GbtuneWarning,
            stacklevel=3,
        )
        return None


def chosen_version(champions: Champions, version: str | int | None) -> str:
    """Return the version, or the one with the alias ``challenger`` if it is None.

    Raises
    ------
    InvalidArgument
        If no version has that alias.
    """
    if version is not None:
        return str(version)
    challenger = champions.aliases.get(CHALLENGER)
    if challenger is None:
        raise InvalidArgument(
            f"No version of {champions.name!r} has the alias {CHALLENGER!r}: name one, version=N (--version N)."
        )
    return challenger


def _decide(
    champions: Champions,
    version: str,
    policy: Policy,
    run: Callable[[dict[str, Any], dict[str, Any]], Comparison] | None = None,
) -> Promotion:
    name, champion, comparison = champions.name, champions.champion, None
    if champion == version:
        return Promotion(name, version, version, "promoted", f"version {version} of {name!r} is champion")
    if champion is None:
        yes, why = True, "there was no champion"
    elif policy == "always":
        yes, why = True, "policy 'always', not compared"
    else:
        challenger = champions.recipe(version)
        try:
            assert run is not None
            comparison = run(champions.recipe(champion), challenger)
        except NoRecipe as error:
            comparison = Comparison(challenger["metric"], challenger["direction"], reason=str(error).rstrip("."))
        yes, why = _judged(comparison, policy)
    decision: Decision = "promoted" if yes else "kept champion"
    if comparison is not None and not comparison.comparable:
        decision = "not comparable"
    words = _sentence(name, version, champion, decision, why)
    facts = _facts(champion, policy, comparison)
    champions.write_decision(version, decision, words, facts)
    if decision != "promoted":
        return Promotion(name, version, champion, decision, words, comparison)
    return _move(champions, Promotion(name, version, champion, decision, words, comparison), facts)


def _judged(comparison: Comparison, policy: Policy) -> tuple[bool, str]:
    """Return whether to promote, and why."""
    if not comparison.comparable:
        return False, comparison.words
    if policy == "never":
        return False, f"policy 'never'; {comparison.words}"
    if policy == "if_better":
        return comparison.better, comparison.words
    assert callable(policy)
    yes = bool(policy(comparison))
    return yes, f"{getattr(policy, '__name__', 'the policy')} says {'yes' if yes else 'no'}; {comparison.words}"


def _sentence(name: str, version: str, champion: str | None, decision: Decision, why: str) -> str:
    if decision != "promoted":
        return f"version {champion} of {name!r} stays champion, version {version} does not take its place: {why}"
    place = "" if champion is None else f", in the place of version {champion}"
    return f"version {version} of {name!r} is champion{place}: {why}"


def _facts(champion: str | None, policy: Policy, comparison: Comparison | None) -> dict[str, Any]:
    """Return what is written on the version beside the decision."""
    facts: dict[str, Any] = {
        "champion": champion,
        "policy": policy if isinstance(policy, str) else getattr(policy, "__name__", "a function"),
    }
    if comparison is not None:
        facts |= {"gain": comparison.gain, "gain_se": comparison.gain_se}
        if comparison.folds:
            facts |= {
                "challenger_scores": json.dumps(comparison.challenger_scores),
                "champion_scores": json.dumps(comparison.champion_scores),
                "folds": comparison.folds,
                "folds_fingerprint": comparison.folds_fingerprint,
                "data_fingerprint": comparison.data_fingerprint,
                "n_rows": comparison.n_rows,
            }
    return facts


def _move(champions: Champions, planned: Promotion, facts: dict[str, Any]) -> Promotion:
    """Carry out a promotion in the place of the champion that was compared with."""
    name, version, champion = planned.name, planned.version, planned.champion
    try:
        rivals = champions.move(version, champion)
    except Overtaken as error:
        words = f"version {version} of {name!r} was to be champion, and {error}"
        warnings.warn(
            f"Two changes of the champion at the same time: {words}. Compare with it: gbtune promote "
            f"{shlex.quote(name)} --version {version} --data FILE --target COLUMN",
            GbtuneWarning,
            stacklevel=4,
        )
        champions.write_decision(version, "overtaken", words, facts)
        return dataclasses.replace(planned, champion=champions.champion, decision="overtaken", words=words)
    _warn_about(champions, version, rivals)
    return dataclasses.replace(planned, champion=version)


def _warn_about(champions: Champions, version: str, rivals: list[str]) -> None:
    if rivals:
        others = " and ".join(f"version {rival}" for rival in rivals)
        warnings.warn(
            f"Two changes of the champion at the same time: version {version} of {champions.name!r} is champion, and "
            f"{others} was about to be. See which one is now, and compare the two with gbtune promote.",
            GbtuneWarning,
            stacklevel=4,
        )


def _as_written(champions: Champions, version: str, *, complete: bool) -> Promotion:
    """Return the decision on a version from its tags; carry out one that was interrupted."""
    name, champion = champions.name, champions.champion
    tags = champions.tags(version)
    if champion in (version, None) and complete:
        return _decide(champions, version, "always")
    decision: Any = tags.get(DECISION)
    how = (
        f"Give the data: gbtune promote {shlex.quote(name)} --version {version} --data FILE --target COLUMN "
        "(in Python: X and y)."
    )
    if decision is None:
        raise InvalidArgument(
            f"Version {version} of {name!r} has not been compared with a champion (now: {champion or 'none'}). {how}"
        )
    against = tags.get(f"{DECISION}.champion")
    if against != champion or decision == "overtaken":
        then = "there was no champion" if against is None else f"it was last compared with version {against}"
        raise InvalidArgument(
            f"Version {version} of {name!r} is {decision}: {then}; champion is version {champion}. {how}"
        )
    words = tags.get(f"{DECISION}.words", decision)
    known = Promotion(name, version, champion, decision, words)
    if decision != "promoted" or not complete:
        return known
    facts = {k.removeprefix(f"{DECISION}."): v for k, v in tags.items() if k.startswith(f"{DECISION}.")}
    return _move(champions, known, {k: v for k, v in facts.items() if k not in ("words", "at")})
