"""Cards: what a member may say of itself, and every way to say more."""

import msgspec
import pytest
from tests.unit.mesh.nodes import Unrevoked, cards, credential

from cronos.crypto.pki.node import own_bound
from cronos.crypto.pki.profile import MLDSA, P384
from cronos.errors import CronosError, DeniedError, UnreachableError
from cronos.mesh.cards import CONTEXT, Cards, Claim, _Packed
from cronos.runtime.world import SystemClock
from cronos.testing.clock import VirtualClock
from cronos.types import Now

encode = msgspec.msgpack.encode


def forged(name="beta", domain="plant.example", **changes):
    """Make a card by hand, with the keys that `name` really has."""
    held = credential(name, domain=domain)
    bound = own_bound(held.keys)
    claim = {"epoch": 1 << 62, "roles": ("audit",), "instance": name, "domain": domain}
    claim |= {key: changes.pop(key) for key in list(changes) if key in claim}
    body = encode(Claim(1, claim["domain"], claim["instance"], claim["epoch"], claim["roles"]))
    made = {
        "body": body,
        "public": bound.public,
        "chain": held.chains.of(MLDSA),
        "signature": bound.sign(body, CONTEXT),
    } | changes
    return encode(_Packed(**made))


def test_a_card_says_who_holds_which_roles_and_may_hold_which():
    alpha, beta = cards("alpha"), cards("beta", ("defense", "audit"))
    packed = beta.claim(("audit",)).packed

    held, new = alpha.learn(packed)

    assert new
    assert (held.instance, held.roles, held.allowed) == ("beta", ("audit",), ("defense", "audit"))
    assert alpha.learn(packed) == (held, False)
    assert alpha.of("beta") == held
    assert alpha.bound_hash("beta") == beta.bound_hash("beta")
    assert alpha.bound_hash("nobody") is None


def test_a_later_claim_replaces_an_earlier_one_which_never_comes_back():
    alpha, beta = cards("alpha"), cards("beta")
    first = beta.claim(("audit",))
    second = beta.claim(())
    alpha.learn(second.packed)

    held, new = alpha.learn(first.packed)

    assert not new
    assert held.roles == ()
    alpha._held.clear()
    with pytest.raises(DeniedError):
        alpha.learn(first.packed)


def test_a_key_that_was_rotated_signs_nothing_new_until_its_card_is_there():
    held = credential("alpha")
    keys = [own_bound(held.keys)]
    alpha = Cards(
        "alpha", lambda: keys[-1], lambda: held.chains.of(MLDSA), held.trust, Unrevoked,
        SystemClock(),
    )  # fmt: skip
    alpha.claim(("audit",))
    assert alpha.signer() == keys[0]
    keys.append(own_bound(credential("beta").keys))
    with pytest.raises(UnreachableError) as rotated:
        alpha.signer()
    assert rotated.value.code == "mesh.rotated_key"
    with pytest.raises(DeniedError):
        alpha.claim(("audit",))


def test_a_role_that_the_certificate_does_not_allow_is_refused_by_name():
    with pytest.raises(DeniedError) as refused:
        cards("alpha").learn(forged(roles=("audit", "operations")))

    assert refused.value.code == "mesh.uncertified_role"
    assert "operations" in refused.value.sentence


@pytest.mark.parametrize(
    "packed",
    [
        lambda: forged(instance="gamma"),
        lambda: forged(domain="plant.example", instance="alpha"),
        lambda: forged(public=own_bound(credential("gamma").keys).public),
        lambda: forged(chain=credential("gamma").chains.of(MLDSA)),
        lambda: forged(chain=credential("gamma", domain="other.example").chains.of(MLDSA)),
        lambda: forged("delta", domain="other.example"),
        lambda: forged(chain=credential("beta", domain="plant.example").chains.of(P384)),
        lambda: forged(signature=bytes(4627)),
        lambda: forged() + b"\0",
        lambda: forged()[:-1],
        lambda: b"",
        lambda: bytes(100_000),
    ],
)
def test_a_card_in_another_s_name_or_of_another_domain_is_refused(packed):
    with pytest.raises(DeniedError):
        cards("alpha").learn(packed())


def test_every_flipped_bit_is_refused():
    alpha = cards("alpha")
    good = forged()
    for at in range(0, len(good), 97):
        bad = bytearray(good)
        bad[at] ^= 1 << at % 8
        with pytest.raises(CronosError):
            alpha.learn(bytes(bad))
    assert alpha.of("beta") is None


def test_who_is_revoked_or_has_expired_is_nobody_and_its_card_lapses():
    class Late(SystemClock):
        late_ns = 0

        def now(self):
            now = super().now()
            return Now(now.boot_ns, now.wall_ns + self.late_ns)

    clock = Late()
    revoked = Unrevoked()
    held = credential("alpha")
    alpha = Cards(
        "alpha", own_bound(held.keys), lambda: held.chains.of(MLDSA), held.trust,
        lambda: revoked, clock,
    )  # fmt: skip
    alpha.claim(())
    alpha.learn(forged("beta"))
    alpha.learn(forged("gamma"))
    before = alpha.lapse()
    serial = credential("beta", domain="plant.example").identity(clock.now(), revoked).serial

    revoked.revoked.add(serial)
    ended = alpha.lapse()
    clock.late_ns = 25 * 3600 * 10**9
    later = alpha.lapse()

    assert before == ()
    assert ended == ("beta",)
    assert later == ("alpha", "gamma")
    for name in ("beta", "gamma"):
        with pytest.raises(DeniedError):
            alpha.learn(forged(name))


def test_a_renewed_certificate_wants_a_new_card():
    held = [credential("alpha")]
    clock = VirtualClock(wall_ns=SystemClock().now().wall_ns)
    alpha = Cards(
        "alpha", own_bound(held[0].keys), lambda: held[0].chains.of(MLDSA), held[0].trust,
        Unrevoked, clock,
    )  # fmt: skip
    before = alpha.outdated()
    alpha.claim(())
    made = alpha.outdated()
    held[0] = credential("alpha", ("audit",))

    assert before
    assert not made
    assert alpha.outdated()


def test_claims_of_one_moment_still_rise():
    clock = VirtualClock(wall_ns=SystemClock().now().wall_ns)
    alpha = cards("alpha", clock=clock)

    epochs = [alpha.claim(()).epoch for _ in range(3)]
    clock.set_wall(clock.now().wall_ns - 10**9)
    epochs.append(alpha.claim(()).epoch)

    assert epochs == sorted(set(epochs))
