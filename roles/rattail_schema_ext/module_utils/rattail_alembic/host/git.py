# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The app's source, through git's command line.

Which commit is wanted, which is checked out, what is uncommitted; and one file committed. Nothing else
here writes to the checkout: not a file, not a ref, not its index.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import NamedTuple

from ..problem import Refused, mask

_FULL_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHORT_COMMIT = re.compile(r"[0-9a-f]{4,63}")


class Repository(NamedTuple):
    """Where the source comes from: a git URL, the version wanted and how to get in.

    ``version`` is a branch, a tag, a commit or ``HEAD``; ``key_file`` an ssh private key on the host.
    """

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
    """A work tree as it is. ``commit`` is empty where there is none yet, ``branch`` where HEAD is detached."""

    directory: str
    commit: str = ""
    branch: str = ""
    modified: tuple[str, ...] = ()


class Wanted(NamedTuple):
    """The commit wanted, and the branch that the checkout is to be on (empty for a tag or a commit)."""

    commit: str
    branch: str = ""
    ref: str = ""

    def differs_from(self, checkout: Checkout) -> bool:
        """Whether the work tree has to move."""
        return self.commit != checkout.commit or bool(self.branch and self.branch != checkout.branch)


def run(*arguments: str, directory: str = "", ssh_command: str = "", stdin: bytes | None = None) -> bytes:
    """Run git and return what it prints.

    :raises subprocess.CalledProcessError: with git's own words in ``stderr``.
    :raises Refused: where git is not installed.
    """
    environment = dict(
        os.environ,
        LC_ALL="C",
        GIT_TERMINAL_PROMPT="0",
        # `git status` would otherwise refresh the index: a look must not write.
        GIT_OPTIONAL_LOCKS="0",
    )
    if ssh_command:
        environment["GIT_SSH_COMMAND"] = ssh_command
    try:
        return subprocess.run(
            ["git", *(["-C", directory] if directory else []), *arguments],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            check=True,
            env=environment,
        ).stdout
    except FileNotFoundError:
        raise Refused(
            "git_missing",
            "There is no git on this host.",
            "Install git, or set rattail_schema_ext_source_enabled: false for a released package.",
        ) from None


def words(error: subprocess.CalledProcessError) -> str:
    """What git said, in one line."""
    lines = [line.strip() for line in error.stderr.decode(errors="replace").splitlines() if line.strip()]
    # Over this one it is ssh that knows why, and it has spoken before.
    lines = [line for line in lines if line != "fatal: Could not read from remote repository."] or lines
    telling = [line for line in lines if line.startswith(("fatal:", "error:"))] or lines
    if not telling:
        return f"git ended with {error.returncode}"
    return mask((telling[0].partition(":")[2].strip() or telling[0]).rstrip(".:"))


def look_at(directory: str) -> Checkout:
    """The checkout in ``directory``, which may not exist yet.

    :raises Refused: where something else is in the way, or git will not touch it.
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
        status = run("status", "--porcelain=v2", "--branch", "-z", "--untracked-files=no", directory=directory).decode(
            errors="surrogateescape"
        )
    except subprocess.CalledProcessError as error:
        said = words(error)
        if "dubious ownership" in said:
            raise Refused(
                "source_owner",
                f"The checkout {directory} belongs to another user, so git will not use it.",
                f"Give it to the owner of the environment: chown -R {_user_name()} {directory}.",
            ) from None
        raise Refused(
            "source_broken",
            f"git cannot read the checkout {directory}: {said}.",
            "Mend it, or move it away and run again: it will be cloned anew.",
        ) from None
    return _parse_status(directory, status)


def _user_name() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


def _parse_status(directory: str, status: str) -> Checkout:
    commit = branch = ""
    modified = []
    entries = iter(status.split("\0"))
    for entry in entries:
        if entry.startswith("# branch.oid "):
            commit = entry.split(" ", 2)[2].replace("(initial)", "")
        elif entry.startswith("# branch.head "):
            branch = entry.split(" ", 2)[2].replace("(detached)", "")
        elif entry.startswith("1 "):
            modified.append(entry.split(" ", 8)[8])
        elif entry.startswith("2 "):
            modified.append(entry.split(" ", 9)[9])
            next(entries)  # the name it had before
        elif entry.startswith("u "):
            modified.append(entry.split(" ", 10)[10])
    return Checkout(directory, commit, branch, tuple(modified))


def tracked(directory: str, relative: str) -> frozenset[str]:
    """The names of the files below ``relative`` that git knows, relative to ``directory``."""
    listing = run("ls-files", "-z", "--", relative, directory=directory)
    return frozenset(name for name in listing.decode(errors="surrogateescape").split("\0") if name)


def wanted(repository: Repository, checkout: Checkout) -> Wanted:
    """The commit that ``repository.version`` means now.

    The precedence is that of ``ansible.builtin.git``: a branch before a tag before a commit. A full
    commit that is checked out needs no network.

    :raises Refused: where the repository does not answer, or has no such version.
    """
    version = repository.version
    if _FULL_COMMIT.fullmatch(version) and version == checkout.commit:
        return Wanted(version)
    names = ["HEAD"] if version == "HEAD" else [f"refs/heads/{version}", f"refs/tags/{version}"]
    try:
        listing = run(
            "ls-remote", "--symref", "--", repository.url, *names, *[f"{name}^{{}}" for name in names[1:]],
            ssh_command=repository.ssh_command(),
        ).decode(errors="replace")  # fmt: skip
    except subprocess.CalledProcessError as error:
        raise unreachable(repository, error) from None
    commits, symbolic = parse_refs(listing)
    if version == "HEAD" and "HEAD" in commits:
        return Wanted(commits["HEAD"], symbolic.get("HEAD", "").replace("refs/heads/", "", 1), "HEAD")
    for name, branch in ((f"refs/heads/{version}", version), (f"refs/tags/{version}", "")):
        if name in commits:
            return Wanted(commits.get(f"{name}^{{}}", commits[name]), branch, name)
    if _SHORT_COMMIT.fullmatch(version) or _FULL_COMMIT.fullmatch(version):
        return Wanted(version)
    raise unknown_version(repository)


def unreachable(repository: Repository, error: subprocess.CalledProcessError) -> Refused:
    """The repository does not answer; ``error`` is git's."""
    return Refused(
        "source_unreachable",
        f"The repository {mask(repository.url)} does not answer: {words(error)}.",
        "Check rattail_schema_ext_source_repo, the network, and for ssh rattail_schema_ext_source_key_file.",
    )


def parse_refs(listing: str) -> tuple[dict[str, str], dict[str, str]]:
    """What ``ls-remote`` lists: full name of a ref → its commit, and name → the ref that it stands for."""
    commits, symbolic = {}, {}
    for line in listing.splitlines():
        value, _, name = line.partition("\t")
        if value.startswith("ref: "):
            symbolic[name] = value[len("ref: ") :]
        else:
            commits[name] = value
    return commits, symbolic


def unknown_version(repository: Repository) -> Refused:
    """The repository answers, and has no such version."""
    return Refused(
        "source_version_unknown",
        f"The repository {mask(repository.url)} has no branch, tag or commit {repository.version!r}.",
        "Push it, or correct rattail_schema_ext_source_version.",
    )
