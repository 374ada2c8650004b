"""What an answer is: declined, empty, cut off or fine."""

from collections.abc import Callable

from driftbound.records import Status

_WITHHELD = frozenset({"content_filter", "refusal", "safety", "sensitive"})
"""Finish reasons by which vendors say that they keep an answer back."""
_CUT_OFF = frozenset({"length", "max_tokens"})


def status_of(text: str, finish_reason: str, refusal: str, is_refusal: Callable[[str], bool]) -> Status:
    """Status of an answer that arrived; the first that fits.

    ``refusal`` is what a vendor says in a field of its own; ``is_refusal`` judges the text.

    >>> status_of("", "STOP", "", lambda text: False), status_of("Edema", "MAX_TOKENS", "", lambda text: False)
    (<Status.EMPTY: 'empty'>, <Status.TRUNCATED: 'truncated'>)
    """
    finish = finish_reason.lower()
    if refusal or finish in _WITHHELD:
        return Status.REFUSED
    if not text.strip():
        return Status.EMPTY
    if is_refusal(text):
        return Status.REFUSED
    return Status.TRUNCATED if finish in _CUT_OFF else Status.OK
