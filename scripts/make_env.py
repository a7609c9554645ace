#!/usr/bin/env python3
# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make a virtual environment that holds what requirements files name; do nothing where it does already.

pip runs with the user's own settings: index, proxy and CA bundle come from pip.conf and the environment.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable, Sequence
from pathlib import Path

# what requirements.txt has an ansible-core for
OLDEST, NEWEST = (3, 11), (3, 14)


class Failed(Exception):
    """What went wrong, in a sentence for a person."""


def make_env(directory: Path, requirements: Sequence[Path], *, stamp: str = ".made") -> bool:
    """Bring ``directory`` to what ``requirements`` name; True if there was anything to do.

    The file ``stamp`` in it says what was installed last, by content, so that several lists can be put
    into one environment. Safe to call from several processes at once. Raises Failed.
    """
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        raise Failed(
            f"Python 3.{OLDEST[1]} to 3.{NEWEST[1]} is needed, and this is {sys.version.split()[0]}. "
            f"Name another one: make PYTHON=python3.{NEWEST[1]} …"
        )
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = directory / stamp
        wanted = _fingerprint(requirements)
        if made.is_file() and made.read_text() == wanted and _works(directory):
            made.touch()  # make compares its age with that of the requirements files
            return False
        if not _works(directory):
            _make_venv(directory)
        print(f"Installing {', '.join(path.name for path in requirements)} into {directory}", flush=True)
        options = [word for path in requirements for word in ("-r", str(path))]
        pip = [str(directory / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
        # a user who has `user = true` in pip.conf does not mean this place
        if subprocess.run([*pip, *options], env={**os.environ, "PIP_USER": "0"}, check=False).returncode:
            raise Failed(f"pip could not install {', '.join(map(str, requirements))}: see above.")
        made.write_text(wanted)
        return True


def _fingerprint(requirements: Iterable[Path]) -> str:
    """What decides the content of an environment: this Python, and the text of the files and of those they include."""
    digest = hashlib.sha256(f"{sys.version}\n{sys.base_prefix}\n".encode())
    for path in requirements:
        text = path.read_text()
        digest.update(f"{path.name}\n{text}\n".encode())
        included = [line.split(None, 1)[1].strip() for line in text.splitlines() if line.startswith("-r ")]
        digest.update(_fingerprint(path.parent / name for name in included).encode())
    return digest.hexdigest()


def _works(directory: Path) -> bool:
    """Whether ``directory`` is an environment of this very Python, with pip."""
    code = "import pip, sys; print(sys.version, sys.base_prefix)"
    try:
        done = subprocess.run(
            [str(directory / "bin" / "python"), "-c", code], capture_output=True, text=True, check=False
        )
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == f"{sys.version} {sys.base_prefix}"


def _make_venv(directory: Path) -> None:
    _remove_venv(directory)  # of another Python, or half made; what else lies in the directory stays
    # Debian leaves ensurepip to a package of its own, python3-venv
    bundled = importlib.util.find_spec("ensurepip") is not None
    try:
        venv.create(directory, with_pip=bundled, symlinks=True)
        if not bundled:
            _install_pip(directory)
    except (subprocess.CalledProcessError, Failed) as error:
        _remove_venv(directory)
        if isinstance(error, Failed):
            raise
        raise Failed(f"No virtual environment could be made in {directory}: {error}") from error


def _remove_venv(directory: Path) -> None:
    for name in ("bin", "include", "lib", "lib64", "share", "pyvenv.cfg"):
        path = directory / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _install_pip(directory: Path) -> None:
    """Put pip into an environment without it, by the pip of the Python that runs this."""
    if importlib.util.find_spec("pip") is None:
        raise Failed(
            "This Python has neither ensurepip nor pip, so no virtual environment can be filled. "
            "On Debian and Ubuntu: apt-get install python3-venv"
        )
    with tempfile.TemporaryDirectory() as scratch:
        download = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
        if subprocess.run([*download, "--dest", scratch, "pip"], check=False).returncode:
            raise Failed("pip could not download itself: see above.")
        wheel = next(Path(scratch).glob("pip-*.whl"))
        # a wheel of pip's is a program, too: it installs itself
        install = [str(directory / "bin" / "python"), str(wheel / "pip"), "install", "--quiet", "--no-index"]
        if subprocess.run([*install, str(wheel)], check=False).returncode:
            raise Failed("pip could not install itself: see above.")


def main() -> int:
    parser = argparse.ArgumentParser(description="Make a virtual environment from requirements files.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("requirements", type=Path, nargs="+")
    parser.add_argument(
        "--stamp", default=".made", help="file in it that says what was installed (default: %(default)s)"
    )
    args = parser.parse_args()
    try:
        make_env(args.directory.absolute(), args.requirements, stamp=args.stamp)
    except Failed as error:
        print(f"make_env: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
