"""A real study in a real MLflow server, and a browser that looks at it.

The pictures go to a temporary folder, or to the one that the environment variable GBTUNE_PICTURES names.
``GBTUNE_PICTURES=docs/images pytest -m nightly tests/in_browser`` takes those of the documentation anew: there, only
what a page shows is kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from in_browser.chromium import Browser, chromium, what_is_missing
from in_browser.review import Review, run_studies
from tracking.mlflow_server import Server

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    missing = what_is_missing()
    if missing:
        pytest.skip(missing)
    temporary = tmp_path_factory.mktemp("pictures")
    wanted = ROOT / os.environ.get("GBTUNE_PICTURES", temporary)
    pages = "".join(page.read_text(encoding="utf-8") for page in ROOT.glob("docs/*.md"))

    def folder_of(name: str) -> Path:
        return temporary if wanted == ROOT / "docs" / "images" and f"(images/{name}.png)" not in pages else wanted

    with chromium(folder_of) as browser:
        yield browser


@pytest.fixture(scope="session")
def review(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Review]:
    """Two studies that register a model of one name. Asks for the browser first: without one nothing is tuned."""
    folder = tmp_path_factory.mktemp("review")
    template = tmp_path_factory.mktemp("template") / "mlflow.db"
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{template}").search_experiments()
    server = Server(folder, template)
    try:
        server.start()
        with pytest.MonkeyPatch.context() as patch:
            for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID"):
                patch.delenv(name, raising=False)
            patch.chdir(folder)
            yield run_studies(server)
    finally:
        server.kill()


@pytest.fixture(autouse=True)
def as_it_was(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test finds the window in its usual size and light."""
    yield
    if "browser" in request.fixturenames:
        window: Browser = request.getfixturevalue("browser")
        window.reset()
