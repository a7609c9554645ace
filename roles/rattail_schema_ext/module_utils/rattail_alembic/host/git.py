# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The app's source, through git's command line.

Which commit is wanted, which is checked out, what is uncommitted, and the files of a commit
that is not checked out. Nothing here writes to the checkout: not a file, not a ref, not its index.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
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


def _git(*arguments: str, directory: str = "", ssh_command: str = "", stdin: bytes | None = None) -> bytes:
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


def _words(error: subprocess.CalledProcessError) -> str:
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
        status = _git("status", "--porcelain=v2", "--branch", "-z", "--untracked-files=no", directory=directory).decode(
            errors="surrogateescape"
        )
    except subprocess.CalledProcessError as error:
        words = _words(error)
        if "dubious ownership" in words:
            raise Refused(
                "source_owner",
                f"The checkout {directory} belongs to another user, so git will not use it.",
                f"Give it to the owner of the environment: chown -R {_user_name()} {directory}.",
            ) from None
        raise Refused(
            "source_broken",
            f"git cannot read the checkout {directory}: {words}.",
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
    listing = _git("ls-files", "-z", "--", relative, directory=directory)
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
        listing = _git(
            "ls-remote", "--symref", "--", repository.url, *names, *[f"{name}^{{}}" for name in names[1:]],
            ssh_command=repository.ssh_command(),
        ).decode(errors="replace")  # fmt: skip
    except subprocess.CalledProcessError as error:
        raise _unreachable(repository, error) from None
    commits, symbolic = _parse_remote(listing)
    if version == "HEAD" and "HEAD" in commits:
        return Wanted(commits["HEAD"], symbolic.get("HEAD", "").replace("refs/heads/", "", 1), "HEAD")
    for name, branch in ((f"refs/heads/{version}", version), (f"refs/tags/{version}", "")):
        if name in commits:
            return Wanted(commits.get(f"{name}^{{}}", commits[name]), branch, name)
    if _SHORT_COMMIT.fullmatch(version) or _FULL_COMMIT.fullmatch(version):
        return Wanted(version)
    raise _unknown_version(repository)


def _unreachable(repository: Repository, error: subprocess.CalledProcessError) -> Refused:
    return Refused(
        "source_unreachable",
        f"The repository {mask(repository.url)} does not answer: {_words(error)}.",
        "Check rattail_schema_ext_source_repo, the network, and for ssh rattail_schema_ext_source_key_file.",
    )


def _parse_remote(listing: str) -> tuple[dict[str, str], dict[str, str]]:
    commits, symbolic = {}, {}
    for line in listing.splitlines():
        value, _, name = line.partition("\t")
        if value.startswith("ref: "):
            symbolic[name] = value[len("ref: ") :]
        else:
            commits[name] = value
    return commits, symbolic


def _unknown_version(repository: Repository) -> Refused:
    return Refused(
        "source_version_unknown",
        f"The repository {mask(repository.url)} has no branch, tag or commit {repository.version!r}.",
        "Push it, or correct rattail_schema_ext_source_version.",
    )


class Commits:
    """Reads commits that need not be checked out, from a bare scratch repository of its own.

    The scratch repository borrows the checkout's objects (git's *alternates*), so that only what is
    new is fetched, and the checkout and its refs stay as they are. A context manager.
    """

    def __init__(self, repository: Repository, checkout: Checkout) -> None:
        self._repository = repository
        self._checkout = checkout
        self._directory = ""

    def __enter__(self) -> Commits:
        self._directory = tempfile.mkdtemp(prefix="rattail_schema_ext_")
        _git("init", "--quiet", "--bare", self._directory)
        if self._checkout.commit:
            objects = _git("rev-parse", "--git-path", "objects", directory=self._checkout.directory)
            borrowed = Path(self._checkout.directory, objects.decode().strip()).resolve()
            (Path(self._directory) / "objects" / "info" / "alternates").write_text(f"{borrowed}\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)

    def bring(self, target: Wanted) -> Wanted:
        """Make ``target`` readable, and return it with its commit in full.

        :raises Refused: where the repository cannot be read, or has no such commit.
        """
        if not self._has(target.commit):
            try:
                self._fetch(target)
            except subprocess.CalledProcessError as error:
                raise Refused(
                    "source_unreachable",
                    f"The repository {mask(self._repository.url)} cannot be fetched from: {_words(error)}.",
                    "Check the network and the user's right to read it.",
                ) from None
        try:
            full = _git("rev-parse", "--verify", "--quiet", f"{target.commit}^{{commit}}", directory=self._directory)
        except subprocess.CalledProcessError:
            raise _unknown_version(self._repository) from None
        return Wanted(full.decode().strip(), target.branch, target.ref)

    def _has(self, commit: str) -> bool:
        try:
            _git("cat-file", "-e", f"{commit}^{{commit}}", directory=self._directory)
        except subprocess.CalledProcessError:
            return False
        return True

    def _fetch(self, target: Wanted) -> None:
        refs = [target.ref] if target.ref else ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
        # With nothing to borrow, and only files wanted, history would be fetched for nothing.
        shallow = ["--depth=1"] if target.ref and not self._checkout.commit else []
        _git(
            "fetch", "--quiet", "--no-tags", *shallow, "--", self._repository.url, *refs,
            directory=self._directory, ssh_command=self._repository.ssh_command(),
        )  # fmt: skip

    def files(self, commit: str, below: str = "") -> list[str]:
        """The names of all files of ``commit`` below the directory ``below``, in git's order."""
        listing = _git(
            "ls-tree", "-r", "-z", "--name-only", commit, *(["--", below] if below else []),
            directory=self._directory,
        )  # fmt: skip
        return [name for name in listing.decode(errors="surrogateescape").split("\0") if name]

    def read(self, commit: str, names: list[str]) -> dict[str, bytes]:
        """The contents of the files ``names`` at ``commit``."""
        asked = "".join(f"{commit}:{name}\n" for name in names).encode(errors="surrogateescape")
        answer = _git("cat-file", "--batch", directory=self._directory, stdin=asked)
        contents, position = {}, 0
        for name in names:
            end = answer.index(b"\n", position)
            size = int(answer[position:end].split()[-1])
            contents[name] = answer[end + 1 : end + 1 + size]
            position = end + 1 + size + 1
        return contents

    def changes(self, before: str, after: str, names: tuple[str, ...]) -> list[str]:
        """Which of the files ``names`` differ between two commits."""
        listing = _git("diff", "--name-only", "-z", before, after, "--", *names, directory=self._directory).decode(
            errors="surrogateescape"
        )
        return [name for name in listing.split("\0") if name]

    def moved_tags(self) -> list[str]:
        """The tags of the checkout that are elsewhere in the repository now: git fetches those by force only.

        :raises Refused: where the repository does not answer.
        """
        here = self._checkout
        if not here.commit:
            return []
        ours = _git("for-each-ref", "--format=%(objectname)%09%(refname)", "refs/tags", directory=here.directory)
        tags, _ = _parse_remote(ours.decode(errors="replace"))
        if not tags:
            return []
        try:
            theirs = _git(
                "ls-remote", "--tags", "--refs", "--", self._repository.url,
                ssh_command=self._repository.ssh_command(),
            )  # fmt: skip
        except subprocess.CalledProcessError as error:
            raise _unreachable(self._repository, error) from None
        now, _ = _parse_remote(theirs.decode(errors="replace"))
        return sorted(name[len("refs/tags/") :] for name, commit in tags.items() if now.get(name, commit) != commit)

    def refuse_unpushed(self, target: Wanted) -> None:
        """Moving the branch would leave commits behind that exist nowhere else.

        :raises Refused: where the checkout, or its branch of the name wanted, has commits that neither
            the commit wanted nor any branch or tag fetched from the repository holds.
        """
        here = self._checkout
        if not here.commit:
            return
        listing = _git(
            "for-each-ref", "--format=%(objectname)", f"refs/heads/{target.branch}", directory=here.directory
        )
        for commit in dict.fromkeys([here.commit, *(listing.decode().split() if target.branch else [])]):
            only_here = _git(
                "rev-list", "--max-count=1", commit, "--not", "--remotes", "--tags", directory=here.directory
            ).strip()
            if not only_here:
                continue
            if _git("rev-list", "--max-count=1", commit, f"^{target.commit}", directory=self._directory).strip():
                raise Refused(
                    "source_unpushed",
                    f"The checkout {here.directory} has commits that its repository does not ({commit[:12]}).",
                    "Push them, or reset the checkout, then run again.",
                )

    def refuse_overwriting(self, target: Wanted) -> None:
        """A checkout by ansible.builtin.git overwrites files that git does not know, ignored ones too.

        :raises Refused: where the commit wanted has a file in whose place there is another one.
        """
        here = self._checkout
        if not here.commit:
            return
        known = tracked(here.directory, ".")
        for name in self.files(target.commit):
            taken = "" if name in known else _taken(here.directory, name, known)
            if taken and not (taken == name and self._is_the_same(target.commit, name)):
                raise Refused(
                    "source_in_the_way",
                    f"The checkout {here.directory} has a file that git does not know, {taken}, "
                    "where the version wanted brings one of its own.",
                    "Move it away, then run again.",
                )

    def _is_the_same(self, commit: str, name: str) -> bool:
        path = Path(self._checkout.directory, name)
        return not path.is_symlink() and path.read_bytes() == self.read(commit, [name])[name]


def _taken(directory: str, name: str, known: frozenset[str]) -> str:
    """What git does not know in the place of ``name`` or of a directory above it; empty where it is free."""
    parts = name.split("/")
    for length in range(1, len(parts) + 1):
        part = "/".join(parts[:length])
        path = os.path.join(directory, part)
        if os.path.lexists(path) and not os.path.isdir(path) and part not in known:
            return part
    return ""


def refuse_uncommittable(directory: str, branch: str, path: str) -> None:
    """See beforehand that a file can be committed in the checkout.

    :param branch: the branch that it is to go to; empty for a new one.
    :param path: the file, which need not be there yet.
    :raises Refused: where there is no repository, git does not know who commits, the branch is another's or can be
        none, or git ignores the file.
    """
    here = look_at(directory)
    if not here.commit:
        raise Refused(
            "commit_impossible",
            f"{directory} is no git checkout with a commit in it, so nothing can be committed there.",
            "Commit it yourself, or leave rattail_schema_ext_revision_commit: false.",
        )
    try:
        _git("var", "GIT_COMMITTER_IDENT", directory=directory)
    except subprocess.CalledProcessError:
        raise Refused(
            "commit_unknown_author",
            f"git does not know who commits in {directory}.",
            f"Tell it, as the user who owns the environment: git -C {directory} config user.name NAME, "
            "and user.email ADDRESS.",
        ) from None
    if _git("diff", "--cached", "--name-only", directory=directory).strip():
        raise Refused(
            "commit_staged",
            f"The checkout {directory} has changes in its index already.",
            f"Commit or unstage them (git -C {directory} reset), then run again.",
        )
    if branch and not _says_yes("check-ref-format", "--branch", branch, directory=directory):
        raise Refused(
            "commit_branch",
            f"git takes no branch named {branch!r}.",
            "Name another (rattail_schema_ext_revision_branch).",
        )
    if _says_yes("check-ignore", "--quiet", "--", path, directory=directory):
        place = os.path.dirname(path)
        raise Refused(
            "commit_ignored",
            f"git ignores what is in {place}, so a new file there cannot be committed.",
            f"Take it out of .gitignore (git -C {directory} check-ignore -v {path} says where it is).",
        )
    if branch and branch != here.branch and _git("branch", "--list", branch, directory=directory).strip():
        raise Refused(
            "commit_branch",
            f"The checkout {directory} has a branch {branch}, and is not on it.",
            f"Switch to it (git -C {directory} switch {branch}), or name another (rattail_schema_ext_revision_branch).",
        )


def is_committed(directory: str, path: str) -> bool:
    """Whether a file is in the checkout's commit as it lies there."""
    return not _git("status", "--porcelain", "--ignored", "--", path, directory=directory).strip()


def _says_yes(*arguments: str, directory: str) -> bool:
    try:
        _git(*arguments, directory=directory)
    except subprocess.CalledProcessError:
        return False
    return True


def commit(directory: str, path: str, branch: str, message: str) -> tuple[str, str]:
    """Commit one file, on a branch that is made for it unless the checkout is on it; returns commit and branch.

    Nothing is pushed.

    :raises Refused: where git, or a hook of the repository's, does not want it; the file stays, and the checkout is on
        the branch that it was on.
    """
    here = look_at(directory)
    try:
        if here.branch != branch:
            _git("switch", "--quiet", "--create", branch, directory=directory)
        _git("add", "--", path, directory=directory)
        _git("commit", "--quiet", "--message", message, "--", path, directory=directory)
    except subprocess.CalledProcessError as error:
        _says_yes("reset", "--quiet", "--", path, directory=directory)
        back = [here.branch] if here.branch else ["--detach", here.commit]
        if here.branch != branch and _says_yes("switch", "--quiet", *back, directory=directory):
            _says_yes("branch", "--quiet", "--delete", branch, directory=directory)
        raise Refused(
            "commit_failed",
            f"{path} is written, but git did not commit it: {_words(error)}.",
            "Mend what git says, then run again with the same message, or commit it by hand.",
        ) from None
    return _git("rev-parse", "HEAD", directory=directory).decode().strip(), branch
