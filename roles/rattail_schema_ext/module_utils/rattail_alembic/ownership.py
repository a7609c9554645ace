# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whose the tables of extensions are after an upgrade: those of another role the next one could not alter."""

from __future__ import annotations

from typing import Any

from . import jobs
from .connection import run
from .database import quoted
from .observation import Observation

# A column's own sequence goes with its table.
_OTHERS = """
select n.nspname, c.relname, pg_get_userbyid(c.relowner), current_user,
  case c.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'S' then 'sequence'
    when 'f' then 'foreign table' else 'table' end
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and not pg_has_role(c.relowner, 'USAGE')
  and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
  and not exists (select from pg_depend d
    where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype in ('a', 'i', 'e'))
order by 1, 2
"""


def warn_of_others(cursor: Any, seen: Observation) -> list[str]:
    """Warnings about relations with an extension's prefix whose owner's rights the role has not.

    :param cursor: of a session of the role that upgrades.
    """
    whose = jobs.owners(seen).values()
    return [
        f"The {kind} {schema}.{name} belongs to {owner}, whose rights {user} has not, so that no later revision can "
        f"alter it. Give it back: ALTER {kind.upper()} {quoted(schema)}.{quoted(name)} OWNER TO {quoted(user)}."
        for schema, name, owner, user, kind in run(cursor, _OTHERS)
        if any(prefixes.owns(schema, name) for prefixes in whose)
    ]
