"""What is compared with what."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairs import Failed, Side, anything

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "integration"))

from support.places import BIN, ROOT
from support.postgres import Database, Postgres
from support.repository import Repository
from support.server import HOST, Server, poser_template

HERE = Path(__file__).resolve().parent
COREPOS = "rattail_corepos"
# so that Ansible leaves the module, with everything in it that it sends, in its temporary directory
_KEEP = {"ANSIBLE_KEEP_REMOTE_FILES": "1", "ANSIBLE_PIPELINING": "0"}


@dataclass(frozen=True)
class Row:
    """A line of the table; ``goal`` is what the ratio is to stay below."""

    name: str
    ours: Side
    other: Side
    goal: float


class Rows:
    """Sets up, below ``root``, what each row needs; every method named in ``NAMES`` gives one."""

    NAMES = ("upgrade", "policy", "look", "module", "role", "role_pip")

    def __init__(self, postgres: Postgres, root: Path) -> None:
        self._postgres = postgres
        self._root = root
        self._current: Server | None = None

    def upgrade(self) -> Row:
        """From an empty database."""
        server = self._server("empty", "template0")
        prepare = self._anew(server.database, "template0")
        module = self._payload(server, "rattail_alembic_upgrade")
        heads = _at(server)
        return Row(
            "upgrade of an empty database / alembic upgrade heads",
            Side(module, server.root, prepare=prepare, check=heads),
            Side(_alembic(server), server.env_dir, prepare=prepare, check=heads),
            1.10,
        )

    def policy(self) -> Row:
        """An integration's revisions with the guard, and without."""
        template = poser_template(self._postgres, self._root)
        server = self._server("policy", template)
        server.vars["rattail_schema_ext_integrations"] = [COREPOS]
        prepare = self._anew(server.database, template)
        guarded = self._payload(server, "rattail_alembic_upgrade")
        prepare()
        free = self._payload(server, "rattail_alembic_upgrade", {"rattail_schema_ext_policy": "off"})
        heads = _at(server)
        return Row(
            f"upgrade by the 18 revisions of {COREPOS}, policy enforce / off",
            Side(guarded, server.root, prepare=prepare, check=heads),
            Side(free, server.root, prepare=prepare, check=heads),
            1.3,
        )

    def look(self) -> Row:
        """Nothing to do, by the module."""
        server = self._with_nothing_to_do()
        return Row(
            "nothing to do: the module / alembic upgrade heads",
            Side(self._payload(server, "rattail_alembic_info"), server.root, check=_nothing_to_do),
            Side(_alembic(server), server.env_dir),
            0.20,
        )

    def module(self) -> Row:
        """Nothing to do, by the module, and by one that does nothing."""
        server = self._with_nothing_to_do()
        ours = self._payload(server, "rattail_alembic_info")
        server.module("connect", {"url": server.database.url}, env={**_KEEP, "ANSIBLE_LIBRARY": str(HERE / "library")})
        return Row(
            "nothing to do: the module / a module that only connects",
            Side(ours, server.root, check=_nothing_to_do),
            Side(_kept(server, "connect"), server.root),
            1.5,
        )

    def role(self) -> Row:
        """Nothing to do, by the role."""
        return self._role("nothing to do: the role / a playbook by hand", 0.25, install_always=True)

    def role_pip(self) -> Row:
        """The same against a playbook that is cleverer."""
        return self._role("nothing to do: the role / the same, pip only when needed", 0.50, install_always=False)

    def _role(self, name: str, goal: float, *, install_always: bool) -> Row:
        server = self._with_nothing_to_do()
        inventory = server.root / "bench.json"
        inventory.write_text(json.dumps(_inventory(server, {"install_always": install_always})))
        scratch = server.root / "ansible"
        env = {"ANSIBLE_HOME": str(scratch / "home"), "ANSIBLE_REMOTE_TMP": str(scratch / "remote"),
               "ANSIBLE_NOCOLOR": "1"}  # fmt: skip

        def play(playbook: Path, check: Callable[[str], None]) -> Side:
            return Side([str(BIN / "ansible-playbook"), "-i", str(inventory), str(playbook)], ROOT, env, check=check)

        return Row(name, play(ROOT / "site.yml", _nothing_changed), play(HERE / "by_hand.yml", anything), goal)

    def _with_nothing_to_do(self) -> Server:
        if self._current is None:
            self._current = self._server("current", poser_template(self._postgres, self._root))
        return self._current

    def _server(self, name: str, template: str) -> Server:
        """A server with the app deployed, and a database that is a copy of ``template``."""
        root = self._root / name
        root.mkdir()
        database = self._postgres.create(template)
        server = Server.make(root, database, repository=Repository.of_poser(root / "poser.git"))
        server.deploy()
        return server

    def _anew(self, database: Database, template: str) -> Callable[[], None]:
        def prepare() -> None:
            self._postgres.drop(database)
            self._postgres.create(template, database.name)

        return prepare

    def _payload(self, server: Server, module: str, vars: Mapping[str, Any] | None = None) -> list[str]:
        """The command that Ansible runs on the host for ``module``, as the role sends it; ``vars`` are the role's."""
        run = server.run_role(vars, env=_KEEP)
        if run.rc:
            raise Failed(run.output)
        return _kept(server, module)


def _kept(server: Server, module: str) -> list[str]:
    found = (server.root / "ansible" / "remote").glob(f"*/AnsiballZ_{module}.py")
    return [str(server.python), str(max(found, key=lambda path: path.stat().st_mtime_ns))]


def _alembic(server: Server) -> list[str]:
    return [str(server.env_dir / "bin" / "alembic"), "-c", str(server.config), "upgrade", "heads"]


def _inventory(server: Server, extra: Mapping[str, Any]) -> dict[str, Any]:
    bare = {"ansible_connection": "local", "ansible_python_interpreter": str(Path(sys.executable).resolve())}
    return {"rattail": {"hosts": {HOST: {**bare, **server.vars, **extra}}}}


def _at(server: Server) -> Callable[[str], None]:
    """Whoever upgraded, the version rows are to be what they are now."""
    wanted = server.database.heads()

    def check(output: str) -> None:
        if server.database.heads() != wanted:
            raise Failed(f"the version rows are {server.database.heads()}, not {wanted}:\n{output}")

    return check


def _nothing_to_do(output: str) -> None:
    answer = json.loads(output)
    if answer["todo"] or answer["problems"] or not answer["fast_path"]:
        raise Failed(output)


def _nothing_changed(output: str) -> None:
    recap = [line for line in output.splitlines() if line.startswith(f"{HOST} ")]
    if len(recap) != 1 or " changed=0 " not in recap[0]:
        raise Failed(output)
