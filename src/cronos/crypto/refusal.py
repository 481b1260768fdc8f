"""The one way in which opening fails: nobody learns from an error why it failed."""

from typing import Final

from cronos.errors import DeniedError

REFUSED: Final = "crypto.refused"


def refused() -> DeniedError:
    """Give the error of everything that does not open or verify, whatever the reason was.

    Wrong key, wrong context, a changed bit, a cut end, another suite: a different word for each
    would be an oracle. Raise it ``from None``, for a cause would tell as much.
    """
    return DeniedError(
        REFUSED,
        "It does not open: the key is not its key, or it was changed.",
        "Check which key it was made for, and where it has been since.",
    )
