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
``gbtune.champion.previous``              The champions before it, the latest first: what a rollback restores
``gbtune.champion.claim``                 While a promotion is under way: whom it is about to replace
========================================  ===============================================================

The registry has no compare-and-set: of two who set an alias, the last one wins, and neither is told. So a promotion
(1) claims, (2) looks whether the champion is still the one it was compared with, (3) sets the alias, (4) reads it
again, (5) looks for others who claim to replace the same champion. If two set the alias, the one that claimed first
looks, in step 5, after the other one claimed, or the other one after it: at least one of them says so.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from gbtune.errors import GbtuneError, InvalidArgument
from gbtune.locations import public_uri, resolve_uri, sqlite_path
from gbtune.tracking.model_registry import CHAMPION, DECISION, check_model_name, versions_of
from gbtune.tracking.projection import cut
from gbtune.tracking.recipes import download_recipe
from gbtune.tracking.store import Store, quiet

CHALLENGER = "challenger"
PREVIOUS = "gbtune.champion.previous"
CLAIM = "gbtune.champion.claim"
_LONGEST_TAG = 5000
_HEADING = "## Promotion"


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
        if registry_uri is None and tracking_uri is None:
            registry_uri = os.environ.get("MLFLOW_REGISTRY_URI")
        self.name = name
        self.store = Store(resolve_uri(tracking_uri), registry_uri)
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
            reason = " ".join(str(error).partition("[SQL:")[0].split())[:300]
            raise InvalidArgument(
                f"{what} of model {self.name!r} failed in {public_uri(self.store.registry_uri)}: "
                f"{type(error).__name__}: {reason}"
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
            before = re.split(rf"\n*{_HEADING}\n", entry.description or "", maxsplit=1)[0]
            text = f"{before}\n\n{_HEADING}\n{words}\n".lstrip()
            client.update_model_version(self.name, version, text)

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
            client.set_model_version_tag(self.name, version, CLAIM, _claim(expected))
            try:
                now = self.champion
                if now != expected:
                    raise Overtaken(f"{_who(now)} is champion now, no longer {_who(expected)}")
                client.set_registered_model_alias(self.name, CHAMPION, version)
                after = self.champion
                if after != version:
                    raise Overtaken(f"{_who(after)} was made champion at the same time")
                return self._rivals(version, expected)
            finally:
                client.delete_model_version_tag(self.name, version, CLAIM)

    def _rivals(self, version: str, expected: str | None) -> list[str]:
        """Return who else claims to replace `expected`."""
        found = versions_of(self.store, self.name)
        claim = _claim(expected)
        return [str(v.version) for v in found if str(v.version) != version and v.tags.get(CLAIM) == claim]

    def history(self, version: str) -> list[str]:
        """Return the champions before a version, the latest first."""
        return self.tags(version).get(PREVIOUS, "").split()

    def _push(self, version: str, replaced: str | None) -> None:
        if replaced is not None:
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
                f"Choose another: gbtune promote {self.name} --version N --policy always"
            )
        rivals = self._set(before[0], champion)
        self._pop(champion)
        words = f"Rolled back to version {before[0]}."
        self.write_decision(champion, "rolled back", words, {"champion": before[0]})
        return champion, before[0], rivals


def _claim(expected: str | None) -> str:
    return f"to replace version {expected}" if expected is not None else "to be the first champion"


def _who(version: str | None) -> str:
    return "no version" if version is None else f"version {version}"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
