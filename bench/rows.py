"""What is compared with what."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
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
# the role's modules that are measured by themselves
LOOK, UPGRADE = "rattail_alembic_info", "rattail_alembic"
HOSTS = 20
MORE_REVISIONS = 2700
# for a store that has grown, and an app that has
TABLES, TABLE_REVISIONS = 2000, 1000
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

    NAMES = (
        "upgrade", "policy", "guard", "look", "module", "role", "role_pip", "role_ping", "hosts_pip", "hosts_ping",
        "revisions",
    )  # fmt: skip

    def __init__(self, postgres: Postgres, root: Path) -> None:
        self._postgres = postgres
        self._root = root
        self._current: list[Server] = []

    def upgrade(self) -> Row:
        """From an empty database."""
        server = self._server("empty", "template0")
        prepare = self._anew(server.database, "template0")
        module = self._payload(server, UPGRADE)
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
        guarded = self._payload(server, UPGRADE)
        prepare()
        free = self._payload(server, UPGRADE, {"rattail_schema_ext_policy": "off"})
        heads = _at(server)
        return Row(
            f"upgrade by the 18 revisions of {COREPOS}, policy enforce / off",
            Side(guarded, server.root, prepare=prepare, check=heads),
            Side(free, server.root, prepare=prepare, check=heads),
            1.20,
        )

    def guard(self) -> Row:
        """Many guarded revisions, on a database with many tables."""
        template = self._postgres.template(
            "many_tables", str(TABLES), _add_tables, poser_template(self._postgres, self._root)
        )
        server = self._server(
            "guard", template, TABLE_REVISIONS, upgrade="op.execute('create table poser_{} (id int)')"
        )
        prepare = self._anew(server.database, template)
        module = self._payload(server, UPGRADE)
        heads = _at(server)
        return Row(
            f"upgrade by {TABLE_REVISIONS} guarded revisions, {TABLES} tables / alembic",
            Side(module, server.root, prepare=prepare, check=heads),
            Side(_alembic(server), server.env_dir, prepare=prepare, check=heads),
            5.0,
        )

    def look(self) -> Row:
        """Nothing to do, by the module."""
        [server] = self._with_nothing_to_do()
        return Row(
            "nothing to do: the module / alembic upgrade heads",
            Side(self._payload(server, LOOK), server.root, check=_nothing_to_do),
            Side(_alembic(server), server.env_dir),
            0.20,
        )

    def module(self) -> Row:
        """Nothing to do, by the module, and by one that does nothing."""
        [server] = self._with_nothing_to_do()
        ours = self._payload(server, LOOK)
        server.module("connect", {"url": server.database.url}, env={**_KEEP, "ANSIBLE_LIBRARY": str(HERE / "library")})
        return Row(
            "nothing to do: the module / a module that only connects",
            Side(ours, server.root, check=_nothing_to_do),
            Side(_kept(server, "connect"), server.root),
            1.5,
        )

    def role(self) -> Row:
        """Nothing to do, by the role."""
        servers = self._with_nothing_to_do()
        other = _by_hand(servers, install_always=True)
        return Row("nothing to do: the role / a playbook by hand", _role(servers), other, 0.25)

    def role_pip(self) -> Row:
        """The same against a playbook that is cleverer."""
        return self._role_pip("nothing to do: the role / the same, pip only when needed", 0.50, hosts=1)

    def role_ping(self) -> Row:
        """The same against the least that a play can do."""
        return self._role_ping("nothing to do: the role / a play that only pings", 1.45, hosts=1)

    def hosts_pip(self) -> Row:
        """Many hosts, against the cleverer playbook."""
        return self._role_pip(f"the same on {HOSTS} hosts: the role / by hand, pip only when needed", 0.20, hosts=HOSTS)

    def hosts_ping(self) -> Row:
        """Many hosts, against the least that a play can do."""
        return self._role_ping(f"the same on {HOSTS} hosts: the role / a play that only pings", 1.75, hosts=HOSTS)

    def revisions(self) -> Row:
        """Nothing to do with many revisions, which the role has applied, and with few."""
        many = self._server("many", poser_template(self._postgres, self._root), MORE_REVISIONS)
        run = many.run_role({"rattail_schema_ext_policy": "off"})
        if run.rc:
            raise Failed(run.output)
        ours, other = _role([many]), _role(self._with_nothing_to_do())
        return Row(f"nothing to do: the role with {MORE_REVISIONS} more revisions / without", ours, other, 1.30)

    def _role_pip(self, name: str, goal: float, hosts: int) -> Row:
        servers = self._with_nothing_to_do(hosts)
        return Row(name, _role(servers), _by_hand(servers, install_always=False), goal)

    def _role_ping(self, name: str, goal: float, hosts: int) -> Row:
        servers = self._with_nothing_to_do(hosts)
        return Row(name, _role(servers), _play(servers, HERE / "ping.yml", _nothing_changed(servers)), goal)

    def _with_nothing_to_do(self, hosts: int = 1) -> list[Server]:
        """Servers with an environment and a checkout each, and one database."""
        if not self._current:
            self._current.append(self._server("current", poser_template(self._postgres, self._root)))
        first = self._current[0]
        for number in range(len(self._current), hosts):
            self._current.append(self._deployed(f"current{number}", first.database, first.repository))
        return self._current[:hosts]

    def _server(self, name: str, template: str, more_revisions: int = 0, upgrade: str = "pass") -> Server:
        """A server with the app deployed, and a database that is a copy of ``template``.

        ``more_revisions``, which do ``upgrade``, with their number in it, follow the app's own.
        """
        repository = Repository.of_poser(self._root / f"{name}.git")
        last = repository.head
        for number in range(more_revisions):
            last = repository.add_revision(
                f"number {number}",
                upgrade=upgrade.format(number),
                down_revision=last,
                commit=number + 1 == more_revisions,
            )
        return self._deployed(name, self._postgres.create(template), repository)

    def _deployed(self, name: str, database: Database, repository: Repository) -> Server:
        root = self._root / name
        root.mkdir()
        server = Server.make(root, database, repository=repository)
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


def _add_tables(database: Database) -> None:
    create = "create table shop_%s (id integer primary key, name text, amount numeric)"
    database.sql(f"do $$ begin for n in 1..{TABLES} loop execute format('{create}', n); commit; end loop; end $$")


def _kept(server: Server, module: str) -> list[str]:
    found = (server.root / "ansible" / "remote").glob(f"*/AnsiballZ_{module}.py")
    return [str(server.python), str(max(found, key=lambda path: path.stat().st_mtime_ns))]


def _alembic(server: Server) -> list[str]:
    return [str(server.env_dir / "bin" / "alembic"), "-c", str(server.config), "upgrade", "heads"]


def _role(servers: Sequence[Server]) -> Side:
    return _play(servers, ROOT / "site.yml", _nothing_changed(servers))


def _by_hand(servers: Sequence[Server], *, install_always: bool) -> Side:
    # what it does is called a change whether there was one or not
    return _play(servers, HERE / "by_hand.yml", anything, install_always=install_always)


def _play(servers: Sequence[Server], playbook: Path, check: Callable[[str], None], **extra: Any) -> Side:
    """A playbook, with the variables ``extra`` as well, run on the servers at once."""
    bare = {"ansible_connection": "local", "ansible_python_interpreter": str(Path(sys.executable).resolve())}
    hosts = {f"{HOST}{number}": {**bare, **server.vars, **extra} for number, server in enumerate(servers)}
    root = servers[0].root
    inventory = root / f"{playbook.stem}.json"
    inventory.write_text(json.dumps({"rattail": {"hosts": hosts}}))
    env = {"ANSIBLE_HOME": str(root / "ansible" / "home"), "ANSIBLE_REMOTE_TMP": str(root / "ansible" / "remote"),
           "ANSIBLE_NOCOLOR": "1"}  # fmt: skip
    return Side([str(BIN / "ansible-playbook"), "-i", str(inventory), str(playbook)], ROOT, env, check=check)


def _at(server: Server) -> Callable[[str], None]:
    """Whoever upgraded, the version rows are to be what they are now."""
    wanted = server.database.heads()

    def check(output: str) -> None:
        if server.database.heads() != wanted:
            raise Failed(f"the version rows are {server.database.heads()}, not {wanted}:\n{output}")

    return check


def _nothing_to_do(output: str) -> None:
    answer = json.loads(output)["answer"]
    if answer["todo"] or answer["problems"] or not answer["fast_path"]:
        raise Failed(output)


def _nothing_changed(servers: Sequence[Server]) -> Callable[[str], None]:
    def check(output: str) -> None:
        recap = [line for line in output.splitlines() if line.startswith(HOST) and " changed=" in line]
        if len(recap) != len(servers) or not all(" changed=0 " in line for line in recap):
            raise Failed(output)

    return check
