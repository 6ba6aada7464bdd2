"""The machinery of the kits: counting, gaps, and what a test class may not do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from gbtune.errors import InvalidArgument, UnknownName
from gbtune.testing import Gap, RecordingTracker, check_tracker, never, notimpl, notyet
from gbtune.testing.contract import Contract, must, must_equal, must_raise


class Light:
    """A subject: it says which colours it can show."""

    def __init__(self, *colours: str, claims: tuple[str, ...] = ("red", "green")) -> None:
        self.colours, self.claims = colours, claims


def contract() -> Contract[Light]:
    lights: Contract[Light] = Contract("light", lambda light: "lamp")

    @lights.check(lambda light: light.claims)
    def each_colour_is_shown(light: Light) -> Iterator[str]:
        """Whatever it claims, it shows."""
        for colour in light.colours:
            must(colour != "broken", "The lamp is broken.")
            yield colour

    @lights.check(lambda light: ("once",) if "blue" in light.claims else ())
    def blue_is_dark(light: Light) -> Iterator[str]:
        """Only for those that claim blue."""
        yield "once"

    return lights


def test_the_report_counts_cases_and_says_what_nothing_claimed() -> None:
    report = contract().run(lambda: Light("red", "green"))
    assert report.count == 2 and report.ran == {"each_colour_is_shown": ("red", "green")}
    assert str(report) == "light lamp: 2 cases in 1 checks passed; not claimed: blue_is_dark"


def test_fewer_cases_than_the_claims_imply_are_a_failure() -> None:
    with pytest.raises(AssertionError, match="1 of 2 implied cases were examined; left out: green"):
        contract().run(lambda: Light("red"))
    with pytest.raises(AssertionError, match="0 of 2 implied cases"):
        contract().run(lambda: Light())


def test_a_failure_names_subject_check_and_rule() -> None:
    with pytest.raises(AssertionError, match=re.escape("light lamp, each_colour_is_shown (after 'red'): Whatever it")):
        contract().run(lambda: Light("red", "broken"))


def test_an_open_gap_is_reported_and_a_closed_one_is_a_failure() -> None:
    gaps = {"each_colour_is_shown": notyet("no green glass")}
    report = contract().run(lambda: Light("red"), gaps)
    assert report.gaps == gaps and "gaps: each_colour_is_shown (notyet: no green glass)" in str(report)
    with pytest.raises(AssertionError, match="the gap is closed"):
        contract().run(lambda: Light("red", "green"), gaps)


def test_a_gap_needs_a_reason_a_name_and_a_claim() -> None:
    with pytest.raises(InvalidArgument, match="needs a reason"):
        notimpl(" ")
    with pytest.raises(UnknownName, match="Did you mean 'blue_is_dark'"):
        contract().run(lambda: Light("red", "green"), {"blue_is_drak": never("it is")})
    with pytest.raises(AssertionError, match="nothing claimed implies"):
        contract().run(lambda: Light("red", "green"), {"blue_is_dark": never("it is")})
    assert [gap.kind for gap in (notimpl("a"), notyet("b"), never("c"))] == ["notimpl", "notyet", "never"]
    assert isinstance(notimpl("a"), Gap)


def test_comparisons_count_nan_as_equal_and_shapes_as_different() -> None:
    must_equal([1.0, float("nan")], [1.0, float("nan")], "Equal.")
    must_equal([1.0], [1.0 + 1e-9], "Close.", rtol=1e-6)
    with pytest.raises(AssertionError, match=r"Differ\. 1 of 2 values differ"):
        must_equal([1.0, 2.0], [1.0, 3.0], "Differ.")
    with pytest.raises(AssertionError, match="Shapes are"):
        must_equal([1.0], [1.0, 1.0], "Differ.")
    with pytest.raises(AssertionError, match=r"Must\. It raised TypeError"):
        must_raise(ValueError, lambda: len(3), "Must.")  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match=r"Must\. Nothing was raised"):
        must_raise(ValueError, lambda: None, "Must.")


def test_the_plain_functions_need_no_pytest_and_no_assert_statements() -> None:
    script = """
import sys
sys.modules["pytest"] = None
from gbtune.testing import RecordingTracker, check_tracker
class Silent(RecordingTracker):
    def study_finished(self, outcome):
        return None
print(check_tracker(RecordingTracker).count)
try:
    check_tracker(Silent)
except AssertionError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-O", "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.startswith("7\ntracker Silent, tracker_writes_the_full_story")


CLASSES = '''
import pytest
from gbtune.testing import RecordingTracker, TrackerContract, notyet


class Base(TrackerContract):
    @pytest.fixture
    def tracker(self):
        return RecordingTracker()


class TestWhole(Base):
    """All of it."""


class TestOverridden(Base):
    def test_tracker_resumes_a_study(self):
        """Nothing."""


class TestSilenced(Base):
    test_tracker_resumes_a_study = None




class TestNoLibrary(TrackerContract):
    @pytest.fixture
    def tracker(self):
        pytest.skip("the library is missing")


class TestVariants(TrackerContract):
    @pytest.fixture(params=["one", "two"])
    def tracker(self, request):
        if request.param == "two":
            pytest.skip("two is missing")
        return RecordingTracker()


class Forgetful(RecordingTracker):
    def study_started(self, study):
        if self.studies:
            raise RuntimeError("one study only")
        super().study_started(study)


class TestGap(TrackerContract):
    gaps = {
        "tracker_told_twice_writes_once": notyet("one study only"),
        "tracker_resumes_a_study": notyet("one study only"),
        "tracker_keeps_studies_apart": notyet("one study only"),
    }

    @pytest.fixture
    def tracker(self):
        return Forgetful()


class TestClosedGap(Base):
    gaps = {"tracker_told_twice_writes_once": notyet("no longer true")}
'''


@pytest.fixture(scope="module")
def classes_run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Class to test to outcome, as pytest says."""
    folder = tmp_path_factory.mktemp("classes")
    (folder / "test_trackers.py").write_text(CLASSES, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", "."]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)
    found: dict[str, dict[str, str]] = {"output": {"text": done.stdout}}
    for name, test, outcome in re.findall(r"::(\w+)::(\S+) (PASSED|FAILED|ERROR|SKIPPED|XFAIL)", done.stdout):
        found.setdefault(name, {})[test] = outcome
    return found


WHOLE = "test_nothing_is_left_out"


def test_a_class_has_one_test_per_check_and_one_that_counts(classes_run: dict[str, dict[str, str]]) -> None:
    assert len(classes_run["TestWhole"]) == check_tracker(RecordingTracker).count + 1
    assert set(classes_run["TestWhole"].values()) == {"PASSED"}


@pytest.mark.parametrize("name", ["TestOverridden", "TestSilenced"])
def test_a_check_that_is_replaced_is_noticed(classes_run: dict[str, dict[str, str]], name: str) -> None:
    assert classes_run[name][WHOLE] == "FAILED"
    assert f"{name} replaces or silences test_tracker_resumes_a_study" in classes_run["output"]["text"]


@pytest.mark.parametrize("name", ["TestNoLibrary", "TestVariants"])
def test_a_fixture_that_skips_is_noticed(classes_run: dict[str, dict[str, str]], name: str) -> None:
    assert "SKIPPED" in classes_run[name].values()
    assert classes_run[name][WHOLE] == "FAILED"


def test_gaps_are_expected_failures_and_closed_ones_failures(classes_run: dict[str, dict[str, str]]) -> None:
    assert sorted(classes_run["TestGap"].values()).count("XFAIL") == 3
    assert classes_run["TestGap"][WHOLE] == "PASSED"
    assert classes_run["TestClosedGap"]["test_tracker_told_twice_writes_once"] == "FAILED"
