"""Losses: requests without an answer, counted over all who ask one endpoint; when it is given up."""

from dataclasses import dataclass

from driftbound.endpoints.gate import Destination, shown
from driftbound.endpoints.replies import Failure, Reply
from driftbound.errors import TeacherError

MOST_BARRED = 5
"""So many in a row without any way to the model, and the endpoint is given up."""
MOST_FAILED = 20
"""So many in a row without one answer, and the endpoint is given up."""


@dataclass(slots=True)
class Losses:
    """Failures in a row, over all workers."""

    destination: Destination
    then: str
    """What is told after the reason: what stays, and what to do."""
    failed: int = 0
    barred: int = 0

    def note(self, outcome: Reply | Failure) -> None:
        """Count. Raises ``TeacherError`` where asking on is pointless."""
        if isinstance(outcome, Reply) or outcome.refused:
            self.failed = self.barred = 0
            return
        self.failed += 1
        self.barred = self.barred + 1 if outcome.barred else 0
        if outcome.hopeless or self.barred >= MOST_BARRED or self.failed >= MOST_FAILED:
            raise TeacherError(
                f"{self.destination.purpose} at {shown(self.destination.url)}: {outcome.reason}. {self.then}"
            )
