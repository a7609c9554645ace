"""An environment whose Python lies: only its owner does what it says, here and on the host, and no screen obeys it."""

from __future__ import annotations

import grp
import json
import os
import pwd
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.lies import (
    COMMIT,
    DEEDS,
    ESCAPES,
    EVERY_PHASE,
    LOCATIONS,
    NEW,
    NO_ANSWERS,
    OBEYED,
    SECTIONS,
    STRANGE,
    config,
    make_environment,
    says,
    will_say,
    written,
)  # fmt: skip
from support.places import ROLE, ROOT
from support.runs import Run, ansible

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user without a password")

SERVICE = "[Unit]\nDescription=x\n\n[Service]\nExecStart=/bin/true\n"


class Liar:
    """A host, deployed to as root, on which the environment is nobody's."""

    def __init__(self, root: Path) -> None:
        self.root, self.name = root, root.name
        make_environment(root)
        (root / "operator").mkdir()
        self.config = root / "env" / "app" / "rattail.conf"
        for path in (root / "env", *(root / "env").rglob("*"), root / "calls"):
            shutil.chown(path, "nobody")
        self.vars: dict[str, Any] = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "python3",
            "ansible_become": True,
            "ansible_become_method": "ansible.builtin.su",
            "ansible_become_flags": "-s /bin/sh",
            "rattail_schema_ext_app": "poser",
            "rattail_schema_ext_user": "nobody",
            "rattail_schema_ext_env_dir": str(root / "env"),
            "rattail_schema_ext_history_logrotate": False,
        }

    def run(self, *replies: Any, vars: Mapping[str, Any] | None = None, **options: Any) -> Run:
        """Run a playbook while the environment's Python answers with these."""
        will_say(self.root, *replies)
        return deploy([self], vars, **options)

    @property
    def calls(self) -> list[str]:
        """Who ran the environment's Python, one name for each time."""
        return (self.root / "calls" / "log").read_text().split()

    def message(self, run: Run) -> str:
        """What the last task that failed on this host said."""
        failed = [task.result for task in run.tasks if task.host == self.name and task.status == "failed"]
        return str(failed[-1].get("msg")) if failed else ""


def deploy(
    liars: Sequence[Liar],
    vars: Mapping[str, Any] | None = None,
    *,
    playbook: str = "site.yml",
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> Run:
    """Run a playbook on several hosts at once."""
    hosts = {liar.name: {**liar.vars, **(vars or {})} for liar in liars}
    scratch = liars[0].root / "ansible"
    (scratch / "remote").mkdir(parents=True, exist_ok=True)
    inventory = scratch / "hosts.json"
    inventory.write_text(json.dumps({"rattail": {"hosts": hosts}}))
    call = ["-i", str(inventory), *args, str(ROOT / playbook)]
    return ansible("ansible-playbook", call, cwd=ROOT, scratch=scratch, env=env)


@pytest.fixture
def make_liar() -> Iterator[Callable[..., Liar]]:
    """Make hosts, each with the replies of its environment's Python."""
    root = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="rattail_schema_ext_"))
    root.chmod(0o755)
    made: list[Liar] = []

    def make(*replies: Any) -> Liar:
        made.append(Liar(root / f"store{len(made)}"))
        will_say(made[-1].root, *replies)
        return made[-1]

    yield make
    shutil.rmtree(root)


@pytest.fixture
def liar(make_liar: Callable[..., Liar]) -> Liar:
    return make_liar()


def test_nobody_else_is_made_to_run_it(make_liar: Callable[..., Liar]) -> None:
    """Whichever module says it: the look, or git, pip and their like in the phases."""
    liars = []
    for deed in DEEDS:
        # a phase that worked, as git, a command and the directory have it, that says more than it should
        done = says({**EVERY_PHASE, "todo": []}, rc=0, after=COMMIT, changed=True, **deed)
        liars += [make_liar(says(EVERY_PHASE), done), make_liar(says(EVERY_PHASE, **deed), done)]
    run = deploy(liars)
    for each in liars:
        assert set(each.calls) == {"nobody"} and len(each.calls) > 4, run.output
    told = {name for task in run.tasks for name in task.result.get("ansible_facts") or {}}
    assert told <= {"rattail_schema_ext_result", "rattail_schema_ext_results", "__rattail_schema_ext_failed_install"}
    assert not [task for task in run.tasks if {"add_host", "add_group"} & task.result.keys()]


@pytest.mark.parametrize("name", ["before", "after"])
def test_it_does_not_choose_the_tasks_of_the_play(liar: Liar, name: str) -> None:
    evil = liar.root / "env" / "evil.yml"
    evil.write_text(f"- ansible.builtin.command: touch {liar.root}/evil\n")
    facts = {"ansible_facts": {f"rattail_schema_ext_{name}_tasks": str(evil)}}
    run = liar.run(says(EVERY_PHASE, **facts), says(EVERY_PHASE, rc=0, after=COMMIT, **facts))
    assert not (liar.root / "evil").exists(), run.output
    # where the operator does, they run
    liar.run(says(), vars={f"rattail_schema_ext_{name}_tasks": str(evil)})
    assert (liar.root / "evil").exists()


def test_check_mode_stays_check_mode_whatever_it_says(liar: Liar) -> None:
    tasks = liar.root / "operator" / "tasks.yml"
    tasks.write_text(f"- ansible.builtin.command: touch {liar.root}/touched\n  check_mode: false\n")
    own = {"rattail_schema_ext_before_tasks": str(tasks), "rattail_schema_ext_after_tasks": str(tasks)}
    run = liar.run(says({**EVERY_PHASE, "check_mode": False}), vars=own, args=["--check"])
    assert not (liar.root / "touched").exists(), run.output
    assert run.result["check_mode"] is True


def test_facts_of_the_tasks_before_do_not_choose_those_after(liar: Liar) -> None:
    evil = liar.root / "env" / "evil.yml"
    evil.write_text(f"- ansible.builtin.command: touch {liar.root}/evil\n")
    tasks = liar.root / "operator" / "before.yml"
    python = f"ansible_python_interpreter: {liar.root}/env/bin/python"
    tasks.write_text(f"- ansible.builtin.ping:\n  become_user: nobody\n  vars: {{ {python} }}\n")
    facts = {"rattail_schema_ext_after_tasks": str(evil), "ansible_facts": {}}
    vars = {"rattail_schema_ext_before_tasks": str(tasks)}
    run = liar.run(says(), {"ansible_facts": facts}, vars=vars)
    assert not (liar.root / "evil").exists(), run.output
    assert run.rc == 2 and "facts of the host hold rattail_schema_ext_after_tasks" in run.message, run.output


def after_facts(liar: Liar, **vars: str) -> Path:
    """A playbook in which a task of its own asks the environment's Python before the role runs with ``vars``."""
    asks = {
        "ansible.builtin.ping": {},
        "become_user": "nobody",
        "vars": {"ansible_python_interpreter": str(liar.root / "env" / "bin" / "python")},
    }
    role = {"ansible.builtin.import_role": {"name": "rattail_schema_ext"}, "vars": vars}
    playbook = liar.root / "playbook.json"
    playbook.write_text(json.dumps([{"hosts": "rattail", "gather_facts": False, "tasks": [asks, role]}]))
    return playbook


def test_facts_that_others_left_do_not_decide_either(liar: Liar) -> None:
    """They may come from a task of the play's, or out of a cache."""
    playbook = after_facts(liar)
    run = liar.run({"ping": "pong", "ansible_facts": {"rattail_schema_ext_user": "root"}}, playbook=str(playbook))
    assert run.rc == 2 and "facts of the host hold rattail_schema_ext_user" in run.message, run.output
    assert set(liar.calls) == {"nobody"}


def test_the_limit_that_a_variable_which_follows_a_fact_is_the_app_s_user_s(liar: Liar) -> None:
    """The security page says so: Ansible believes facts of any other name."""
    evil = liar.root / "env" / "evil.yml"
    evil.write_text(f"- ansible.builtin.command: touch {liar.root}/evil\n")
    playbook = after_facts(liar, rattail_schema_ext_after_tasks="{{ shop_tasks }}")
    fact = {"ping": "pong", "ansible_facts": {"shop_tasks": str(evil)}}
    run = liar.run(fact, says(), playbook=str(playbook))
    assert (liar.root / "evil").exists() and (liar.root / "evil").owner() == "root", run.output


KEYS = "ssh-ed25519 AAAA nobody@nowhere\n"


def fetch(liar: Liar, path: str, revision: str = NEW, content: str = KEYS) -> Run:
    if path.startswith(f"{liar.root}/env/src/poser/{NEW}_"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(content)
    wishes = {"rattail_schema_ext_revision_message": "x", "rattail_schema_ext_revision_fetch_to": str(liar.root / "to")}
    return liar.run(says({"todo": []}), written(path, revision), vars=wishes, playbook="playbooks/revision.yml")


def test_nothing_is_fetched_that_nobody_asked_for(liar: Liar) -> None:
    facts = {"rattail_schema_ext_revision_fetch_to": str(liar.root / "operator")}
    reply = written("/x/authorized_keys", ansible_facts=facts)
    wishes = {"rattail_schema_ext_revision_message": "x"}
    run = liar.run(says({"todo": []}), reply, vars=wishes, playbook="playbooks/revision.yml")
    assert (run.rc, os.listdir(liar.root / "operator")) == (0, []), run.output


def test_a_script_is_fetched_and_takes_nobody_s_place(liar: Liar) -> None:
    path = f"{liar.root}/env/src/poser/{NEW}_add.py"
    run = fetch(liar, path)
    assert run.rc == 0 and (liar.root / "to" / f"{NEW}_add.py").read_text() == KEYS, run.output
    assert fetch(liar, path).rc == 0
    run = fetch(liar, path, content="other")
    assert run.rc == 2 and "There is another" in run.message
    # nor what a link leads to
    (liar.root / "to" / f"{NEW}_add.py").unlink()
    (liar.root / "to" / f"{NEW}_add.py").symlink_to(liar.root / "operator" / "new")
    assert fetch(liar, path).rc == 2 and os.listdir(liar.root / "operator") == []


def test_root_writes_no_other_file_than_the_operator_named(make_liar: Callable[..., Liar]) -> None:
    liars = []
    for section in (*SECTIONS, {}):
        liars.append(make_liar())
        unit = liars[-1].root / "operator" / "x.service"
        unit.write_text(SERVICE)
        reply = config(**section)
        reply["answer"]["config"]["path"] = str(unit)
        will_say(liars[-1].root, reply, {"msg": "no", "failed": True})
    run = deploy(liars)
    for each in liars:
        assert each.message(run), run.output
        assert (each.root / "operator" / "x.service").read_text() == SERVICE, run.output
        assert each.config.read_text() == "[rattail]\n" and set(each.calls) == {"nobody"}
    # it was the section that was refused, but for the one that is as it should be
    assert [len(each.calls) for each in liars[:-1]] == [1] * 4 and len(liars[-1].calls) > 1


def test_root_follows_no_link_of_somebody_else_s(make_liar: Callable[..., Liar]) -> None:
    """Below the directories of the app's user that user alone edits the file, with its own rights."""
    said = "The config file belongs to root."
    liars = [make_liar(config(), {"msg": said, "problem": {}, "failed": True}) for _ in range(3)]
    units = [each.root / "operator" / "rattail.conf" for each in liars]
    for unit in units:
        unit.write_text(SERVICE)
    file, directory, above = liars
    file.config.unlink()
    file.config.symlink_to(units[0])
    directory.config.unlink()
    directory.config.parent.rmdir()
    directory.config.parent.symlink_to(units[1].parent)
    # root's own file in root's own directory, but one above it is not
    shutil.chown(above.config, "root")
    shutil.chown(above.config.parent, "root")
    before = [each.config.read_text() for each in liars]
    run = deploy(liars)
    assert [unit.read_text() for unit in units] == [SERVICE] * 3
    assert [each.config.read_text() for each in liars] == before
    for each in liars:
        assert said in each.message(run) and set(each.calls) == {"nobody"}, run.output


def test_what_root_keeps_stays_root_s_and_only_root_writes_it(liar: Liar) -> None:
    kept = liar.root / "operator" / "poser.conf"
    kept.write_text("[rattail]\n")
    kept.chmod(0o640)
    kept.parent.joinpath("link.conf").symlink_to("poser.conf")
    for place in (kept, kept.parent / "link.conf"):
        kept.write_text("[rattail]\n")
        liar.run(config(), says({"todo": []}), vars={"rattail_schema_ext_config_file": str(place)})
        assert f"version_locations = {' '.join(LOCATIONS)}\n" in kept.read_text()
        assert (kept.owner(), kept.stat().st_mode & 0o777) == ("root", 0o640)
        assert set(liar.calls) == {"nobody"}


def test_what_root_keeps_gets_no_location_that_nobody_asked_for(make_liar: Callable[..., Liar]) -> None:
    """Root may run Alembic with it."""
    liars = [make_liar(config(**section), says({"todo": []})) for section in STRANGE]
    before = "[alembic]\nscript_location = own:alembic\nversion_locations = a:b, /c\n"
    for each in liars:
        kept = each.root / "operator" / "poser.conf"
        kept.write_text(before)
        each.vars["rattail_schema_ext_config_file"] = str(kept)
    run = deploy(liars)
    for each in liars:
        assert "for which there is no variable" in each.message(run), run.output
        assert (each.root / "operator" / "poser.conf").read_text() == before
    # what is there stays, and what the operator asks for comes
    wanted = {"script_location": "own:alembic", "version_locations": [*LOCATIONS, "a:b", "/c", "w.db:alembic/versions"]}
    vars = {"rattail_schema_ext_integrations": ["w"]}
    run = liars[0].run(config(**wanted), says({"todo": []}), vars=vars)
    assert " ".join(wanted["version_locations"]) in (liars[0].root / "operator" / "poser.conf").read_text(), run.output


def test_logrotate_is_nobody_but_the_app_s_user(liar: Liar) -> None:
    """As root, it would follow what that user puts in the place of a file or of the directory."""
    kept = liar.root / "operator" / "rotated"
    tasks = [
        {"name": "group", "rattail_schema_ext_run": {"module": "ansible.builtin.command",
         "parameters": {"argv": ["id", "-gn", "nobody"]}}, "register": "__rattail_schema_ext_group"},
        {"name": "write", "rattail_schema_ext_template": {
         "src": str(ROLE / "templates" / "logrotate.j2"), "dest": str(kept), "mode": "0644"}},
    ]  # fmt: skip
    vars_file = ROLE / "vars" / "main.yml"
    play = {"hosts": "rattail", "gather_facts": False, "vars_files": [str(vars_file)], "tasks": tasks}
    playbook = liar.root / "playbook.json"
    playbook.write_text(json.dumps([play]))
    plugins = {"ANSIBLE_ACTION_PLUGINS": str(ROLE / "action_plugins")}
    for directory, path in (("/srv/my *[history]?", r"/srv/my \*\[history\]\?"), ("app/x", f"{liar.root}/env/app/x")):
        vars = {"rattail_schema_ext_history_dir": directory}
        run = liar.run("", vars=vars, playbook=str(playbook), env=plugins)
        assert run.rc == 0, run.output
        lines = kept.read_text().splitlines()
        assert lines[1] == f'"{path}/poser.history.jsonl" {{'
        assert lines[2].split() == ["su", "nobody", grp.getgrgid(pwd.getpwnam("nobody").pw_gid).gr_name]


def test_what_is_no_answer_is_told_in_a_sentence(make_liar: Callable[..., Liar]) -> None:
    liars = [make_liar(reply) for reply in NO_ANSWERS]
    run = deploy(liars, args=["-vvv"])
    assert "Traceback" not in run.output and "unhandled exception" not in run.output.lower(), run.output[-3000:]
    assert not OBEYED.search(run.output), run.output
    assert len(run.output) < 1_000_000
    for each, reply in zip(liars, NO_ANSWERS):
        message = each.message(run)
        assert message and "\n" not in message and len(message) < 25_000, (str(reply)[:100], message[:1000])


def test_what_follows_an_answer_is_shown_without_what_a_terminal_obeys(liar: Liar) -> None:
    run = liar.run(json.dumps(says({"todo": []})) + f"\njunk {ESCAPES}")
    assert run.rc == 0 and "junk" in run.output and not OBEYED.search(run.output)


def test_its_words_reach_the_screen_as_lines_without_what_a_terminal_obeys(liar: Liar) -> None:
    said = f"all is well{ESCAPES}\nok: [store]\r\nPLAY RECAP"
    answer = {
        "todo": [],
        "summary": [said],
        "warnings": [said],
        "pending": [{"revision": said, "message": said}],
        "install_reason": said,
        "database": {"name": said},
    }
    for args in ([], ["--diff"], ["-v"]):
        diff = {"before": said, "after": ESCAPES, "before_header": said}
        run = liar.run(
            says({**answer, "changed": True}, diff=diff, warnings=[said]), args=args, playbook="playbooks/status.yml"
        )
        assert not OBEYED.search(run.output), run.output
        assert run.rc == 0 and not [
            line for line in run.output.splitlines() if line.startswith("PLAY RECAP") and "*" not in line
        ]
    run = liar.run(says({"todo": [], "msg": said, "problems": [{"code": "x", "cause": said}]}))
    assert run.rc == 2 and "all is well" in run.message and not set("\n\r\x1b") & set(run.message)


def test_no_word_of_its_is_an_option_of_git_s(make_liar: Callable[..., Liar]) -> None:
    """A checkout that failed goes back to the commit and the branch that the look named."""
    right = {"before": COMMIT, "after": COMMIT, "wanted": COMMIT, "version": "main"}
    wrong = [{"branch": "--orphan"}, {"branch": "-B"}, {"branch": "x y"}, {"before": "--detach"}, {"version": "-f"}]
    liars = [
        make_liar(says({"todo": ["source"], "source": {**right, **each}}), {"failed": True, "msg": "no"})
        for each in wrong
    ]
    run = deploy(liars)
    for each in liars:
        assert "its answer has" in each.message(run) and len(each.calls) == 1, run.output
