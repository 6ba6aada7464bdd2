"""The contract of a model family: that what it declares is true, and that trials can rely on it.

With pytest::

    class TestMyFamily(FamilyContract):
        params = {"max_depth": 3}

        @pytest.fixture
        def family(self):
            return MyFamily()

Without: `check_family`. Each check runs all losses the family declares, on 240 rows of real measurements.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from gbtune import families
from gbtune.families.base import ModelFamily, Params
from gbtune.testing import family_checks, family_models
from gbtune.testing.contract import ContractTests, Gaps, Report
from gbtune.testing.family_case import FAMILY, FamilyCase
from gbtune.testing.stub import StubFamily

__all__ = ["FAMILY", "FamilyCase", "FamilyContract", "StubFamily", "check_family"]

CHECKED_IN = (family_checks, family_models)
"""The modules whose checks make up the contract."""


@FAMILY.as_tests
class FamilyContract(ContractTests):
    """What every model family must do: subclass it, and override the fixture `family`.

    Attributes
    ----------
    params, examples, rows
        As in `FamilyCase`.
    gaps : mapping of str to Gap
        Checks that cannot pass, each with a reason.

    Examples
    --------
    ::

        class TestMyFamily(FamilyContract):
            @pytest.fixture
            def family(self):
                return MyFamily()
    """

    params: ClassVar[Params] = {}
    examples: ClassVar[Mapping[str, Params]] = {}
    rows: ClassVar[int] = 240

    def subject(self, given: str | ModelFamily) -> FamilyCase:
        """Return the family with data for it."""
        return FamilyCase(families.get(given), self.params, self.examples, self.rows)


def check_family(
    family: str | ModelFamily,
    *,
    params: Params | None = None,
    examples: Mapping[str, Params] | None = None,
    gaps: Gaps | None = None,
    rows: int = 240,
) -> Report:
    """Run the whole contract of a family without pytest.

    Parameters
    ----------
    family : str or ModelFamily
        A registered name, or the family.
    params, examples, rows
        As in `FamilyCase`.
    gaps : mapping of str to Gap, optional
        Checks that cannot pass, each with a reason.

    Raises
    ------
    AssertionError
        If the family breaks the contract, in a sentence.

    Examples
    --------
    >>> from gbtune.testing import StubFamily, check_family, never
    >>> examples = {"learning_rate": {"learning_rate": 0.5}, "split": {"split": 0.2}}
    >>> gaps = {"missing_values_are_learned_from": never("the stub looks at the first column alone")}
    >>> report = check_family(StubFamily(), examples=examples, gaps=gaps)
    >>> report.count, report.not_implied
    (20, ('sparse_data_train', 'categories_train', 'the_first_rounds_of_a_model_are_the_model_of_so_many_rounds'))
    """
    case = FamilyCase(families.get(family), params or {}, examples or {}, rows)
    return FAMILY.run(lambda: case, gaps)
