"""The real thing: stac-fastapi-pgstac over PostgreSQL with PostGIS, on this machine, where both are
installed.
"""

import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path

OWN = Path(__file__).resolve().parents[1] / ".venv-services" / "bin" / "python"
"""Where ``make test-services`` puts the services, apart from selion: they run as processes of their
own."""


def binaries():
    """Return the folder of PostgreSQL's programs, or None."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = shutil.which("initdb") or (str(debian[-1]) if debian else None)
    return Path(found).resolve().parent if found else None


def postgis():
    """Say whether the database that was found has PostGIS."""
    shares = [
        Path("/usr/share/postgresql") / binaries().parent.name,
        binaries().parent / "share",
        binaries().parent / "share" / "postgresql",
    ]
    return any((share / "extension" / "postgis.control").is_file() for share in shares)


def python():
    """Return the Python that has the services: the one that was named, their own environment's, or
    this one.
    """
    given = os.environ.get("SELION_SERVICES_PYTHON")
    return str(Path(given).absolute()) if given else str(OWN) if OWN.is_file() else sys.executable


@cache
def missing():
    """Say what is not installed; empty if all is."""
    if binaries() is None or not postgis():
        return (
            "needs PostgreSQL with PostGIS (make test-services as root, or apt-get install "
            "postgresql-postgis)"
        )
    if os.geteuid() == 0 and "postgres" not in {account.pw_name for account in pwd.getpwall()}:
        return "needs a user postgres, for PostgreSQL does not run as root"
    try:
        subprocess.run(
            [python(), "-c", "import pypgstac, psycopg, stac_fastapi.pgstac"],
            check=True,
            capture_output=True,
            timeout=120,
        )
    except (OSError, subprocess.SubprocessError):
        return (
            "needs stac-fastapi-pgstac and pypgstac (make test-services, or pip install -e "
            "'.[services]')"
        )
    return ""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class PgStac:
    """Context manager: a database with ``items`` and a STAC API over it at ``url``."""

    def __init__(self, items):
        self.items = items
        self.folder = Path(tempfile.mkdtemp(prefix="pgstac-"))
        self.database, self.port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.api = None
        where = {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.database),
            "PGUSER": "postgres",
            "PGDATABASE": "postgres",
            "PGPASSWORD": "none",
        }
        self.environment = {**os.environ, **where}

    def __enter__(self):
        try:
            self.start_database()
            self.load()
            self.start_api()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.api is not None:
            self.api.terminate()
            self.api.wait(20)
        self.postgres("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "stop", check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def postgres(self, program, *arguments, check=True):
        """Run one of PostgreSQL's programs; it refuses to run as root."""
        user = {}
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        command = [str(part) for part in (binaries() / program, *arguments)]
        with (self.folder / "log").open("ab") as log:
            done = subprocess.run(
                command,
                check=False,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                **user,
            )
        if check and done.returncode:
            raise RuntimeError(f"{program} failed: {(self.folder / 'log').read_text()[-2000:]}")

    def start_database(self):
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        self.postgres(
            "initdb",
            "-D",
            self.folder / "data",
            "-U",
            "postgres",
            "-A",
            "trust",
            "--locale",
            "C",
            "-E",
            "UTF8",
        )
        settings = f"-p {self.database} -k {self.folder} -c fsync=off -c listen_addresses=127.0.0.1"
        self.postgres(
            "pg_ctl",
            "-D",
            self.folder / "data",
            "-o",
            settings,
            "-l",
            self.folder / "data" / "log",
            "-w",
            "start",
        )

    def load(self):
        names = sorted({item["collection"] for item in self.items})
        extent = {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [["2015-06-23T00:00:00Z", None]]},
        }
        about = {
            "type": "Collection",
            "stac_version": "1.0.0",
            "description": "simulated",
            "license": "other",
            "links": [],
            "extent": extent,
        }
        lines = {"collections": [{"id": name, **about} for name in names], "items": self.items}
        self.pypgstac("migrate")
        for kind, rows in lines.items():
            path = self.folder / f"{kind}.ndjson"
            path.write_text("\n".join(json.dumps(row) for row in rows))
            self.pypgstac("load", kind, path, "--method", "upsert")

    def pypgstac(self, *arguments):
        command = [
            python(),
            "-W",
            "ignore",
            "-m",
            "pypgstac.pypgstac",
            *(str(part) for part in arguments),
        ]
        done = subprocess.run(
            command, check=False, env=self.environment, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"pypgstac {arguments[0]} failed: {done.stderr[-2000:]}")

    def start_api(self):
        command = [
            python(),
            "-W",
            "ignore",
            "-m",
            "uvicorn",
            "--factory",
            "stac_fastapi.pgstac.app:create_app",
            "--port",
            str(self.port),
        ]
        with (self.folder / "api.log").open("wb") as log:
            self.api = subprocess.Popen(
                [*command, "--log-level", "warning"], env=self.environment, stdout=log, stderr=log
            )
        until = time.monotonic() + 600
        while time.monotonic() < until and self.api.poll() is None:
            try:
                urllib.request.urlopen(self.url, timeout=5).close()
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
            else:
                return
        raise RuntimeError(
            f"the API did not start: {(self.folder / 'api.log').read_text()[-2000:]}"
        )
