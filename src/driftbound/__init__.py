"""driftbound: one trustworthy student from several conflicting, drifting teachers."""

__version__ = "0.1.0"
