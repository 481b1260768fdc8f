"""What every `Service` must do."""

from cronos.ports import Service
from cronos.testing.conformance.base import require, run, same


class ServiceConformance:
    """Subclass and write `make`."""

    async def make(self) -> Service:
        """Give the service, not yet started, on ports of its own."""
        raise NotImplementedError

    def test_it_serves_from_start_to_stop(self) -> None:
        """Ask for its health before, between and after."""
        run(self._serves())

    def test_stopping_twice_or_unstarted_is_harmless(self) -> None:
        """Stop what never started, and what was stopped."""
        run(self._stops())

    async def _serves(self) -> None:
        service = await self.make()
        require(await service.health() != "ok", "What has not started is not well.")
        await service.start()
        same(await service.health(), "ok", "Once started, it serves.")
        await service.stop()
        require(await service.health() != "ok", "What was stopped is not well.")

    async def _stops(self) -> None:
        service = await self.make()
        await service.stop()
        await service.start()
        await service.stop()
        await service.stop()
