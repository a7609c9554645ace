# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which package a name belongs to: the prefixes of each package's tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..postgres.connection import ROLE

# What the published releases create (the newest on PyPI in November 2026): ``__tablename__`` in their models,
# and every name in their revisions. Not all of them follow Rattail's rule of one prefix for each package.
KNOWN: dict[str, tuple[str, ...]] = {
    "rattail_corepos": ("corepos",),
    "rattail_demo": ("demo",),
    "rattail_harvest": ("harvest",),
    "rattail_mailchimp": ("mailchimp",),
    "rattail_nationbuilder": ("nationbuilder",),
    "rattail_quickbooks": ("quickbooks",),
    # it has its own database, and so no prefix
    "rattail_tempmon": ("appliance", "client", "probe", "reading"),
    "rattail_tutorial": ("rattail_tutorial",),
    "rattail_wave": ("wave",),
    "rattail_woocommerce": ("woocommerce",),
    # the enumerations carry SQLAlchemy's default names
    "sideshow": ("sideshow", "pendingcustomerstatus", "pendingproductstatus"),
    # Continuum's tables for WuttJamaican's own
    "wutta_continuum": (
        "transaction", "transaction_meta", "person_version", "user_version", "role_version", "user_x_role_version",
        "permission_version",
    ),
    "wutta_corepos": ("corepos",),
    "wuttafarm": (
        "wuttafarm", "animal", "asset", "equipment_type", "group", "land_asset", "land_type", "log", "material_type",
        "measure", "plant_type", "quantity", "season", "structure", "unit", "webhook_change",
    ),
    "wuttapos": (
        "pos", "customer", "department", "employee", "inventory_adjustment", "product", "store", "tax", "tender",
        "terminal",
    ),
}  # fmt: skip


def of_package(package: str, settings: Mapping[str, Sequence[str]] | None = None) -> tuple[str, ...]:
    """The prefixes of the tables of ``package``, without an underscore at the end.

    :param package: the name of a distribution or of a package to import (``rattail-corepos``,
        ``rattail_corepos.db``), or a version location in it (``rattail_corepos.db:alembic/versions``).
    :param settings: the user's ``{package: prefixes}``, which win over ``KNOWN``.
    :return: for a package that is not known, its name without ``rattail_`` or ``wutta_``, and its name; for one that
        is in another, that one's and both together as well.
    """
    name = _normal(package)
    top, last = name.partition(".")[0], name.rpartition(".")[2]
    given = {_normal(other): clean(prefixes) for other, prefixes in (settings or {}).items()}
    for known in (given, KNOWN):
        for each in (name, top):
            if each in known:
                return known[each]
    short = re.sub(r"^(?:rattail|wutta)_(?=.)", "", last)
    return tuple(dict.fromkeys(filter(None, (short, last, name.replace(".", "_"), top))))


def clean(given: Sequence[str]) -> tuple[str, ...]:
    """A user's prefixes without underscores at the end; a prefix that would allow every name is left out."""
    stripped = (prefix.strip().rstrip("_") for prefix in given)
    return tuple(dict.fromkeys(prefix for prefix in stripped if prefix))


def _normal(package: str) -> str:
    return re.split(r"\.db(?:\.|$)", package.partition(":")[0].strip().replace("-", "_").lower())[0]


@dataclass(frozen=True)
class Prefixes:
    """Decides whether a name belongs to one extension.

    ``own`` are the prefixes of this extension and ``others`` those of the other packages. The longest that fits
    decides: where there is a ``poser_mobile``, ``poser_mobile_x`` is not poser's. ``reserved`` are the tables of the
    core: they are never own, and Continuum's version tables of them only by a prefix that is longer than the table's
    name, as a package has it that makes ``person_version`` for a core without versions. In the schemas that are
    ``searched`` before core's, and in core's own, whatever they are called, each name needs a prefix, since it is
    found in core's place.
    """

    own: tuple[str, ...]
    others: tuple[str, ...] = ()
    reserved: frozenset[str] = frozenset()
    searched: frozenset[str] = frozenset()

    def owns(self, schema: str, name: str) -> bool:
        """Whether ``name`` has an own prefix, or lies in a schema that has one and is not searched before core's."""
        if is_of_role(schema):
            return False
        return (schema not in self.searched and self._fits(schema)) or self._fits(name)

    def is_core(self, name: str) -> bool:
        """Whether ``name`` is a table of the core, or the version table of one."""
        table = name.removesuffix("_version")
        claimed = max(_longest(name, self.own), _longest(name, self.others))
        return name in self.reserved or (table in self.reserved and claimed <= len(table))

    def _fits(self, name: str) -> bool:
        own = _longest(name, self.own)
        return own > 0 and own >= _longest(name, self.others) and not self.is_core(name) and not is_of_role(name)

    def __str__(self) -> str:
        return " or ".join(f"{prefix}_… (batch_{prefix}_…)" for prefix in self.own) or "nothing"


def is_of_role(name: str) -> bool:
    """Whether a name, of a schema for instance, is this role's own, which is nobody's to claim."""
    return _longest(name, (ROLE,)) > 0


def _longest(name: str, prefixes: Sequence[str]) -> int:
    """The length of the longest of ``prefixes`` that ``name`` has; 0 where it has none."""
    names = (f"{name}_", f"{name}_".removeprefix("batch_"))
    return max((len(each) for each in prefixes if any(full.startswith(f"{each}_") for full in names)), default=0)
