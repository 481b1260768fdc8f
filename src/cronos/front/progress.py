"""How far a command is, in bytes: a bar where a person watches, nothing elsewhere."""

from typing import Any, Final, Self

from cronos.front.text import console, is_terminal

_STEP: Final = 8 << 20


class ByteProgress:
    """Draws a bar on standard error while it is entered.

    Args:
        doing: what is being done, one word.
        total: how many bytes there are; 0 where nobody knows.
    """

    def __init__(self, doing: str, total: int) -> None:
        self._doing = doing
        self._total = total
        self._shown = 0
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        """Draw it."""
        # Less than a step would never be seen to move.
        if is_terminal() and not 0 < self._total < _STEP:
            from rich import progress  # noqa: PLC0415 - a third of a second, only to draw

            columns = (
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.DownloadColumn(),
                progress.TransferSpeedColumn(),
            )
            self._bar = progress.Progress(*columns, console=console(to_stderr=True), transient=True)
            self._task = self._bar.add_task(self._doing, total=self._total or None)
            self._bar.start()
        return self

    def __call__(self, done: int) -> None:
        """Say that `done` bytes are done."""
        if self._bar is not None and done - self._shown >= _STEP:
            self._shown = done
            self._bar.update(self._task, completed=done)

    def __exit__(self, *_: object) -> None:
        """Take it away."""
        if self._bar is not None:
            self._bar.stop()
