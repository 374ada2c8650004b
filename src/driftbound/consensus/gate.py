"""The gate: which synthesized texts may be a consensus, and why the others may not."""

from driftbound.protocols import Domain


def reason_to_reject(domain: Domain, text: str, *, ended: bool) -> str:
    """Why a synthesized text cannot serve; empty when it can.

    What is rejected is kept with its reason, never repaired.
    """
    if not text.strip():
        return "empty"
    if not ended:
        return "truncated"
    if domain.is_refusal(text):
        return "refusing"
    if domain.mentions_sources(text):
        return "mentions its sources"
    if not domain.claims(text):
        return "no claim in it"
    return ""
