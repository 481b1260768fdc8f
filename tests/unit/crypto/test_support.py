"""What is not installed is said at the start, in a sentence.

The hidden capabilities are really hidden, in a process of its own each; the old release is a double
(a folder that calls itself `cryptography` 41).
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import mlkem

from cronos.crypto import support
from cronos.crypto.signatures import SCHEMES
from cronos.crypto.suites import SUITES
from cronos.errors import InputError

SOURCE = Path(support.__file__).parents[2]
SHOW = """
import sys
from cronos.errors import InputError
try:
    {action}
except InputError as error:
    assert error.__cause__ is None
    print(error.code, error.sentence, error.remedy, sep="|")
else:
    print("no error")
"""


def in_a_process(preparation, action, path=()):
    """Run an action after a preparation, in a fresh interpreter; give what it said."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, path), str(SOURCE)])}
    run = subprocess.run(
        [sys.executable, "-c", preparation + SHOW.format(action=action)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_everything_works_with_what_is_locked():
    support.check()


@pytest.mark.parametrize("name", support.ALGORITHMS)
def test_each_algorithm_can_be_asked_for_alone_and_answers_at_once(name):
    rounds = []
    for _ in range(7):
        began = time.process_time()
        support.check(name)
        rounds.append(time.process_time() - began)

    assert min(rounds) < 0.005


def test_the_names_are_those_of_the_suites_and_schemes():
    names = [suite.name for suite in SUITES.values()] + [one.name for one in SCHEMES.values()]

    assert list(support.ALGORITHMS) == names


def test_an_algorithm_nobody_knows_is_not_supported():
    with pytest.raises(InputError, match="`kyber-512` does not work") as caught:
        support.check("cnsa", "kyber-512")
    assert caught.value.code == "crypto.unsupported"


def test_what_is_installed_is_named_with_versions():
    assert support.installed().startswith("cryptography ")
    assert "OpenSSL" in support.installed()


def test_a_draft_of_the_same_name_is_refused(monkeypatch):
    class DraftKey:
        """A double of a library whose ML-KEM-1024 is not the final standard: another seed."""

        @staticmethod
        def from_seed_bytes(seed):
            return mlkem.MLKEM768PrivateKey.from_seed_bytes(b"\x01" * len(seed))

    monkeypatch.setattr(mlkem, "MLKEM1024PrivateKey", DraftKey)

    support.check("rate")
    for name in ("cnsa", "hybrid"):
        with pytest.raises(InputError, match=f"`{name}` does not work"):
            support.check(name)


@pytest.mark.parametrize(
    ("hidden", "works", "fails"),
    [
        ("cryptography.hazmat.primitives.hpke", ["ml-dsa-87"], ["hybrid", "cnsa", "rate"]),
        (
            "cryptography.hazmat.primitives.asymmetric.mlkem",
            ["ml-dsa-44"],
            ["hybrid", "cnsa", "rate"],
        ),
        (
            "cryptography.hazmat.primitives.asymmetric.mldsa",
            ["hybrid", "cnsa", "rate"],
            ["ml-dsa-44", "ml-dsa-65", "ml-dsa-87"],
        ),
    ],
)
def test_a_library_without_a_module_is_said_to_lack_it(hidden, works, fails):
    hide = f"import sys; sys.modules[{hidden!r}] = None\nfrom cronos.crypto import support"
    for name in works:
        assert in_a_process(hide, f"support.check({name!r})") == "no error"
    for name in fails:
        said = in_a_process(hide, f"support.check({name!r})")
        assert said.startswith(f"crypto.unsupported|`{name}` does not work with")
        assert "cryptography 5" in said
        assert "'cryptography>=50'" in said


def test_an_openssl_without_ml_kem_is_said_to_lack_it():
    hide = (
        "from cryptography.hazmat.backends.openssl import backend\n"
        "type(backend).mlkem_supported = lambda self: False\n"
        "from cronos.crypto import support"
    )

    assert in_a_process(hide, "support.check('ml-dsa-87')") == "no error"
    assert in_a_process(hide, "support.check('cnsa')").startswith("crypto.unsupported|`cnsa`")


@pytest.mark.parametrize(
    ("hidden", "module"),
    [
        ("cryptography.hazmat.primitives.hpke", "suites"),
        ("cryptography.hazmat.primitives.asymmetric.mlkem", "suites"),
        ("cryptography.hazmat.primitives.asymmetric.mldsa", "signatures"),
        ("cryptography.hazmat.primitives.asymmetric.mlkem", "hazmat.kem"),
        ("cryptography.hazmat.primitives.asymmetric.mldsa", "hazmat.mu"),
    ],
)
def test_importing_says_it_too_and_shows_no_import_error(hidden, module):
    said = in_a_process(
        f"import sys; sys.modules[{hidden!r}] = None", f"import cronos.crypto.{module}"
    )

    assert said.startswith("crypto.unsupported|`")


@pytest.fixture
def old_release(tmp_path):
    """Lay out a double of an old release: the packages, the names of then, and no more."""
    root = tmp_path / "cryptography"
    for folder in (root, root / "hazmat", root / "hazmat" / "primitives"):
        folder.mkdir()
        (folder / "__init__.py").write_text("")
    for folder in ("asymmetric", "ciphers", "kdf"):
        (root / "hazmat" / "primitives" / folder).mkdir()
        (root / "hazmat" / "primitives" / folder / "__init__.py").write_text("")
    (root / "__init__.py").write_text('__version__ = "41.0.7"\n')
    (root / "exceptions.py").write_text(
        "class UnsupportedAlgorithm(Exception): ...\n"
        "class InvalidTag(Exception): ...\n"
        "class InvalidSignature(Exception): ...\n"
    )
    primitives = root / "hazmat" / "primitives"
    (primitives / "asymmetric" / "ec.py").write_text("")
    (primitives / "asymmetric" / "x25519.py").write_text("")
    (primitives / "serialization.py").write_text("class Encoding: ...\nclass PublicFormat: ...\n")
    return tmp_path


@pytest.mark.parametrize(
    "action",
    [
        "import cronos.crypto.suites",
        "import cronos.crypto.signatures",
        "from cronos.crypto import support; support.check()",
        "from cronos.crypto import support; support.check('ml-dsa-87')",
    ],
)
def test_an_old_release_is_named_with_its_version_and_what_to_install(old_release, action):
    said = in_a_process("", action, path=[old_release])

    assert said.startswith("crypto.unsupported|")
    assert "cryptography 41.0.7" in said
    assert "'cryptography>=50'" in said
