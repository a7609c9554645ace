"""Where a revision waits for the test: a pipe that it reads, until somebody opens and closes the other end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .waiting import eventually


class Gate:
    """A gate that is shut. ``python`` waits at it; once it was opened, nobody waits there any more."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.python = f"__import__('os').path.exists({str(path)!r}) and open({str(path)!r}).read()"
        # as soon as the connection that migrates is given back
        self.after_the_commit = (
            f"from sqlalchemy import event, pool\nevent.listen(pool.Pool, 'checkin', lambda *_: {self.python})"
        )
        os.mkfifo(path)

    @contextmanager
    def reached(self) -> Iterator[None]:
        """Wait until somebody waits at the gate, and open it in the end."""
        end = eventually(self._enter)
        try:
            yield
        finally:
            self.remove()
            os.close(end)

    def remove(self) -> None:
        """Nobody is to wait there any more."""
        self._path.unlink(missing_ok=True)

    def _enter(self) -> int | None:
        with suppress(OSError):  # ENXIO: nobody is there
            return os.open(self._path, os.O_WRONLY | os.O_NONBLOCK)
        return None
