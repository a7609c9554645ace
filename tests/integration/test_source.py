"""The checkout: where it may move, where it goes back to, and what is never overwritten."""

from __future__ import annotations

import getpass
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.repository import Repository, git
from support.server import HOST, Server
from support.states import brought, check, difference, refused, settled, state

CORE_HEAD = "c2ef84c99c93"
VERSIONS = "poser/db/alembic/versions"


def add_column(server: Server, name: str) -> str:
    """Commit a revision that adds a column of that name, and return its id."""
    assert server.repository
    return server.repository.add_revision(f"add {name}", upgrade_sql=f"alter table poser_widget add {name} text")


def columns(server: Server) -> set[str]:
    """The columns of poser_widget."""
    query = "select column_name from information_schema.columns where table_name = 'poser_widget'"
    return {name for (name,) in server.sql(query)}


def look(server: Server) -> dict[str, Any]:
    """What the first look says of the server, without the rest of the role."""
    names = ("app", "user", "env_dir", "source_repo", "source_version", "backup")
    return server.module(
        "rattail_alembic_info", server.parameters({name: server.vars[f"rattail_schema_ext_{name}"] for name in names})
    )


def branch(server: Server) -> str:
    """The branch that the checkout is on; ``HEAD`` where it is on none."""
    return server.git("rev-parse", "--abbrev-ref", "HEAD")


# What is not there yet


def without_revisions(repository: Repository) -> None:
    repository.commit({str(file.relative_to(repository.path)): None for file in repository.versions.glob("*.py")})


def test_an_app_without_revisions_gets_its_directory_and_core_its_schema(make_server: Callable[..., Server]) -> None:
    server = make_server(content="empty")
    without_revisions(server.repository)
    promised = check(server)
    run = brought(server)
    for told in (promised, run):
        assert f"poser has no revision yet in poser.db:{VERSIONS[9:]}" in told.output
        assert "playbooks/revision.yml" in told.output
        assert "Write the first one" in told.output
    assert (server.versions.is_dir(), server.versions.owner()) == (True, getpass.getuser())
    assert server.current() == server.database.heads() == {CORE_HEAD}
    assert "  poser: nothing applied (no revision yet)" in run.result["summary"]


def test_the_directory_stays_where_the_commit_wanted_has_no_revision_left(make_server: Callable[..., Server]) -> None:
    server = make_server()
    without_revisions(server.repository)
    server.repository.commit({"poser/db/alembic/versions/.keep": ""}, "Keep the directory")
    server.deploy()
    server.repository.commit({"poser/db/alembic/versions/.keep": None}, "Forget to")
    run = brought(server)
    assert run.result["todo"] == ["source", "versions"]
    assert server.versions.is_dir()


def test_status_reports_a_missing_versions_directory_and_leaves_it(make_server: Callable[..., Server]) -> None:
    server = make_server()
    without_revisions(server.repository)
    server.deploy()
    assert not server.versions.exists()
    before = state(server)
    run = server.run_role(playbook="status")
    assert run.rc == 0 and run.result["todo"] == ["versions"], run.output
    assert "to do: versions" in run.output and str(server.versions) == run.result["versions"]
    assert difference(before, state(server)) == []


# What is in the way


def modified(server: Server) -> str:
    (server.source_dir / "README.md").write_text("written here\n")
    return "uncommitted changes: README.md"


def compiled(server: Server) -> str:
    """As an app of Rattail's generator has them under version control, whose .gitignore is silent on them."""
    cache = "poser/__pycache__/prices.cpython-311.pyc"
    server.repository.commit({".gitignore": "*.egg-info/\n", cache: "compiled"}, "Add everything")
    server.git("pull", "--quiet")
    (server.source_dir / cache).write_text("compiled anew")
    return "take them out of the repository"


def deleted(server: Server) -> str:
    shutil.rmtree(server.versions)
    return "b084beb32f02_add_widgets.py"


def staged(server: Server) -> str:
    (server.source_dir / "poser" / "prices.py").write_text("written = 'here'\n")
    server.git("add", "poser/prices.py")
    return "poser/prices.py"


def unknown_revision(server: Server) -> str:
    shutil.copy(server.repository.versions / "b084beb32f02_add_widgets.py", server.versions / "cafe_mine.py")
    return f"{VERSIONS}/cafe_mine.py"


def ignored_revision(server: Server) -> str:
    (server.source_dir / ".git" / "info" / "exclude").write_text("cafe_*.py\n")
    return unknown_revision(server)


def own_commit(server: Server) -> str:
    (server.source_dir / "README.md").write_text("written here\n")
    server.git("commit", "--all", "--quiet", "--message", "Mine")
    return server.git("rev-parse", "HEAD")[:12]


def own_commit_elsewhere(server: Server) -> str:
    commit = own_commit(server)
    server.git("checkout", "--quiet", "--detach", "origin/main")
    return commit


def file_in_the_way(server: Server) -> str:
    (server.source_dir / "poser" / "prices.py").write_text("written = 'here'\n")
    server.repository.commit({"poser/prices.py": "written = 'upstream'\n"})
    return "poser/prices.py"


def ignored_file_in_the_way(server: Server) -> str:
    (server.source_dir / ".git" / "info" / "exclude").write_text("prices.py\n")
    return file_in_the_way(server)


def foreign_directory(server: Server) -> str:
    shutil.rmtree(server.source_dir / ".git")
    return f"{server.source_dir} is not a git checkout"


@pytest.mark.parametrize(
    "hinder",
    [
        modified,
        compiled,
        deleted,
        staged,
        unknown_revision,
        ignored_revision,
        own_commit,
        own_commit_elsewhere,
        file_in_the_way,
        ignored_file_in_the_way,
        foreign_directory,
    ],
    ids=lambda hinder: hinder.__name__,
)
def test_what_lies_in_the_checkout_is_never_overwritten(deployed: Server, hinder: Callable[[Server], str]) -> None:
    add_column(deployed, "colour")
    refused(deployed, hinder(deployed))


@pytest.mark.parametrize("upstream", [False, True], ids=["alone", "with a new commit"])
def test_an_uncommitted_revision_is_taken_along_where_that_is_allowed(deployed: Server, upstream: bool) -> None:
    note = deployed.source_dir / "notes.txt"
    note.write_text("buy milk")
    if upstream:
        deployed.repository.commit({"poser/prices.py": ""})
    mine = deployed.repository.add_revision(
        "add mine", upgrade_sql="alter table poser_widget add mine text", commit=False
    )
    (file,) = deployed.repository.versions.glob(f"{mine}_*.py")
    shutil.move(file, deployed.versions)
    run = brought(deployed, {"rattail_schema_ext_allow_uncommitted_revisions": True})
    assert [each["revision"] for each in run.result["applied"]] == [mine]
    assert deployed.current() == {CORE_HEAD, mine} and "mine" in columns(deployed)
    assert deployed.git("status", "--porcelain").splitlines() == ["?? notes.txt", f"?? {VERSIONS}/{file.name}"]
    assert note.read_text() == "buy milk"
    assert deployed.git("rev-parse", "HEAD") == deployed.repository.commit_id


# Which version


def test_every_way_to_name_a_version(deployed: Server) -> None:
    repository = deployed.repository
    first = repository.commit({"poser/prices.py": "one = 1\n"})
    repository.git("tag", "v1")
    second = repository.commit({"poser/prices.py": "two = 2\n"})
    repository.git("tag", "--annotate", "--message", "Second", "v2")
    repository.git("checkout", "--quiet", "-b", "next/one")
    repository.commit({"poser/prices.py": "three = 3\n"})
    following = repository.git("rev-parse", "HEAD")
    repository.git("checkout", "--quiet", "main")
    for version, commit, on in (
        ("v1", first, "HEAD"),
        ("main", second, "main"),
        ("next/one", following, "next/one"),
        (second[:10], second, "HEAD"),
        (following, following, "HEAD"),
        ("v2", second, "HEAD"),
        ("HEAD", second, "main"),
    ):
        wanted = {"rattail_schema_ext_source_version": version}
        run = deployed.run_role(wanted)
        assert (run.rc, run.recaps[HOST].changed) == (0, 1), run.output
        assert run.result["source"]["wanted"] == run.result["source"]["after"] == commit, version
        assert (deployed.git("rev-parse", "HEAD"), branch(deployed)) == (commit, on), version
        settled(deployed, wanted)
    # a clone remembers which branch HEAD was
    repository.git("checkout", "--quiet", "next/one")
    brought(deployed, {"rattail_schema_ext_source_version": "HEAD"})
    assert (deployed.git("rev-parse", "HEAD"), branch(deployed)) == (following, "next/one")


def test_a_tag_that_was_moved_and_a_branch_that_was_rewritten_are_followed(deployed: Server) -> None:
    repository = deployed.repository
    first = repository.commit_id
    deployed.git("tag", "release")
    moved = repository.commit({"poser/prices.py": "one = 1\n"})
    repository.git("tag", "release")
    brought(deployed, {"rattail_schema_ext_source_version": "release"})
    assert deployed.git("rev-parse", "HEAD") == moved == deployed.git("rev-parse", "release")
    deployed.git("checkout", "--quiet", "-B", "main", "origin/main")
    repository.git("reset", "--quiet", "--hard", first)
    rewritten = repository.commit({"poser/prices.py": "one = 'another'\n"})
    brought(deployed)
    assert (deployed.git("rev-parse", "HEAD"), branch(deployed)) == (rewritten, "main")


@pytest.mark.parametrize("how", ["--depth=1", "--single-branch"])
def test_a_checkout_that_has_little_of_the_repository_gets_what_is_wanted(
    make_server: Callable[..., Server], how: str
) -> None:
    deployed = make_server(content="poser")
    repository, first = deployed.repository, deployed.repository.commit_id
    repository.commit({"poser/prices.py": "one = 1\n"})
    deployed.deploy("--no-local", how)
    repository.git("checkout", "--quiet", "-b", "next")
    mine = add_column(deployed, "colour")
    brought(deployed, {"rattail_schema_ext_source_version": "next"})
    assert deployed.current() == {CORE_HEAD, mine} and branch(deployed) == "next"
    repository.commit({"poser/prices.py": "two = 2\n"})
    repository.git("tag", "v1")
    # a branch of the tag's name, here alone
    deployed.git("branch", "v1")
    brought(deployed, {"rattail_schema_ext_source_version": "v1"})
    assert (deployed.git("rev-parse", "HEAD"), branch(deployed)) == (repository.git("rev-parse", "v1"), "HEAD")
    if how == "--depth=1":
        refused(deployed, "is shallow", "fetch --unshallow", vars={"rattail_schema_ext_source_version": first})


def test_a_path_of_any_characters(make_server: Callable[..., Server], tmp_path: Path) -> None:
    odd = 'o\'clock "$HOME" 100% ü'
    server = make_server(repository=Repository.of_poser(tmp_path / odd))
    server.vars["rattail_schema_ext_source_dir"] = str(server.env_dir / "src" / 'o\'clock at "home" ü')
    brought(server)
    server.repository.add_revision("add boxes", upgrade_sql="create table poser_box ()")
    brought(server)
    assert server.database.tables("poser_box") == ["poser_box"]
    wanted = {"rattail_schema_ext_source_repo": f"file://{server.repository.path}"}
    server.repository.commit({"poser/prices.py": ""})
    refused(server, "Write rattail_schema_ext_source_repo as a URL", vars=wanted)


@pytest.mark.parametrize(
    ("version", "repo", "words"),
    [
        ("v9.9", None, "has no branch, tag or commit 'v9.9'"),
        ("deadbeef", None, "has no branch, tag or commit 'deadbeef'"),
        ("main", "/nowhere/poser.git", "/nowhere/poser.git"),
        ("main", "ssh://git@127.0.0.1:1/poser.git", "Connection refused"),
    ],
    ids=["no such tag", "no such commit", "no repository", "no server"],
)
def test_a_version_that_cannot_be_had_is_refused(deployed: Server, version: str, repo: str | None, words: str) -> None:
    add_column(deployed, "colour")
    wanted = {"rattail_schema_ext_source_version": version}
    if repo:
        wanted["rattail_schema_ext_source_repo"] = repo
    refused(deployed, words, repo or str(deployed.repository.path), vars=wanted)


def test_a_version_that_cannot_be_had_is_refused_before_the_first_clone(server: Server) -> None:
    refused(server, "'v9.9'", vars={"rattail_schema_ext_source_version": "v9.9"})
    assert not server.source_dir.exists()


@pytest.mark.parametrize(
    "secret", ["https://store:opensesame@127.0.0.1:1/poser.git", "https://opensesame@127.0.0.1:1/"]
)
def test_credentials_in_the_url_are_refused_and_shown_nowhere(deployed: Server, secret: str) -> None:
    before = state(deployed)
    for checking in (True, False):
        run = deployed.run_role({"rattail_schema_ext_source_repo": secret}, check=checking, args=["-vvv"])
        assert (run.rc, run.recaps[HOST].failed, run.executions) == (2, 1, [])
        assert "rattail_schema_ext_source_repo has credentials in it" in run.message
        assert "rattail_schema_ext_source_key_file" in run.message
        assert "opensesame" not in run.output, [line for line in run.output.splitlines() if "opensesame" in line]
    assert difference(before, state(deployed)) == []


# Entries of git's that are no plain files


def test_links_within_the_repository_are_followed(deployed: Server) -> None:
    repository = deployed.repository
    boxes = repository.add_revision("add boxes", upgrade_sql="create table poser_box ()", commit=False)
    [file] = repository.versions.glob(f"{boxes}_*.py")
    repository.versions.rename(repository.path / "poser" / "migrations")
    repository.versions.symlink_to("../../migrations")
    shared = repository.path / "poser" / file.name
    (repository.path / "poser" / "migrations" / file.name).rename(shared)
    file.symlink_to(f"../{file.name}")
    repository.commit({}, "Move the revisions")
    brought(deployed)
    assert deployed.versions.is_symlink() and deployed.current() == {CORE_HEAD, boxes}
    # and back again
    repository.versions.unlink()
    (repository.path / "poser" / "migrations").rename(repository.versions)
    file.unlink()
    shared.rename(file)
    crates = repository.add_revision("add crates", upgrade_sql="create table poser_crate ()")
    brought(deployed)
    assert not deployed.versions.is_symlink() and deployed.current() == {CORE_HEAD, crates}


def linked_directory(repository: Repository) -> None:
    repository.versions.rename(repository.path.parent / "outside")
    repository.versions.symlink_to(repository.path.parent / "outside")


def linked_file(repository: Repository) -> None:
    file = next(repository.versions.glob("*.py"))
    file.rename(repository.path.parent / file.name)
    file.symlink_to(f"../../../../../../{file.name}")


def dangling_directory(repository: Repository) -> None:
    shutil.rmtree(repository.versions)
    repository.versions.symlink_to("nothing")


def submodule(repository: Repository) -> None:
    apart = Repository(repository.path.parent / "apart")
    repository.versions.rename(apart.path)
    apart.git("init", "--quiet", "--initial-branch=main")
    apart.commit({}, "Keep the revisions apart")
    repository.git("add", "--all")
    relative = str(repository.versions.relative_to(repository.path))
    repository.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(apart.path), relative)


@pytest.mark.parametrize("entry", [linked_directory, linked_file, dangling_directory, submodule])
def test_what_git_cannot_tell_of_a_commit_is_refused(deployed: Server, entry: Callable[[Repository], None]) -> None:
    entry(deployed.repository)
    deployed.repository.commit({}, "Have the revisions elsewhere")
    for there in (False, True):
        if there:
            # Somebody has brought it there by hand.
            deployed.git("pull", "--quiet")
            deployed.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init")
        found = look(deployed)
        assert [each["code"] for each in found["problems"]] == ["revision_unreadable"], found
        assert VERSIONS in found["problems"][0]["cause"]
    if entry is linked_directory:
        refused(deployed, VERSIONS, "Put the files themselves there")


# The work tree and the database


def stopped(server: Server) -> str:
    url = server.database.url
    server.config.write_text(server.config.read_text().replace(url, url.replace(server.database.host, "/nowhere")))
    return "/nowhere"


def unstamped(server: Server) -> str:
    server.sql("delete from alembic_version")
    return server.database.name


@pytest.mark.parametrize("spoil", [stopped, unstamped], ids=lambda spoil: spoil.__name__)
def test_the_work_tree_does_not_move_to_where_the_database_cannot_follow(
    deployed: Server, spoil: Callable[[Server], str]
) -> None:
    add_column(deployed, "colour")
    refused(deployed, spoil(deployed))


@pytest.mark.parametrize("version", ["main", "other", "v1"], ids=["branch", "another branch", "tag"])
def test_a_failed_upgrade_puts_the_checkout_back_and_the_next_run_converges(deployed: Server, version: str) -> None:
    repository = deployed.repository
    first = deployed.git("rev-parse", "HEAD")
    if version == "other":
        repository.git("checkout", "--quiet", "-b", version)
    good = repository.add_revision("good", upgrade_sql="alter table poser_widget add colour text")
    bad = repository.add_revision("bad", upgrade_sql="alter table poser_gadget add colour text")
    if version == "v1":
        repository.git("tag", version)
    wanted = {"rattail_schema_ext_source_version": version}
    heads, tables = deployed.database.heads(), columns(deployed)

    run = deployed.run_role(wanted)
    assert run.rc == 2 and "Traceback" not in run.output, run.output
    assert [each["revision"] for each in run.result["pending"]] == [good, bad]
    assert bad in run.message and "poser_gadget" in run.message
    assert f"Now the checkout is at {first} and the database at {', '.join(sorted(heads))}." in run.message
    assert run.result["source"]["after"] == first and set(run.result["current_after"]) == heads
    assert (deployed.git("rev-parse", "HEAD"), branch(deployed)) == (first, "main")
    assert deployed.git("status", "--porcelain") == ""
    assert (deployed.database.heads(), columns(deployed)) == (heads, tables)

    (file,) = repository.versions.glob(f"{bad}_*.py")
    name = str(file.relative_to(repository.path))
    repository.commit({name: file.read_text().replace("poser_gadget", "poser_product")}, "Mend it")
    if version == "v1":
        repository.git("tag", "--force", version)
    run = deployed.run_role(wanted)
    assert [each["revision"] for each in run.result["applied"]] == [good, bad], run.output
    assert deployed.current() == {CORE_HEAD, bad}
    assert deployed.git("rev-parse", "HEAD") == repository.git("rev-parse", "HEAD")


# git clones no submodule from a path unless told so.
LOCAL = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "protocol.file.allow", "GIT_CONFIG_VALUE_0": "always"}


def submodules(server: Server) -> dict[str, Repository]:
    """Three repositories, of which ``moved`` and ``removed`` are submodules of the app's, in its checkout as well."""
    found = {name: Repository(server.root / f"{name}.git") for name in ("moved", "removed", "added")}
    for name, each in found.items():
        each.path.mkdir()
        each.git("init", "--quiet", "--initial-branch=main")
        each.commit({"name.py": name})
        if name != "added":
            add_submodule(server.repository, each)
    server.repository.commit({}, "Add submodules")
    server.git("pull", "--quiet")
    server.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init")
    return found


def add_submodule(repository: Repository, other: Repository) -> None:
    repository.git(
        "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other.path), f"vendor/{other.path.stem}"
    )


def test_a_failed_upgrade_puts_submodules_back(deployed: Server) -> None:
    repository, others = deployed.repository, submodules(deployed)
    settled(deployed)
    before = {path: path.read_text() for path in (deployed.source_dir / "vendor").glob("*/*.py")}
    first, listed = deployed.git("rev-parse", "HEAD"), deployed.git("submodule", "status")
    assert len(before) == 2
    # Python leaves such files anywhere.
    compiled = deployed.source_dir / "vendor" / "moved" / "__pycache__"
    compiled.mkdir()
    (compiled / "name.pyc").write_text("compiled")

    others["moved"].commit({"name.py": "moved on"})
    Repository(repository.path / "vendor" / "moved").git("pull", "--quiet")
    repository.git("rm", "--quiet", "vendor/removed")
    add_submodule(repository, others["added"])
    bad = repository.add_revision("bad", upgrade_sql="select 1 / 0")
    run = deployed.run_role(env=LOCAL)
    assert run.rc == 2 and bad in run.message, run.output
    assert (deployed.git("rev-parse", "HEAD"), branch(deployed)) == (first, "main")
    assert {path: path.read_text() for path in (deployed.source_dir / "vendor").glob("*/*.py")} == before
    assert deployed.git("submodule", "status") == listed
    assert deployed.git("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=untracked") == ""

    # nor does one that cannot be had leave anything
    [file] = repository.versions.glob(f"{bad}_*.py")
    repository.commit({str(file.relative_to(repository.path)): file.read_text().replace("1 / 0", "1 / 1")}, "Mend it")
    away = others["added"].path.rename(deployed.root / "away")
    shutil.rmtree(deployed.source_dir / ".git" / "modules" / "vendor" / "added", ignore_errors=True)
    run = deployed.run_role(env=LOCAL)
    assert run.rc == 2 and "could not be brought to" in run.message, run.output
    assert deployed.git("submodule", "status") == listed
    away.rename(others["added"].path)
    run = deployed.run_role(env=LOCAL)
    assert (run.rc, [each["revision"] for each in run.result["applied"]]) == (0, [bad]), run.output
    assert (deployed.source_dir / "vendor" / "moved" / "name.py").read_text() == "moved on"
    assert (deployed.source_dir / "vendor" / "added" / "name.py").read_text() == "added"


def test_the_remedy_for_a_changed_submodule_is_one(deployed: Server) -> None:
    submodules(deployed)
    add_column(deployed, "colour")
    inner = deployed.source_dir / "vendor" / "moved"
    (inner / "name.py").write_text("written here\n")
    for change in ("its text", "its commit", "the app's own text as well"):
        if change.startswith("the app"):
            (deployed.source_dir / "README.md").write_text("written here\n")
            (inner / "name.py").write_text("written here\n")
        elif change == "its commit":
            git(inner, "commit", "--quiet", "--allow-empty", "--message", "Mine")
        said = look(deployed)["problems"]
        assert [each["code"] for each in said] == ["source_modified"] and "vendor/moved" in said[0]["cause"]
        [commands] = re.findall(r"\((git -C .+)\)", said[0]["remedy"])
        for command in commands.split(" && "):
            deployed.git(*command.split()[1:])
        assert look(deployed)["problems"] == []


def test_a_checkout_that_the_database_has_followed_stays(deployed: Server) -> None:
    repository = deployed.repository
    good = repository.add_revision("good", upgrade_sql="alter table poser_widget add colour text")
    bad = repository.add_revision("bad", upgrade='op.execute("commit")\nop.execute("select 1 / 0")')
    run = deployed.run_role()
    assert run.rc == 2 and bad in run.message, run.output
    assert [each["revision"] for each in run.result["applied"]] == [good]
    assert f"Now the checkout is at {repository.commit_id} and the database at " in run.message
    assert deployed.git("rev-parse", "HEAD") == repository.commit_id
    assert deployed.current() == {CORE_HEAD, good}
    (file,) = repository.versions.glob(f"{bad}_*.py")
    repository.commit({str(file.relative_to(repository.path)): file.read_text().replace("1 / 0", "1 / 1")}, "Mend it")
    run = deployed.run_role()
    assert (run.rc, [each["revision"] for each in run.result["applied"]]) == (0, [bad]), run.output


def test_a_failed_upgrade_leaves_the_checkout_where_that_is_wanted(deployed: Server) -> None:
    bad = deployed.repository.add_revision("bad", upgrade_sql="alter table poser_gadget add colour text")
    heads = deployed.database.heads()
    run = deployed.run_role({"rattail_schema_ext_source_restore": False})
    assert run.rc == 2 and bad in run.message, run.output
    assert f"Now the checkout is at {deployed.repository.commit_id}" in run.message
    assert deployed.git("rev-parse", "HEAD") == deployed.repository.commit_id
    assert deployed.database.heads() == heads


def test_a_push_in_the_middle_of_the_run_is_for_the_next_one(deployed: Server) -> None:
    repository = deployed.repository
    command = ["git", "-C", str(repository.path), "reset", "--quiet", "--hard", "next"]
    first = repository.add_revision("first", upgrade=f"import subprocess; subprocess.run({command})")
    wanted = repository.commit_id
    repository.git("checkout", "--quiet", "-b", "next")
    second = repository.add_revision("second", upgrade_sql="alter table poser_widget add colour text")
    repository.git("checkout", "--quiet", "main")
    run = deployed.run_role()
    assert (run.rc, [each["revision"] for each in run.result["applied"]]) == (0, [first]), run.output
    assert deployed.git("rev-parse", "HEAD") == wanted and deployed.current() == {CORE_HEAD, first}
    run = deployed.run_role()
    assert (run.rc, [each["revision"] for each in run.result["applied"]]) == (0, [second]), run.output


def test_a_checkout_that_fails_half_way_is_put_back(deployed: Server) -> None:
    repository = deployed.repository
    first, heads = deployed.git("rev-parse", "HEAD"), deployed.database.heads()
    # a filter that is not installed here, as git-lfs may not be
    deployed.git("config", "filter.large.smudge", "false")
    deployed.git("config", "filter.large.required", "true")
    repository.commit({".gitattributes": "*.png filter=large\n", "README.md": "changed\n", "z/logo.png": "picture\n"})
    add_column(deployed, "colour")
    run = deployed.run_role()
    assert run.rc == 2 and "Traceback" not in run.output, run.output
    assert "smudge filter large failed. Mend what git says" in run.message
    assert (deployed.git("rev-parse", "HEAD"), branch(deployed)) == (first, "main")
    assert deployed.git("status", "--porcelain") == ""
    assert deployed.database.heads() == heads
    for direction in ("clean", "smudge"):
        deployed.git("config", f"filter.large.{direction}", "cat")
    run = deployed.run_role()
    assert run.rc == 0 and "colour" in columns(deployed), run.output
