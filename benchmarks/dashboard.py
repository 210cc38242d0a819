"""How long the dashboard keeps a person waiting, with 100,000 trials in the database, in a real browser.

    python benchmarks/dashboard.py            # about six minutes: most of them make the database
    python benchmarks/dashboard.py --db FILE  # of a database that was made before (`--keep FILE`)

The database is that of `benchmarks/store.py`. What is timed: from the address being asked for until the front's page is there (its
title) and until its chart is (its points), at the first visit after the start of `autopeft dashboard`, when nothing is kept yet, and at
later ones; likewise the list of studies; and from moving a limit until the chart is drawn anew. Needs Chromium, here without a
graphics card. Writes benchmarks/results/dashboard.json.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from autopeft.store import Repository

RESULTS = Path(__file__).parent / "results" / "dashboard.json"
VISITS, FILTERS = 5, 5
WANTED_MS = {
    "front, first visit": 2_000.0,
    "front, later visit": 2_000.0,
    "front's chart, first visit": 2_000.0,
    "front's chart, later visit": 2_000.0,
    "studies": 2_000.0,
    "a filter": 500.0,
}
_DRAWN = ".js-plotly-plot .scatterlayer .point"


def serve(db: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start the installed command; the process and its port, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [sys.executable, "-m", "autopeft", "dashboard", "--port", str(port), "--db", str(db)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process, port
        time.sleep(0.2)


def milliseconds(page: Page, address: str, until: str) -> float:
    """From asking for an address until something is on the screen."""
    began = time.perf_counter()
    page.goto(address)
    page.wait_for_selector(until, timeout=120_000)
    return 1_000 * (time.perf_counter() - began)


def filtered(page: Page) -> float:
    """Move a limit by the keyboard, and wait until another number of points is drawn."""
    count = page.locator(_DRAWN).count()
    page.locator('input[aria-label^="accuracy"]').first.focus()
    began = time.perf_counter()
    page.keyboard.press("PageUp")
    page.wait_for_function(
        "count => document.querySelectorAll('.js-plotly-plot .scatterlayer .point').length != count",
        arg=count,
        timeout=60_000,
        polling=20,
    )
    return 1_000 * (time.perf_counter() - began)


def measured(browser: Browser, port: int) -> dict[str, list[float]]:
    """Every row's milliseconds."""
    rows: dict[str, list[float]] = {name: [] for name in WANTED_MS}
    front, studies = f"http://127.0.0.1:{port}/front?study=large", f"http://127.0.0.1:{port}/"
    browser.contexts[0].new_page().goto(
        f"http://127.0.0.1:{port}/new"
    )  # the browser has the page's scripts from now on
    time.sleep(3)
    for visit in range(1 + VISITS):
        page, which = browser.contexts[0].new_page(), "first visit" if visit == 0 else "later visit"
        began = time.perf_counter()
        rows[f"front, {which}"].append(milliseconds(page, front, "h1"))
        page.wait_for_selector(_DRAWN, timeout=120_000)
        rows[f"front's chart, {which}"].append(1_000 * (time.perf_counter() - began))
        page.close()
    for _ in range(VISITS):
        page = browser.contexts[0].new_page()
        rows["studies"].append(milliseconds(page, studies, "[data-testid=stDataFrame] canvas"))
        page.close()
    page = browser.contexts[0].new_page()
    milliseconds(page, front, _DRAWN)
    time.sleep(2)
    page.get_by_text("Axes and limits").click()
    time.sleep(1)
    for _ in range(FILTERS):
        rows["a filter"].append(filtered(page))
        time.sleep(1.5)
    return rows


def markdown(record: dict[str, Any]) -> str:
    """The record as a table."""
    lines = ["| what is waited for | median | longest | wanted |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {name} | {row['median_ms']:,} ms | {row['longest_ms']:,} ms | {record['wanted_ms'][name]:,.0f} ms |"
        for name, row in record["rows"].items()
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and record, or print the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--db", type=Path, help="a database that was made before")
    parser.add_argument("--keep", type=Path, help="where to keep the database")
    parser.add_argument("--table", action="store_true", help="print the record as markdown")
    asked = parser.parse_args()
    if asked.table:
        print(markdown(json.loads(RESULTS.read_text(encoding="utf-8"))))
        return
    with tempfile.TemporaryDirectory() as folder:
        db = asked.db or asked.keep or Path(folder) / "large.db"
        if asked.db is None:
            sys.path.insert(0, str(Path(__file__).parent))
            from store import SMALL_STUDIES, SMALL_TRIALS, TRIALS, fill

            with Repository.open(str(db)) as repository:
                for number in range(SMALL_STUDIES):
                    fill(repository, f"small-{number}", SMALL_TRIALS)
                fill(repository, "large", TRIALS)
        with Repository.open(str(db)) as repository:
            trials = len(repository.columns(repository.get_study("large").id, ()))
        process, port = serve(db)
        try:
            with sync_playwright() as playwright:
                chromium = shutil.which("chromium") or shutil.which("google-chrome")
                browser = playwright.chromium.launch(
                    executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
                )
                browser.new_context(viewport={"width": 1280, "height": 800})
                rows = measured(browser, port)
                browser.close()
        finally:
            process.terminate()
            process.wait(30)
        record = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            "versions": {name: version(name) for name in ("autopeft", "streamlit", "plotly", "sqlalchemy")},
            "date": datetime.date.today().isoformat(),
            "trials": trials,
            "wanted_ms": WANTED_MS,
            "rows": {
                name: {"median_ms": round(statistics.median(found)), "longest_ms": round(max(found))}
                for name, found in rows.items()
            },
        }
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(markdown(record))


if __name__ == "__main__":
    main()
