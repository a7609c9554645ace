# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whose a name is: the prefixes that a package's tables carry."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

# What the published releases really make (the newest on PyPI in November 2026): ``__tablename__`` in their
# models, and every name in their revisions. Not all of them keep to Rattail's rule of one prefix a package.
KNOWN: dict[str, tuple[str, ...]] = {
    "rattail_corepos": ("corepos",),
    "rattail_demo": ("demo",),
    "rattail_harvest": ("harvest",),
    "rattail_mailchimp": ("mailchimp",),
    "rattail_nationbuilder": ("nationbuilder",),
    "rattail_quickbooks": ("quickbooks",),
    # made for a database of its own, and so without a prefix
    "rattail_tempmon": ("appliance", "client", "probe", "reading"),
    "rattail_tutorial": ("rattail_tutorial",),
    "rattail_wave": ("wave",),
    "rattail_woocommerce": ("woocommerce",),
    # the enumerations carry SQLAlchemy's default names
    "sideshow": ("sideshow", "pendingcustomerstatus", "pendingproductstatus"),
    # Continuum's tables for WuttJamaican's own
    "wutta_continuum": (
        "transaction",
        "transaction_meta",
        "person_version",
        "user_version",
        "role_version",
        "user_x_role_version",
        "permission_version",
    ),
    "wutta_corepos": ("corepos",),
    "wuttafarm": (
        "wuttafarm",
        "animal",
        "asset",
        "equipment_type",
        "group",
        "land_asset",
        "land_type",
        "log",
        "material_type",
        "measure",
        "plant_type",
        "quantity",
        "season",
        "structure",
        "unit",
        "webhook_change",
    ),
    "wuttapos": (
        "pos",
        "customer",
        "department",
        "employee",
        "inventory_adjustment",
        "product",
        "store",
        "tax",
        "tender",
        "terminal",
    ),
}

_FAMILIES = ("rattail_", "wutta_")


def of_package(package: str, settings: Mapping[str, Sequence[str]] | None = None) -> tuple[str, ...]:
    """What the names of the tables of ``package`` begin with, without an underscore at the end.

    :param package: the name of a distribution or of a package to import (``rattail-corepos``,
        ``rattail_corepos.db``), or a version location in it (``rattail_corepos.db:alembic/versions``).
    :param settings: ``{package: prefixes}`` of the user's, which come before what is known here; an
        underscore at the end of a prefix is allowed.
    :return: for a package that is not known, its name, and its name without ``rattail_`` or ``wutta_``.
    """
    name = _normal(package)
    for other, given in (settings or {}).items():
        if _normal(other) == name:
            return clean(given)
    if name in KNOWN:
        return KNOWN[name]
    for family in _FAMILIES:
        if name.startswith(family) and name != family:
            return (name[len(family) :], name)
    return (name,) if name else ()


def clean(given: Sequence[str]) -> tuple[str, ...]:
    """Prefixes as a user wrote them, without underscores at the end; what would allow every name is left out."""
    stripped = (prefix.strip().rstrip("_") for prefix in given)
    return tuple(dict.fromkeys(prefix for prefix in stripped if prefix))


def _normal(package: str) -> str:
    return package.partition(":")[0].strip().replace("-", "_").lower().partition(".")[0]


@dataclass(frozen=True)
class Prefixes:
    """Whose a name is.

    ``own`` are the prefixes of the extension in question and ``others`` those of the other packages:
    the longest that fits decides, so that ``poser_mobile_x`` is not poser's where there is a
    ``poser_mobile``. ``reserved`` are full names that are never own, whatever the prefix: core's tables.
    """

    own: tuple[str, ...]
    others: tuple[str, ...] = ()
    reserved: frozenset[str] = frozenset()

    def owns(self, schema: str, name: str) -> bool:
        """Whether ``name`` carries an own prefix, or lies in a schema that does."""
        return self._carries(schema) or self._carries(name)

    def _carries(self, name: str) -> bool:
        if not name or name in self.reserved:
            return False
        own = _longest(name, self.own)
        return own > 0 and own >= _longest(name, self.others)

    def __str__(self) -> str:
        return " or ".join(f"{prefix}_… (batch_{prefix}_…)" for prefix in self.own) or "nothing"


def _longest(name: str, prefixes: Sequence[str]) -> int:
    return max((len(prefix) for prefix in prefixes if _begins(name, prefix)), default=0)


def _begins(name: str, prefix: str) -> bool:
    if not prefix:
        return False
    return any(name == each or name.startswith(f"{each}_") for each in (prefix, f"batch_{prefix}"))


def with_core(prefixes: Prefixes, tables: Collection[str]) -> Prefixes:
    """The same, with core's tables and Continuum's version tables of them reserved."""
    reserved = {*tables, *(f"{table}_version" for table in tables)}
    return Prefixes(prefixes.own, prefixes.others, prefixes.reserved | reserved)
