"""What every `Egress` must do."""

from functools import partial

from cronos.errors import DeniedError
from cronos.ports import Egress
from cronos.testing.conformance.base import refused, require


class EgressConformance:
    """Subclass and write `make`."""

    def make(self, *allowed: tuple[str, int]) -> Egress:
        """Give a gate that permits these destinations and no other."""
        raise NotImplementedError

    def test_it_is_closed_by_default(self) -> None:
        """Permit nothing, and ask."""
        gate = self.make()
        error = refused(
            DeniedError, lambda: gate.permit("siem.example", 443, "alerts"), "It is closed."
        )
        require("siem.example" in error.sentence, "The sentence names the destination.")

    def test_what_is_allowed_passes(self) -> None:
        """Ask for each that is allowed."""
        gate = self.make(("siem.example", 443), ("192.0.2.9", 8443))
        gate.permit("siem.example", 443, "alerts")
        gate.permit("192.0.2.9", 8443, "hook")

    def test_what_only_resembles_it_does_not(self) -> None:
        """Ask for another port, a sub-domain, a prefix, and tricks with dots and zeros."""
        gate = self.make(("siem.example", 443))
        for host, port in (
            ("siem.example", 80),
            ("evil.siem.example", 443),
            ("siem.example.evil", 443),
            ("siem.exampl", 443),
            ("siem.example\x00.evil", 443),
            ("", 443),
            ("*", 443),
        ):
            refused(
                DeniedError,
                partial(gate.permit, host, port, "test"),
                f"{host!r}:{port} is not allowed.",
            )
