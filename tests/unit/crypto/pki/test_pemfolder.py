"""PEM folders of services: six names that change all at once, whatever ends the process."""

import os
import shutil
import signal
import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tests.unit.crypto.pki.plant import HOUR_NS, S_NS, Plant

from cronos.crypto.pki import pemfolder, profile
from cronos.crypto.pki.credential import Chains
from cronos.crypto.pki.node import own_bound
from cronos.crypto.pki.pemfolder import DATA, PemFolder, write_pems
from cronos.crypto.pki.profile import ALGORITHMS, DAY_NS
from cronos.crypto.pki.requests import (
    Response,
    check_request,
    make_request,
    pack_response,
    read_request,
    read_response,
)
from cronos.errors import CronosError, DeniedError, InputError
from cronos.testing.clock import VirtualClock

CHANGES = {
    "os.rename", "os.symlink", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.chown",
    "os.link", "os.truncate", "shutil.rmtree",
}  # fmt: skip


@pytest.fixture
def plant(tmp_path):
    return Plant(tmp_path / "plant")


@pytest.fixture
def gateway(plant, tmp_path):
    return issued(plant, tmp_path / "gateway")


def issued(plant, path, name="gateway", kind="service", roles=()):
    write_pems(path, plant.authority.issue(kind, name, roles))
    return path


def flattened(path):
    """What `pki issue --service` of an older version wrote: six plain files."""
    flat = path.with_name("flat")
    flat.mkdir(mode=0o700)
    for one in path.glob("*.pem"):
        (flat / one.name).write_bytes(one.read_bytes())
        (flat / one.name).chmod(0o600)
    shutil.rmtree(path)
    flat.rename(path)
    return path


def opened(plant, path):
    return PemFolder(path, plant.clock)


def asking(plant, path):
    """The authority, as whoever proved this folder's certificate reaches it."""
    return lambda request: plant.authority.renew(opened(plant, path).own(), request)


def renewed(plant, path):
    return opened(plant, path).renew(asking(plant, path))


def require_whole(path):
    """The names that other software reads: each key with its own chain and its own root."""
    serials = set()
    for algorithm in ALGORITHMS:
        chain = x509.load_pem_x509_certificates((path / f"{algorithm}.chain.pem").read_bytes())
        key = load_pem_private_key((path / f"{algorithm}.key.pem").read_bytes(), None)
        root = x509.load_pem_x509_certificate((path / f"{algorithm}.root.pem").read_bytes())
        assert key.public_key() == chain[0].public_key()
        assert chain[1].issuer == root.subject
        serials.add(chain[0].not_valid_after_utc)
    assert len(serials) == 1


def generations(path):
    return sorted(one.name for one in path.iterdir() if one.is_dir() and not one.is_symlink())


def code_of(call, *given):
    with pytest.raises(CronosError) as refused:
        call(*given)
    assert refused.value.remedy
    return refused.value.code


def test_pems_are_for_the_owner_alone_and_belong_together(plant, tmp_path):
    path = tmp_path / "gateway"
    written = write_pems(path, plant.authority.issue("service", "gateway", ()))

    assert len(written) == 6
    assert {one.stat().st_mode & 0o777 for one in written} == {0o600}
    assert {one.stat().st_mode & 0o777 for one in (path, path / DATA)} == {0o700}
    require_whole(path)
    with pytest.raises(InputError):
        write_pems(path, plant.authority.issue("service", "gateway", ()))


def test_one_rename_changes_all_six_names_and_the_former_files_stay_for_whoever_reads_them(
    plant, gateway
):
    before = (gateway / "p-384.key.pem").read_bytes()
    base = (gateway / DATA).resolve()
    links = {one.name: one.readlink() for one in gateway.glob("*.pem")}
    plant.clock.advance(60 * DAY_NS)
    identity = renewed(plant, gateway)

    assert {one.name: one.readlink() for one in gateway.glob("*.pem")} == links
    assert (gateway / "p-384.key.pem").read_bytes() != before
    assert (base / "p-384.key.pem").read_bytes() == before
    assert opened(plant, gateway).own() == identity
    require_whole(gateway)


def test_it_is_due_after_sixty_of_ninety_days_and_not_again_once_it_was_renewed(plant, gateway):
    plant.clock.advance(60 * DAY_NS - 1)
    assert not opened(plant, gateway).due()
    plant.clock.advance(1)
    assert opened(plant, gateway).due()
    renewed(plant, gateway)
    assert not opened(plant, gateway).due()


def test_only_the_generation_before_stays(plant, gateway):
    for _ in range(3):
        plant.clock.advance(60 * DAY_NS)
        plant.authority.refresh()
        renewed(plant, gateway)

    assert len(generations(gateway)) == 2
    assert (gateway / DATA).readlink().name in generations(gateway)


def test_a_folder_of_an_older_version_becomes_one_that_changes_at_once(plant, gateway):
    path = flattened(gateway)
    first = opened(plant, path).own()
    second = renewed(plant, path)

    assert second.serial != first.serial
    assert all(one.is_symlink() for one in path.glob("*.pem"))
    assert generations(path) == sorted([f"..{first.serial}", f"..{second.serial}"])
    require_whole(path)


def test_mode_and_group_of_the_files_are_kept_for_software_of_another_user(plant, gateway):
    gateway.chmod(0o750)
    for one in gateway.glob("*.pem"):
        one.chmod(0o640)
    renewed(plant, gateway)

    assert {one.stat().st_mode & 0o777 for one in gateway.glob("*.pem")} == {0o640}
    assert (gateway / DATA).stat().st_mode & 0o777 == 0o750


def killed_at(step, path, plant):
    """Renew in a process that is killed before its nth change to a file; say whether it was."""
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    try:
        changes = None

        def hook(event, given):
            nonlocal changes
            writes = event == "open" and given[2] & (os.O_WRONLY | os.O_RDWR)
            if changes is not None and (event in CHANGES or writes):
                changes += 1
                if changes == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        def ask(request):
            nonlocal changes
            answer = asking(plant, path)(request)
            changes = 0
            return answer

        sys.addaudithook(hook)
        opened(plant, path).renew(ask)
    finally:
        os._exit(0)


@pytest.mark.parametrize("older", [False, True], ids=["links", "plain files"])
def test_kill_9_before_any_change_leaves_a_whole_pair_that_renews(plant, tmp_path, older):
    """Every step of two renewals, the second of which removes a generation."""
    path = issued(plant, tmp_path / "gateway")
    if older:
        flattened(path)
    else:
        renewed(plant, path)
    kept = tmp_path / "kept"
    shutil.copytree(path, kept, symlinks=True)
    first = opened(plant, path).own()
    seen = []
    for step in range(1, 200):
        shutil.rmtree(path)
        shutil.copytree(kept, path, symlinks=True)
        path.chmod(0o700)
        killed = killed_at(step, path, plant)
        require_whole(path)
        standing = opened(plant, path).own()
        seen.append(standing.serial == first.serial)
        assert renewed(plant, path).serial != standing.serial
        require_whole(path)
        assert len(generations(path)) == 2
        assert not list(path.glob("*.new"))
        if not killed:
            break

    assert len(seen) > (40 if older else 25)
    assert seen == sorted(seen, reverse=True)  # the old pair until one step, the new one from it on
    assert not seen[-1]


def test_a_full_disk_is_told_and_the_old_pair_stands(plant, gateway, monkeypatch):
    first = opened(plant, gateway).own()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cronos.crypto.durable.write_all", full)
    plant_code = code_of(renewed, plant, gateway)
    monkeypatch.undo()

    assert plant_code == "crypto.unwritable"
    assert opened(plant, gateway).own() == first
    require_whole(gateway)


def test_the_one_of_two_renewals_that_is_slower_keeps_what_the_faster_one_made(plant, gateway):
    faster = []

    def ask(request):
        answer = asking(plant, gateway)(request)
        faster.append(renewed(plant, gateway))
        return answer

    assert opened(plant, gateway).renew(ask) == faster[0]
    assert opened(plant, gateway).own() == faster[0]


def test_an_answer_of_another_authority_or_for_another_is_refused(plant, gateway, tmp_path):
    other = Plant(tmp_path / "other")
    write_pems(tmp_path / "foreign", other.authority.issue("service", "gateway", ()))
    first = opened(plant, gateway).own()

    def foreign(request):
        own = opened(plant, tmp_path / "foreign").own()
        return other.authority.renew(own, request)

    def replayed(_):
        keys = plant.authority.issue("service", "gateway", ()).keys
        return plant.authority.renew(first, make_request("gateway", keys, own_bound(keys)))

    for answer in (foreign, replayed, lambda _: b"", lambda _: os.urandom(99)):
        assert code_of(opened(plant, gateway).renew, answer) == "crypto.refused"
    assert opened(plant, gateway).own() == first


def test_an_authority_that_was_restored_takes_no_revocation_back(plant, gateway):
    plant.clock.advance(S_NS)
    old_lists = plant.authority.lists()
    beta = plant.credential("beta").identity(plant.clock.now(), plant.holder("beta").revocations())
    plant.authority.revoke("beta", "key-compromise")
    renewed(plant, gateway)

    def forgetful(request):
        response = read_response(asking(plant, gateway)(request))
        changed = type(response)(1, response.chains, response.trust, old_lists)
        return pack_response(changed)

    opened(plant, gateway).renew(forgetful)
    assert opened(plant, gateway).revocations().is_revoked(beta.issuer, beta.serial)


@pytest.mark.parametrize(
    ("off_ns", "code"),
    [
        (91 * DAY_NS, "crypto.certificate_expired"),
        (-HOUR_NS, "crypto.certificate_not_yet_valid"),
    ],
    ids=["far ahead", "behind"],
)
def test_with_a_wrong_clock_no_certificate_takes_the_place_of_the_old_one(
    plant, gateway, off_ns, code
):
    first = opened(plant, gateway).own()
    wrong = VirtualClock(wall_ns=plant.clock.now().wall_ns + off_ns)

    assert code_of(PemFolder(gateway, wrong).renew, asking(plant, gateway)) == code
    assert opened(plant, gateway).own() == first


def test_a_certificate_that_would_end_sooner_than_the_one_that_stands_is_not_taken(plant, gateway):
    first = opened(plant, gateway).own()
    plant.clock.set_wall(plant.clock.now().wall_ns - 60 * S_NS)

    assert code_of(renewed, plant, gateway) == "crypto.renewal_no_longer"
    assert opened(plant, gateway).own() == first


def mixed(path, plant):
    other = issued(plant, path.with_name("other"))
    (path / DATA / "p-384.key.pem").write_bytes((other / "p-384.key.pem").read_bytes())


def of_a_node(path, plant):
    shutil.rmtree(path)
    write_pems(path, plant.credential("alpha"))


def led_away(path, _):
    (path / DATA).unlink()
    (path / DATA).symlink_to("/etc")


def led_up(path, _):
    (path / DATA).unlink()
    (path / DATA).symlink_to("..")


def no_link(path, _):
    (path / DATA).unlink()
    (path / DATA).write_bytes(b"")


def laid_over(path, _):
    (path / "p-384.chain.pem").unlink()
    (path / "p-384.chain.pem").write_bytes(b"of somebody else")


def led_twice(path, _):
    """A generation that is itself a link, to files that stand elsewhere."""
    base = (path / DATA).resolve()
    base.rename(path.with_name("elsewhere"))
    base.symlink_to(path.with_name("elsewhere"))


def linked_elsewhere(path, _):
    (path / "p-384.chain.pem").unlink()
    (path / "p-384.chain.pem").symlink_to("/nowhere")


def shortened(path, _):
    data = (path / "ml-dsa-87.chain.pem").read_bytes()
    (path / DATA / "ml-dsa-87.chain.pem").write_bytes(data[:-900])


def lengthened(path, _):
    with (path / "ml-dsa-87.chain.pem").open("ab") as chain:
        chain.write((path / "ml-dsa-87.root.pem").read_bytes())


def rubbish(path, _):
    (path / "ml-dsa-87.key.pem").write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n")


SPOILT = [
    mixed, of_a_node, led_away, led_up, led_twice, no_link, laid_over, linked_elsewhere,
    shortened, lengthened, rubbish,
]  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_what_is_no_folder_of_a_service_is_refused_before_anyone_is_asked(plant, gateway, spoil):
    spoil(gateway, plant)

    assert code_of(opened(plant, gateway).renew, pytest.fail) == "crypto.pems_unfit"


def test_missing_files_and_folders_are_told(plant, gateway, tmp_path):
    assert code_of(opened, plant, tmp_path / "nowhere") == "crypto.missing_file"
    (gateway / DATA / "p-384.key.pem").unlink()
    assert code_of(opened(plant, gateway).own) == "crypto.missing_file"
    shutil.rmtree(gateway)
    gateway.mkdir()
    assert opened(plant, gateway).stamp() == ()
    assert code_of(opened(plant, gateway).own) == "crypto.missing_file"


def test_a_key_that_everybody_may_read_and_a_folder_that_others_may_write_are_refused(
    plant, gateway
):
    (gateway / "p-384.key.pem").chmod(0o644)
    assert code_of(opened(plant, gateway).own) == "crypto.secret_shared"
    (gateway / "p-384.key.pem").chmod(0o600)
    gateway.chmod(0o770)
    assert code_of(renewed, plant, gateway) == "crypto.folder_shared"


def test_the_stamp_changes_with_each_renewal_and_with_nothing_else(plant, gateway):
    folder = opened(plant, gateway)
    before = folder.stamp()
    folder.membership()
    assert folder.stamp() == before != ()
    renewed(plant, gateway)
    assert folder.stamp() != before


def test_neither_keys_nor_their_bytes_are_in_what_is_shown(plant, gateway):
    (gateway / DATA / "ml-dsa-87.key.pem").write_bytes((gateway / "p-384.key.pem").read_bytes())
    with pytest.raises(DeniedError) as refused:
        opened(plant, gateway).own()
    secret = (gateway / "p-384.key.pem").read_text().splitlines()[1]
    assert secret not in repr(refused.value)


def forging(plant, *, p384="service", short_ns=0, serial=None):
    """An issuer that somebody took over: true signatures, and whatever leaf he likes."""

    def ask(request):
        checked = check_request(read_request(request))
        roles = ("defense",) if p384 == "node" else ()
        with plant.authority._registry.work() as book:
            halves = plant.authority._halves(plant.authority._issuer_for(book, "service"))
        now_ns = plant.clock.now().wall_ns
        leaf = {}
        for algorithm, kind, had, off_ns in (
            ("p-384", p384, roles, short_ns),
            ("ml-dsa-87", "service", (), 0),
        ):
            who = profile.Subject(plant.trust.domain, kind, checked.name, had, checked.key_hash)
            with pytest.MonkeyPatch.context() as patched:
                if serial is not None:
                    patched.setattr(profile, "new_serial", lambda: serial)
                made = profile.leaf_certificate(
                    halves[algorithm], who, checked.keys[algorithm], now_ns - off_ns
                )
            leaf[algorithm] = (profile.encoded(made), halves[algorithm].der)
        chains = Chains(leaf["p-384"], leaf["ml-dsa-87"])
        return pack_response(Response(1, chains, plant.trust, plant.authority.lists()))

    return ask


def test_an_issuer_that_was_taken_over_cannot_spoil_the_folder(plant, gateway):
    """Each half is judged: what Envoy reads is the one that the other says nothing of."""
    before = {one.name: one.read_bytes() for one in gateway.glob("*.pem")}
    first = opened(plant, gateway).own()
    plant.clock.advance(S_NS)
    answers = {
        "crypto.refused": [
            forging(plant, p384="node"),
            forging(plant, serial=int(first.serial, 16)),
            forging(plant, serial=1 << 130),
        ],
        "crypto.renewal_no_longer": [forging(plant, short_ns=HOUR_NS)],
    }
    for code, asks in answers.items():
        for ask in asks:
            assert code_of(opened(plant, gateway).renew, ask) == code
            assert {one.name: one.read_bytes() for one in gateway.glob("*.pem")} == before
    assert opened(plant, gateway).renew(forging(plant)).serial != first.serial
    require_whole(gateway)


def test_a_group_that_cannot_be_kept_is_told_before_anyone_certifies_in_vain(
    plant, gateway, monkeypatch
):
    """As when root gave the files to a group that the renewing user is not in."""
    real = pemfolder._modes

    def of_others(*given):
        return {name: (mode, 54_321) for name, (mode, _) in real(*given).items()}

    def forbidden(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(pemfolder, "_modes", of_others)
    monkeypatch.setattr(os, "fchown", forbidden)

    assert code_of(opened(plant, gateway).renew, pytest.fail) == "crypto.foreign_group"
    monkeypatch.undo()
    renewed(plant, gateway)
    assert not (gateway / "..probe").exists()


def test_a_disk_that_was_made_read_only_is_told_before_anyone_is_asked(plant, gateway, monkeypatch):
    def read_only(*_, **__):
        raise OSError(30, "Read-only file system")

    folder = opened(plant, gateway)
    monkeypatch.setattr(os, "mkdir", read_only)
    assert code_of(folder.renew, pytest.fail) == "crypto.unwritable"


def test_a_generation_that_others_may_write_is_refused_like_the_folder(plant, gateway):
    (gateway / DATA).resolve().chmod(0o770)

    assert code_of(opened(plant, gateway).own) == "crypto.folder_shared"
    assert code_of(opened(plant, gateway).renew, pytest.fail) == "crypto.folder_shared"


def test_a_folder_that_this_user_may_not_look_into_is_told_as_that(plant, gateway, monkeypatch):
    folder = opened(plant, gateway)

    def forbidden(*_, **__):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(os, "readlink", forbidden)
        assert code_of(folder.stamp) == code_of(folder.own) == "crypto.unreadable"
    with monkeypatch.context() as patched:
        patched.setattr(type(gateway), "stat", forbidden)
        codes = code_of(opened, plant, gateway), code_of(folder.stamp)
    assert codes == ("crypto.unreadable", "crypto.unreadable")
    assert code_of(opened, plant, gateway / "a\0b") == "crypto.unreadable"


def test_a_folder_that_leads_elsewhere_has_no_stamp_but_an_error(plant, gateway):
    folder = opened(plant, gateway)
    led_away(gateway, plant)

    assert code_of(folder.stamp) == "crypto.pems_unfit"


def test_lists_that_do_not_hold_are_named_not_just_refused(plant, gateway):
    renewed(plant, gateway)
    (gateway / DATA / "revoked").write_bytes(b"of somebody else")

    assert code_of(opened(plant, gateway).revocations) == "crypto.pems_unfit"


def test_mode_and_group_are_durable_before_any_name_leads_to_the_files(plant, gateway, monkeypatch):
    steps = []
    for name in ("fchmod", "fsync"):
        real = getattr(os, name)

        def noted(handle, *given, name=name, real=real):
            steps.append((name, os.fstat(handle).st_ino))
            return real(handle, *given)

        monkeypatch.setattr(os, name, noted)
    renewed(plant, gateway)

    for one in (gateway / DATA).resolve().iterdir():
        node = one.stat().st_ino
        last_mode = max(at for at, step in enumerate(steps) if step == ("fchmod", node))
        assert ("fsync", node) in steps[last_mode:]


def test_what_was_read_shows_no_key(plant, gateway):
    held = opened(plant, gateway)._held()

    assert repr(held) == "<the files of gateway>"
