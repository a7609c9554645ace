"""Where things are, and locks between the processes that share them."""

from __future__ import annotations

import fcntl
import hashlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles" / "rattail_schema_ext"
POSER = ROOT / "examples" / "poser"
CACHE = ROOT / ".cache"
# of the environment that runs the tests: it holds ansible-core
BIN = Path(sys.executable).parent


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes of the test run out; ``path`` is made if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def fingerprint(paths: Iterable[Path]) -> str:
    """A short name for the content of files and directories."""
    digest = hashlib.sha256()
    for path in paths:
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        for file in files:
            if "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(ROOT)}\n".encode() + file.read_bytes() + b"\n")
    return digest.hexdigest()[:10]
