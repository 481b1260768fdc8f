"""What holds of the PKI whatever happens: one use, one direction, one form."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.crypto.pki import forge
from tests.unit.crypto.pki.plant import NOW_NS, shared_plant

from cronos.crypto.pki import revocation
from cronos.crypto.pki.names import KINDS, parse_id, spiffe_id
from cronos.crypto.pki.orders import Nonces
from cronos.crypto.pki.profile import MLDSA
from cronos.crypto.pki.revocation import Entry, RevocationList, Revocations, sign_list
from cronos.crypto.pki.tokens import new_token, parse_token, token_text
from cronos.errors import DeniedError

NAMES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,62}", fullmatch=True)


@given(st.sampled_from(KINDS), NAMES)
def test_every_good_name_makes_an_id_that_is_read_back(kind, name):
    assert parse_id(spiffe_id("plant.example", kind, name)) == ("plant.example", kind, name)


@given(st.text(max_size=80))
def test_an_id_that_is_read_is_written_back_the_same(text):
    for uri in (text, f"spiffe://plant.example/node/{text}"):
        parsed = parse_id(uri)
        assert parsed is None or spiffe_id(*parsed) == uri


@given(NAMES, st.integers(0, 2**62))
@settings(max_examples=50)
def test_every_token_is_read_back_as_it_was(name, expires_ns):
    token = new_token(b"p" * 48, "plant.example", name, "127.0.0.1:1", expires_ns)

    assert parse_token(token_text(token)) == token


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 30)), max_size=60))
def test_no_nonce_is_used_twice_while_its_order_lives_however_the_clock_is_set(uses):
    nonces, used = Nonces(most=4), set()
    for nonce, now in uses:
        expires = 2 * nonce + 3  # signed together with the nonce, so that it never changes
        taken = now < expires and nonces.use(bytes([nonce]), expires, now)
        assert not (taken and nonce in used)
        if taken:
            used.add(nonce)


HALF = forge.issuer_half(MLDSA)


def bundle(number, serial):
    entry = Entry(f"{serial:032x}", NOW_NS, "superseded")
    unsigned = RevocationList(1, "plant.example", "issuer-1", number, NOW_NS, NOW_NS + 1, (entry,))
    return revocation.pack_bundle([sign_list(unsigned, HALF.key, HALF.der)])


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 3)), min_size=1, max_size=8))
@settings(max_examples=25)
def test_whatever_lists_arrive_in_whatever_order_the_highest_number_stands(arrivals):
    lists, best = Revocations(shared_plant().trust), (0, 0)
    for number, serial in arrivals:
        try:
            taken = lists.update(bundle(number, serial))
        except DeniedError:
            taken = False
        assert taken == (number > best[0])
        best = (number, serial) if taken else best
        assert lists.is_revoked("issuer-1", f"{best[1]:032x}")
