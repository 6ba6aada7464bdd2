"""The report as an e-mail attachment: a file, no server, no network."""

from __future__ import annotations

from pathlib import Path

import pytest
from in_browser.chromium import PHONE, Browser
from in_browser.review import FIGURES, STUDY, Review

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def report(review: Review, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of the report, downloaded."""
    folder = tmp_path_factory.mktemp("report")
    return Path(review.server.client.download_artifacts(review.result.run_id, "report.html", str(folder))).as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("device", "size"), [("desktop", (1200, 1400)), ("phone", PHONE)])
def test_the_report_is_readable_everywhere(
    browser: Browser, review: Review, report: str, scheme: str, device: str, size: tuple[int, int]
) -> None:
    browser.size(*size)
    browser.colours(scheme)
    browser.open(report, STUDY, review.said("score"), review.said("gain"), *FIGURES)
    browser.picture(f"report-{device}-{scheme}")
    browser.picture(f"report-{device}-{scheme}-whole", whole=True)
    assert browser.overflow() <= 0, "the page scrolls sideways"
    assert browser.problems() == []
