"""Reads earlier configurations: from results, studies, registered models, and as they are given."""

from __future__ import annotations

import dataclasses
import math
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage

from gbtune import families
from gbtune.errors import InvalidArgument
from gbtune.facts import ranked, read_records
from gbtune.families.base import check_params
from gbtune.locations import studies_root, study_folder
from gbtune.objective import ROUNDS
from gbtune.records import STUDY_KEY
from gbtune.result import TuningResult
from gbtune.spaces import SearchSpace
from gbtune.spaces.base import is_scalar, plain
from gbtune.spaces.portfolio import fits
from gbtune.storage import JOURNAL, journal
from gbtune.study import Point
from gbtune.summary import format_score
from gbtune.tracking.recipes import MODELS, read_recipe

PREFIX = "warm start: "
"""Of a trial's provenance."""
_GIVEN = "the given parameters"


@dataclasses.dataclass(frozen=True)
class Configuration:
    """An earlier configuration, as it was.

    Parameters
    ----------
    params : mapping
        By name, in any space; plain values.
    source : str
        Where it comes from, e.g. ``"study 'churn'"``.
    label : str
        The same and more, e.g. ``"study 'churn' trial 17, log_loss 0.31234"``.
    whole : bool, default True
        What is missing had the library's default. False: what is missing was not said.
    """

    params: Mapping[str, Any]
    source: str
    label: str
    whole: bool = True


@dataclasses.dataclass(frozen=True)
class Source:
    """What one earlier study, model or dict has to offer.

    Parameters
    ----------
    name : str
        For people.
    configurations : tuple of Configuration
        Best first; without the library's default, which is trial 0 of every study.
    limited : bool, default False
        Only the best few of them are meant.
    metric : str, default ""
        They were ranked by; empty if unknown.
    """

    name: str
    configurations: tuple[Configuration, ...]
    limited: bool = False
    metric: str = ""


def read_sources(
    earlier: Any,
    space: SearchSpace,
    family: families.ModelFamily,
    *,
    storage: BaseStorage | None = None,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
) -> list[Source]:
    """Read what `gbtune.tune` takes as `warm_start`; see `points`.

    Raises
    ------
    InvalidArgument
        If it cannot be read, has no complete trial, or is of another family.
    """
    several = isinstance(earlier, list | tuple)
    found = []
    for position, item in enumerate(earlier if several else [earlier], start=1):
        if item is None and not several:
            return []
        if isinstance(item, TuningResult | optuna.Study):
            found.append(_of_study(item.study if isinstance(item, TuningResult) else item, space, family))
        elif isinstance(item, Point):
            found.append(_of_params(item.params, item.provenance.removeprefix(PREFIX) or "a point", space, family))
        elif isinstance(item, Mapping):
            label = f"given parameters {position}" if several else "given parameters"
            found.append(_of_params(item, label, space, family))
        elif isinstance(item, str) and item.startswith(MODELS):
            found.append(_of_model(item, family, tracking_uri, registry_uri))
        elif isinstance(item, str | Path) and str(item).strip():
            study = _in_folder(item) if isinstance(item, Path) else _by_name(item, storage, tracking_uri)
            found.append(_of_study(study, space, family))
        else:
            raise InvalidArgument(
                "warm_start takes a TuningResult, an optuna.Study, the name or folder of a study, the folder of a "
                "saved result, 'models:/<name>/<version>', a dict of parameters, or a list of these; got "
                f"{type(item).__name__}: {reprlib.repr(item)}."
            )
    return found


def _of_study(study: optuna.Study, space: SearchSpace, family: families.ModelFamily) -> Source:
    if len(study.directions) > 1:
        raise InvalidArgument(
            f"warm_start: study {study.study_name!r} has {len(study.directions)} values per trial, so no trial is its "
            "best. Give the parameters of those you want, as a list of dicts."
        )
    if STUDY_KEY not in study.user_attrs:
        return _of_foreign_study(study, space, family)
    about, records = read_records(study)
    name = f"study {about.name!r}"
    _check_family(name, about.family, family)
    complete = ranked(about, records)
    if not complete:
        raise InvalidArgument(f"warm_start: {name} has no complete trial. Give another one, or leave warm_start out.")
    configurations = [
        Configuration(r.all_params, name, f"{name} trial {r.number}, {about.metric} {format_score(r.score)}")
        for r in complete
        if r.kind != "baseline"
    ]
    return Source(name, tuple(configurations), limited=True, metric=about.metric)


def _of_foreign_study(study: optuna.Study, space: SearchSpace, family: families.ModelFamily) -> Source:
    name = f"study {study.study_name!r}"
    sign = 1.0 if study.direction == optuna.study.StudyDirection.MINIMIZE else -1.0
    trials = [
        trial
        for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        if trial.value is not None and math.isfinite(trial.value)
    ]
    if not trials:
        raise InvalidArgument(f"warm_start: {name} has no complete trial. Give another one, or leave warm_start out.")
    trials.sort(key=lambda trial: sign * (trial.value or 0.0))
    configurations = []
    for trial in trials:
        label = f"{name} trial {trial.number}, value {format_score(trial.value)}"
        params = _checked(trial.params, name, space, family)
        configurations.append(Configuration(params, name, label, whole=False))
    return Source(name, tuple(configurations), limited=True)


def _of_params(params: Mapping[Any, Any], label: str, space: SearchSpace, family: families.ModelFamily) -> Source:
    checked = _checked(params, label, space, family)
    return Source(label, (Configuration(checked, _GIVEN, label, whole=False),))


def _of_model(uri: str, family: families.ModelFamily, tracking_uri: str | None, registry_uri: str | None) -> Source:
    recipe = read_recipe(uri, tracking_uri=tracking_uri, registry_uri=registry_uri)
    _check_family(recipe.model, recipe.family, family)
    score = "" if recipe.score is None else f", {recipe.metric} {format_score(recipe.score)}"
    found = [Configuration(recipe.params, recipe.model, f"{recipe.model}{score}")]
    defaults = dict(family.default_params)  # of which an older recipe may lack some
    if {**defaults, **{name: value for name, value in recipe.params.items() if name != ROUNDS}} == defaults:
        found = []
    return Source(recipe.model, tuple(found), metric=recipe.metric)


def _check_family(name: str, theirs: str, family: families.ModelFamily) -> None:
    if theirs != family.name:
        raise InvalidArgument(
            f"warm_start takes configurations of the family that is tuned, {family.name!r}; {name} is of {theirs!r}, "
            "where the same values mean other trees. To try them all the same, give them as a dict."
        )


def _checked(params: Mapping[Any, Any], name: str, space: SearchSpace, family: families.ModelFamily) -> dict[str, Any]:
    """Return plain values of parameters that the family knows; None is "not said"."""
    given = {key: plain(value) for key, value in params.items() if value is not None}
    check_params(family, (key for key in given if key != ROUNDS))
    known = {parameter.name: parameter for parameter in space.parameters}
    for key, value in given.items():
        if not is_scalar(value) or (key in known and not fits(value, known[key])):
            raise InvalidArgument(f"warm_start: {key} of {name} must be a finite number or a choice, got {value!r}.")
    searched = space.distributions(rounds=False)
    if not searched.keys() & given.keys():
        raise InvalidArgument(
            f"warm_start: {name} has none of the parameters that {space.key} searches: {', '.join(searched)}. It has "
            f"{', '.join(map(str, given)) or 'none'}."
        )
    return given


def _by_name(name: str, storage: BaseStorage | None, tracking_uri: str | None) -> optuna.Study:
    """Return the stored study of a name, as ``study=name`` finds it; else what is in the folder of that name."""
    if storage is not None and name in optuna.get_all_study_names(storage):
        return optuna.load_study(study_name=name, storage=storage)
    root = studies_root(tracking_uri)
    path = study_folder(root, name) / JOURNAL
    if path.is_file():
        kept = journal(path)
        if name in optuna.get_all_study_names(kept):
            return optuna.load_study(study_name=name, storage=kept)
    if Path(name).exists():
        return _in_folder(Path(name))
    place = f"in {root}" + ("" if storage is None else " or in storage=")
    raise InvalidArgument(
        f"warm_start: there is no study {name!r} {place}, and no folder of that name. One that is kept elsewhere "
        "can be given as optuna.load_study(...)."
    )


def _in_folder(path: Path) -> optuna.Study:
    """Return the study of a saved result, of a study's folder, or of a journal."""
    if (path / "result.json").is_file():
        return TuningResult.load(path).study
    file = path / JOURNAL if path.is_dir() else path
    if not file.is_file():
        raise InvalidArgument(
            f"warm_start: {path} holds neither a study ({JOURNAL}) nor a saved result (result.json). Give the folder "
            "in gbtune-studies, or the one given to result.save."
        )
    kept = journal(file)
    names = optuna.get_all_study_names(kept)
    if len(names) != 1:
        raise InvalidArgument(
            f"warm_start: {file} must hold one study, it holds {', '.join(map(repr, names)) or 'none'}. Give one as "
            "optuna.load_study(study_name=..., storage=gbtune.storage.journal(...))."
        )
    return optuna.load_study(study_name=names[0], storage=kept)
