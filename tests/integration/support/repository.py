"""An app's git repository, as its developer keeps it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .places import POSER

_REVISION = '''\
"""{message}

Revision ID: {revision}
Revises: {down}

"""

revision = {revision!r}
down_revision = {down!r}
branch_labels = {labels!r}
depends_on = {depends!r}

from alembic import op
import sqlalchemy as sa


def upgrade():
{upgrade}


def downgrade():
{downgrade}
'''


# What of examples/poser differs in an app on WuttJamaican, with psycopg 3; it extends the person.
_ON_WUTTA: dict[str, Any] = {
    "pyproject.toml": {"rattail[db]": "WuttJamaican[db]", "psycopg2-binary": "psycopg"},
    "poser/config.py": {"'rattail.": "'wutta."},
    "poser/db/model/__init__.py": {"rattail.db.model": "wuttjamaican.db.model", "PoserProduct": "PoserPerson"},
    "poser/db/model/products.py": """
import sqlalchemy as sa

from wuttjamaican.db import model


class PoserPerson(model.Base):
    __tablename__ = 'poser_person'

    uuid = model.uuid_fk_column('person.uuid', primary_key=True)
    nickname = sa.Column(sa.String(length=100), nullable=True)
""",
    "poser/db/model/widgets.py": """
import sqlalchemy as sa

from wuttjamaican.db import model


class PoserWidget(model.Base):
    __tablename__ = 'poser_widget'

    uuid = model.uuid_column()
    code = sa.Column(sa.String(length=20), nullable=False)
""",
    "poser/db/alembic/versions/a010a6c92761_initial_poser_tables.py": """
revision = 'a010a6c92761'
down_revision = None
branch_labels = ('poser',)
depends_on = None

from alembic import op
import sqlalchemy as sa
import wuttjamaican.db.util


def upgrade():
    op.create_table('poser_person',
        sa.Column('uuid', wuttjamaican.db.util.UUID(), nullable=False),
        sa.Column('nickname', sa.String(length=100), nullable=True),
        sa.ForeignKeyConstraint(['uuid'], ['person.uuid'], name=op.f('fk_poser_person_uuid_person')),
        sa.PrimaryKeyConstraint('uuid', name=op.f('pk_poser_person')))


def downgrade():
    op.drop_table('poser_person')
""",
    "poser/db/alembic/versions/b084beb32f02_add_widgets.py": """
revision = 'b084beb32f02'
down_revision = 'a010a6c92761'
branch_labels = None
depends_on = None

from alembic import op
import sqlalchemy as sa
import wuttjamaican.db.util


def upgrade():
    op.create_table('poser_widget',
        sa.Column('uuid', wuttjamaican.db.util.UUID(), nullable=False),
        sa.Column('code', sa.String(length=20), nullable=False),
        sa.PrimaryKeyConstraint('uuid', name=op.f('pk_poser_widget')))


def downgrade():
    op.drop_table('poser_widget')
""",
}


class Repository:
    """A repository with a work tree, to be cloned from; commits go to branch ``main``."""

    def __init__(self, path: Path, package: str = "poser") -> None:
        self.path = path
        self.package = package

    @classmethod
    def of_poser(cls, path: Path, package: str = "poser", *, on_wutta: bool = False) -> Repository:
        """A repository that holds examples/poser, under another package name and prefix if one is given.

        With ``on_wutta`` it stands on WuttJamaican, and is about persons rather than products.
        """
        shutil.copytree(POSER, path, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        repository = cls(path, package)
        if on_wutta:
            for name, new in _ON_WUTTA.items():
                text = (path / name).read_text()
                for old, instead in new.items() if isinstance(new, dict) else [(text, new)]:
                    assert old in text
                    text = text.replace(old, instead)
                (path / name).write_text(text)
        if package != "poser":
            repository._rename(package)
        repository.git("init", "--quiet", "--initial-branch=main")
        repository.git("add", "--all")
        repository.git("commit", "--quiet", "--message", "Start the app")
        return repository

    def _rename(self, package: str) -> None:
        (self.path / "poser").rename(self.path / package)
        studly = package.title().replace("_", "")
        for file in (p for p in self.path.rglob("*") if p.is_file()):
            text = file.read_text().replace("poser", package).replace("Poser", studly)
            for revision in ("a010a6c92761", "b084beb32f02"):
                text = text.replace(revision, _identify(package + revision))
            file.write_text(text)

    @property
    def versions(self) -> Path:
        """The versions directory, in the repository's own work tree."""
        return self.path / self.package / "db" / "alembic" / "versions"

    @property
    def commit_id(self) -> str:
        """The commit that ``main`` is at."""
        return self.git("rev-parse", "main")

    @property
    def head(self) -> str | None:
        """The one revision of the app's that nothing follows; None without any."""
        ids, followed = set(), set()
        for file in self.versions.glob("*.py"):
            text = file.read_text()
            ids.update(re.findall(r"^revision = '(\w+)'", text, re.M))
            followed.update(re.findall(r"'(\w+)'", "".join(re.findall(r"^down_revision = (.*)", text, re.M))))
        heads = sorted(ids - followed)
        assert len(heads) < 2, f"several heads: {heads}"
        return heads[0] if heads else None

    def git(self, *args: str) -> str:
        """Run git in the repository; its output without the last newline."""
        return git(self.path, *args)

    def commit(self, files: Mapping[str, str | None], message: str = "Change the app") -> str:
        """Write ``files`` (path → text, None to delete), commit them, and return the commit's id."""
        for name, text in files.items():
            file = self.path / name
            if text is None:
                file.unlink()
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.commit_id

    def add_revision(
        self,
        name: str,
        *,
        upgrade: str = "",
        downgrade: str = "",
        upgrade_sql: str = "",
        downgrade_sql: str = "",
        down_revision: str | tuple[str, ...] | None = "head",
        branch_labels: tuple[str, ...] | None = None,
        depends_on: str | tuple[str, ...] | None = None,
        revision: str = "",
        commit: bool = True,
    ) -> str:
        """Add a revision script and commit it; its id, which follows from ``name`` unless given.

        ``upgrade`` is Python, ``upgrade_sql`` one statement or several. It follows the app's head
        unless ``down_revision`` says otherwise.
        """
        revision = revision or _identify(name)
        text = _REVISION.format(
            message=name,
            revision=revision,
            down=self.head if down_revision == "head" else down_revision,
            labels=branch_labels,
            depends=depends_on,
            upgrade=_body(upgrade, upgrade_sql),
            downgrade=_body(downgrade, downgrade_sql),
        )
        self.versions.mkdir(parents=True, exist_ok=True)
        file = self.versions / f"{revision}_{re.sub(r'[^a-z0-9]+', '_', name.lower())}.py"
        file.write_text(text)
        if commit:
            self.commit({}, f"Add revision: {name}")
        return revision


def git(directory: Path, *args: str) -> str:
    """Run git in ``directory`` as nobody in particular; its output without the last newline."""
    identity = ["-c", "user.name=Tests", "-c", "user.email=tests@localhost", "-c", "commit.gpgsign=false"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    done = subprocess.run(
        ["git", *identity, *args],
        cwd=directory,
        env=environment | {"GIT_CONFIG_GLOBAL": os.devnull},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"git {' '.join(args)}: {done.stderr}"
    return done.stdout.rstrip("\n")


def _identify(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def _body(python: str, sql: str) -> str:
    lines = python.strip("\n").splitlines()
    if sql:
        lines.append(f"op.execute({sql!r})")
    return "\n".join(f"    {line}" for line in lines or ["pass"])
