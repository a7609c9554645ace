# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The app's source, through git's command line: which commit is wanted, which is checked out, what is uncommitted.

Nothing is written to the checkout: not a file, not a ref, not its index.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import NamedTuple

from ..problem import Refused, mask
from .environment import user_name

LINK = "is, or lies behind, a symbolic link that leads out of the repository or nowhere"
SUBMODULE = "lies in a submodule, whose files are not read"

_COMMIT = re.compile(r"[0-9a-f]{4,64}")


class Repository(NamedTuple):
    """A git URL, the branch, tag, commit or ``HEAD`` wanted, and how to get in: an ssh private key on the host."""

    url: str
    version: str = "HEAD"
    key_file: str = ""
    accept_newhostkey: bool = False

    def ssh_command(self) -> str:
        """The value of ``GIT_SSH_COMMAND``: never a prompt, since nobody is there to answer it."""
        words = ["ssh", "-o", "BatchMode=yes"]
        if self.accept_newhostkey:
            words += ["-o", "StrictHostKeyChecking=accept-new"]
        if self.key_file:
            words += ["-i", self.key_file, "-o", "IdentitiesOnly=yes"]
        return shlex.join(words)


class Checkout(NamedTuple):
    """A work tree as it is. ``commit`` is empty where there is none yet, ``branch`` where HEAD is detached.

    Of what is ``modified``, ``submodules`` are those.
    """

    directory: str
    commit: str = ""
    branch: str = ""
    modified: tuple[str, ...] = ()
    submodules: tuple[str, ...] = ()


class Wanted(NamedTuple):
    """The commit wanted, and the branch that the checkout is to be on (empty for a tag or a commit)."""

    commit: str
    branch: str = ""
    ref: str = ""

    def differs_from(self, checkout: Checkout) -> bool:
        """Whether the work tree has to move."""
        return self.commit != checkout.commit or bool(self.branch and self.branch != checkout.branch)


def run(*arguments: str, directory: str = "", repository: Repository | None = None, stdin: bytes = b"") -> bytes:
    """Run git and return what it prints.

    :raises subprocess.CalledProcessError: with git's message in ``stderr``.
    :raises Refused: where git is not installed, or fails while it has to reach ``repository``.
    """
    environment = {
        **os.environ,
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        # `git status` would otherwise refresh the index: a look must not write.
        "GIT_OPTIONAL_LOCKS": "0",
    }
    if repository:
        environment["GIT_SSH_COMMAND"] = repository.ssh_command()
    command = ["git", *(["-C", directory] if directory else []), *arguments]
    try:
        return subprocess.run(command, input=stdin, capture_output=True, check=True, env=environment).stdout
    except FileNotFoundError:
        raise Refused(
            "git_missing",
            "git is not installed on this host.",
            "Install git, or set rattail_schema_ext_source_enabled: false for a released package.",
        ) from None
    except subprocess.CalledProcessError as error:
        if repository is None:
            raise
        raise Refused(
            "source_unreachable",
            f"The repository {mask(repository.url)} does not answer: {_message(error)}.",
            "Check rattail_schema_ext_source_repo, the network, and for ssh rattail_schema_ext_source_key_file.",
        ) from None


def names(*arguments: str, directory: str) -> list[str]:
    """What a git command with ``-z`` lists."""
    listing = run(*arguments, directory=directory).decode(errors="surrogateescape")
    return [name for name in listing.split("\0") if name]


def _message(error: subprocess.CalledProcessError) -> str:
    """git's error message in one line."""
    lines = [line.strip() for line in error.stderr.decode(errors="replace").splitlines() if line.strip()]
    # Where git reports this one, ssh has printed the cause before it.
    causes = [line for line in lines if line != "fatal: Could not read from remote repository."]
    errors = [line for line in causes if line.startswith(("fatal:", "error:"))]
    line = next(iter(errors + causes), f"git ended with {error.returncode}")
    return mask((line.partition(":")[2].strip() or line).rstrip(".:"))


def look_at(directory: str) -> Checkout:
    """The checkout in ``directory``, which may not exist yet.

    :raises Refused: where the directory holds something else, or git does not read it.
    """
    path = Path(directory)
    try:
        if not path.exists() or (path.is_dir() and not any(path.iterdir())):
            return Checkout(directory)
    except PermissionError:
        raise Refused(
            "source_forbidden",
            f"{directory} cannot be read by the user who owns the environment.",
            f"Give it to that user (chown -R) or point rattail_schema_ext_source_dir elsewhere than {directory}.",
        ) from None
    # Asking git for the toplevel would find a repository that merely surrounds this directory.
    if not (path / ".git").exists():
        raise Refused(
            "source_foreign",
            f"{directory} is not a git checkout, and it is not empty.",
            "Move it away, or point rattail_schema_ext_source_dir somewhere else.",
        )
    try:
        what = ("--porcelain=v2", "--branch", "-z", "--untracked-files=no", "--no-renames")
        status = names("status", *what, directory=directory)
    except subprocess.CalledProcessError as error:
        message = _message(error)
        if "dubious ownership" in message:
            raise Refused(
                "source_owner",
                f"The checkout {directory} belongs to another user, so git will not use it.",
                f"Give it to the owner of the environment: chown -R {user_name(os.geteuid())} {directory}.",
            ) from None
        raise Refused(
            "source_broken",
            f"git cannot read the checkout {directory}: {message}.",
            "Repair it, or move it away and run again: it will be cloned again.",
        ) from None

    headers = dict(entry[2:].split(" ", 1) for entry in status if entry.startswith("# "))
    commit = headers["branch.oid"].replace("(initial)", "")
    branch = headers["branch.head"].replace("(detached)", "")
    before_name = {"1": 8, "u": 10}  # fields, in an entry of each kind
    changed = [entry.split(" ", before_name[entry[0]]) for entry in status if entry[0] in before_name]
    modified, submodules = (
        tuple(fields[-1] for fields in changed if fields[2].startswith(kind)) for kind in (("S", "N"), "S")
    )
    return Checkout(directory, commit, branch, modified, submodules)


def refuse_locked(checkout: Checkout) -> None:
    """:raises Refused: where a git holds the checkout's index, or was killed while it did."""
    lock = os.path.join(checkout.directory, ".git", "index.lock")
    if os.path.lexists(lock):
        clear = f"rm {lock} && git -C {checkout.directory} stash --include-untracked"
        raise Refused(
            "source_locked",
            f"A git is at work in the checkout {checkout.directory}, or was killed there: {lock} exists.",
            f"Wait for it, or if there is none, take away the file and what it has left half way ({clear}),"
            " then run again.",
        )


def tracked(directory: str, relative: str) -> frozenset[str]:
    """The names of the files below ``relative`` that git tracks, relative to ``directory``."""
    return frozenset(names("ls-files", "-z", "--", relative, directory=directory))


def unreadable(path: str, why: str) -> Refused:
    """A file or a directory of revisions that cannot be read for what it is."""
    return Refused("revision_unreadable", f"{path} {why}.", "Put the files themselves there, then run again.")


def wanted(repository: Repository, checkout: Checkout) -> Wanted:
    """The commit that ``repository.version`` means now: as for ``ansible.builtin.git``, a branch before a tag.

    :raises Refused: where the repository does not answer, or has no such version.
    """
    version = repository.version
    # needs no network
    if checkout.commit and version == checkout.commit:
        return Wanted(version)
    head, tag = f"refs/heads/{version}", f"refs/tags/{version}"
    patterns = ["HEAD"] if version == "HEAD" else [head, tag, f"{tag}^{{}}"]
    listing = run("ls-remote", "--symref", "--", repository.url, *patterns, repository=repository)
    default = re.search(rb"^ref: refs/heads/(.+)\tHEAD$", listing, re.MULTILINE)
    commits = parse_refs(listing)
    for name, branch in (("HEAD", default[1].decode() if default else ""), (head, version), (tag, "")):
        if name in commits:
            return Wanted(commits.get(f"{name}^{{}}", commits[name]), branch, name)
    if _COMMIT.fullmatch(version):
        return Wanted(version)
    raise unknown_version(repository)


def parse_refs(listing: bytes) -> dict[str, str]:
    """What ``ls-remote`` lists: full name of a ref → its commit."""
    lines = (line.partition("\t") for line in listing.decode(errors="replace").splitlines())
    return {name: commit for commit, _, name in lines if not commit.startswith("ref: ")}


def unknown_version(repository: Repository) -> Refused:
    """The repository answers, and has no such version."""
    return Refused(
        "source_version_unknown",
        f"The repository {mask(repository.url)} has no branch, tag or commit {repository.version!r}.",
        "Push it, or correct rattail_schema_ext_source_version.",
    )
