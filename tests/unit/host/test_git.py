"""git, as the role reads it: against real repositories, verified by git itself."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest
from ansible.module_utils.rattail_alembic.host import git
from ansible.module_utils.rattail_alembic.host.commits import Commits
from ansible.module_utils.rattail_alembic.problem import Refused


def run_git(directory: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Tester", "-c", "user.email=tester@example.com")
    return subprocess.run(
        ["git", "-C", str(directory), *identity, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def commit(directory: Path, name: str, text: str = "text") -> str:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    run_git(directory, "add", "--all")
    run_git(directory, "commit", "--quiet", "--message", f"Write {name}")
    return run_git(directory, "rev-parse", "HEAD")


def snapshot(directory: Path) -> dict[str, bytes]:
    """Every file of a checkout, its .git included."""
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    directory = tmp_path / "upstream"
    directory.mkdir()
    run_git(directory, "init", "--quiet", "--initial-branch=main")
    commit(directory, "poser/__init__.py")
    return directory


@pytest.fixture
def clone(upstream: Path, tmp_path: Path) -> Path:
    directory = tmp_path / "clone"
    run_git(tmp_path, "clone", "--quiet", str(upstream), str(directory))
    return directory


def refusal(directory: Path, upstream: Path, version: str = "main") -> str:
    """The code of the problem that looking at source comes to."""
    with pytest.raises(Refused) as caught:
        checkout = git.look_at(str(directory))
        repository = git.Repository(str(upstream), version)
        target = git.wanted(repository, checkout)
        with Commits(repository, checkout) as commits:
            target = commits.bring(target)
            commits.refuse_odd_names(target)
            commits.refuse_what_git_cannot_fetch(target)
            commits.refuse_unpushed(target)
    return caught.value.problem.code


def test_no_checkout_yet(tmp_path: Path) -> None:
    assert git.look_at(str(tmp_path / "nowhere")) == git.Checkout(str(tmp_path / "nowhere"))
    assert git.look_at(str(tmp_path)).commit == ""


def test_an_empty_directory_inside_another_repository_is_no_checkout(upstream: Path) -> None:
    inner = upstream / "inner"
    inner.mkdir()
    assert git.look_at(str(inner)).commit == ""


def test_branch_and_commit_of_a_checkout(clone: Path) -> None:
    head = run_git(clone, "rev-parse", "HEAD")
    assert git.look_at(str(clone)) == git.Checkout(str(clone), head, "main")
    run_git(clone, "checkout", "--quiet", "--detach")
    assert git.look_at(str(clone)).branch == ""


def test_modified_renamed_and_staged_files_are_found(upstream: Path, clone: Path) -> None:
    commit(upstream, "a file.txt")
    commit(upstream, "moved.txt", "moved\n" * 20)
    run_git(clone, "pull", "--quiet")
    (clone / "poser/__init__.py").write_text("changed")
    (clone / "a file.txt").write_text("changed")
    run_git(clone, "mv", "moved.txt", "elsewhere.txt")
    assert sorted(git.look_at(str(clone)).modified) == [
        "a file.txt",
        "elsewhere.txt",
        "moved.txt",
        "poser/__init__.py",
    ]


def test_untracked_files_are_not_changes(clone: Path) -> None:
    (clone / "notes.txt").write_text("mine")
    assert git.look_at(str(clone)).modified == ()
    assert git.tracked(str(clone), ".") == {"poser/__init__.py"}


@pytest.mark.parametrize("version", ["main", "HEAD", "v1", "light", "full", "short"])
def test_every_kind_of_version(upstream: Path, clone: Path, version: str) -> None:
    new = commit(upstream, "poser/new.py", "new")
    run_git(upstream, "tag", "light")
    run_git(upstream, "tag", "--annotate", "--message", "One", "v1")
    name = {"full": new, "short": new[:9]}.get(version, version)
    before = snapshot(clone)
    checkout = git.look_at(str(clone))
    repository = git.Repository(str(upstream), name)
    target = git.wanted(repository, checkout)
    assert target.differs_from(checkout)
    with Commits(repository, checkout) as commits:
        target = commits.bring(target)
        assert target.commit == new
        assert target.branch == ("main" if version in ("main", "HEAD") else "")
        assert commits.files(new, "poser") == ["poser/__init__.py", "poser/new.py"]
        assert commits.read(new, ["poser/new.py", "poser/__init__.py"]) == {
            "poser/new.py": b"new",
            "poser/__init__.py": b"text",
        }
        assert commits.changes(checkout.commit, new, ("poser/new.py", "pyproject.toml")) == ["poser/new.py"]
    assert snapshot(clone) == before, "a look wrote to the checkout"


def test_a_branch_wins_over_a_tag_of_its_name(upstream: Path, clone: Path) -> None:
    run_git(upstream, "tag", "release")
    run_git(upstream, "checkout", "--quiet", "-b", "release")
    new = commit(upstream, "poser/new.py")
    target = git.wanted(git.Repository(str(upstream), "release"), git.look_at(str(clone)))
    assert (target.commit, target.branch) == (new, "release")


def test_without_a_checkout_the_commit_is_read_all_the_same(upstream: Path, tmp_path: Path) -> None:
    nowhere = git.Checkout(str(tmp_path / "nowhere"))
    repository = git.Repository(str(upstream), "main")
    with Commits(repository, nowhere) as commits:
        target = commits.bring(git.wanted(repository, nowhere))
        assert commits.files(target.commit) == ["poser/__init__.py"]
    assert not (tmp_path / "nowhere").exists()


def test_the_branch_matters_even_at_the_same_commit(upstream: Path, clone: Path) -> None:
    run_git(clone, "checkout", "--quiet", "--detach")
    checkout = git.look_at(str(clone))
    assert git.wanted(git.Repository(str(upstream), "main"), checkout).differs_from(checkout)
    same = run_git(clone, "rev-parse", "HEAD")
    assert not git.wanted(git.Repository(str(upstream), same), checkout).differs_from(checkout)


def test_a_commit_that_is_checked_out_needs_no_network(clone: Path) -> None:
    checkout = git.look_at(str(clone))
    gone = git.Repository("/nonexistent/poser.git", checkout.commit)
    assert not git.wanted(gone, checkout).differs_from(checkout)


def test_what_is_refused(upstream: Path, clone: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "letter.txt").write_text("mine")
    assert refusal(foreign, upstream) == "source_foreign"
    assert refusal(clone, upstream, "no-such-branch") == "source_version_unknown"
    assert refusal(clone, upstream, "0123456789abcdef0123456789abcdef01234567") == "source_version_unknown"
    assert refusal(clone, tmp_path / "gone.git") == "source_unreachable"
    commit(clone, "poser/local.py")
    commit(upstream, "poser/theirs.py")
    assert refusal(clone, upstream) == "source_unpushed"


def test_an_untracked_file_is_in_the_way_unless_it_is_the_same(upstream: Path, clone: Path) -> None:
    commit(upstream, "poser/new.py", "new")
    commit(upstream, "deep/er/x y.py")
    checkout = git.look_at(str(clone))
    repository = git.Repository(str(upstream), "main")
    with Commits(repository, checkout) as commits:
        target = commits.bring(git.wanted(repository, checkout))
        (clone / "notes.txt").write_text("mine")
        (clone / "poser/new.py").write_text("new")
        (clone / "deep").mkdir()
        commits.refuse_overwriting(target)
        for name in ("poser/new.py", "deep/er"):
            (clone / name).write_text("mine")
            with pytest.raises(Refused, match=f"has an untracked file, {name},"):
                commits.refuse_overwriting(target)
            (clone / name).unlink()
        (clone / "poser/new.py").symlink_to("../notes.txt")
        (clone / "notes.txt").write_text("new")
        with pytest.raises(Refused, match="has an untracked file, poser"):
            commits.refuse_overwriting(target)


def test_links_and_submodules_of_a_commit_are_followed_or_refused(upstream: Path, tmp_path: Path) -> None:
    commit(upstream, "real/a b.py", "one")
    for link, to in {
        "versions": "real", "twice/over": "../versions", "file.py": "versions/a b.py", "away": "/etc",
        "above.py": "../x.py", "gone": "nothing", "one": "two", "two": "one",
    }.items():  # fmt: skip
        (upstream / link).parent.mkdir(exist_ok=True)
        (upstream / link).symlink_to(to)
    run_git(upstream, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "./", "sub")
    head = commit(upstream, "last.txt")
    repository, nowhere = git.Repository(str(upstream), "main"), git.Checkout(str(tmp_path / "nowhere"))
    with Commits(repository, nowhere) as commits:
        commits.bring(git.wanted(repository, nowhere))
        for place in ("real", "versions", "twice/over"):
            assert commits.files(head, place) == [f"{place}/a b.py"]
            assert commits.read(head, [f"{place}/a b.py", "last.txt"])[f"{place}/a b.py"] == b"one"
        assert commits.read(head, ["file.py"]) == {"file.py": b"one"}
        assert commits.files(head, "nowhere") == commits.files(head, "last.txt") == []
        names = ["versions/a b.py", "twice", "away/passwd", "gone", "sub", "last.txt", "x"]
        assert commits.present(head, names) == ["versions/a b.py", "twice", "last.txt"]
        for place in ("away", "gone", "gone/further", "one", "sub", "sub/poser"):
            with pytest.raises(Refused, match=place):
                commits.files(head, place)
        for name in ("away/passwd", "above.py", "gone", "one", "sub"):
            with pytest.raises(Refused, match=name):
                commits.read(head, ["last.txt", name])


@pytest.mark.parametrize("how", ["--depth=1", "--single-branch", "--branch=v1", "--filter=blob:none", "--no-tags"])
def test_a_checkout_that_has_little_of_the_repository(upstream: Path, tmp_path: Path, how: str) -> None:
    first = run_git(upstream, "rev-parse", "HEAD")
    run_git(upstream, "config", "uploadpack.allowFilter", "true")
    (upstream / "poser/__init__.py").write_text("another")
    second = commit(upstream, "poser/second.py", "second")
    run_git(upstream, "tag", "v1")
    clone = tmp_path / "few"
    run_git(tmp_path, "clone", "--quiet", how, f"file://{upstream}", str(clone))
    run_git(upstream, "checkout", "--quiet", "-b", "other")
    # the text of a file that has been before, which a fetch does not bring again
    (upstream / "poser/__init__.py").write_text("text")
    third = commit(upstream, "poser/third.py", "third")
    run_git(upstream, "tag", "v2")
    run_git(upstream, "checkout", "--quiet", "main")
    commit(upstream, "poser/fourth.py")
    checkout = git.look_at(str(clone))
    assert checkout.commit == second
    for version in ("other", "v2", third, third[:9]):
        repository = git.Repository(str(upstream), version)
        with Commits(repository, checkout) as commits:
            target = commits.bring(git.wanted(repository, checkout))
            assert target.commit == third
            assert commits.files(third) == ["poser/__init__.py", "poser/second.py", "poser/third.py"]
            everything = commits.read(third, commits.files(third))
            assert list(everything.values()) == [b"text", b"second", b"third"]
            assert commits.changes(second, third, ("poser/third.py",)) == ["poser/third.py"]
            commits.refuse_what_git_cannot_fetch(target)
            commits.refuse_unpushed(target)
            commits.refuse_overwriting(target)
            assert commits.moved_tags() == []
    if how == "--depth=1":
        assert refusal(clone, upstream, first) == "source_shallow"
        run_git(clone, "fetch", "--quiet", "--unshallow", "origin")
    repository = git.Repository(str(upstream), first)
    with Commits(repository, checkout) as commits:
        assert commits.bring(git.wanted(repository, checkout)).commit == first


def test_branches_that_shut_each_other_out(upstream: Path, clone: Path) -> None:
    run_git(upstream, "branch", "next")
    run_git(clone, "fetch", "--quiet")
    run_git(upstream, "branch", "--move", "next", "next/one")
    commit(upstream, "poser/new.py")
    # whichever is wanted, git fetches them all
    assert refusal(clone, upstream, "main") == refusal(clone, upstream, "next/one") == "source_ref_in_the_way"
    run_git(clone, "remote", "prune", "origin")
    run_git(clone, "branch", "next/one/two")
    assert refusal(clone, upstream, "next/one") == "source_ref_in_the_way"
    repository, checkout = git.Repository(str(upstream), "main"), git.look_at(str(clone))
    with Commits(repository, checkout) as commits:
        commits.refuse_what_git_cannot_fetch(commits.bring(git.wanted(repository, checkout)))


def test_a_checkout_without_origin_is_refused(upstream: Path, clone: Path) -> None:
    commit(upstream, "poser/new.py")
    run_git(clone, "remote", "rename", "origin", "elsewhere")
    assert refusal(clone, upstream) == "source_remote_missing"


@pytest.mark.parametrize("odd", ["o'clock", 'a"b', "$HOME", "in two"])
def test_names_that_a_command_would_take_apart(upstream: Path, clone: Path, tmp_path: Path, odd: str) -> None:
    new = commit(upstream, "poser/new.py")
    if " " not in odd:
        run_git(upstream, "branch", odd)
        assert refusal(clone, upstream, odd) == "source_odd_name"
    elsewhere = tmp_path / odd
    upstream.rename(elsewhere)
    checkout = git.look_at(str(clone))
    for url, fits in (
        (str(elsewhere), True),
        (f"file://{elsewhere}", False),
        (f"file://{quote(str(elsewhere))}", True),
    ):
        repository = git.Repository(url, "main")
        with Commits(repository, checkout) as commits:
            target = commits.bring(git.wanted(repository, checkout))
            assert target.commit == new
            if fits:
                commits.refuse_odd_names(target)
            else:
                with pytest.raises(Refused, match="%20"):
                    commits.refuse_odd_names(target)


def test_a_branch_rewritten_upstream_is_no_loss(upstream: Path, clone: Path) -> None:
    run_git(upstream, "commit", "--quiet", "--amend", "--message", "Another beginning")
    checkout = git.look_at(str(clone))
    repository = git.Repository(str(upstream), "main")
    with Commits(repository, checkout) as commits:
        commits.refuse_unpushed(commits.bring(git.wanted(repository, checkout)))


def test_a_broken_repository_is_refused(clone: Path, upstream: Path) -> None:
    (clone / ".git" / "HEAD").write_text("nonsense")
    assert refusal(clone, upstream) == "source_broken"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_checkout_of_another_user_is_refused(clone: Path, upstream: Path) -> None:
    for path in [clone, *clone.rglob("*")]:
        os.chown(path, 65534, 65534)
    assert refusal(clone, upstream) == "source_owner"


def test_an_address_with_a_password_is_masked(clone: Path) -> None:
    repository = git.Repository("https://me:s3cret@127.0.0.1:1/poser.git", "main")
    with pytest.raises(Refused) as caught:
        git.wanted(repository, git.look_at(str(clone)))
    assert "s3cret" not in str(caught.value)


def test_ssh_never_asks() -> None:
    command = git.Repository("git@example.com:poser.git", key_file="/k e y", accept_newhostkey=True).ssh_command()
    assert command == "ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new -i '/k e y' -o IdentitiesOnly=yes"
