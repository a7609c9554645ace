"""Virtual environments with Rattail: one that holds the packages, and cheap ones on top of it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from .places import CACHE, ROOT

sys.path.insert(0, str(ROOT / "scripts"))

import make_env

REQUIREMENTS = {
    "rattail": ("requirements-rattail.txt", "requirements-corepos.txt", "requirements-build.txt"),
    "wutta": ("requirements-wutta.txt", "requirements-build.txt"),
    "psycopg": ("requirements-psycopg.txt", "requirements-build.txt"),
    "sqlalchemy20": ("requirements-sqlalchemy20.txt",),
    "continuum": ("requirements-wutta.txt", "requirements-continuum.txt", "requirements-build.txt"),
}


def base(core: str) -> Path:
    """The environment that holds the packages of ``core``; built where it is missing."""
    directory = CACHE / "envs" / core
    make_env.make_env(directory, [ROOT / name for name in REQUIREMENTS[core]])
    return directory


def origin(packages: str | Path) -> Path:
    """An environment that is one already, or ``base`` of a name."""
    return packages if isinstance(packages, Path) else base(packages)


def site_packages(env_dir: Path) -> Path:
    """The directory in which an environment keeps its packages."""
    return next((env_dir / "lib").glob("python3.*")) / "site-packages"


def make_light(env_dir: Path, packages: str | Path) -> None:
    """Make an environment with everything that another one holds (see ``origin``), in milliseconds.

    It has a prefix, a bin/ and a site-packages/ of its own: what pip installs goes there.
    """
    held = origin(packages)
    own = env_dir / site_packages(held).relative_to(held)
    own.mkdir(parents=True)
    shutil.copy(held / "pyvenv.cfg", env_dir)
    # a third of the time in which Rattail's models are loaded goes into looking for garbage
    lines = "import gc; gc.set_threshold(100_000)", f"import site; site.addsitedir({str(site_packages(held))!r})"
    (own / "_packages_of_base.pth").write_text("\n".join(lines) + "\n")
    (env_dir / "bin").mkdir()
    for program in (held / "bin").iterdir():
        copy = env_dir / "bin" / program.name
        if program.is_symlink():
            copy.symlink_to(os.readlink(program))
        elif program.is_file() and (text := program.read_bytes()).startswith(b"#!"):
            # the cache may be a symlink, and its programs name the place that it leads to
            for place in (str(held.resolve()), str(held)):
                text = text.replace(place.encode(), str(env_dir).encode(), 1)
            copy.write_bytes(text)
            copy.chmod(0o755)
