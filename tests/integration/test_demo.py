"""The demo, as somebody sees it who has just cloned this repository: one long story."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.demo import copy_project, python, query, run
from support.places import ROOT

CORE_HEAD, POSER_HEAD, COLOUR = "c2ef84c99c93", "b084beb32f02", "c6a1d2f87b35"


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """A copy of what git would commit of this checkout, in a directory that only its owner may enter."""
    tmp_path.chmod(0o700)
    copy = tmp_path / "the checkout"
    copy_project(copy)
    yield copy
    run(copy, "make", python(), "clean-demo")


def changed(output: str) -> int:
    """The number behind ``changed=`` in the demo host's line of the recap."""
    found = re.search(r"^demo\s+:.*\bchanged=(\d+)", output, re.M)
    assert found, output
    return int(found[1])


def rows(checkout: Path, sql: str) -> list[tuple[object, ...]]:
    """The rows that ``sql`` gives through ``.demo/dsn``."""
    return query((checkout / ".demo" / "dsn").read_text().strip(), sql)


def heads(checkout: Path) -> set[object]:
    return {head for (head,) in rows(checkout, "select version_num from alembic_version")}


def modes(checkout: Path) -> dict[Path, tuple[int, int, int]]:
    """Mode and owner of every directory that was there before the demo and that it might touch."""
    before = [*checkout.parents, checkout, *(p for p in checkout.rglob("*") if p.is_dir() and ".demo" not in p.parts)]
    known = [p for p in (*before, Path.home(), Path("/var/tmp"), Path("/var/lib")) if ".venv" not in p.parts]
    return {p: (stat.S_IMODE(p.stat().st_mode), p.stat().st_uid, p.stat().st_gid) for p in known}


def processes(words: str) -> list[str]:
    """The command lines of the running processes that contain ``words``."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if words in line:
            found.append(line)
    return found


@pytest.mark.parametrize(("missing", "said"), [("ensurepip", ""), ("ensurepip pip", "apt-get install python3-venv")])
def test_debian_without_python3_venv(tmp_path: Path, missing: str, said: str) -> None:
    """It manages with the system's own pip, and names the package where there is none either."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if sys.prefix == sys.base_prefix:\n"
        "    sys.modules.update(dict.fromkeys(os.environ['MISSING'].split()))\n"
    )
    (tmp_path / "requirements.txt").write_text("packaging\n")
    done = subprocess.run(
        [os.path.realpath(sys.executable), ROOT / "scripts" / "make_env.py", "env", "requirements.txt"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "MISSING": missing},
        capture_output=True,
        text=True,
        check=False,
    )
    if said:
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        run(tmp_path, "env/bin/python", "-c", "import packaging, pip")


def test_a_machine_without_git_is_told_so_before_anything_is_made(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for program in ("make", "sh", "sed"):
        (tmp_path / "bin" / program).symlink_to(str(shutil.which(program)))
    command = ["make", python(), "demo"]
    done = subprocess.run(
        command, cwd=checkout, env={"PATH": str(tmp_path / "bin")}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "demo: git is missing. Install it" in done.stderr, done.stderr
    assert not (checkout / ".venv").exists() and not (checkout / ".demo").exists()


def test_the_demo(checkout: Path) -> None:
    before = modes(checkout)
    accounts = Path("/etc/passwd").read_bytes()

    # what somebody may have set for playbooks of their own
    others = ["ANSIBLE_CONFIG=/nowhere/ansible.cfg", "ANSIBLE_STDOUT_CALLBACK=minimal", "ANSIBLE_FORCE_COLOR=1"]
    first = run(checkout, "env", *others, "make", python(), "demo")
    assert changed(first) > 0 and "WARNING" not in first, first
    for table in ("poser_product", "poser_widget", "poser_widget_version"):
        assert re.search(rf"\b{table}\b", first.rpartition("PLAY RECAP")[2]), "the summary names the tables"
    assert heads(checkout) == {CORE_HEAD, POSER_HEAD}
    assert rows(checkout, "select count(*) from product") == [(0,)]
    assert "[rattail.mail]" in (checkout / ".demo/env/app/rattail.conf").read_text()

    # the machine is started again: no server runs, and nothing is lost
    rows(checkout, "insert into poser_widget (uuid, code, active) values ('1', 'W1', true)")
    run(checkout, ".venv/bin/python", "scripts/embedded_postgres.py", "stop", ".demo/postgres")
    second = run(checkout, "make", python(), "demo")
    assert changed(second) == 0
    assert rows(checkout, "select code from poser_widget") == [("W1",)]
    assert changed(run(checkout, ".venv/bin/ansible-playbook", "site.yml", "--check", "--diff")) == 0

    # the third revision, as the closing summary has it
    was = run(checkout, "git", "-C", ".demo/env/src/poser", "show-ref", "--head")
    run(checkout, "git", "-C", ".demo/poser", "am", str(checkout / "examples" / "widget-colour.patch"))
    run(checkout, "git", "-C", ".demo/poser", "push")
    plan = run(checkout, ".venv/bin/ansible-playbook", "site.yml", "--check", "--diff")
    assert COLOUR in plan
    assert run(checkout, "git", "-C", ".demo/env/src/poser", "show-ref", "--head") == was
    assert heads(checkout) == {CORE_HEAD, POSER_HEAD}
    assert changed(run(checkout, ".venv/bin/ansible-playbook", "site.yml")) > 0
    assert heads(checkout) == {CORE_HEAD, COLOUR}
    assert rows(checkout, "select code, colour from poser_widget") == [("W1", None)]
    assert changed(run(checkout, ".venv/bin/ansible-playbook", "site.yml")) == 0

    home = (checkout / ".demo" / "postgres").resolve()
    assert processes(str(home))
    run(checkout, "make", python(), "clean-demo")
    assert not (checkout / ".demo").exists()
    assert not home.exists()
    assert not processes(str(home)), "the server still runs"
    after = modes(checkout)
    assert {path: after.get(path) for path in before} == before
    assert Path("/etc/passwd").read_bytes() == accounts
