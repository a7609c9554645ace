# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Commits that are not checked out, read through git's command line.

Nothing here writes to the checkout: not a file, not a ref, not its index.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

from ..problem import Refused, mask
from . import git
from .git import Checkout, Repository, Wanted


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
        git.run("init", "--quiet", "--bare", self._directory)
        if self._checkout.commit:
            objects = git.run("rev-parse", "--git-path", "objects", directory=self._checkout.directory)
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
                    f"The repository {mask(self._repository.url)} cannot be fetched from: {git.words(error)}.",
                    "Check the network and the user's right to read it.",
                ) from None
        try:
            full = git.run("rev-parse", "--verify", "--quiet", f"{target.commit}^{{commit}}", directory=self._directory)
        except subprocess.CalledProcessError:
            raise git.unknown_version(self._repository) from None
        return Wanted(full.decode().strip(), target.branch, target.ref)

    def _has(self, commit: str) -> bool:
        try:
            git.run("cat-file", "-e", f"{commit}^{{commit}}", directory=self._directory)
        except subprocess.CalledProcessError:
            return False
        return True

    def _fetch(self, target: Wanted) -> None:
        refs = [target.ref] if target.ref else ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
        # With nothing to borrow, and only files wanted, history would be fetched for nothing.
        shallow = ["--depth=1"] if target.ref and not self._checkout.commit else []
        git.run(
            "fetch", "--quiet", "--no-tags", *shallow, "--", self._repository.url, *refs,
            directory=self._directory, ssh_command=self._repository.ssh_command(),
        )  # fmt: skip

    def files(self, commit: str, below: str = "") -> list[str]:
        """The names of all files of ``commit`` below the directory ``below``, in git's order."""
        listing = git.run(
            "ls-tree", "-r", "-z", "--name-only", commit, *(["--", below] if below else []),
            directory=self._directory,
        )  # fmt: skip
        return [name for name in listing.decode(errors="surrogateescape").split("\0") if name]

    def read(self, commit: str, names: list[str]) -> dict[str, bytes]:
        """The contents of the files ``names`` at ``commit``."""
        asked = "".join(f"{commit}:{name}\n" for name in names).encode(errors="surrogateescape")
        answer = git.run("cat-file", "--batch", directory=self._directory, stdin=asked)
        contents, position = {}, 0
        for name in names:
            end = answer.index(b"\n", position)
            size = int(answer[position:end].split()[-1])
            contents[name] = answer[end + 1 : end + 1 + size]
            position = end + 1 + size + 1
        return contents

    def changes(self, before: str, after: str, names: tuple[str, ...]) -> list[str]:
        """Which of the files ``names`` differ between two commits."""
        listing = git.run("diff", "--name-only", "-z", before, after, "--", *names, directory=self._directory).decode(
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
        ours = git.run("for-each-ref", "--format=%(objectname)%09%(refname)", "refs/tags", directory=here.directory)
        tags, _ = git.parse_refs(ours.decode(errors="replace"))
        if not tags:
            return []
        try:
            theirs = git.run(
                "ls-remote", "--tags", "--refs", "--", self._repository.url,
                ssh_command=self._repository.ssh_command(),
            )  # fmt: skip
        except subprocess.CalledProcessError as error:
            raise git.unreachable(self._repository, error) from None
        now, _ = git.parse_refs(theirs.decode(errors="replace"))
        return sorted(name[len("refs/tags/") :] for name, commit in tags.items() if now.get(name, commit) != commit)

    def refuse_unpushed(self, target: Wanted) -> None:
        """Moving the branch would leave commits behind that exist nowhere else.

        :raises Refused: where the checkout, or its branch of the name wanted, has commits that neither
            the commit wanted nor any branch or tag fetched from the repository holds.
        """
        here = self._checkout
        if not here.commit:
            return
        listing = git.run(
            "for-each-ref", "--format=%(objectname)", f"refs/heads/{target.branch}", directory=here.directory
        )
        for commit in dict.fromkeys([here.commit, *(listing.decode().split() if target.branch else [])]):
            only_here = git.run(
                "rev-list", "--max-count=1", commit, "--not", "--remotes", "--tags", directory=here.directory
            ).strip()
            if not only_here:
                continue
            if git.run("rev-list", "--max-count=1", commit, f"^{target.commit}", directory=self._directory).strip():
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
        known = git.tracked(here.directory, ".")
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
