"""Statuses: what an answer is; declined, empty, cut off or fine."""

from collections.abc import Callable

from driftbound.endpoints.replies import CUT
from driftbound.records import Status

DECLINED = frozenset({"content_filter", "refusal", "safety", "sensitive", "prohibited_content", "blocklist"})
"""Finish reasons with which vendors say that they declined."""


def status_of(text: str, finish_reason: str, refusal: str, is_refusal: Callable[[str], bool]) -> Status:
    """Status of an answer; the vendor's own word comes first, then the wording.

    >>> status_of("The heart is", "length", "", lambda text: False)
    <Status.TRUNCATED: 'truncated'>
    """
    reason = finish_reason.lower()
    if refusal or reason in DECLINED:
        return Status.REFUSED
    if not text.strip():
        return Status.EMPTY
    if is_refusal(text):
        return Status.REFUSED
    return Status.TRUNCATED if reason in CUT else Status.OK
