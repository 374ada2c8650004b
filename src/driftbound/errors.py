"""Errors: one type per boundary; each message is one line that says what, where and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager


class DriftboundError(Exception):
    """Something the user can put right. The command line prints it in one line and exits with 2."""


class ConfigError(DriftboundError):
    """A recipe (or an option) that says something impossible."""


class CaseError(DriftboundError):
    """Cases, images or truth that cannot be read."""


class TeacherError(DriftboundError):
    """A teacher, or the way to it, that does not answer."""


class BudgetError(TeacherError):
    """A teacher whose budget of requests or money is used up."""


class DataUseError(DriftboundError):
    """Data that may not go where it was about to go. Nothing was sent."""


class HubError(DriftboundError):
    """A model hub that does not take what is uploaded."""


class StoreError(DriftboundError):
    """A run directory or a file in it that cannot be read or written."""


class MeasureError(DriftboundError):
    """Answers, votes or log-probabilities of which a statistic cannot be taken."""


class ModelError(DriftboundError):
    """A checkpoint that cannot be loaded or does not fit the task."""


class TrainingError(DriftboundError):
    """A training that cannot begin or go on."""


class HarmError(TrainingError):
    """A training that was stopped because going on would do harm, or that has nothing left to learn from."""


@contextmanager
def boundary(kind: type[DriftboundError], doing: str, *, then: str) -> Iterator[None]:
    """Turn any foreign error inside the block into ``kind``, in one line.

    ``doing`` names the act and its object, ``then`` the cure. An error that a closer boundary
    has already named passes through unchanged.

    >>> with boundary(StoreError, "writing runs/demo", then="Choose another --runs folder."):
    ...     raise OSError("No space left on device")
    Traceback (most recent call last):
    driftbound.errors.StoreError: writing runs/demo: No space left on device. Choose another --runs folder.
    """
    try:
        yield
    except DriftboundError:
        raise
    except Exception as error:
        said = (str(error) or type(error).__name__).strip().splitlines()[0].rstrip(".")
        raise kind(f"{doing}: {said}. {then}") from error
