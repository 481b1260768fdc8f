"""What the mesh is owed is neither forgotten nor given too early."""

from cronos.link.peering import Peering
from cronos.types import Bulletin, BulletinKind, Defect, Members, Publish, Receipt, Reproach, Roles


def publish(number):
    return Publish(
        Bulletin(
            f"a-1-{number}-isolated", BulletinKind.ISOLATED, "a", f"a-1-{number}", number, None,
            None, (), 0.97, None, 300,
        )
    )  # fmt: skip


def receipt(number, origin="b"):
    return Publish(Receipt("a", origin, number), origin)


class Owing(Peering):
    def __init__(self):
        super().__init__(lambda *said, **more: self.logged.append((said, more)))
        self.logged = []
        self.given = []
        self.send = self.take

    def take(self, datum):
        self.given.append(datum)
        return True


def test_a_bulletin_is_given_again_until_it_is_durable():
    owing = Owing()
    for number in (1, 2, 3):
        owing.publish(publish(number))
    assert owing.hear(Receipt("a", "a", 2)) is None
    owing.given.clear()
    owing.resend()

    assert owing.given == [publish(3)]


def test_a_receipt_waits_for_the_record_of_what_it_acknowledges():
    owing = Owing()
    assert not owing.owing
    owing.publish(receipt(1))
    owing.stored(100)
    assert owing.given == []
    owing.mark(7)
    owing.stored(7)
    assert owing.given == []
    assert owing.owing
    owing.stored(8)

    assert owing.given == [receipt(1)]
    assert not owing.owing


def test_of_the_receipts_for_one_peer_the_latest_stands_for_all():
    owing = Owing()
    for number in range(1, 1001):
        owing.publish(receipt(number))
        owing.publish(receipt(number, "c"))
    owing.mark(1)
    owing.stored(2)

    assert owing.given == [receipt(1000), receipt(1000, "c")]


def test_what_is_claimed_is_claimed_again_of_a_mesh_that_was_restarted():
    owing = Owing()
    roles = Roles(("audit",), (), 1)
    owing.note(roles)
    owing.resend()

    assert owing.given == [roles, roles]
    assert owing.logged[0][0] == ("info", "node.roles")


def test_a_reproach_is_logged_and_only_what_peers_say_is_for_the_kernel():
    owing = Owing()
    owing.note(Reproach("b", "it lied"))
    owing.note(Reproach("b", "", 0.5))

    assert owing.given == [Reproach("b", "it lied"), Reproach("b", "", 0.5)]
    assert owing.logged == [(("warning", "peer.reproached"), {"peer": "b", "detail": "it lied"})]
    assert owing.hear(Members(("b",))) == Members(("b",))
    assert owing.hear(Receipt("b", "a", 1)) == Receipt("b", "a", 1)
    assert owing.hear(publish(1)) is None


def test_a_node_that_is_alone_owes_nobody_anything():
    alone = Peering()
    alone.publish(publish(1))
    alone.note(Roles((), (), 1))
    alone.resend()

    assert not alone._unposted


def test_what_is_owed_is_bounded():
    owing = Owing()
    for number in range(1, 20_011):
        owing.publish(publish(number))

    assert len(owing._unposted) == 20_000


def test_what_the_mesh_refused_is_the_kernels_to_note():
    refused = Defect("mesh east", 0, "mesh.revoked: east was revoked.", "Look at it.")

    assert Owing().hear(refused) is refused
