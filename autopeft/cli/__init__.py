"""The command line: thin. It reads options, calls the service or the reports, and draws what they answer."""

import io
import sys


def main() -> None:
    """Run `autopeft`; ends the process.

    Exit codes: 0 done, 1 something failed, 2 the input cannot be used, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a '?' for ◆ where the encoding lacks it, and no crash

    from autopeft.cli.app import app

    app()
