#!/usr/bin/env python3
"""Many hosts on one server, whose environments lie, and runs of the role on all of them at once.

    lies.py make DIRECTORY           makes the environments, to be unpacked on the server
    lies.py tell DIRECTORY SERVER    runs the role, and fails unless each run ends as it should, here and on the screen

SERVER is JSON: the variables that the server is reached with.
"""

import json
import re
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests" / "integration"))

from support.lies import (  # noqa: E402  found by the line above
    COMMIT,
    DEEDS,
    ESCAPES,
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
)
from support.runs import ansible  # noqa: E402  found by the line above

# On the server, where side_effect.yml unpacks them, and what is root's there.
PLACE, ROOTS = "/srv/lies", "/etc/lies"


@dataclass(frozen=True)
class Lie:
    """What an environment's Python answers, and how the run ends: with these words, or well where there are none."""

    replies: list[Any]
    words: str = ""
    vars: dict[str, Any] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    writes: bool = False  # a revision


def lies(directory: Path) -> dict[str, Lie]:
    """All of them by the names of their hosts; ``directory`` is on the controller."""
    kinds = {
        "beside": _beside(str(directory / "operator" / "evil.yml")),
        "fetch": _fetched(directory),
        "config": _configs(),
        "other": _others(),
    }
    found = {f"{kind}{number}": lie for kind, all_of_it in kinds.items() for number, lie in enumerate(all_of_it)}
    rotated = {
        "rattail_schema_ext_app": "poser_lies",
        "rattail_schema_ext_history_dir": "app/my *history",
        "rattail_schema_ext_history_logrotate": True,
    }
    # the truth, as far as the role sees: for the rotation
    return {**found, "rotated": Lie([says(), says({"todo": []})], vars=rotated)}


def _beside(evil: str) -> list[Lie]:
    """S1a, S1b: beside an answer, what others would be made to do."""
    python = f"{PLACE}/payload"
    deeds: list[dict[str, Any]] = [
        *DEEDS,
        {"ansible_facts": {"ansible_connection": "local", "ansible_user": "root", "ansible_become_exe": python}},
        {"ansible_facts": {"discovered_interpreter_python": python, "ansible_facts": {"ansible_become_user": "root"}}},
        {"invocation": {"module_args": ESCAPES}, "results": [DEEDS[0]], "skipped": True, "rc": 1, "item": ESCAPES},
        {"_ansible_verbose_override": True, "_ansible_ignore_errors": True, "_ansible_parsed": False, "failed_when": 1},
        {"warnings": [ESCAPES], "deprecations": [{"msg": ESCAPES, "version": "9"}], "exception": ESCAPES},
        {"unreachable": True, "ansible_job_id": "1", "finished": 0, "diff": [{"prepared": ESCAPES}]},
        {"ansible_facts": {"rattail_schema_ext_before_tasks": evil}},
        {"ansible_facts": {"rattail_schema_ext_after_tasks": evil}},
        {"include": evil, "include_args": {}, "include_variables": {}},
        {"results": [{"include": evil, "include_args": {}}], "ansible_included_var_files": [evil]},
        {"ansible_facts": {"role_path": evil, "playbook_dir": evil, "ansible_search_path": [evil]}},
        {"_ansible_notify": ["Act as root"], "notify": ["Act as root"]},
    ]
    return [Lie([says(**deed), says({"todo": []}, **deed)]) for deed in deeds]


def _fetched(directory: Path) -> list[Lie]:
    """S1c: files for the controller."""
    to = directory / "to"
    source = f"{PLACE}/fetch{{}}/env/src/poser"
    wrong = "does not lie or is not named"
    paths: list[tuple[Any, Any, str]] = [
        (f"{source}/../../../../../home/deploy/{NEW}_x.py", NEW, wrong),
        (f"{directory}/home/.ssh/authorized_keys", NEW, wrong),
        (f"{source}/{NEW}/../{NEW}_x.py", NEW, wrong),
        (f"{source}/.{NEW}_x.py", NEW, wrong),
        (f"{source}/{NEW}_x.py\n{directory}/home/x", NEW, wrong),
        (f"{source}/{NEW}{ESCAPES}.py", NEW, wrong),
        ([f"{source}/{NEW}_x.py"], NEW, wrong),
        (f"{source}/{NEW}_x.py", ["../x"], wrong),
        (f"{source}/x.py", "", wrong),
        (f"{source}/{NEW}_link.py", NEW, "cannot be read"),
        (f"{source}/{NEW}_there.py", NEW, "There is another"),
    ]
    found = []
    for number, (path, revision, words) in enumerate(paths):
        path = json.loads(json.dumps(path).replace("{}", str(number)))
        links = {
            f"env/src/poser/{NEW}_link.py": "/etc/shadow",
            f"env/src/poser/{NEW}_there.py": "../../app/rattail.conf",
        }
        wanted = {"rattail_schema_ext_revision_fetch_to": str(to)}
        found.append(Lie([says({"todo": []}), written(path, revision)], words, wanted, links, True))
    # nobody asked for it
    facts = {"rattail_schema_ext_revision_fetch_to": str(directory / "home")}
    return [*found, Lie([says({"todo": []}), written(f"{PLACE}/x/{NEW}.py", ansible_facts=facts)], writes=True)]


def _configs() -> list[Lie]:
    """S1d: what root, or another user, would write."""
    unit = config()
    unit["answer"]["config"].update(owner="deploy", path="/etc/systemd/system/lies.service")
    no = {"msg": "The owner does not.", "failed": True}
    kept = {"rattail_schema_ext_config_file": f"{ROOTS}/kept.conf"}
    return [
        *(Lie([config(**section)], "its answer has") for section in SECTIONS),
        *(Lie([config(**section)], "there is no variable", kept) for section in STRANGE),
        Lie([config(version_locations="poser.db:alembic/versions rattail.db:alembic/versions")], "lacks"),
        Lie([says({"todo": ["config"], "config": [config()]})], "lacks"),
        Lie([unit, no], no["msg"]),
        Lie([config(), no], no["msg"], links={"env/app/rattail.conf": f"{ROOTS}/kept.conf"}),
        Lie([config(), no], no["msg"], links={"env/app": ROOTS}),
    ]


def _others() -> list[Lie]:
    """What is no answer, or has words for the screen, or for git."""
    said = f"well{ESCAPES}\nok: [store]\r\nPLAY RECAP"
    answer = {"todo": [], "summary": [said], "warnings": [said], "database": {"name": said}, "state_reason": said}
    git = {"before": COMMIT, "after": COMMIT, "wanted": COMMIT, "version": "main", "branch": "--orphan"}
    return [
        *(Lie([reply], ".") for reply in NO_ANSWERS if reply != ""),
        Lie([says({**answer, "changed": True}, diff={"before": said, "after": ESCAPES}, warnings=[said])]),
        Lie([f"{json.dumps(says({'todo': []}))}\njunk {ESCAPES}"]),
        Lie([says({"todo": [], "msg": f"{said}.", "problems": [{"code": "x", "cause": said}]})], "well"),
        Lie([says({"todo": ["source"], "source": git}), {"failed": True, "msg": "no"}], "its answer has"),
    ]


def make(directory: Path) -> None:
    """Make the environments, and the places on the controller that none of them is to reach."""
    shutil.rmtree(directory, ignore_errors=True)
    for name in ("home/.ssh", "operator", "to", "server"):
        (directory / name).mkdir(parents=True)
    (directory / "home" / ".ssh" / "authorized_keys").write_text("the operator's\n")
    (directory / "operator" / "evil.yml").write_text(f"- ansible.builtin.command: touch {PLACE}/evil\n")
    (directory / "to" / f"{NEW}_there.py").symlink_to(directory / "operator" / "new")
    for name, lie in lies(directory).items():
        root = directory / "server" / name
        make_environment(root, at=f"{PLACE}/{name}")
        will_say(root, *lie.replies)
        for place, target in lie.links.items():
            link = root / place
            shutil.rmtree(link) if link.is_dir() else link.unlink(missing_ok=True)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target)
    payload = directory / "server" / "payload"
    payload.write_text(f"#!/bin/sh\nid -un >>{PLACE}/payload.log\n")
    payload.chmod(0o755)
    shutil.make_archive(str(directory / "server"), "gztar", directory / "server")


def tell(directory: Path, server: dict[str, Any]) -> list[str]:
    """Run the role on all of these hosts; what went wrong, in lines."""
    told = lies(directory)
    hosts: dict[str, dict[str, Any]] = {"deployed": {}, "writers": {}}
    for name, lie in told.items():
        hosts["writers" if lie.writes else "deployed"][name] = {
            **server,
            "rattail_schema_ext_app": "poser",
            "rattail_schema_ext_env_dir": f"{PLACE}/{name}/env",
            "rattail_schema_ext_history_logrotate": False,
            **({"rattail_schema_ext_revision_message": "x"} if lie.writes else {}),
            **lie.vars,
        }
    inventory = directory / "inventory.json"
    inventory.write_text(json.dumps({group: {"hosts": of_it} for group, of_it in hosts.items()}))
    before = _contents(directory)
    run = ansible(
        "ansible-playbook",
        ["-i", str(inventory), "-vvv", "--diff", "--forks=4", str(ROOT / "molecule" / "existing" / "lies.yml")],
        cwd=directory / "operator",
        scratch=directory / "ansible",
        env={
            "HOME": str(directory / "home"),
            "ANSIBLE_HOST_KEY_CHECKING": "false",
            "ANSIBLE_REMOTE_TMP": "~/.ansible/tmp",
            "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=20s -o UserKnownHostsFile=/dev/null",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(Path.home() / ".ansible" / "cp"),
        },
    )
    (directory / "screen").write_text(run.output)
    wrong = [f"{place} was written" for place in before ^ _contents(directory)]
    wrong += [f"the screen obeys {each!r}" for each in set(OBEYED.findall(run.output))]
    wrong += ["the screen has a traceback"] * ("Traceback" in run.output)
    for name, lie in told.items():
        failed = [task.result for task in run.tasks if task.host == name and task.status in ("failed", "unreachable")]
        message = str(failed[-1].get("msg")) if failed else ""
        well = not failed and "rattail_schema_ext_result" in run.facts(name)
        if not (lie.words in message and re.fullmatch(r".{1,25000}\.", message) if lie.words else well):
            wrong.append(f"{name}: {message[:2000]!r}")
    return wrong


def _contents(directory: Path) -> set[tuple[str, str]]:
    """The places on the controller, and what lies in them."""
    found = set()
    for name in ("home", "operator", "to"):
        for path in (directory / name).rglob("*"):
            found.add((str(path), path.read_text() if path.is_file() else ""))
    return found


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]))
    else:
        problems = tell(Path(sys.argv[2]), json.loads(sys.argv[3]))
        print("\n".join(problems))
        sys.exit(bool(problems))
