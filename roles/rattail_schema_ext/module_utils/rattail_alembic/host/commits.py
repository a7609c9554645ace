# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Commits that are not checked out, read through git's command line. Nothing is written to the checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path, PurePath

from ..problem import Refused, mask
from . import git
from .git import Checkout, Repository, Wanted

_ODD = re.compile(r"""[\s'"\\$]""")
# What `git cat-file --follow-symlinks` says of a link that it cannot follow.
_NOWHERE = (b"symlink", b"dangling", b"loop", b"notdir")


def ever(directory: str, below: str) -> list[tuple[str, bytes]]:
    """Every file that was ever below ``below``, newest first, in what a checkout has: branches, tags, and its reflogs.

    Nothing where git cannot say.
    """
    known = ("rev-list", "--objects", "--ignore-missing", "--all", "--reflog", "HEAD", "--", below)
    try:
        lines = git.run(*known, directory=directory).decode(errors="surrogateescape").splitlines()
        files = {name: path for name, _, path in (line.partition(" ") for line in lines) if path.endswith(".py")}
        asked = "".join(f"{name}\n" for name in files).encode()
        texts = _blobs(git.run("cat-file", "--batch", directory=directory, stdin=asked), list(files))
    except (subprocess.CalledProcessError, Refused):
        return []
    return [(files[name], text) for name, text in texts.items()]


def _blobs(answer: bytes, names: list[str]) -> dict[str, bytes]:
    """What ``git cat-file --batch`` says of the files ``names``.

    :raises Refused: where one is something else, or cannot be followed.
    """
    contents, position = {}, 0
    for name in names:
        start = answer.index(b"\n", position) + 1
        header = answer[position:start].split()
        if header[0] in _NOWHERE or header[1] != b"blob":
            raise git.unreadable(name, git.LINK)
        end = start + int(header[2])
        contents[name] = answer[start:end]
        position = end + 1
    return contents


class Commits:
    """Reads commits from a bare scratch repository of its own. A context manager.

    The scratch repository borrows the checkout's objects (git's *alternates*), so that only what is new is fetched.
    """

    def __init__(self, repository: Repository, checkout: Checkout) -> None:
        self._repository = repository
        self._checkout = checkout
        self._directory = ""
        self._now: dict[str, str] | None = None

    def __enter__(self) -> Commits:
        self._directory = tempfile.mkdtemp(prefix="rattail_schema_ext_")
        git.run("init", "--quiet", "--bare", self._directory)
        if self._checkout.commit:
            objects = git.run("rev-parse", "--git-path", "objects", directory=self._checkout.directory)
            borrowed = Path(self._checkout.directory, objects.decode().strip()).resolve()
            (Path(self._directory) / "objects" / "info" / "alternates").write_text(f"{borrowed}\n")
            shallow = git.run("rev-parse", "--git-path", "shallow", directory=self._checkout.directory)
            ends = Path(self._checkout.directory, shallow.decode().strip())
            if ends.exists():
                shutil.copy(ends, self._directory)
        return self

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)

    def bring(self, target: Wanted) -> Wanted:
        """Make ``target`` readable, and return it with its commit in full.

        :raises Refused: where the repository cannot be read, or has no such commit.
        """
        commit = self._in_full(target.commit)
        if not commit:
            refs = [target.ref] if target.ref else ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
            # Without a checkout to borrow from, and with only files wanted, the history is not needed.
            shallow = ["--depth=1"] if target.ref and not self._checkout.commit else []
            git.run(
                "fetch", "--quiet", "--no-tags", *shallow, "--", self._repository.url, *refs,
                directory=self._directory, repository=self._repository,
            )  # fmt: skip
            commit = self._in_full(target.commit)
        if not commit and (Path(self._directory) / "shallow").exists():
            raise Refused(
                "source_shallow",
                f"The checkout {self._checkout.directory} is shallow: the history that {target.commit} may be in was"
                " not fetched.",
                f"Fetch it (git -C {self._checkout.directory} fetch --unshallow origin), then run again.",
            )
        if not commit:
            raise git.unknown_version(self._repository)
        return target._replace(commit=commit)

    def _in_full(self, commit: str) -> str:
        """The full name of a commit; empty where it cannot be read here."""
        try:
            found = git.run("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}", directory=self._directory)
        except subprocess.CalledProcessError:
            return ""
        return found.decode().strip()

    def files(self, commit: str, below: str = "") -> list[str]:
        """The names of all files of ``commit`` below the directory ``below``, in git's order; links to it are followed.

        :raises Refused: where it lies outside of the repository, or in a submodule.
        """
        below = "" if below == "." else below
        found = self._cat("--batch-check", commit, [below]).split()
        if found[1] == b"tree":
            names = git.names("ls-tree", "-r", "-z", "--name-only", found[0].decode(), directory=self._directory)
            return [os.path.join(below, name) for name in names]
        if found[0] in _NOWHERE:
            raise git.unreadable(below, git.LINK)
        for entry in git.names("ls-tree", "-r", "-z", commit, directory=self._directory):
            if entry.startswith("160000 ") and f"{below}/".startswith(entry.partition("\t")[2] + "/"):
                raise git.unreadable(below, git.SUBMODULE)
        return []

    def present(self, commit: str, names: Iterable[str]) -> list[str]:
        """Those of ``names`` that ``commit`` has, be it behind links or as directories."""
        return [name for name in names if self._cat("--batch-check", commit, [name]).split()[1] in (b"blob", b"tree")]

    def read(self, commit: str, names: list[str]) -> dict[str, bytes]:
        """The contents of the files ``names`` at ``commit``, or of what they are links to.

        :raises Refused: where that lies outside of the repository.
        """
        return _blobs(self._cat("--batch", commit, names), names)

    def tree(self, commit: str) -> str:
        """A directory with the files of ``commit`` as they will lie in the checkout, submodules left out.

        :raises Refused: where git has not all of them.
        """
        tree = Path(self._directory, "tree")
        if not tree.exists():
            tree.mkdir()
            # What filters put into the place of files may have to be fetched, and is nothing that is imported.
            (Path(self._directory) / "info" / "attributes").write_text("* -filter\n")
            where = ("-c", f"core.hooksPath={os.devnull}", f"--git-dir={self._directory}", "--work-tree=.")
            checkout = ("checkout", "--quiet", "--force", "--detach", commit)
            # of a partial clone, what is missing is not fetched
            git.run(*where, *checkout, directory=str(tree), repository=self._repository)
        return str(tree)

    def _cat(self, how: str, commit: str, names: Iterable[str]) -> bytes:
        asked = "".join(f"{commit}:{name}\n" for name in names).encode(errors="surrogateescape")
        return git.run("cat-file", how, "--follow-symlinks", directory=self._directory, stdin=asked)

    def changes(self, before: str, after: str, names: tuple[str, ...]) -> list[str]:
        """Which of the files ``names`` differ between two commits."""
        return git.names("diff", "--name-only", "-z", before, after, "--", *names, directory=self._directory)

    def moved_tags(self) -> list[str]:
        """The tags of the checkout that name another commit in the repository now: git fetches those by force only.

        :raises Refused: where the repository does not answer.
        """
        tags, now = self._refs("refs/tags"), self._listed()
        return sorted(name[len("refs/tags/") :] for name, commit in tags.items() if now.get(name, commit) != commit)

    def _refs(self, *below: str) -> dict[str, str]:
        """The refs of the checkout."""
        listing = ("for-each-ref", "--format=%(objectname)%09%(refname)", *below)
        return git.parse_refs(git.run(*listing, directory=self._checkout.directory))

    def _listed(self) -> dict[str, str]:
        """The branches and tags of the repository."""
        if self._now is None:
            listing = ("ls-remote", "--heads", "--tags", "--refs", "--", self._repository.url)
            self._now = git.parse_refs(git.run(*listing, repository=self._repository))
        return self._now

    def refuse_what_git_cannot_fetch(self, target: Wanted) -> None:
        """:raises Refused: where ansible.builtin.git fails in the checkout, though the commit can be had."""
        here = self._checkout.directory
        if b"origin" not in git.run("remote", directory=here).split():
            raise Refused(
                "source_remote_missing",
                f"The checkout {here} has no remote named origin, which is what is fetched from.",
                f"Name it so (git -C {here} remote add origin URL, or remote rename), then run again.",
            )
        heads, remotes = "refs/heads/", "refs/remotes/origin/"
        coming = {remotes + name[len(heads) :] for name in self._listed() if name.startswith(heads)}
        if target.branch:
            coming.add(heads + target.branch)
        above = {str(parent) for name in coming for parent in PurePath(name).parents}
        for name in self._refs(heads, remotes):
            if name in above or not coming.isdisjoint(map(str, PurePath(name).parents)):
                remedy = f"branch --move {name[len(heads) :]} NEW" if name.startswith(heads) else "remote prune origin"
                raise Refused(
                    "source_ref_in_the_way",
                    f"The checkout {here} has {name}, which is in the way of a branch of the repository's: where one"
                    " name ends, the other goes on with a slash.",
                    f"Take it out of the way (git -C {here} {remedy}), then run again.",
                )

    def refuse_odd_names(self, target: Wanted) -> None:
        """:raises Refused: where ansible.builtin.git, which makes commands of texts, takes a name for several."""
        # It gets a path as a URL.
        url = "" if self._repository.url.startswith("/") else self._repository.url
        for name, remedy in (
            (url, "Write rattail_schema_ext_source_repo as a URL with %20 for a space, %27 for a quote and so on."),
            (target.branch, "Rename the branch, or give a commit as rattail_schema_ext_source_version."),
        ):
            if _ODD.search(name):
                raise Refused(
                    "source_odd_name",
                    f"{mask(name)!r} has a space, a quote, a backslash or a dollar sign, which ansible.builtin.git does"
                    " not handle.",
                    remedy,
                )

    def refuse_unpushed(self, target: Wanted) -> None:
        """:raises Refused: where the checkout, or its branch of that name, has commits that exist nowhere else."""
        here = self._checkout
        branch = f"refs/heads/{target.branch}"
        listing = git.run("for-each-ref", "--format=%(objectname)", branch, directory=here.directory)
        for commit in dict.fromkeys([here.commit, *(listing.decode().split() if target.branch else [])]):
            newest = ("rev-list", "--max-count=1", commit)
            if git.run(*newest, "--not", "--remotes", "--tags", directory=here.directory) and git.run(
                *newest, f"^{target.commit}", directory=self._directory
            ):
                raise Refused(
                    "source_unpushed",
                    f"The checkout {here.directory} has commits that its repository does not ({commit[:12]}).",
                    "Push them, or reset the checkout, then run again.",
                )

    def refuse_overwriting(self, target: Wanted) -> None:
        """:raises Refused: where ansible.builtin.git would overwrite an untracked file, or an ignored one."""
        here = self._checkout
        known = git.tracked(here.directory, ".")
        new = set(self.files(target.commit)) - known
        # A file may be in the place of a directory, too.
        for place in sorted(new.union(str(above) for name in new for above in PurePath(name).parents) - known):
            path = Path(here.directory, place)
            behind_a_link = not known.isdisjoint(map(str, PurePath(place).parents))
            if os.path.isdir(path) or not os.path.lexists(path) or behind_a_link:
                continue
            if place in new and not path.is_symlink():
                here_is = git.run("hash-object", "--no-filters", "--", str(path), directory=self._directory)
                if here_is == git.run("rev-parse", f"{target.commit}:{place}", directory=self._directory):
                    continue
            raise Refused(
                "source_in_the_way",
                f"The checkout {here.directory} has an untracked file, {place}, "
                "in the place of a file of the version wanted.",
                "Move it away, then run again.",
            )
