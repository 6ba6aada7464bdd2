"""A result shows its report: below the cell of a notebook, else in a browser, else as a file."""

from __future__ import annotations

import html
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pandas as pd
import pytest

import gbtune
from gbtune.display import Frame, open_in_browser


@pytest.fixture(scope="module")
def result(diabetes: tuple[pd.DataFrame, pd.Series]) -> gbtune.TuningResult:
    return gbtune.tune_lgbm(*diabetes, n_trials=3, cv=2, study=None, tracking=False, progress=False)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a browser was asked to open; there is one."""
    urls: list[str] = []
    monkeypatch.setenv("BROWSER", "a browser")
    monkeypatch.setattr("webbrowser.open", lambda url: urls.append(url) or True)
    return urls


@pytest.fixture
def displayed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a notebook was given to display; this is one."""
    shown: list[Any] = []
    shell = SimpleNamespace(kernel=object())
    package, display = ModuleType("IPython"), ModuleType("IPython.display")
    package.__dict__.update(get_ipython=lambda: shell, display=display)
    display.__dict__.update(display=shown.append)
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shown


class FrameReader(HTMLParser):
    """The attributes of the one frame in a notebook's output, as a browser reads them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.frames: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag == "iframe", tag
        self.frames.append(dict(attrs))


def test_in_a_notebook_the_whole_report_is_in_a_frame(displayed: list[Any], result: gbtune.TuningResult) -> None:
    assert result.show(height=500) is None
    (shown,) = displayed
    (frame,) = FrameReader(shown._repr_html_()).frames
    page = frame["srcdoc"] or ""
    assert page.startswith("<!DOCTYPE html>") and page.rstrip().endswith("</html>")
    assert "plotly" in page and result.record.metric in page
    assert frame["height"] == "500"
    assert "allow-scripts" in (frame["sandbox"] or "") and "allow-same-origin" not in (frame["sandbox"] or "")
    assert len(repr(shown)) < 200, "where no HTML can be shown"


def test_in_a_notebook_a_file_is_written_on_request(
    displayed: list[Any], result: gbtune.TuningResult, tmp_path: Path, opened: list[str]
) -> None:
    path = result.show(tmp_path / "report.html")
    assert path == tmp_path / "report.html"
    assert path.read_text(encoding="utf-8") == displayed[0].page
    assert opened == []


def test_elsewhere_the_browser_opens_a_file(
    result: gbtune.TuningResult, opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = result.show()
    assert path is not None and opened == [path.as_uri()]
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert capsys.readouterr().out == ""
    path.unlink()


def test_a_terminals_ipython_is_no_notebook(
    displayed: list[Any], result: gbtune.TuningResult, opened: list[str], tmp_path: Path
) -> None:
    sys.modules["IPython"].get_ipython = lambda: SimpleNamespace()
    assert result.show(tmp_path / "report.html") == tmp_path / "report.html"
    assert displayed == [] and len(opened) == 1


def test_without_a_browser_the_file_is_named(
    result: gbtune.TuningResult, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("gbtune.result.open_in_browser", lambda url: False)
    path = result.show(tmp_path / "deep" / "er" / "report.html")
    assert path is not None and path.is_file()
    assert str(path) in capsys.readouterr().out


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="there is always a browser")
def test_a_browser_of_the_terminal_does_not_count(monkeypatch: pytest.MonkeyPatch, opened: list[str]) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    assert not open_in_browser("file:///page.html")
    assert opened == []


def test_the_saved_report_is_complete_and_replaces_an_older_one(result: gbtune.TuningResult, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("old")
    path = result.save_report(str(tmp_path / "report.html"))
    page = path.read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>") and "n_estimators" in page


def test_a_result_that_was_loaded_shows_its_report_too(result: gbtune.TuningResult, tmp_path: Path) -> None:
    loaded = gbtune.TuningResult.load(result.save(tmp_path / "saved"))
    assert "n_estimators" in loaded.save_report(tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_page_in_a_frame_is_what_it_was() -> None:
    page = """<!DOCTYPE html><p title="a 'b'">1 &lt; 2 & "3" </p><script>if (1 < 2 && "a") {}</script>"""
    (frame,) = FrameReader(Frame(page, title='of "x" <y>')._repr_html_()).frames
    assert frame["srcdoc"] == page
    assert frame["title"] == html.unescape("of &quot;x&quot; &lt;y&gt;")
