"""A plug-in is one file and one line: shown on a copy of the package, from outside it."""

import difflib
import json
import os
import pathlib
import shutil
import subprocess
import sys

import cronos

PACKAGE = pathlib.Path(cronos.__file__).parent

PLUGIN = '''"""A detector that finds every login of root remarkable."""

from collections.abc import Sequence

from cronos.config import Section
from cronos.types import EvidenceClass, Finding, Manifest, Observation


class RootLoginConfig(Section, frozen=True):
    """Whose login is remarkable."""

    user: str = "root"


class RootLoginDetector:
    """Finds logins of one user; keeps no state."""

    manifest = Manifest("root-login", "Finds logins of root")
    config_type = RootLoginConfig

    def __init__(self, config: RootLoginConfig) -> None:
        self._user = config.user

    def detect(self, observations: Sequence[Observation]) -> Sequence[Finding]:
        """Take the next observations and give what they amount to."""
        return [
            Finding(
                f"root-login:{one.source}#{one.seq}", "root-login", "Root logged in",
                "Root logged in.", EvidenceClass.STATISTICAL, one.provenance, 0.5, 2, one.time_ns,
            )
            for one in observations
            if one.fields.get("user.name") == self._user
        ]

    def snapshot(self) -> bytes:
        """Give the whole state."""
        return b""

    def restore(self, state: bytes) -> None:
        """Go back to a state that `snapshot` gave."""
'''
LINE = '        "root-login": "cronos.detect.rootlogin:RootLoginDetector",\n'
LOG = "Oct 11 22:14:15 gate sshd[42]: Accepted password for root from 192.0.2.7 port 4242 ssh2\n"


def test_a_new_detector_is_one_file_and_one_line_and_it_runs(tmp_path):
    copy = tmp_path / "src" / "cronos"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "detect" / "rootlogin.py").write_text(PLUGIN)
    catalogue = (copy / "catalog.py").read_text()
    (copy / "catalog.py").write_text(
        catalogue.replace('    "detector": {\n', '    "detector": {\n' + LINE)
    )
    (tmp_path / "auth.log").write_text(LOG)
    (tmp_path / "cronos.toml").write_text('detectors = ["root-login"]\n')

    changed = [
        str(file.relative_to(copy))
        for file in sorted(copy.rglob("*.py"))
        if not (PACKAGE / file.relative_to(copy)).exists()
        or (PACKAGE / file.relative_to(copy)).read_text() != file.read_text()
    ]
    difference = list(
        difflib.unified_diff(catalogue.splitlines(), (copy / "catalog.py").read_text().splitlines())
    )
    done = subprocess.run(
        [sys.executable, "-m", "cronos.front.cli", "run", "auth.log", "--config", "cronos.toml",
         "--state", "state", "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(copy.parent)},
        capture_output=True,
        check=False,
    )  # fmt: skip

    assert changed == ["catalog.py", "detect/rootlogin.py"]
    assert [line for line in difference if line[0] in "+-"][2:] == ["+" + LINE.rstrip("\n")]
    assert done.returncode == 1, done.stderr.decode()
    assert [one["title"] for one in json.loads(done.stdout)["incidents"]] == ["Root logged in"]
