"""A server on which one revision after another is tried, each on a database as the template has it.

Of core's tables there are few, which makes it five times as fast; core's revisions, its ``env.py`` and its models are
the real ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from support.places import fingerprint
from support.postgres import OWNER, Database, Postgres
from support.repository import Repository
from support.sampling import sample
from support.server import Server, poser_template
from support.upgrades import Upgrades

from .oracle import Picture, look
from .store import FEW, STORE

CORE_HEAD, POSER_HEAD = "c2ef84c99c93", "b084beb32f02"
# the revision that is there already, where it is undone
APPLIED = "poser0fff"
AS_IT_WAS = "the database is as it was"
# What a mistake in a case looks like, rather than a refusal.
_MISTAKE = re.compile(
    r"failed: ((Syntax|Undefined|Duplicate|Ambiguous|Datatype|Invalid|ObjectNot|WrongObject|InsufficientPriv"
    r"|DependentObjects|FeatureNot|Resource)\w*|(Name|Type|Attribute|Import|Key|Argument|Statement|Programming)Error):"
)


@dataclass(frozen=True)
class Case:
    """A revision: the body of its ``upgrade()``, with @ME@, @PREV@ and @CORE@ for version rows, and @URL@.

    Of a ``downgrade()``, too: @PREV@ is the app's version row before it, and @ME@ what Alembic makes of that.

    ``word``, a pattern, must be in what is said of it; without one it is honest, and must get through. ``top`` is
    Python beside ``upgrade()``. With ``told`` it may get through where it is named. ``stays``: it has committed
    by the time that anybody can look, so that something of it may stay, if that is said. ``harmless``: it may come to
    nothing, and then nobody need say so.
    """

    python: str
    word: str = ""
    top: str = ""
    told: bool = False
    stays: bool = False
    harmless: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """What came of a case: the answer, the app's version row that was ``wanted``, and the pictures before and after."""

    wanted: str
    answer: dict[str, Any]
    before: Picture
    after: Picture


class Arena:
    """The server, its database, and the process that runs upgrades; where it is ``downward``, they are reverts.

    :param made: the database that is its template.
    :param user: the app's database user. A superuser has ``postgres`` to itself, and all of it is looked at.
    """

    def __init__(
        self,
        postgres: Postgres,
        root: Path,
        made: str,
        *,
        search_path: str = "",
        downward: bool = False,
        user: str = OWNER,
    ) -> None:
        self._postgres = postgres
        self._search_path, self._downward, self._alone = search_path, downward, user != OWNER
        self._template = made
        self.database = replace(postgres.create(made), user=user)
        self._prepare()
        self.server = Server.make(root / "server", self.database, repository=Repository.of_poser(root / "poser.git"))
        self.server.deploy()
        self._upgrades = Upgrades(self.server)
        self._numbers = count(0x1000)
        self._now = self.look()

    def look(self) -> Picture:
        """What there is; a prepared transaction is rolled back, since its locks would keep everybody from looking."""
        with self.database.connect("postgres") as connection, connection.cursor() as cursor:
            cursor.execute("select gid from pg_prepared_xacts where database = current_database()")
            prepared = [name for (name,) in cursor.fetchall()]
            for name in prepared:
                cursor.execute("rollback prepared %s", (name,))
            return look(cursor, server=self._alone).beside(f"prepared transaction {name}" for name in prepared)

    def run(self, case: Case) -> Seen:
        """Try a case, and leave the database as the template has it."""
        before = self._now
        revision = APPLIED if self._downward else f"poser{next(self._numbers):x}"
        there, wanted = (revision, POSER_HEAD) if self._downward else (POSER_HEAD, revision)
        names = {"@ME@": wanted, "@PREV@": there, "@CORE@": CORE_HEAD, "@URL@": self.database.url}
        python, top = case.python, case.top
        for name, value in names.items():
            python, top = python.replace(name, value), top.replace(name, value)
        checkout = Repository(self.server.source_dir)
        up, down = ("", python) if self._downward else (python, "")
        checkout.add_revision("case", upgrade=up, downgrade=down, revision=revision, commit=False)
        [file] = self.server.versions.glob(f"{revision}*.py")
        file.write_text(f"{file.read_text()}\n\n{top}" if top else file.read_text())
        options = {"allow_uncommitted_revisions": True, "lock_retries": 0, "statement_timeout_seconds": 20}
        options.update(case.options)
        try:
            answer = self._upgrades.revert(wanted, **options) if self._downward else self._upgrades(**options)
        finally:
            file.unlink()
        self._now = after = self.look()
        if after != before:
            self.renew()
        return Seen(wanted, answer, before, after)

    def renew(self) -> None:
        """Have the database be as the template has it."""
        self._postgres.drop(self.database)
        self._postgres.create(self._template, self.database.name)
        self._prepare()
        self._now = self.look()

    def _prepare(self) -> None:
        if self._search_path:
            self._postgres.admin.sql(f'alter database "{self.database.name}" set search_path = {self._search_path}')
        if self._downward:
            self.database.sql("update alembic_version set version_num = %s where version_num = %s", APPLIED, POSER_HEAD)

    def close(self) -> None:
        self._upgrades.close()
        self._postgres.drop(self.database)


def template(postgres: Postgres, scratch: Path, *, whole: bool) -> str:
    """The template database, with the ``whole`` of core's tables or the few by which a core is known."""

    def fill(database: Database) -> None:
        if not whole:
            database.sql(FEW)
        database.sql(STORE)
        database.sql("vacuum full", user="postgres")

    base = poser_template(postgres, scratch)
    version = fingerprint([Path(__file__).parent / "store.py"]) + base[-10:]
    return postgres.template("adversary_whole" if whole else "adversary_few", version, fill, base)


def parameters(cases: Mapping[str, Case], one_in: int = 1) -> list[Any]:
    """The cases for ``pytest.mark.parametrize``, by their names, or a ``sample`` of them."""
    return [pytest.param(cases[name], id=name) for name in sample(cases, one_in)]


def judge(case: Case, seen: Seen) -> None:
    """Hold what was answered against what is there.

    :raises AssertionError: with everything that was said.
    """
    answer, before, after = seen.answer, seen.before, seen.after
    failure = str(answer["failure"])
    keys = ("violations", "data", "warnings", "partial", "failed_revision")
    said = failure + json.dumps({key: answer[key] for key in keys}, ensure_ascii=False)
    foreign, changes = after.foreign_changes(before), after.changes(before)
    done = frozenset({CORE_HEAD, seen.wanted})
    assert not _MISTAKE.search(failure), f"a mistake in the case itself: {failure}"
    if not failure:
        assert after.versions == done, f"got through, and the version rows are {sorted(after.versions)}: {said}"
    if AS_IT_WAS in failure:
        assert not changes, f"it is said to be as it was, but these differ: {changes}; {said}"
        assert after.versions == before.versions, said
    if not case.word:
        assert (failure, answer["violations"], answer["data"]) == ("", [], []), said
        assert not foreign, f"honest, but these differ: {foreign}"
        return
    if case.harmless and not failure and not foreign:
        return
    assert re.search(f"(?<![a-z])(?:{case.word})", said), f"{case.word} is not named: {said}; what differs: {foreign}"
    if not case.told or case.options.get("policy_data") == "refuse":
        assert failure, f"got through: {said}; what differs: {foreign}"
    if failure and not case.stays:
        assert not changes and after.versions == before.versions, f"refused, but these differ: {changes}; {said}"
