"""The champion of a model name: who it is, who it was before, and how it changes.

The champion is the version with the alias ``champion``, the newest candidate the one with ``challenger``. Tags of a
version say the rest:

========================================  ===============================================================
``gbtune.promotion``                      "promoted", "kept champion", "not comparable", "overtaken" (by
                                          another promotion at the same time), "rolled back"
``gbtune.promotion.words``                The same in a sentence, with the numbers
``gbtune.promotion.champion``             The version that it was compared with; absent for a first version
``gbtune.promotion.policy``, ``.at``      By which policy; when (UTC)
``gbtune.promotion.gain``, ``.gain_se``   The challenger's gain and its paired standard error
``gbtune.promotion.challenger_scores``,   By fold, as JSON lists
``.champion_scores``
``gbtune.promotion.folds``,               On which folds and data
``.folds_fingerprint``,
``.data_fingerprint``, ``.n_rows``
``gbtune.promotion.pending``              Decided, and the alias not set yet: the champion whose place it is to take, or
                                          "none". Whoever finds it may complete the promotion
``gbtune.champion.previous``              The champions before it, the latest first: what a rollback restores
``gbtune.champion.claim``                 While a promotion is under way: whom it is about to replace,
                                          and since when (UTC)
========================================  ===============================================================

The registry has no compare-and-set: of two who set an alias, the last one wins, and neither is told. So a promotion
(1) claims, (2) looks whether the champion is still the one it was compared with, (3) sets the alias, (4) reads it
again, (5) looks for others who claim to replace the same champion. A claim older than an hour is of a process that was
killed, and counts for nothing: four requests take seconds, minutes with MLflow's repetitions, and the clocks of two
machines are closer than that. If two set the alias, the one that claimed first
looks, in step 5, after the other one claimed, or the other one after it: at least one of them says so.
"""

from __future__ import annotations

import contextlib
import datetime
import re
import shlex
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from gbtune.errors import GbtuneError, GbtuneWarning, InvalidArgument
from gbtune.locations import MASK, public_uri, resolve_registry, resolve_uri, sqlite_path
from gbtune.metrics import metric_named
from gbtune.tracking.model_registry import CHAMPION, DECISION, check_model_name, versions_of
from gbtune.tracking.projection import cut
from gbtune.tracking.recipes import download_recipe
from gbtune.tracking.store import Store, quiet, what_went_wrong

CHALLENGER = "challenger"
PREVIOUS = "gbtune.champion.previous"
CLAIM = "gbtune.champion.claim"
PENDING = f"{DECISION}.pending"
NOBODY = "none"
CLAIM_LASTS = datetime.timedelta(hours=1)
_LONGEST_TAG = 5000
_LONGEST_DESCRIPTION = 5000
"""Of a version: PostgreSQL and MySQL refuse more."""
_HEADING, _SINCE = "## Promotion", ", since "


class Overtaken(GbtuneError):
    """Somebody else changed the champion meanwhile; the message says how, as a sentence."""


class NoRecipe(InvalidArgument):
    """A version that gbtune did not log: nothing says how to fit it again."""


class Champions:
    """The versions of one registered model, and which of them is the champion.

    Parameters
    ----------
    name : str
        Of the registered model.
    tracking_uri, registry_uri : str, optional
        As `MLflowTracker` takes them. Nothing is created there.

    Raises
    ------
    InvalidArgument
        If the name cannot be one, or there is no such store. Its methods: if the registry cannot be read or written,
        or has no such model or version.

    Examples
    --------
    >>> from gbtune.tracking.champions import Champions
    >>> Champions("churn", "sqlite:////data/mlflow.db").champion  # doctest: +SKIP
    '3'
    """

    def __init__(self, name: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> None:
        check_model_name(name)
        self.name = name
        self.store = Store(resolve_uri(tracking_uri), resolve_registry(tracking_uri, registry_uri))
        for place in {self.store.uri, self.store.registry_uri}:
            path = sqlite_path(place)
            if path is not None and not path.is_file():  # it would be created, empty
                raise InvalidArgument(
                    f"There is no MLflow store {public_uri(place)}. Give tracking_uri (--tracking-uri), the store "
                    "that the model is registered in."
                )

    @contextlib.contextmanager
    def _asking(self, what: str) -> Iterator[Any]:
        """Give the client, quietly; whatever it raises becomes one error."""
        try:
            with quiet():
                yield self.store.client
        except GbtuneError:
            raise
        except Exception as error:  # MLflow, its servers and its databases have an error each
            raise InvalidArgument(
                f"{what} of model {self.name!r} failed in {public_uri(self.store.registry_uri)}: "
                f"{what_went_wrong(error)}"
            ) from error

    @property
    def aliases(self) -> dict[str, str]:
        """Alias to version."""
        with self._asking("Reading the aliases") as client:
            return {alias: str(version) for alias, version in client.get_registered_model(self.name).aliases.items()}

    @property
    def champion(self) -> str | None:
        """The version that is champion; None if none is."""
        return self.aliases.get(CHAMPION)

    def tags(self, version: str) -> dict[str, str]:
        """Return the tags of a version."""
        with self._asking(f"Reading version {version}") as client:
            return dict(client.get_model_version(self.name, version).tags)

    def recipe(self, version: str) -> dict[str, Any]:
        """Return what ``recipe.json`` of a version holds.

        Raises
        ------
        NoRecipe
            If gbtune did not log it.
        """
        model_id = self.tags(version).get("gbtune.model_id")
        if model_id is None:
            raise NoRecipe(f"Version {version} of {self.name!r} was not logged by gbtune, and has no recipe.")
        with self._asking(f"Reading the recipe of version {version}") as client:
            return download_recipe(self.store, client.get_logged_model(model_id).artifact_location)

    def write_decision(self, version: str, decision: str, words: str, facts: Mapping[str, Any]) -> None:
        """Write on a version what was decided about it; an earlier decision is replaced.

        Parameters
        ----------
        version : str
            The challenger.
        decision, words : str
            See the module's table; the words also go to the end of the version's description.
        facts : mapping of str to object
            The other ``gbtune.promotion.*``; None is left out.

        Warns
        -----
        GbtuneWarning
            If the description cannot be written. The tags say the same.
        """
        new = {f"{DECISION}.{key}": str(value) for key, value in facts.items() if value is not None}
        new |= {f"{DECISION}.words": words, f"{DECISION}.at": _now(), DECISION: decision}
        with self._asking(f"Writing the decision on version {version}") as client:
            entry = client.get_model_version(self.name, version)
            for key in entry.tags:
                if key.startswith(f"{DECISION}.") and key not in new:
                    client.delete_model_version_tag(self.name, version, key)
            for key, value in new.items():  # the decision itself is the last: who reads it finds the rest
                client.set_model_version_tag(self.name, version, key, cut(value, _LONGEST_TAG))
        try:
            with self._asking(f"Writing the description of version {version}") as client:
                client.update_model_version(self.name, version, _described(entry.description or "", words))
        except InvalidArgument as error:  # for people only: it decides nothing
            warnings.warn(str(error), GbtuneWarning, stacklevel=5)

    # -- who is champion ------------------------------------------------------------------------------------

    def move(self, version: str, expected: str | None) -> list[str]:
        """Make a version the champion in the place of another.

        Parameters
        ----------
        version : str
            The new champion.
        expected : str or None
            The champion that it was compared with.

        Returns
        -------
        list of str
            Versions of others who claim to replace the same champion at this moment. Empty, as a rule.

        Raises
        ------
        Overtaken
            If somebody else is champion, before or after.
        """
        self._push(version, expected)
        try:
            return self._set(version, expected)
        except Overtaken:
            if expected is not None:
                self._pop(version)
            raise

    def _set(self, version: str, expected: str | None) -> list[str]:
        """Set the alias in five steps; see the module's text."""
        with self._asking(f"Making version {version} the champion") as client:
            client.set_model_version_tag(self.name, version, CLAIM, f"{_claim(expected)}{_SINCE}{_now()}")
            try:
                now = self.champion
                if now != expected:
                    raise Overtaken(f"{who(now)} is champion now, no longer {who(expected)}")
                # Before the alias: left behind it would, much later, undo what a person has decided since.
                client.delete_model_version_tag(self.name, version, PENDING)
                client.set_registered_model_alias(self.name, CHAMPION, version)
                after = self.champion
                if after != version:
                    raise Overtaken(f"{who(after)} was made champion at the same time")
                return self._rivals(version, expected)
            finally:
                with contextlib.suppress(Exception):  # the alias is what counts; a claim that stays grows old
                    client.delete_model_version_tag(self.name, version, CLAIM)

    def _rivals(self, version: str, expected: str | None) -> list[str]:
        """Return who else claims to replace `expected`."""
        found = versions_of(self.store, self.name)
        claim = _claim(expected)
        return [str(v.version) for v in found if str(v.version) != version and _claims(v.tags.get(CLAIM, ""), claim)]

    def history(self, version: str) -> list[str]:
        """Return the champions before a version, the latest first."""
        return self.tags(version).get(PREVIOUS, "").split()

    def _push(self, version: str, replaced: str | None) -> None:
        # An earlier attempt that failed has written it.
        if replaced is not None and self.history(version)[:1] != [replaced]:
            self._write_history(version, [replaced, *self.history(version)])

    def _pop(self, version: str) -> None:
        self._write_history(version, self.history(version)[1:])

    def _write_history(self, version: str, history: list[str]) -> None:
        with self._asking(f"Writing the history of version {version}") as client:
            if history:
                client.set_model_version_tag(self.name, version, PREVIOUS, " ".join(history))
            else:
                client.delete_model_version_tag(self.name, version, PREVIOUS)

    def rollback(self) -> tuple[str, str, list[str]]:
        """Make the champion before the present one champion again.

        Returns
        -------
        was, now : str
            Versions.
        rivals : list of str
            As `move` returns them.

        Raises
        ------
        InvalidArgument
            If there is no champion, none before it, or that one has been deleted.
        Overtaken
            If somebody else changes the champion meanwhile.
        """
        champion = self.champion
        if champion is None:
            raise InvalidArgument(f"Model {self.name!r} has no champion, so there is nothing to roll back.")
        before = self.history(champion)
        if not before:
            raise InvalidArgument(
                f"Version {champion} of {self.name!r} is champion and has replaced none: there is no version to go "
                "back to."
            )
        known = {str(entry.version) for entry in versions_of(self.store, self.name)}
        if before[0] not in known:
            raise InvalidArgument(
                f"Version {before[0]} of {self.name!r}, the champion before version {champion}, has been deleted. "
                f"Choose another: {promote_command(self.name, 'N', '--policy', 'always', store=self.store)}"
            )
        rivals = self._set(before[0], champion)
        self._pop(champion)
        words = f"Rolled back to version {before[0]}."
        self.write_decision(champion, "rolled back", words, {"champion": before[0]})
        return champion, before[0], rivals


def _claim(expected: str | None) -> str:
    return f"to replace version {expected}" if expected is not None else "to be the first champion"


def _claims(tag: str, claim: str) -> bool:
    """Return whether a tag says the claim, and is recent."""
    what, _, since = tag.partition(_SINCE)
    try:
        age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(since)
    except (ValueError, TypeError):
        return False
    return what == claim and abs(age) < CLAIM_LASTS


def _described(before: str, words: str) -> str:
    """Return a description with the decision at its end, in the place of an earlier one."""
    decision = f"\n\n{_HEADING}\n{cut(words, _LONGEST_DESCRIPTION // 2)}\n"
    before = re.split(rf"\n*{_HEADING}\n", before, maxsplit=1)[0]
    return f"{cut(before, _LONGEST_DESCRIPTION - len(decision))}{decision}".lstrip()


def promote_command(name: str, version: str, *options: str, store: Store) -> str:
    """Return the shell command that promotes a version, with no password in it.

    Examples
    --------
    >>> from gbtune.tracking.champions import promote_command
    >>> from gbtune.tracking.store import Store
    >>> promote_command("churn", "3", "--policy", "always", store=Store("sqlite:////data/mlflow.db"))
    'gbtune promote churn --version 3 --policy always --tracking-uri sqlite:////data/mlflow.db'
    """
    return shlex.join(["gbtune", "promote", name, "--version", version, *options, *_places(store)])


def _places(store: Store) -> list[str]:
    """Return the options that name a store, where it is not the default one."""
    words, registry = [], store.uri
    if store.uri == resolve_uri(None):
        registry = resolve_registry(None, None) or store.uri
    else:
        words = ["--tracking-uri", public_uri(store.uri)]
    if store.registry_uri != registry:
        words += ["--registry-uri", public_uri(store.registry_uri)]
    return words


def how_to_promote(name: str, version: str, store: Store, recipe: Mapping[str, Any] | None = None) -> str:
    """Return how to compare a version with the champion, with what its recipe needs.

    Parameters
    ----------
    name, version : str
        Of the registered model.
    store : Store
        Where it is.
    recipe : mapping, optional
        Of the version: ``weighted``, ``folds_kind`` and ``metric`` are read.

    Returns
    -------
    str
        A shell command; a call in Python where metric or folds are the caller's own.

    Examples
    --------
    >>> from gbtune.tracking.champions import how_to_promote
    >>> from gbtune.tracking.store import Store
    >>> recipe = {"weighted": True, "folds_kind": "group", "metric": "rmse"}
    >>> how_to_promote("churn", "3", Store("postgresql://me:secret@host/db"), recipe)
    "gbtune promote churn --version 3 --data FILE --target COLUMN --weight COLUMN --group COLUMN --tracking-uri \
'postgresql://me:***@host/db' (fill in the password)"
    """
    recipe = recipe or {}
    weighted, kind, own = recipe.get("weighted"), recipe.get("folds_kind"), not _is_known(recipe.get("metric"))
    if own or kind == "custom":
        words = [repr(name), "X", "y", f"version={version!r}"]
        words += [f"{option}=..." for option, needed in (("metric", own), ("cv", kind == "custom")) if needed]
        words += [
            f"{option}=..." for option, needed in (("sample_weight", weighted), ("groups", kind == "group")) if needed
        ]
        places = _places(store)
        words += [f"{o[2:].replace('-', '_')}={uri!r}" for o, uri in zip(places[::2], places[1::2], strict=True)]
        command = f"gbtune.promotion.promote({', '.join(words)})"
    else:
        options = ["--data", "FILE", "--target", "COLUMN"]
        options += ["--weight", "COLUMN"] if weighted else []
        options += ["--group", "COLUMN"] if kind == "group" else []
        command = promote_command(name, version, *options, store=store)
    return command + (" (fill in the password)" if MASK in command else "")


def _is_known(metric: str | None) -> bool:
    try:
        return metric is None or bool(metric_named(metric))
    except InvalidArgument:
        return False


def who(version: str | None) -> str:
    """Return a version in words."""
    return "no version" if version is None else f"version {version}"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
