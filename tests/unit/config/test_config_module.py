"""The module that writes ``[alembic]``: check mode, diff, owner and mode, links, backup, refusals."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rattail_alembic_config
from alembic_section import MANUAL
from ansible.module_utils.rattail_alembic.config import file as config_file
from ansible.module_utils.rattail_alembic.problem import Problem, Refused
from ansible.module_utils.testing import patch_module_args

BEFORE = (
    "# the store's\n[rattail.db]\ndefault.url = postgresql://rattail:hidden@h/poser\n\n"
    "[alembic]\nscript_location = rattail.db:alembic\nversion_locations = rattail.db:alembic/versions\n"
    "path_separator = space\n\n# hidden too\n[other]\nx = hidden\n"
)
ALONE = BEFORE[BEFORE.index("[alembic]") : BEFORE.index("\n\n# hidden too") + 1]
AFTER = BEFORE.replace(ALONE, MANUAL)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config file as a server has it."""
    path = tmp_path / "rattail.conf"
    path.write_text(BEFORE)
    path.chmod(0o640)
    return path


def run(capsys: pytest.CaptureFixture[str], check: bool = False, **parameters: Any) -> dict[str, Any]:
    """One execution of the module: its result, with ``rc``."""
    arguments = {"section": MANUAL, **parameters, "_ansible_check_mode": check, "_ansible_diff": True}
    with patch_module_args(arguments), pytest.raises(SystemExit) as end:
        rattail_alembic_config.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return {**result, "rc": end.value.code}


def test_checks_then_writes_then_has_nothing_to_do(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predicted = run(capsys, check=True, path=str(config))
    assert predicted["changed"] is True
    assert config.read_text() == BEFORE

    written = run(capsys, path=str(config))
    assert config.read_text() == AFTER
    assert written["changed"] is True
    assert written["diff"] == predicted["diff"]
    assert "backup_file" not in written

    again = run(capsys, path=str(config))
    assert again["changed"] is False
    assert again["diff"]["before"] == again["diff"]["after"]
    assert config.read_text() == AFTER


def test_shows_nothing_but_the_section(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, path=str(config))
    assert result["diff"]["before"] == ALONE
    assert result["diff"]["after"] == MANUAL
    assert "hidden" not in json.dumps(result)


def test_keeps_owner_and_mode_and_leaves_nothing_beside_it(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if os.geteuid() == 0:
        os.chown(config, 12345, 23456)
    before = config.stat()
    run(capsys, path=str(config))
    after = config.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino, "it was not replaced as a whole"
    assert os.listdir(config.parent) == [config.name]


def test_writes_through_a_link(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = config.parent / "link.conf"
    link.symlink_to(config.name)
    result = run(capsys, path=str(link))
    assert result["path"] == str(config)
    assert link.is_symlink()
    assert config.read_text() == AFTER


@pytest.fixture
def other() -> Callable[[Path], None]:
    """Gives a file, a directory or a link to another user."""
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    return lambda path: os.chown(path, 12345, 23456, follow_symlinks=False)


def test_a_file_below_directories_of_root_s_is_kept(config: Path) -> None:
    assert config_file.is_kept(str(config), os.geteuid())
    config.parent.chmod(0o1777)  # as /tmp, where nobody else can rename it
    assert config_file.is_kept(str(config), os.geteuid())


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o702])
def test_a_directory_that_others_may_write_to_keeps_nothing(config: Path, mode: int) -> None:
    config.parent.chmod(mode)
    assert not config_file.is_kept(str(config), os.geteuid())
    config.parent.chmod(0o700)


def test_a_file_of_somebody_else_s_is_not_kept(config: Path, other: Callable[[Path], None]) -> None:
    other(config)
    assert not config_file.is_kept(str(config), 0)
    assert config_file.is_kept(str(config), 12345)


def test_a_file_below_a_directory_of_somebody_else_s_is_not_kept(config: Path, other: Callable[[Path], None]) -> None:
    deep = config.parent / "a" / "b" / "rattail.conf"
    deep.parent.mkdir(parents=True)
    deep.write_text(BEFORE)
    assert config_file.is_kept(str(deep), 0)
    other(config.parent / "a")
    assert not config_file.is_kept(str(deep), 0)


def test_links_are_judged_and_where_they_lead(config: Path, other: Callable[[Path], None]) -> None:
    deep = config.parent / "a" / "rattail.conf"
    deep.parent.mkdir()
    deep.write_text(BEFORE)
    (config.parent / "to").symlink_to("a")
    (config.parent / "file").symlink_to("to/../a/rattail.conf")
    (config.parent / "absolute").symlink_to(config.parent / "to" / "rattail.conf")
    (config.parent / "round").symlink_to("round")
    ways = ["to/rattail.conf", "file", "absolute"]
    assert [config_file.is_kept(str(config.parent / way), 0) for way in ways] == [True] * 3
    assert not config_file.is_kept(str(config.parent / "round"), 0)
    assert not config_file.is_kept(str(config.parent / "missing"), 0)
    other(config.parent / "to")
    assert [config_file.is_kept(str(config.parent / way), 0) for way in ways] == [False] * 3
    os.chown(config.parent / "to", 0, 0, follow_symlinks=False)
    other(config.parent / "a")
    assert [config_file.is_kept(str(config.parent / way), 0) for way in ways] == [False] * 3


def test_what_is_not_kept_is_left_alone_where_that_is_asked(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.parent.chmod(0o777)
    result = run(capsys, path=str(config), only_kept=True)
    assert result["not_kept"] is True and "changed" not in result and config.read_text() == BEFORE
    config.parent.chmod(0o700)
    assert run(capsys, path=str(config), only_kept=True)["changed"] is True
    assert config.read_text() == AFTER


def test_a_backup_holds_the_file_as_it_was(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "backup_file" not in run(capsys, check=True, path=str(config), backup=True)
    backup = Path(run(capsys, path=str(config), backup=True)["backup_file"])
    assert backup.read_text() == BEFORE
    assert backup.stat().st_mode == config.stat().st_mode
    assert "backup_file" not in run(capsys, path=str(config), backup=True)


@pytest.mark.parametrize(
    ("text", "section", "code"),
    [
        (None, MANUAL, "config_missing"),
        (BEFORE + "[alembic]\n", MANUAL, "config_duplicate"),
        (BEFORE, "[other]\nx = 1\n", "section_invalid"),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_refuses(
    text: str | None, section: str, code: str, check: bool, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.unlink()
    if text is not None:
        config.write_text(text)
    result = run(capsys, check=check, path=str(config), section=section)
    assert (result["rc"], result["failed"], result["problem"]["code"]) == (1, True, code)
    assert result["msg"] == f"{result['problem']['cause']} {result['problem']['remedy']}"
    assert "hidden" not in json.dumps(result)
    assert (config.read_text() if text else config.exists()) == (text or False)


@pytest.mark.parametrize(
    ("owner", "group", "user", "kept"),
    [
        (71234, 7, 0, True),
        (71234, 7, 71234, True),
        (71234, 8, 71234, True),
        (71234, 9, 71234, False),
        (0, 7, 71234, False),
    ],
)
def test_an_owner_that_would_be_lost(owner: int, group: int, user: int, kept: bool) -> None:
    def judge() -> None:
        config_file.refuse_lost_owner("/f", owner, group, user, {7, 8})

    if kept:
        judge()
    else:
        with pytest.raises(Refused, match=r"chown 71234:\w+ /f"):
            judge()


def test_its_documentation_renders() -> None:
    library = Path(rattail_alembic_config.__file__).parent
    command = [str(Path(sys.executable).with_name("ansible-doc")), "-t", "module", "-M", str(library), "--json"]
    shown = subprocess.run([*command, "rattail_alembic_config"], capture_output=True, text=True, check=True)
    doc = json.loads(shown.stdout)["rattail_alembic_config"]["doc"]
    spec = rattail_alembic_config.get_argument_spec()
    assert set(doc["options"]) == set(spec)
    for name, option in spec.items():
        documented = doc["options"][name]
        assert documented["type"] == option["type"]
        assert documented.get("required", False) == option.get("required", False)
        assert documented.get("default") == option.get("default")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
@pytest.mark.parametrize("mine", [True, False])
def test_what_lets_the_user_read_the_file_does(config: Path, mine: bool) -> None:
    nobody = pwd.getpwnam("nobody")
    above = [each for each in config.parents if each.stat().st_mode & 0o001 == 0]
    modes = {each: each.stat().st_mode for each in above}
    config.chmod(0 if mine else 0o600)
    if mine:
        os.chown(config, nobody.pw_uid, -1)

    def refused() -> Problem | None:
        os.seteuid(nobody.pw_uid)
        try:
            config_file.read(str(config))
        except Refused as refused:
            return refused.problem
        finally:
            os.seteuid(0)
        return None

    try:
        problem = refused()
        assert problem and f"namei -l {config} shows which" in problem.remedy
        for each in above:
            each.chmod(0o711)
        problem = refused()
        assert problem and problem.code == "config_forbidden"
        command = problem.remedy.partition(": ")[2].rstrip(".")
        assert command.startswith("chmod" if mine else "chown nobody")
        subprocess.run(command, shell=True, check=True)
        assert refused() is None
    finally:
        for each, mode in modes.items():
            each.chmod(mode)
