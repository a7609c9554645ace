"""The cells of the matrix: what differs from the base, and what is done there. Derived from supported.toml."""

from __future__ import annotations

from dataclasses import dataclass, field

import tomllib
from support.places import ROOT

from rattail_alembic.policy.prefixes import KNOWN

SUPPORTED: dict[str, dict[str, list[str]]] = tomllib.loads((ROOT / "supported.toml").read_text(encoding="utf-8"))

# What the project pins for itself; the releases of all else are those of its requirements files, where they fit.
BASE = {"ansible-core": "2.19", "Python": "3.11", "SQLAlchemy": "1.4", "driver": "psycopg2", "PostgreSQL": "18"}
BACKENDS = {
    "hatchling": "",
    "setuptools": "setuptools.build_meta",
    "poetry": "poetry.core.masonry.api",
    "flit": "flit_core.buildapi",
    "pdm": "pdm.backend",
    "uv_build": "uv_build",
}
# A Rattail of 2024, as servers have it that nobody has upgraded since.
OF_2024 = "rattail==0.18.*"

FULL, SHORT, PACKAGE, UPGRADED, TOO_OLD = "full", "short", "package", "upgraded", "refused"


@dataclass(frozen=True)
class Cell:
    """What differs from ``BASE``, and the ``job`` to do there.

    ``wanted`` are requirements of the server's environment besides the core and a driver. ``newest`` is whether the
    project's own pins are left out of account.
    """

    job: str
    differs: dict[str, str] = field(default_factory=dict)
    wanted: tuple[str, ...] = ()
    newest: bool = False
    what: str = ""

    @property
    def name(self) -> str:
        """For a person: what differs, and the job."""
        return ", ".join([*filter(None, [self.what]), *(" ".join(each) for each in self.differs.items())]) or "base"

    def __getitem__(self, axis: str) -> str:
        return self.differs.get(axis) or BASE.get(axis, "")

    @property
    def core(self) -> str:
        """What the app stands on: Rattail is not for SQLAlchemy 2."""
        package = self["package"]
        other = self["SQLAlchemy"].startswith("2") or package.startswith(("wutta", "sideshow"))
        return "wutta" if other else "rattail"


def cells() -> list[Cell]:
    """All of them; those that take longest first."""
    found = [*_corners(), *_ends_and_middle(), *_drivers(), *_of_today(), *_backends(), *_packages(), *_too_old()]
    return sorted(found, key=lambda each: (FULL, UPGRADED, SHORT, PACKAGE, TOO_OLD).index(each.job))


def few() -> list[Cell]:
    """The six that cover most."""
    return [each for each in (*_corners(), *_of_today()) if each.job == FULL]


def _axes() -> dict[str, list[str]]:
    server = SUPPORTED["server"]
    return {
        "ansible-core": SUPPORTED["controller"]["ansible-core"],
        **{name: server[name] for name in ("Python", "pip", "Alembic", "PostgreSQL")},
    }


def _corners() -> list[Cell]:
    """The oldest and the newest of all, and either with the other's controller."""
    axes = _axes()
    old, new = ({name: releases[end] for name, releases in axes.items()} for end in (0, -1))
    server = SUPPORTED["server"]
    # SQLAlchemy 2.1 takes psycopg for the driver, and Rattail takes neither
    new |= {"SQLAlchemy": server["SQLAlchemy"][-1], "driver": "psycopg", "psycopg": server["psycopg"][-1]}
    old |= {"driver": "psycopg2", "psycopg2": server["psycopg2"][0]}
    rattail = {name: release for name, release in new.items() if name in axes and name != "Alembic"}
    crossed = [{**old, "ansible-core": new["ansible-core"]}, {**rattail, "ansible-core": old["ansible-core"]}]
    names = ("oldest of all", "newest of all", "oldest server", "newest server", "newest for Rattail")
    return [Cell(FULL, each, what=what) for what, each in zip(names, [old, new, *crossed, rattail])]


def _ends_and_middle() -> list[Cell]:
    found = []
    for axis, releases in _axes().items():
        for release in releases:
            if release != BASE.get(axis):
                job = FULL if release in (releases[0], releases[-1]) and axis != "pip" else SHORT
                # Rattail wants a SQLAlchemy that Alembic has left behind
                more = {"SQLAlchemy": "2.0"} if (axis, release) == ("Alembic", "1.20") else {}
                found.append(Cell(job, {axis: release, **more}))
    return [*found, Cell(FULL)]


def _drivers() -> list[Cell]:
    server = SUPPORTED["server"]
    found = [Cell(SHORT, {"psycopg2": server["psycopg2"][0], "Python": "3.9"})]
    for release in server["SQLAlchemy"][1:]:
        found += [Cell(FULL, {"SQLAlchemy": release, "driver": driver}) for driver in ("psycopg2", "psycopg")]
    newest = server["SQLAlchemy"][-1]
    for release in server["psycopg"]:
        python = {"Python": "3.9"} if release == server["psycopg"][0] else {}
        sqlalchemy = "2.0" if python else newest
        found.append(Cell(SHORT, {"SQLAlchemy": sqlalchemy, "driver": "psycopg", "psycopg": release, **python}))
    return found


def _of_today() -> list[Cell]:
    """The newest of everything that can be had today, and what a server of 2024 becomes by it."""
    return [
        Cell(FULL, newest=True, what="Rattail of today"),
        Cell(UPGRADED, newest=True, what="Rattail of 2024, then of today"),
    ]


def _backends() -> list[Cell]:
    return [Cell(SHORT, {"built by": name}) for name in BACKENDS if name != "hatchling"]


def _packages() -> list[Cell]:
    return [Cell(PACKAGE, {"package": name}, newest=True) for name in KNOWN]


def _too_old() -> list[Cell]:
    """What lies below the oldest, one axis after another, as far as it can still be had."""
    server = SUPPORTED["server"]
    found = [{"Python": "3.8"}, *({name: f"<{server[name][0]}"} for name in ("pip", "Alembic", "SQLAlchemy"))]
    return [Cell(TOO_OLD, each) for each in [*found, {"pip": "none"}]]
