"""`autopeft dashboard` and `autopeft report`."""

import importlib
import os
import secrets
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from autopeft.cli.database import database_url, reading
from autopeft.cli.failure import in_a_sentence
from autopeft.cli.options import AsJson, Database, StudyName
from autopeft.cli.terminal import say
from autopeft.errors import InputError

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@in_a_sentence
def dashboard(
    *,
    port: Annotated[int, typer.Option(metavar="N", min=1, max=65_535, help="On which it listens.")] = 8501,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="On which it listens: by default for this machine alone. 0.0.0.0 lets others reach it, and asks them for a token.",
        ),
    ] = "127.0.0.1",
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN",
            envvar="AUTOPEFT_DASHBOARD_TOKEN",
            help="Who has not got it sees nothing. By default one is made up where others than this machine can reach it.",
            show_default=False,
            show_envvar=True,
        ),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open it in the browser, where there is one.")
    ] = False,
    db: Database = None,
) -> None:
    """Show the studies of a database in the browser, while searches run: fronts, where parameters are, why, recipes.

    It reads the database only; a new search goes into the queue of autopeft serve. Ctrl-C ends it.
    """
    url = database_url(db)
    if token is None and host not in _LOOPBACK:
        token = secrets.token_urlsafe(16)
    _require_free(host, port)
    from streamlit import config
    from streamlit.web import bootstrap

    # What the first visitor would else wait for.
    importlib.import_module("autopeft.store")
    importlib.import_module("autopeft.report.figures.front")

    os.environ["AUTOPEFT_DASHBOARD_DB"] = url
    os.environ["AUTOPEFT_DASHBOARD_TOKEN"] = token or ""
    settings = {
        "server.address": host,
        "server.port": port,
        "server.headless": not browser,
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "theme.light.primaryColor": "#0072B2",
        "theme.dark.primaryColor": "#56B4E9",
        "theme.chartCategoricalColors": ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9"],
        "runner.magicEnabled": False,  # a text in a script is no output
        "runner.postScriptGC": False,  # 0.3 s of CPU at each look for something new, once torch has been loaded
        "logger.level": "error",
        "logger.hideWelcomeMessage": True,
    }
    for name, value in settings.items():
        config.set_option(name, value)
    shown = "localhost" if host in ("127.0.0.1", "0.0.0.0", "::") else host
    say(f"The dashboard is at http://{shown}:{port}{f'/?token={token}' if token else ''}; Ctrl-C ends it.")
    # By its path: content is found by name, never imported by the engine.
    script = resources.files("autopeft.dashboard") / "app.py"
    bootstrap.run(str(script), is_hello=False, args=[], flag_options={})


def _require_free(host: str, port: int) -> None:
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise InputError(
                f"cannot listen on {host}, port {port}: {error.strerror}.", "Choose another one with --port."
            ) from None


@in_a_sentence
def report(
    study: StudyName,
    *,
    to: Annotated[Path, typer.Option(metavar="FILE", help="The page to write.")] = Path("report.html"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write over a file that is there.")] = False,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Write a study as one page of HTML that needs nothing else: for a mail or an archive."""
    from autopeft.cli import render
    from autopeft.report.page import write_page

    if to.exists() and not overwrite:
        raise InputError(f"'{to}' is there already.", "Choose another file with --to, or give --overwrite.")
    with reading(db) as repository:
        write_page(repository, repository.get_study(study), to)
    if as_json:
        render.print_json({"study": study, "path": str(to)})
    else:
        render.print_line(f"Wrote {to}")
