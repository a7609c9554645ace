# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A package → the prefixes that its tables carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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


def prefixes(package: str, settings: Mapping[str, Sequence[str]] | None = None) -> tuple[str, ...]:
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
