"""The disk's own troubles: a full disk or an unwritable folder becomes one StoreError."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from driftbound.errors import DriftboundError, StoreError

TROUBLES = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
"""Full, over quota, not permitted, read-only, or a file where a folder should be."""


@contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Turn a full disk or an unwritable folder, however it shows itself, into ``StoreError``."""
    try:
        yield
    except DriftboundError:
        raise
    except Exception as error:
        said = disk_trouble(error)
        if not said:
            raise
        raise StoreError(
            f"writing {where}: {said}. Make room there or choose another --runs folder; "
            "the same command goes on where it stopped."
        ) from error


def disk_trouble(error: BaseException) -> str:
    """What is wrong with the disk according to ``error`` or its causes; empty if nothing.

    >>> disk_trouble(RuntimeError("write: No space left on device (os error 28)"))
    'No space left on device'
    >>> disk_trouble(ValueError("beta must be positive"))
    ''
    """
    link: BaseException | None = error
    while link is not None:
        if "No space left on device" in str(link):
            return "No space left on device"
        if isinstance(link, OSError) and link.errno in TROUBLES:
            name = f" ({link.filename})" if link.filename else ""
            return f"{link.strerror or type(link).__name__}{name}"
        link = link.__cause__
    return ""
