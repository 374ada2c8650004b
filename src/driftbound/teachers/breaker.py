"""Breaker: a teacher that does not answer is left alone for a while, and in the end given up."""

import asyncio
import time
from collections.abc import Callable

from driftbound.errors import TeacherError

UNREACHABLE_IN_A_ROW = 5
"""Questions in a row without any way to the model (each with all its retries): it is not there."""
FAILED_IN_A_ROW = 20
"""Failed questions in a row, of whatever kind: it is out of order."""
COOL_DOWNS_S = (10.0, 30.0, 60.0)
"""How long it is left alone each time, before one question tries whether it is back."""


class Breaker:
    """Closed while answers come; opened by failures in a row; then one question at a time tries.

    A teacher that has never answered in this session is given up at once: nothing says that it
    will be back. So is one that rejects the key or does not know the model.
    """

    def __init__(
        self, name: str, *, clock: Callable[[], float] = time.monotonic, cool_downs_s: tuple[float, ...] = ()
    ) -> None:
        """``name`` tells teacher and address, for the message."""
        self._name = name
        self._clock = clock
        self._cool_downs_s = cool_downs_s or COOL_DOWNS_S
        self._answered = False
        self._barred = self._failed = self._openings = 0
        self._closed_until = float("-inf")
        self._open = self._trying = False
        self._given_up = ""

    async def admit(self) -> bool:
        """Wait until a question may be put. Raises ``TeacherError`` when none will be.

        Returns whether it is a trial: the one question that tries whether the teacher is back.
        """
        while True:
            if self._given_up:
                raise TeacherError(self._given_up)
            wait = self._closed_until - self._clock()
            if not self._open:
                return False
            if wait <= 0 and not self._trying:
                self._trying = True
                return True
            await asyncio.sleep(min(max(wait, 0.05), 1.0))

    def succeeded(self) -> None:
        """An answer came."""
        self._answered = True
        self._barred = self._failed = self._openings = 0
        self._open = self._trying = False

    def abandoned(self, *, trial: bool) -> None:
        """A question ended without saying anything of the teacher; another may try in a trial's place."""
        if trial:
            self._trying = False

    def failed(self, reason: str, *, barred: bool, hopeless: bool, trial: bool) -> None:
        """A question failed for good. Raises ``TeacherError`` when the teacher is given up."""
        self._failed += 1
        self._barred = self._barred + 1 if barred else 0
        self.abandoned(trial=trial)
        if hopeless and not self._answered:
            self._give_up(barred, reason)
        if trial or self._barred >= UNREACHABLE_IN_A_ROW or self._failed >= FAILED_IN_A_ROW:
            if self._open and not trial:
                return  # asked before the breaker opened
            if not self._answered or self._openings >= len(self._cool_downs_s):
                self._give_up(barred, reason)
            self._closed_until = self._clock() + self._cool_downs_s[self._openings]
            self._openings += 1
            self._open = True

    def _give_up(self, barred: bool, reason: str) -> None:
        doing = "not reachable" if barred else "out of order"
        self._given_up = f"{self._name}: {doing} ({reason})"
        raise TeacherError(self._given_up)
