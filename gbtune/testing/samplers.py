"""The contract of a sampler in gbtune's studies: generations, conditions, failures, resumption.

That it is an ordinary Optuna sampler is what Optuna's own classes test: ``optuna.testing.pytest_samplers``.

With pytest::

    class TestMySampler(SamplerContract):
        @pytest.fixture
        def sampler(self):
            return lambda seed: MySampler(seed=seed)

Without: `check_sampler`.
"""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import optuna

from gbtune.objective import Objective
from gbtune.records import TrialRecord
from gbtune.samplers import resolve_sampler
from gbtune.spaces import SearchSpace
from gbtune.testing import studies
from gbtune.testing.contract import Contract, ContractTests, Gaps, Report, must
from gbtune.testing.studies import KitFamily, PruneThese, failing_at, must_repeat, run_study

SamplerSource = str | Mapping[str, Any] | Callable[[int | None], optuna.samplers.BaseSampler]
"""What ``tune(sampler=)`` takes; an object as a callable that takes the seed and returns a new one."""


@dataclasses.dataclass(frozen=True)
class SamplerCase:
    """A sampler under examination.

    Parameters
    ----------
    sampler : str, mapping or callable
        A name, a strategy per parameter of `gbtune.testing.studies.SPACE`, or a callable that takes a seed and
        returns a new optuna sampler.
    random : bool, default True
        It claims that another seed asks for other configurations.
    resumable : bool, optional
        It claims that a study which was stopped goes on as if it had not been. Default: what has a name does; an
        object that is made anew begins its random stream anew.
    n_trials : int, default 24
        Of a study.
    """

    sampler: SamplerSource
    random: bool = True
    resumable: bool | None = None
    n_trials: int = 24

    @property
    def goes_on(self) -> bool:
        """Whether it claims to be resumable."""
        return not callable(self.sampler) if self.resumable is None else self.resumable

    def argument(self, seed: int | None = 0) -> Any:
        """Return the argument ``sampler`` of `tune`."""
        return self.sampler(seed) if callable(self.sampler) else self.sampler

    def run(self, *, seed: int | None = 0, **arguments: Any) -> list[TrialRecord]:
        """Run a study with the sampler; return its records by slot."""
        arguments = {"n_trials": self.n_trials, **arguments}
        with studies.quiet():
            sampler = self.argument(seed)
        return run_study(sampler=sampler, seed=seed, **arguments)

    @functools.cached_property
    def reference(self) -> list[TrialRecord]:
        """The records of a study with the seed 0 on one core."""
        return self.run()


def _label(case: SamplerCase) -> str:
    return getattr(case.sampler, "__name__", "") if callable(case.sampler) else repr(case.sampler)


SAMPLER: Contract[SamplerCase] = Contract("sampler", _label)
_check = SAMPLER.check


def _sampled(records: list[TrialRecord]) -> list[TrialRecord]:
    return [record for record in records if record.kind not in ("baseline", "portfolio")]


@_check(lambda case: tuple(SearchSpace.load(studies.SPACE).distributions(rounds=False)))
def configurations_are_points_of_the_space(case: SamplerCase) -> Iterator[str]:
    """Every value is allowed; a conditional parameter is there exactly while its condition holds."""
    space = studies.space()
    asked = [{name: record.params[name] for name in record.sampled} for record in _sampled(case.reference)]
    must(asked, "The sampler was never asked.")
    for point in asked:
        nearest = space.project(point)
        must(studies.is_point(space, point), f"{point} is no point of the space; the nearest is {nearest}.")
    sides = {point["side"] for point in asked}
    must(sides == {"left", "right"}, f"In {len(asked)} trials only {sides} was tried of the choices of 'side'.")
    for name in space.distributions(rounds=False):
        values = {point[name] for point in asked if name in point}
        must(len(values) > 1, f"In {len(asked)} trials {name!r} always had the value {values}.")
        yield name


@_check()
def the_same_seed_repeats_the_study(case: SamplerCase) -> Iterator[str]:
    """Parameters, states, rounds and scores are equal, slot by slot."""
    must_repeat(case.run(), case.reference, "A study with the same seed is another one.")
    yield "once"


@_check(lambda case: ("once",) if case.random else ())
def another_seed_is_another_study(case: SamplerCase) -> Iterator[str]:
    """The seed reaches the sampler."""
    first, second = ([dict(r.params) for r in _sampled(each)] for each in (case.reference, case.run(seed=1)))
    must(first != second, "Seeds 0 and 1 ask for the same configurations: the seed is not used.")
    yield "once"


@_check()
def the_number_of_cores_changes_nothing(case: SamplerCase) -> Iterator[str]:
    """Trials are asked in generations, so it does not matter how many run side by side."""
    must_repeat(case.run(n_jobs=2), case.reference, "With two cores the study is another one.")
    yield "once"


@_check()
def failed_and_pruned_trials_are_survived(case: SamplerCase) -> Iterator[str]:
    """The study goes on after trials without a value, to the last one, and repeats."""
    clean = _sampled(case.reference)
    # Asked before anything of their generation was told, so they are asked again.
    failing, pruned = clean[1], clean[2]
    must(failing.params != pruned.params, "The sampler asks for the same configuration again and again.")

    def broken(n_jobs: int) -> list[TrialRecord]:
        stops = PruneThese({name: pruned.params[name] for name in pruned.sampled})
        return case.run(family=KitFamily(failing_at(failing.params)), pruner=stops, n_jobs=n_jobs)

    records = broken(1)
    states = {record.state for record in records}
    must(states == {"complete", "failed", "pruned"}, f"A planted failure and a planted stop gave the states {states}.")
    must(len(records) >= len(clean), f"Only {len(records)} of {len(clean) + 1} trials finished.")
    must_repeat(broken(2), records, "With a failed and a pruned trial, two cores give another study.")
    yield "once"


@_check(lambda case: ("once",) if case.goes_on else ())
def a_stopped_study_goes_on_as_if_it_had_not(case: SamplerCase) -> Iterator[str]:
    """Nine trials, and the rest in a second call, are the study that is run at once."""
    with tempfile.TemporaryDirectory() as folder:
        kept: dict[str, Any] = {"study": "kit", "storage": Path(folder) / "study.journal"}
        case.run(n_trials=9, **kept)
        must_repeat(case.run(**kept), case.reference, "Stopped after 9 trials and continued, the study is another one.")
    yield "once"


@_check(lambda case: ("minimize", "maximize"))
def both_directions_are_served(case: SamplerCase) -> Iterator[str]:
    """Metrics that are minimised and metrics that are maximised."""
    for direction, metric in (("minimize", "rmse"), ("maximize", "r2")):
        scores = [record.score for record in case.run(metric=metric)]
        must(scores and None not in scores, f"With {metric} some trials have no score: {scores}.")
        yield direction


@_check()
def one_parameter_is_enough(case: SamplerCase) -> Iterator[str]:
    """A space may have a single parameter, and one with a single value beside it."""
    if isinstance(case.sampler, Mapping):
        small = studies.space().fix(side="left", split=0.5)
    else:
        small = studies.space().without("shift").override(side=["left"]).fix(split=0.5, depth=2)
    records = case.run(space=small, n_trials=14)
    must(len(records) > 3, f"Only {len(records)} trials were run.")
    yield "once"


@_check()
def it_works_without_a_seed(case: SamplerCase) -> Iterator[str]:
    """Without a seed trials are asked as workers become free."""
    records = case.run(seed=None, n_jobs=2)
    must(all(record.state == "complete" for record in records), "Without a seed some trials did not complete.")
    yield "once"


@_check()
def it_serves_an_ordinary_optuna_study(case: SamplerCase) -> Iterator[str]:
    """`gbtune.Objective` in somebody's own study."""
    X, y = studies.measurements()
    objective = Objective(KitFamily(), X, y, space=studies.SPACE, cv=3)
    with studies.quiet():
        plan = resolve_sampler(case.argument(), objective.space, study_seed=0)
        study = optuna.create_study(sampler=plan.sampler, pruner=optuna.pruners.NopPruner())
        for point in plan.points[:14]:
            study.enqueue_trial(point)
        study.optimize(objective, n_trials=14)
    must(len(study.trials) == 14, f"{len(study.trials)} of 14 trials were run.")
    must(all(trial.value is not None for trial in study.trials), "Some trials have no value.")
    yield "once"


@SAMPLER.as_tests
class SamplerContract(ContractTests):
    """What a sampler must do in gbtune's studies: subclass it, and override the fixture `sampler`.

    The fixture returns what `SamplerCase` takes. Optuna's own classes in ``optuna.testing.pytest_samplers`` test that
    it is a sampler at all.

    Attributes
    ----------
    random, resumable, n_trials
        As in `SamplerCase`.
    """

    random: ClassVar[bool] = True
    resumable: ClassVar[bool | None] = None
    n_trials: ClassVar[int] = 24

    def subject(self, given: SamplerSource) -> SamplerCase:
        """Return the sampler with its claims."""
        return SamplerCase(given, self.random, self.resumable, self.n_trials)


def check_sampler(
    sampler: SamplerSource,
    *,
    random: bool = True,
    resumable: bool | None = None,
    n_trials: int = 24,
    gaps: Gaps | None = None,
) -> Report:
    """Run the whole contract of a sampler without pytest.

    Parameters
    ----------
    sampler, random, resumable, n_trials
        As in `SamplerCase`.
    gaps : mapping of str to Gap, optional
        Checks that cannot pass, each with a reason.

    Raises
    ------
    AssertionError
        If the sampler breaks the contract, in a sentence.

    Examples
    --------
    >>> from gbtune.testing import check_sampler
    >>> print(check_sampler("random", n_trials=14))  # doctest: +SKIP
    sampler 'random': 15 cases in 10 checks passed
    """
    case = SamplerCase(sampler, random, resumable, n_trials)
    return SAMPLER.run(lambda: case, gaps)
