"""A Rattail server: an environment, a config file, a database, the app's repository, and the role's variables."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from . import environments, preloaded
from .places import CACHE, ROOT, fingerprint, locked
from .postgres import Database, Postgres
from .repository import Repository, git
from .runs import MODULE_PATHS, Run, ansible, start

HOST = "store"
CONFIG_NAMES = {"rattail": "rattail.conf", "wutta": "wutta.conf"}
CORE_LOCATIONS = {"rattail": "rattail.db:alembic", "wutta": "wuttjamaican.db:alembic"}

# as Rattail's installer writes it, shortened
_CONFIG = """\
############################################################
#
# {title} core config
#
############################################################

##############################
# {core}
##############################

[{core}]
app_title = {title}
app_package = {app}
timezone.default = America/Chicago
appdir = {env_dir}/app
datadir = {env_dir}/app/data

[{core}.config]
# require = /etc/rattail/rattail.conf
usedb = true
preferdb = true

[{core}.db]
default.url = {url}
versioning.enabled = true

[{core}.mail]

# this is the global email shutoff switch
#send_emails = false

smtp.server = localhost
default.prefix = [{title}]
default.from = {core}@localhost
default.to = root@localhost
"""

_ALEMBIC = """
##############################
# alembic
##############################

[alembic]
script_location = {script_location}
version_locations = {locations}
path_separator = space
"""


@dataclass
class Server:
    """One host as the role sees it, everything below ``root``.

    ``vars`` are the role's variables; change them, or give more to ``run_role``.
    """

    root: Path
    database: Database
    origin: Repository | None
    app: str = "poser"
    core: str = "rattail"
    vars: dict[str, Any] = field(default_factory=dict)
    # whose packages the environment has: see ``environments.origin``; those of the core, where it is empty
    packages: str | Path = ""

    @classmethod
    def make(
        cls,
        root: Path,
        database: Database,
        *,
        repository: Repository | None = None,
        app: str = "poser",
        core: str = "rattail",
        url: str | None = None,
        packages: str | Path = "",
    ) -> Self:
        """A server with a database URL in its config file and no ``[alembic]``; the app is not there yet."""
        server = cls(root, database, repository, app, core, packages=packages)
        environments.make_light(server.env_dir, packages or core)
        server.write_config(url=url)
        server.vars = {
            "rattail_schema_ext_app": app,
            "rattail_schema_ext_user": getpass.getuser(),
            "rattail_schema_ext_env_dir": str(server.env_dir),
            # no test waits for a backup that it does not look at
            "rattail_schema_ext_backup": "none",
            "rattail_schema_ext_history_logrotate": False,
            "rattail_schema_ext_postgresql_bin_dir": str(database.server.binaries),
        }
        if core != "rattail":
            server.vars["rattail_schema_ext_core"] = core
        if repository:
            server.vars |= {
                "rattail_schema_ext_source_repo": str(repository.path),
                "rattail_schema_ext_source_version": "main",
                # what builds the app is in the environment, so that no test waits for an index
                "rattail_schema_ext_pip_extra_args": "--no-build-isolation",
            }
        else:
            server.vars["rattail_schema_ext_source_enabled"] = False
        return server

    @property
    def repository(self) -> Repository:
        """The app's repository, which ``rattail_schema_ext_source_repo`` names; a released package has none."""
        assert self.origin, "this server runs a released package"
        return self.origin

    @property
    def env_dir(self) -> Path:
        """The app's virtual environment."""
        return self.root / "env"

    @property
    def python(self) -> Path:
        return self.env_dir / "bin" / "python"

    @property
    def config(self) -> Path:
        """rattail.conf, or wutta.conf."""
        return self.env_dir / "app" / CONFIG_NAMES[self.core]

    @property
    def source_dir(self) -> Path:
        """The checkout, where the role puts it unless told otherwise."""
        return self.env_dir / "src" / self.app

    @property
    def versions(self) -> Path:
        """The versions directory in the checkout."""
        return self.source_dir / self.app / "db" / "alembic" / "versions"

    def write_config(self, *, url: str | None = None, alembic: str = "") -> None:
        """Write the config file anew, as an installer leaves it; ``alembic`` is put at its end as it is."""
        self.config.parent.mkdir(exist_ok=True)
        self.config.write_text(
            _CONFIG.format(
                title=self.app.title(),
                core=self.core,
                app=self.app,
                env_dir=self.env_dir,
                url=url or self.database.url,
            )
            + alembic
        )

    def alembic_section(self, *locations: str) -> str:
        """A right ``[alembic]`` section: the app's location, then ``locations``, then core's."""
        core = CORE_LOCATIONS[self.core]
        everything = [f"{self.app}.db:alembic/versions", *locations, f"{core}/versions"]
        return _ALEMBIC.format(script_location=core, locations=" ".join(everything))

    def deploy(self, *how: str) -> None:
        """Bring the app there as the manual has it: clone (``how`` are options), install, ``[alembic]``. No upgrade."""
        self.source_dir.parent.mkdir(exist_ok=True)
        git(self.root, "clone", "--quiet", *how, str(self.repository.path), str(self.source_dir))
        self.install()
        self.write_config(alembic=self.alembic_section())

    def own_env(self, old: str, new: str) -> None:
        """Have the app bring an env.py of its own, checked out: the packaged one with its text changed."""
        place = CORE_LOCATIONS[self.core].replace(":", "/").replace(".", "/")
        packaged = environments.site_packages(environments.origin(self.packages or self.core)) / place
        text = (packaged / "env.py").read_text()
        assert old in text
        files = {"env.py": text.replace(old, new), "script.py.mako": (packaged / "script.py.mako").read_text()}
        self.repository.commit({f"{self.app}/db/alembic/{name}": text for name, text in files.items()})
        self.git("pull", "--quiet")
        script = f"script_location = {CORE_LOCATIONS[self.core]}\n"
        self.write_config(alembic=self.alembic_section().replace(script, f"script_location = {self.app}.db:alembic\n"))

    def install(self) -> None:
        """The editable install that pip makes of ``source_dir``, from a copy of an earlier one like it."""
        told = b"".join((self.source_dir / name).read_bytes() for name in ("pyproject.toml", "README.md"))
        made = environments.site_packages(environments.origin(self.packages or self.core)).stat().st_mtime_ns
        kept = CACHE / "installs" / hashlib.sha256(told + str(made).encode()).hexdigest()[:12]
        packages = environments.site_packages(self.env_dir)
        with locked(kept.with_suffix(".lock")):
            if not kept.is_dir():
                before = set(packages.iterdir())
                self.pip("install", "--quiet", "--no-build-isolation", "--editable", str(self.source_dir))
                unfinished = kept.with_suffix(".new")
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir(parents=True)
                for path in set(packages.iterdir()) - before:
                    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
                    for file in files:
                        copy = unfinished / file.relative_to(packages)
                        copy.parent.mkdir(exist_ok=True)
                        copy.write_text(file.read_text().replace(str(self.source_dir), "@source_dir@"))
                unfinished.rename(kept)
                return
        for file in (p for p in kept.rglob("*") if p.is_file()):
            copy = packages / file.relative_to(kept)
            copy.parent.mkdir(exist_ok=True)
            copy.write_text(file.read_text().replace("@source_dir@", str(self.source_dir)))

    def run_role(
        self,
        vars: Mapping[str, Any] | None = None,
        *,
        check: bool = False,
        diff: bool = False,
        tags: str = "",
        playbook: str | Path | Sequence[Mapping[str, Any]] = "site",
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> Run:
        """Run ``playbook`` on this server with its variables, ``vars`` on top; those set to None are left out.

        ``playbook`` is ``site``, the name of one in playbooks/, a path, or plays as data.
        """
        options = [word for word, wanted in (("--check", check), ("--diff", diff)) if wanted]
        if tags:
            options += ["--tags", tags]
        path = self._playbook(playbook)
        return self._ansible("ansible-playbook", ["-i", self.inventory(vars), *options, *args, str(path)], env)

    def start_role(self, vars: Mapping[str, Any]) -> subprocess.Popen[bytes]:
        """Start ``site.yml`` on this server, and leave it alone."""
        inventory = self.inventory(vars)
        args = ["-i", inventory, str(self._playbook("site"))]
        return start("ansible-playbook", args, cwd=ROOT, scratch=self.root / "ansible")

    def parameters(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """What the modules that look are asked, as the role asks it; ``options`` are parameters, too."""
        return {
            "app": self.app,
            "core": self.core,
            "env_dir": str(self.env_dir),
            "config_file": str(self.config),
            "source_dir": str(self.source_dir),
            "user": getpass.getuser(),
            "backup": "none",
            "postgresql_bin_dir": str(self.database.server.binaries),
            **options,
        }

    def module(
        self, name: str, arguments: Mapping[str, Any], *, check: bool = False, env: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """The result of one of the role's modules, run as Ansible runs it, by the environment's Python."""
        inventory = self.inventory({"ansible_python_interpreter": str(self.python)})
        options = ["-i", inventory, *(["--check"] if check else []), HOST]
        call = ["-m", name, "-a", json.dumps(dict(arguments))]
        run = self._ansible("ansible", [*options, *call], {**MODULE_PATHS, **(env or {})})
        assert run.tasks, run.output
        result = run.tasks[-1].result
        return {**result.pop("answer", {}), **result}

    def alembic(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the app's own ``bin/alembic`` with its config file, as its people do by hand."""
        program, arguments = str(self.env_dir / "bin" / "alembic"), ["-c", str(self.config), *args]
        if self.core != "rattail":
            return self._run([program, *arguments], check)
        run = "import runpy, sys\nsys.argv[:2] = sys.argv[1:2]\nrunpy.run_path(sys.argv[0], run_name='__main__')"
        done = preloaded.run(self.env_dir, run, [program, *arguments], scratch=self.root / "ansible")
        assert done.returncode == 0 or not check, f"alembic {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done

    def current(self) -> set[str]:
        """The revisions that ``alembic current`` names."""
        return {line.split()[0] for line in self.alembic("current").stdout.splitlines() if line.strip()}

    def pip(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the environment's pip."""
        return self._run([str(self.python), "-m", "pip", "--disable-pip-version-check", *args], check)

    def git(self, *args: str) -> str:
        """Run git in the checkout."""
        return git(self.source_dir, *args)

    def sql(self, query: str, *params: object) -> list[tuple[Any, ...]]:
        """Run ``query`` in the server's database."""
        return self.database.sql(query, *params)

    def _run(self, command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        environment = preloaded.environment()
        done = subprocess.run(command, cwd=self.env_dir, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done

    def _ansible(self, program: str, args: list[str], env: Mapping[str, str] | None) -> Run:
        return ansible(program, args, cwd=ROOT, scratch=self.root / "ansible", env=env)

    def inventory(self, extra: Mapping[str, Any] | None = None) -> str:
        """The path of a new inventory with this server and its variables, ``extra`` on top."""
        # a Python without Rattail, as a server's own is, and without a search for one
        bare = {"ansible_connection": "local", "ansible_python_interpreter": os.path.realpath(sys.executable)}
        variables = {**bare, **self.vars, **(extra or {})}
        variables = {name: value for name, value in variables.items() if value is not None}
        path = self.root / "hosts.json"
        path.write_text(json.dumps({"rattail": {"hosts": {HOST: variables}}}))
        return str(path)

    def _playbook(self, playbook: str | Path | Sequence[Mapping[str, Any]]) -> Path:
        if isinstance(playbook, Path):
            return playbook
        if isinstance(playbook, str):
            return ROOT / ("site.yml" if playbook == "site" else f"playbooks/{playbook}.yml")
        path = self.root / "playbook.json"
        path.write_text(json.dumps(list(playbook)))
        return path


def core_template(postgres: Postgres, scratch: Path, core: str = "rattail") -> str:
    """The template database with the whole of ``core``'s schema, put there by ``alembic upgrade heads``."""

    def fill(database: Database) -> None:
        server = Server.make(scratch / f"template-{core}", database, app="core", core=core)
        locations = CORE_LOCATIONS[core]
        section = _ALEMBIC.format(script_location=locations, locations=f"{locations}/versions")
        server.write_config(alembic=section)
        server.alembic("upgrade", "heads")

    version = fingerprint([ROOT / environments.REQUIREMENTS[core][0]])
    return postgres.template(core, version, fill)


def poser_template(postgres: Postgres, scratch: Path) -> str:
    """The template database with core's schema and that of examples/poser."""

    def fill(database: Database) -> None:
        root = scratch / "template-poser"
        root.mkdir()
        server = Server.make(root, database, repository=Repository.of_poser(root / "poser"))
        server.deploy()
        server.alembic("upgrade", "heads")

    core = core_template(postgres, scratch)
    version = fingerprint([ROOT / "requirements-rattail.txt", ROOT / "examples" / "poser"])
    return postgres.template("poser", version, fill, base=core)
