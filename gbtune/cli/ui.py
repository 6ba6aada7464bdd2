"""``gbtune ui``: look at studies in MLflow."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import difflib
import re
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import click

from gbtune.display import open_in_browser
from gbtune.errors import GbtuneError, InvalidArgument, UnknownName
from gbtune.locations import public_uri
from gbtune.tracking import MLflowTracker
from gbtune.tracking.server import DEFAULT_PORT, POLL_SECONDS, check_store, ui_server
from gbtune.tracking.store import Store, quiet, what_went_wrong
from gbtune.tracking.study_run import VIEW
from gbtune.tracking.view import CLASSIC, experiment_page, run_page

NEAR = 8
"""Names that the message about an unknown one shows."""


@click.command("ui")
@click.argument("study", required=False)
@click.option("--tracking-uri", help="The MLflow store to look at. Default: as for tuning.")
@click.option("--registry-uri", help="The model registry, if it is another store.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), help=f"Default: {DEFAULT_PORT}, or the next one that is free.")
@click.option("--open", "browse", is_flag=True, help="Open the link in a browser.")
def ui_command(
    study: str | None, tracking_uri: str | None, registry_uri: str | None, host: str, port: int | None, browse: bool
) -> None:
    """Look at STUDY in MLflow's UI: its name, its uid or a run id; without one, at the newest study's experiment.

    Starts MLflow's server on the store and prints the link; Ctrl-C ends it. If the store is a server already, there
    is only the link.
    """
    try:
        tracker = MLflowTracker(tracking_uri, registry_uri=registry_uri)
        store = Store(tracker.tracking_uri, tracker.registry_uri)
        if store.is_http:
            _show(_place(store, study), store.uri, browse)
            return
        check_store(store.uri)
        click.echo(f"MLflow starts on {public_uri(store.uri)} ...", err=True)
        with _until_stopped() as stopped, ui_server(store.uri, tracker.registry_uri, host=host, port=port) as server:
            place = _place(store, study)  # while the server starts
            server.wait_until_it_answers(stopped)
            if not stopped():
                _show(place, server.url, browse)
                click.echo("  end       Ctrl-C")
            while not stopped():
                server.check()
                time.sleep(POLL_SECONDS)  # nothing tells that the server has died but asking
    except GbtuneError as error:
        raise click.ClickException(str(error)) from error


@dataclasses.dataclass(frozen=True)
class _Place:
    """What to look at: a run, or its whole experiment (all of them without a run), and a remark on the choice."""

    run: Any
    whole: bool
    note: str = ""


def _place(store: Store, name: str | None) -> _Place:
    """Return the run that is asked for; the study's, if several answer to a name the newest."""
    studies = _told(lambda: _studies(store))
    if name is None:
        return _Place(studies[0] if studies else None, whole=True)
    found = [run for run in studies if name in (run.data.tags.get("gbtune.study"), run.info.run_name)]
    found = found or [run for run in studies if name in (run.data.tags.get("gbtune.study_uid"), run.info.run_id)]
    if len(found) > 1:
        others = ", ".join(f"{run.info.run_id} ({_when(run)})" for run in found[1 : NEAR + 1])
        note = f"{len(found)} studies are named {name!r}: this is the newest ({_when(found[0])}). Others: {others}."
        return _Place(found[0], whole=False, note=note)
    if found:
        return _Place(found[0], whole=False)
    if re.fullmatch("[0-9a-f]{32}", name):  # a trial's run, or a model's
        with contextlib.suppress(Exception):
            return _Place(store.client.get_run(name), whole=False)
    names = list(dict.fromkeys(run.data.tags.get("gbtune.study") or run.info.run_name for run in studies))
    if not names:
        raise InvalidArgument(f"{public_uri(store.uri)} holds no study: tune first, or name another --tracking-uri.")
    near = difflib.get_close_matches(name, names, n=NEAR, cutoff=0.4) or names[:NEAR]
    raise UnknownName("study", name, near, f"({len(names)} in {public_uri(store.uri)}.)")


def _studies(store: Store) -> list[Any]:
    """Return the runs of all studies, the newest first."""
    experiments = [each.experiment_id for each in _pages(store.client.search_experiments)]
    runs: list[Any] = []
    for first in range(0, len(experiments), 100):
        part = experiments[first : first + 100]
        runs += _pages(
            lambda page_token, part=part: store.client.search_runs(
                part, "tags.`gbtune.kind` = 'study'", max_results=1000, page_token=page_token
            )
        )
    return sorted(runs, key=lambda run: -run.info.start_time)


def _pages(search: Callable[..., Any]) -> list[Any]:
    found: list[Any] = []
    token = None
    while True:
        page = search(page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _told(work: Callable[[], Any]) -> Any:
    """Return what `work` returns; what MLflow raises is said in words."""
    try:
        with quiet():
            return work()
    except GbtuneError:
        raise
    except Exception as error:  # of MLflow, of a database driver, of the connection
        raise InvalidArgument(f"The MLflow store cannot be read: {what_went_wrong(error)}") from error


def _show(place: _Place, server: str, browse: bool) -> None:
    """Print the link, and open it if that is wanted."""
    link = Store(server).page_url(_page(place)) or ""
    if place.note:
        click.echo(place.note)
    click.echo(f"MLflow is at {public_uri(server)}")
    click.echo(f"  look      {link}")
    if browse and not open_in_browser(link):
        click.echo("There is no browser here: open the link yourself.", err=True)


def _page(place: _Place) -> str:
    """Return the page: the saved view of a study that has one, else its run; an experiment; all of them."""
    if place.run is None:
        return f"#/experiments?{CLASSIC}"
    info = place.run.info
    if place.whole:
        return experiment_page(info.experiment_id)
    view = place.run.data.tags.get(VIEW)
    return experiment_page(info.experiment_id, view) if view else run_page(info.experiment_id, info.run_id)


def _when(run: Any) -> str:
    return f"{datetime.datetime.fromtimestamp(run.info.start_time / 1000).astimezone():%Y-%m-%d %H:%M}"


@contextlib.contextmanager
def _until_stopped() -> Iterator[Callable[[], bool]]:
    """Take note of Ctrl-C, SIGTERM and a closed terminal instead of being ended by them.

    An exception could come between the start of a process and the note of its id: it would be left behind.
    """
    asked = False

    def take_note(*_: object) -> None:
        nonlocal asked
        asked = True

    before = {}
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, take_note)
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
