"""The contracts of gbtune, for the family and its space."""

import pytest

from gbtune.testing import FamilyContract, SpaceContract


class TestHistGB(FamilyContract):
    params = {"max_leaf_nodes": 7, "min_samples_leaf": 5}
    examples = {"max_depth": {"max_depth": 2}, "max_bins": {"max_bins": 16}}

    @pytest.fixture
    def family(self):
        return "histgb"


class TestCore(SpaceContract):
    @pytest.fixture
    def space(self):
        return "histgb/core"
