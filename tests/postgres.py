"""A PostgreSQL server of the tests' own: made in a temporary folder, reached by a socket in it, gone afterwards."""

import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psycopg

REQUIRED = "AUTOPEFT_REQUIRE_POSTGRES"
"""Where this environment variable is set, tests that would be skipped for want of PostgreSQL fail."""

_UNPRIVILEGED = "nobody"  # PostgreSQL refuses to run as root
_OWNER = "autopeft"


def programs() -> Path | None:
    """The folder of `initdb` and `pg_ctl`, which Debian does not put on the path; None if there is no PostgreSQL."""
    if (found := shutil.which("pg_ctl")) and shutil.which("initdb"):
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda f: float(f.parent.name))
    return folders[-1] if folders else None


@dataclass
class Postgres:
    """A server that can be stopped and started again.

    Attributes:
        programs: See `programs`.
        folder: Its data and its socket.
    """

    programs: Path
    folder: Path

    @classmethod
    def make(cls, programs: Path) -> "Postgres":
        """A server that runs, with no database of ours in it yet."""
        # Not pytest's own folders: an unprivileged user cannot enter those of root.
        server = cls(programs, Path(tempfile.mkdtemp(prefix="autopeft-postgres-")))
        if os.geteuid() == 0:
            shutil.chown(server.folder, _UNPRIVILEGED)
        server._run("initdb", "--auth=trust", f"--username={_OWNER}", "--encoding=UTF8", "--no-sync")
        server.start()
        return server

    def start(self) -> None:
        """Start it, and wait until it answers."""
        # Without fsync a test's database costs a tenth of the time; a stopped or killed server loses nothing by it.
        options = f"-c listen_addresses='' -c unix_socket_directories='{self.folder}' -c fsync=off"
        self._run("pg_ctl", "start", "--wait", f"--log={self.folder}/log", f"--options={options}")

    def stop(self) -> None:
        """Stop it, whoever is connected."""
        self._run("pg_ctl", "stop", "--wait", "--mode=fast")

    def remove(self) -> None:
        """Stop it and take its folder away."""
        self.stop()
        shutil.rmtree(self.folder)

    def url(self, database: str) -> str:
        """The URL of one of its databases."""
        return f"postgresql://{_OWNER}@/{database}?host={self.folder}"

    def create(self, database: str, template: str = "template1") -> str:
        """Make a database; its URL."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')
        return self.url(database)

    def _run(self, program: str, *arguments: str) -> None:
        user = pwd.getpwnam(_UNPRIVILEGED) if os.geteuid() == 0 else None
        # What it says goes to a file: the server keeps what it inherits open, and a pipe would never end.
        with tempfile.TemporaryFile("w+") as said:
            done = subprocess.run(
                [str(self.programs / program), f"--pgdata={self.folder}/data", *arguments],
                cwd=self.folder,
                env={**os.environ, "LC_ALL": "C"},
                stdout=said,
                stderr=said,
                timeout=120,
                check=False,
                **({} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}),
            )
            said.seek(0)
            if done.returncode:
                raise RuntimeError(f"{program}: {said.read()}")
