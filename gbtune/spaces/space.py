"""`SearchSpace`: the parameters that are tuned, and everything that follows from them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from gbtune.errors import InvalidArgument, InvalidSpace, UnknownName
from gbtune.spaces import edits
from gbtune.spaces.base import FEWEST_LEVELS, Parameter, SampledParameter
from gbtune.spaces.checks import STATUSES, check_space
from gbtune.spaces.files import contents, read, table
from gbtune.spaces.fragments import Addable, parts_of
from gbtune.spaces.grids import grid_cells
from gbtune.spaces.numeric import RoundsParameter
from gbtune.spaces.parameters import FixedParameter
from gbtune.spaces.portfolio import TASKS, PortfolioEntry

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import BaseTrial


@dataclasses.dataclass(frozen=True, repr=False)
class SearchSpace(Addable):
    """Which parameters of a model family are tuned, between which bounds, and where to begin.

    A space is frozen: `override`, `fix` and `without` return new ones. Spaces of equal contents
    are equal and have equal hashes. Usually it comes from `load`.

    Parameters
    ----------
    family, name : str
        Together the `key`, e.g. ``"xgboost/core"``.
    parameters : sequence of Parameter
        In the order in which they are sampled; conditions and rules look back only.
    portfolio : sequence of PortfolioEntry, default ()
        Strong first configurations, best first.
    version : str, default "1"
        Changes whenever a number changes.
    summary : str, default ""
        One line for people.
    sources : sequence of str, default ()
        Where the numbers come from.
    tasks : sequence of {"binary", "multiclass", "regression"}, default all
        The tasks that the space is meant for.
    status : {"recommended", "comparison"}, default "recommended"
        ``"comparison"``: kept to be compared with, not advised for tuning.
    license : str, default ""
        The licence of the sources, and what was taken from them.
    fragment : bool, default False
        Only some parameters, to be added to a whole space: ``space + fragment``.

    Raises
    ------
    InvalidSpace
        If the parts do not fit together; the message names the key and the rule.

    Examples
    --------
    >>> import optuna
    >>> from gbtune.spaces import SearchSpace
    >>> space = SearchSpace.load("lightgbm/core").override(max_depth=(4, 8)).fix(subsample=0.8)
    >>> trial = optuna.trial.FixedTrial(
    ...     {"max_depth": 5, "min_child_weight": 1.0, "learning_rate": 0.1, "colsample_bytree": 1.0}
    ... )
    >>> params = space.suggest(trial, rounds=False)
    >>> params["num_leaves"], params["subsample"]
    (32, 0.8)
    """

    family: str
    name: str
    parameters: tuple[Parameter, ...]
    portfolio: tuple[PortfolioEntry, ...] = ()
    version: str = "1"
    summary: str = ""
    sources: tuple[str, ...] = ()
    tasks: tuple[str, ...] = TASKS
    status: str = STATUSES[0]
    license: str = ""
    fragment: bool = False

    def __post_init__(self) -> None:
        for field, value in check_space(self).items():
            object.__setattr__(self, field, value)

    @classmethod
    def load(
        cls,
        reference: str | os.PathLike[str] | Mapping[str, Any] | SearchSpace,
        family: str | None = None,
    ) -> SearchSpace:
        """Read a search space.

        Parameters
        ----------
        reference : str, path, mapping or SearchSpace
            A name (``"xgboost/core"``, or ``"core"`` when `family` is given), the path of a
            ``.toml`` file (or ``.json``, as a study leaves it in MLflow), either of them with fragments
            (``"core+regularization"``), a mapping as `to_dict` returns it, or a space, returned as it is.
        family : str, optional
            The family the space must be for.

        Raises
        ------
        UnknownName
            If no space has this name; the message has the nearest.
        InvalidSpace
            If it is malformed; the message names the file, the key and the rule.
        InvalidArgument
            If it is for another family than `family`.

        Examples
        --------
        >>> from gbtune.spaces import SearchSpace
        >>> SearchSpace.load("core", family="xgboost").key
        'xgboost/core'
        """
        if isinstance(reference, SearchSpace):
            space = reference
        elif parts := parts_of(reference):
            space = cls.load(parts[0], family)
            for part in parts[1:]:
                space += cls.load(part, space.family)
        else:
            where, raw = read(reference, family)
            try:
                space = cls(**contents(raw))
            except InvalidSpace as error:
                raise InvalidSpace(f"{where}: {error}") from None
        if family is not None and space.family != family:
            raise InvalidArgument(
                f"The search space {space.key!r} is for the family {space.family!r}, but the model family is "
                f"{family!r}. Choose a space of {family!r}, e.g. '{family}/core'."
            )
        return space

    @property
    def key(self) -> str:
        """Family and name, e.g. ``"xgboost/core"``."""
        return f"{self.family}/{self.name}"

    @property
    def rounds(self) -> RoundsParameter | None:
        """The number of boosting rounds, or None when no parameter is of that kind."""
        return next((p for p in self.parameters if isinstance(p, RoundsParameter)), None)

    def suggest(self, trial: BaseTrial, rounds: bool = True) -> dict[str, Any]:
        """Ask an Optuna trial for a configuration.

        Parameters
        ----------
        trial : optuna.trial.BaseTrial
            Asked once for each active sampled parameter, in order.
        rounds : bool, default True
            Whether the number of rounds is sampled, as a log-int, or left out.

        Returns
        -------
        dict
            Sampled, fixed and derived values: keyword arguments of the library's scikit-learn class.

        Examples
        --------
        >>> import optuna
        >>> from gbtune.spaces import SearchSpace
        >>> space = SearchSpace.load("xgboost/grid-mini")
        >>> best = {"max_depth": 6, "learning_rate": 0.2, "subsample": 1.0}
        >>> space.suggest(optuna.trial.FixedTrial(best), rounds=False) == best
        True
        """
        return self._resolve(lambda parameter: parameter.suggest(trial), rounds)

    def distributions(self, rounds: bool = True) -> dict[str, BaseDistribution]:
        """Return Optuna's distribution of each sampled parameter, conditional ones included.

        Parameters
        ----------
        rounds : bool, default True
            Whether the number of rounds is among them.

        Examples
        --------
        >>> from gbtune.spaces import SearchSpace
        >>> SearchSpace.load("xgboost/core").distributions()["max_depth"]
        IntDistribution(high=12, log=False, low=3, step=1)
        """
        return {parameter.name: parameter.distribution() for parameter in self._sampled(rounds)}

    def complete(self, sampled: Mapping[str, Any]) -> dict[str, Any]:
        """Return the sampled values that are active, with the fixed and derived ones; no rounds.

        Parameters
        ----------
        sampled : mapping
            E.g. ``study.best_params``. Names that are not sampled here are left out.

        Raises
        ------
        InvalidArgument
            If the value of an active parameter is missing.

        Examples
        --------
        >>> from gbtune.spaces import SearchSpace
        >>> SearchSpace.load("lightgbm/grid-mini").complete(
        ...     {"num_leaves": 31, "learning_rate": 0.2, "subsample": 0.7}
        ... )
        {'num_leaves': 31, 'learning_rate': 0.2, 'subsample': 0.7, 'subsample_freq': 1, 'reg_lambda': 1.0}
        """

        def given(parameter: SampledParameter) -> Any:
            if parameter.name not in sampled:
                raise InvalidArgument(
                    f"A configuration of {self.key!r} needs each active parameter: {parameter.name!r} is "
                    f"missing in {dict(sampled)!r}. project() fills gaps with defaults."
                )
            return sampled[parameter.name]

        return self._resolve(given, rounds=False)

    def project(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """Return the nearest point of the space: what ``study.enqueue_trial`` should be given.

        Numbers are clipped into their range and rounded to their steps; names that are not
        sampled are left out; missing values, and categorical ones that are no choice, become the
        default; conditional parameters are there only when active. No rounds.

        Parameters
        ----------
        point : mapping
            Values by name, e.g. `PortfolioEntry.params`.

        Examples
        --------
        >>> from gbtune.spaces import SearchSpace
        >>> space = SearchSpace.load("xgboost/grid-mini")
        >>> space.project({"max_depth": 14, "learning_rate": 0.1, "gamma": 3})
        {'max_depth': 10, 'learning_rate': 0.1, 'subsample': 1.0}
        """
        values = self._resolve(lambda p: p.project(point[p.name]) if p.name in point else p.default, False)
        return {p.name: values[p.name] for p in self._sampled(False) if p.name in values}

    def defaults(self) -> dict[str, Any]:
        """Return the default configuration: sampled, fixed and derived values, and the rounds.

        Examples
        --------
        >>> from gbtune.spaces import SearchSpace
        >>> SearchSpace.load("xgboost/grid-mini").defaults()
        {'max_depth': 6, 'learning_rate': 0.1, 'n_estimators': 300, 'subsample': 1.0}
        """
        return self._resolve(lambda parameter: parameter.default, rounds=True)

    def grid(self, rounds: bool = False) -> list[dict[str, Any]]:
        """Return all cells of the grid, each once: the values of the sampled parameters.

        Parameters
        ----------
        rounds : bool, default False
            Whether the number of rounds is a dimension of the grid.

        Returns
        -------
        list of dict
            In the order of the parameters, the last changing fastest.

        Raises
        ------
        InvalidSpace
            If a parameter has no finite grid (the message names it), or there are over 100,000 cells.

        Examples
        --------
        >>> from gbtune.spaces import SearchSpace
        >>> cells = SearchSpace.load("xgboost/grid").grid()
        >>> len(cells), cells[0]
        (72, {'max_depth': 3, 'min_child_weight': 0.1, 'learning_rate': 0.03, 'subsample': 0.7})
        """
        return grid_cells(self.parameters, rounds)

    def portfolio_for(self, task: str) -> tuple[PortfolioEntry, ...]:
        """Return the entries of the portfolio that are meant for `task`, in order.

        Parameters
        ----------
        task : {"binary", "multiclass", "regression"}
            What is predicted.

        Examples
        --------
        >>> from gbtune.spaces import SearchSpace
        >>> [entry.provenance for entry in SearchSpace.load("xgboost/core").portfolio_for("regression")][0][:11]
        'TabR medoid'
        """
        if task not in TASKS:
            raise UnknownName("task", task, TASKS)
        return tuple(entry for entry in self.portfolio if not entry.tasks or task in entry.tasks)

    def override(self, **parameters: Any) -> SearchSpace:
        """Return a space with some parameters changed.

        Parameters
        ----------
        **parameters : tuple, list, dict or Parameter
            By name of an existing parameter:

            - a tuple ``(low, high)``: new ends of the range; kind, scale and step stay.
            - a list of values: only these; the kind becomes categorical.
            - a dict without ``"kind"``: these keys of the file format change, the others stay.
            - a dict with ``"kind"``, or a `Parameter`: the new parameter; the kind may change, e.g.
              ``n_estimators={"kind": "int", "low": 50, "high": 500, "default": 100}`` makes the
              number of rounds an ordinary parameter.

            What is not given and no longer fits is adapted: a default moves to the nearest allowed
            value, grid values outside of the range go. Conditions stay; `why` goes.

        Raises
        ------
        UnknownName
            If the space has no such parameter.
        InvalidSpace
            If the result is malformed.

        Examples
        --------
        >>> from gbtune.spaces import SearchSpace
        >>> space = SearchSpace.load("xgboost/core")
        >>> space.override(learning_rate=(0.02, 0.08)).defaults()["learning_rate"]
        0.08
        """
        edits.check_known(self, parameters)
        changed = [
            edits.overridden(parameter, parameters[parameter.name]) if parameter.name in parameters else parameter
            for parameter in self.parameters
        ]
        return edits.kept(self, changed)

    def fix(self, **values: bool | int | float | str) -> SearchSpace:
        """Return a space in which some parameters are constants, under their former conditions.

        Parameters
        ----------
        **values : bool, int, float or str
            By name of an existing parameter; may lie outside of its range.

        Raises
        ------
        UnknownName
            If the space has no such parameter.
        InvalidSpace
            If a value is not plain.

        Examples
        --------
        >>> from gbtune.spaces import SearchSpace
        >>> SearchSpace.load("xgboost/grid-mini").fix(n_estimators=200).rounds is None
        True
        """
        edits.check_known(self, values)
        changed = [
            edits.fixed(parameter, values[parameter.name]) if parameter.name in values else parameter
            for parameter in self.parameters
        ]
        return edits.kept(self, changed)

    def without(self, *names: str) -> SearchSpace:
        """Return a space without some parameters: the library's own defaults hold for them.

        Parameters
        ----------
        *names : str
            Existing parameters.

        Raises
        ------
        UnknownName
            If the space has no such parameter.
        InvalidSpace
            If another parameter depends on one of them.

        Examples
        --------
        >>> from gbtune.spaces import SearchSpace
        >>> list(SearchSpace.load("xgboost/grid-mini").without("subsample").distributions(rounds=False))
        ['max_depth', 'learning_rate']
        """
        edits.check_known(self, names)
        return edits.kept(self, [parameter for parameter in self.parameters if parameter.name not in names])

    def for_levels(self, most: int) -> SearchSpace:
        """Return the space for data with categories of so many levels: without what `requires` more.

        Parameters
        ----------
        most : int
            Levels of the categorical column that has most; 0: there is none.

        Examples
        --------
        >>> from gbtune.spaces import SearchSpace
        >>> wide = SearchSpace.load("lightgbm/wide")
        >>> sorted(set(wide.distributions()) - set(wide.for_levels(0).distributions()))
        ['cat_l2', 'cat_smooth', 'max_cat_to_onehot', 'min_data_per_group']
        """
        return self.without(*(p.name for p in self.parameters if p.requires and most <= FEWEST_LEVELS[p.requires]))

    def to_dict(self) -> dict[str, Any]:
        """Return the contents as plain JSON-able values; `load` reads them back.

        Examples
        --------
        >>> from gbtune.spaces import SearchSpace
        >>> space = SearchSpace.load("xgboost/core")
        >>> SearchSpace.load(space.to_dict()) == space
        True
        """
        return table(self)

    def __repr__(self) -> str:
        return edits.table_of(self)

    def _sampled(self, rounds: bool) -> list[SampledParameter]:
        return [p for p in self.parameters if isinstance(p, SampledParameter) and (rounds or p is not self.rounds)]

    def _resolve(self, choose: Callable[[SampledParameter], Any], rounds: bool) -> dict[str, Any]:
        """Return the values of all active parameters, asking `choose` for the sampled ones."""
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            if not parameter.active(values) or (isinstance(parameter, RoundsParameter) and not rounds):
                continue
            if isinstance(parameter, FixedParameter):
                values[parameter.name] = parameter.compute(values)
            elif isinstance(parameter, SampledParameter):
                values[parameter.name] = choose(parameter)
        return values
