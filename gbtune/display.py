"""Where a page is shown: inside a notebook, or in a browser."""

from __future__ import annotations

import html
import os
import sys
import webbrowser
from typing import Any

from gbtune.optional import require


class Frame:
    """A whole HTML page as a notebook shows it: in a frame of its own, so that no style leaks in or out.

    Parameters
    ----------
    page : str
        The HTML document.
    height : int, default 800
        Of the frame, in pixels.
    title : str, default "report"
        For screen readers, and where no HTML can be shown.

    Examples
    --------
    >>> from gbtune.display import Frame
    >>> Frame("<p>1 &lt; 2</p>", height=100)._repr_html_()[:45]
    '<iframe srcdoc="&lt;p&gt;1 &amp;lt; 2&lt;/p&g'
    """

    def __init__(self, page: str, *, height: int = 800, title: str = "report") -> None:
        self.page, self.height, self.title = page, height, title

    def __repr__(self) -> str:
        return f"<{self.title}: an HTML page>"

    def _repr_html_(self) -> str:
        # Scripts may run, for the figures; of the notebook that the frame is in they see nothing.
        return (
            f'<iframe srcdoc="{html.escape(self.page)}" title="{html.escape(self.title)}" height="{self.height:d}" '
            'style="width: 100%; border: 0; border-radius: 6px" '
            'sandbox="allow-scripts allow-downloads allow-popups allow-popups-to-escape-sandbox"></iframe>'
        )


def in_notebook() -> bool:
    """Return whether this runs in a notebook, of Jupyter or compatible.

    Examples
    --------
    >>> from gbtune.display import in_notebook
    >>> in_notebook()
    False
    """
    # Who is in a notebook has imported IPython; a terminal's IPython has no kernel.
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def show_in_notebook(shown: Any) -> None:
    """Display an object below the notebook's cell; call it only if `in_notebook` says so."""
    require("IPython.display", pip="ipython", needed_for="Showing a page in a notebook").display(shown)


def open_in_browser(url: str) -> bool:
    """Open a page in the default browser and return whether there is one.

    A browser for the terminal does not count: it would take the terminal from whoever works in it.
    """
    if sys.platform not in ("win32", "darwin") and not any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    ):
        return False
    try:
        return webbrowser.open(url)
    except webbrowser.Error:
        return False
