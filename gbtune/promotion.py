"""Which version of a registered model is the champion: `promote` compares and decides, `rollback` takes it back."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import warnings
from collections.abc import Callable
from typing import Any, Literal

from gbtune.comparison import Comparison, compare
from gbtune.errors import GbtuneWarning, InvalidArgument, UnknownName
from gbtune.metrics import Metric
from gbtune.tracking.champions import (
    CHALLENGER,
    NOBODY,
    PENDING,
    Champions,
    NoRecipe,
    Overtaken,
    how_to_promote,
    promote_command,
    who,
)
from gbtune.tracking.model_registry import DECISION

POLICIES = ("if_better", "unless_worse", "always", "never")
Policy = Literal["if_better", "unless_worse", "always", "never"] | Callable[[Comparison], bool]
"""A callable gets the `gbtune.comparison.Comparison` of two versions that can be compared, and returns whether to
promote."""
Decision = Literal["promoted", "kept champion", "not comparable", "overtaken", "rolled back"]


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
    gbtune.errors.UnknownName: Unknown policy 'sometimes'. Known: always, if_better, never, unless_worse. Or a \
function of the comparison that returns whether to promote.
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
        Data to compare on. Without them, the decision that is written on the version is returned, and nothing is
        decided; a promotion that was decided and interrupted is completed.
    y : array-like of shape (n_samples,), optional
        Labels or values.
    version : str or int, optional
        Default: the one with the alias ``challenger``.
    policy : {"if_better", "unless_worse", "always", "never"} or callable, default "if_better"
        "if_better": promoted if it is better by more than the paired standard error. "unless_worse": promoted, but if
        it is worse by more than that. "always": promoted, and nothing is trained. "never": compared only, nothing
        moves. A callable gets the `Comparison` and returns whether to promote; where the two cannot be compared, it is
        not asked and the champion stays.
    sample_weight, groups, cv, metric, n_jobs
        As in `gbtune.comparison.compare`.
    tracking_uri, registry_uri : str, optional
        As `gbtune.MLflowTracker` takes them.

    Returns
    -------
    Promotion
        What was decided. A version that is champion already, or the only candidate, is "promoted".

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
    given = {"sample_weight": sample_weight, "groups": groups, "cv": cv, "metric": metric, "n_jobs": n_jobs}
    return promote_version(champions, chosen_version(champions, version), X, y, policy=policy, **given)


def promote_version(
    champions: Champions, version: str, X: Any = None, y: Any = None, *, policy: Policy = "if_better", **given: Any
) -> Promotion:
    """Do what `promote` does, in a registry that is open already.

    Parameters
    ----------
    champions : Champions
        Of the registered model.
    version : str
        See `chosen_version`.
    X, y, policy, **given
        As in `promote`.
    """
    if X is None and policy != "always":
        return as_written(champions, version, complete=policy in ("if_better", "unless_worse"))

    def run(champion: dict[str, Any], challenger: dict[str, Any]) -> Comparison:
        return compare(champion, challenger, X, y, **given)

    return decide(champions, version, policy, run)


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


def decide(
    champions: Champions, version: str, policy: Policy, run: Callable[[dict[str, Any], dict[str, Any]], Comparison]
) -> Promotion:
    """Decide about a version, write the decision, and carry it out.

    Parameters
    ----------
    champions : Champions
        Of the registered model.
    version : str
        To decide about.
    policy : {"if_better", "unless_worse", "always", "never"} or callable
        As in `promote`.
    run : callable
        Gets the recipes of champion and challenger, and compares them.
    """
    name, champion, comparison = champions.name, champions.champion, None
    if champion == version:
        return Promotion(name, version, version, "promoted", f"version {version} of {name!r} is champion")
    if champion is None:
        yes, why = policy != "never", "there was no champion" if policy != "never" else "policy 'never'"
    elif policy == "always":
        yes, why = True, "policy 'always', not compared"
    else:
        challenger = champions.recipe(version)
        try:
            comparison = run(champions.recipe(champion), challenger)
        except NoRecipe as error:
            comparison = Comparison(challenger["metric"], challenger["direction"], reason=str(error).rstrip("."))
        yes, why = _judged(comparison, policy)
    decision: Decision = "promoted" if yes else "kept champion"
    if comparison is not None and not comparison.comparable:
        decision = "not comparable"
    words = _sentence(name, version, champion, decision, why)
    facts = _facts(champion, policy, comparison)
    pending = {"pending": champion or NOBODY} if decision == "promoted" else {}
    champions.write_decision(version, decision, words, {**facts, **pending})
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
    if policy == "unless_worse":
        return not comparison.worse, f"policy 'unless_worse'; {comparison.words}"
    assert callable(policy)
    yes = bool(policy(comparison))
    return yes, f"{getattr(policy, '__name__', 'the policy')} says {'yes' if yes else 'no'}; {comparison.words}"


def _sentence(name: str, version: str, champion: str | None, decision: Decision, why: str) -> str:
    if decision != "promoted":
        if champion is None:
            return f"{name!r} has no champion, and version {version} does not become it: {why}"
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
            f"Two changes of the champion at the same time: {words}. Compare with it: {_how(champions, version)}",
            GbtuneWarning,
            stacklevel=5,
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


def _how(champions: Champions, version: str) -> str:
    recipe = None
    with contextlib.suppress(Exception):  # for words only
        recipe = champions.recipe(version)
    return how_to_promote(champions.name, version, champions.store, recipe)


def as_written(champions: Champions, version: str, *, complete: bool) -> Promotion:
    """Return the decision on a version from its tags; if `complete`, carry out one that was interrupted, only that.

    Raises
    ------
    InvalidArgument
        If there is none, or it was about another champion.
    """
    name, champion = champions.name, champions.champion
    if champion == version:
        return Promotion(name, version, version, "promoted", f"version {version} of {name!r} is champion")
    tags = champions.tags(version)
    decision: Any = tags.get(DECISION)
    known = Promotion(name, version, champion, decision, tags.get(f"{DECISION}.words", str(decision)))
    if decision == "rolled back":
        return known
    how = f"Give the data: {_how(champions, version)}"
    if decision is None:
        raise InvalidArgument(
            f"Version {version} of {name!r} has not been compared with a champion (now: {champion or 'none'}). {how}"
        )
    against, pending = tags.get(f"{DECISION}.champion"), tags.get(PENDING)
    if against != champion or decision == "overtaken":
        then = "there was no champion" if against is None else f"it was last compared with version {against}"
        raise InvalidArgument(
            f"Version {version} of {name!r} is {decision}: {then}; champion is {who(champion)}. {how}"
        )
    if decision != "promoted":
        return known
    if pending != (champion or NOBODY):  # it was carried out, and somebody has set the alias since
        words = f"{who(champion)} of {name!r} is champion, and not version {version}, which was promoted before. {how}"
        return dataclasses.replace(known, decision="kept champion", words=words)
    if not complete:
        again = promote_command(name, version, store=champions.store)
        words = (
            f"{who(champion)} of {name!r} is champion: that version {version} takes its place was interrupted. {again}"
        )
        return dataclasses.replace(known, decision="kept champion", words=words)
    facts = {k.removeprefix(f"{DECISION}."): v for k, v in tags.items() if k.startswith(f"{DECISION}.")}
    return _move(champions, known, {k: v for k, v in facts.items() if k not in ("words", "at", "pending")})
