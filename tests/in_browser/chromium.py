"""A headless Chromium, and what a person sees in it: visible text, tooltips of buttons, pictures."""

from __future__ import annotations

import base64
import contextlib
import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

PATIENCE = 90.0
"""Seconds to wait for a text; machines are shared."""
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DESKTOP = (1400, 860)
PHONE = (390, 844)

_OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # Chromium refuses to be root without; it reads only what this test serves
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--force-color-profile=srgb",
    "--lang=en-US",
    # Whatever needs a network fails: pages must be readable behind a firewall.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


def what_is_missing() -> str | None:
    """Say why there can be no browser here, or None."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed: python -m pip install --group browser"
    for wanted, names in (("Chromium", PROGRAMS), ("chromedriver", ("chromedriver",))):
        if not any(map(shutil.which, names)):
            return f"no {wanted} on this machine: apt-get install chromium chromium-driver"
    return None


@contextmanager
def chromium(folder_of: Callable[[str], Path]) -> Iterator[Browser]:
    """Start a browser; `folder_of` tells where the picture of a name is kept."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = next(filter(None, map(shutil.which, PROGRAMS)))
    for option in _OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield Browser(driver, folder_of)
    finally:
        driver.quit()


class Browser:
    """One window.

    Parameters
    ----------
    driver : selenium.webdriver.Chrome
        It is driven through this.
    folder_of : callable
        Told the name of a picture, returns its folder.
    """

    def __init__(self, driver: Chrome, folder_of: Callable[[str], Path]) -> None:
        self.driver = driver
        self.folder_of = folder_of
        self.reset()

    def reset(self) -> None:
        """Return to the usual window."""
        self.size(*DESKTOP)
        self.colours("light")

    def size(self, width: int, height: int) -> None:
        """Give the page this size in CSS pixels; a window could not be narrower than 500."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def colours(self, scheme: str) -> None:
        """Prefer "light" or "dark" pages, as the operating system's setting does."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def open(self, url: str, *texts: str) -> str:
        """Load a page anew, wait until a person can read all these texts, and return the whole text."""
        self.driver.get("about:blank")  # a change of the fragment alone would load nothing
        self.driver.get_log("browser")
        self.driver.get(url)
        return self.read(*texts)

    def read(self, *texts: str) -> str:
        """Wait until a person can read all these texts; return the whole text."""
        seen: list[str] = [""]

        def there() -> bool:
            seen[0] = self.text()
            return all(text in seen[0] for text in texts)

        def complaint() -> str:
            lacking = [text for text in texts if text not in seen[0]]
            return f"nowhere on the page: {lacking}. On it:\n{seen[0][:3000]}"

        self.wait(there, complaint)
        return seen[0]

    def wait(self, there: Callable[[], bool], complaint: Callable[[], str]) -> None:
        """Wait until something is so; if it never is, take a picture and fail with the complaint."""
        from selenium.common.exceptions import TimeoutException, WebDriverException
        from selenium.webdriver.support.wait import WebDriverWait

        # the page redraws itself while it is read
        waiting = WebDriverWait(self.driver, PATIENCE, ignored_exceptions=[WebDriverException])
        try:
            waiting.until(lambda driver: there())
        except TimeoutException:
            words = f"{complaint()}\n{self.driver.current_url}"
            with contextlib.suppress(Exception):  # a window that is not shown cannot be drawn
                words += f", see {self._keep('failed', self._shot())}"
            raise AssertionError(words) from None

    def text(self) -> str:
        """What a person can read: the rendered text of the page, or of the frame that is entered."""
        return str(self.driver.execute_script("return document.body ? document.body.innerText : ''"))

    def find(self, text: str, *, among: str = "a, button, [role]") -> WebElement:
        """Wait for an element of this text, label or tooltip; return the innermost."""
        found: list[WebElement] = []

        def there() -> bool:
            found[:] = self.driver.execute_script(_FIND, text, among)
            return bool(found)

        self.wait(there, lambda: f"no {text!r} to click. On the page:\n{self.text()[:3000]}")
        return found[-1]

    def click(self, text: str, *, among: str = "a, button, [role]") -> None:
        from selenium.common.exceptions import WebDriverException

        def clicked() -> bool:
            try:
                self.find(text, among=among).click()
            except WebDriverException:  # redrawn between the finding and the click
                return False
            return True

        self.wait(clicked, lambda: f"{text!r} cannot be clicked")

    def dismiss_assistant(self, server: str) -> None:
        """Close the chat that MLflow opens on its first page; it stays closed for this browser."""
        key = "mlflow.assistant.panelOpen_v1"
        if not self.driver.current_url.startswith(server):
            self.driver.get(f"{server}/health")
        if self.driver.execute_script("return localStorage.getItem(arguments[0])", key) == "false":
            return
        self.open(f"{server}/#/experiments?workflowType=machine_learning", "MLflow Assistant")
        self.click("Close", among="[aria-label], button")
        self.wait(lambda: "Ask a question" not in self.text(), lambda: "the assistant stays open")

    def unfold(self, name: str) -> None:
        """Show the runs under the run of this name in the runs table."""
        self.find(name, among="[role=gridcell] a")
        plus = self.driver.execute_script(_PLUS, name)
        assert plus is not None, f"{name!r} has nothing to unfold"
        plus.click()

    @contextmanager
    def follow(self, link: str) -> Iterator[None]:
        """Click a link; within: the page that it leads to, in a window of its own if MLflow opens one."""
        before = self.driver.window_handles
        self.click(link, among="a")
        self.wait(lambda: len(self.driver.window_handles) > len(before), lambda: f"{link!r} opens no window")
        self.driver.switch_to.window(self.driver.window_handles[-1])
        try:
            yield
        finally:
            self.driver.close()
            self.driver.switch_to.window(before[0])

    @contextmanager
    def frame(self) -> Iterator[WebElement]:
        """Within: the page inside the page."""
        self.wait(lambda: bool(self._frames()), lambda: f"no frame. On the page:\n{self.text()[:3000]}")
        frame = self._frames()[-1]
        self.driver.switch_to.frame(frame)
        try:
            yield frame
        finally:
            self.driver.switch_to.default_content()

    def _frames(self) -> list[WebElement]:
        return [frame for frame in self.driver.find_elements("tag name", "iframe") if frame.is_displayed()]

    def problems(self) -> list[str]:
        """What the browser's console has said since the page was opened, information aside."""
        entries: list[dict[str, Any]] = self.driver.get_log("browser")
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def overflow(self) -> int:
        """CSS pixels by which the page is wider than its window."""
        return int(self.driver.execute_script("return document.documentElement.scrollWidth - window.innerWidth"))

    def picture(self, name: str, *, whole: bool = False) -> Path:
        """Keep what is shown, or the whole page however long, as a PNG; charts have come to rest before."""
        shots: list[bytes] = [b""]

        def at_rest() -> bool:
            shots.append(self._shot(whole))
            return shots[-1] == shots[-2]

        self.wait(at_rest, lambda: f"{name}: the page does not come to rest")
        return self._keep(name, shots[-1])

    def _shot(self, whole: bool = False) -> bytes:
        wanted: dict[str, Any] = {"captureBeyondViewport": whole}
        if whole:
            size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
            wanted["clip"] = {**size, "scale": 1}
        return base64.b64decode(self.driver.execute_cdp_cmd("Page.captureScreenshot", wanted)["data"])

    def _keep(self, name: str, png: bytes) -> Path:
        from PIL import Image  # comes with MLflow, through matplotlib

        path = self.folder_of(name) / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        # 256 colours are enough for text and charts, and a third of the size
        Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
        return path


_FIND = """
const [text, among] = arguments;
const said = (e) => [e.innerText, e.getAttribute("aria-label"), e.title].map((t) => (t || "").trim());
const seen = (e) => e.checkVisibility() && e.getBoundingClientRect().width > 0;
return [...document.querySelectorAll(among)].filter((e) => seen(e) && said(e).includes(text));
"""

_PLUS = """
const name = [...document.querySelectorAll("[role=gridcell] a")].find((a) => a.innerText.trim() === arguments[0]);
return name.closest("[role=gridcell]").querySelector("button");
"""
