# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a child that migrates is to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..policy.prefixes import Prefixes
from ..postgres.catalog import Catalog
from ..postgres.connection import Limits
from ..postgres.url import Target

# What an upgrade is rehearsed in.
TRANSACTION, CLONE = "transaction", "clone"

# What to do about a violation, and about rows of others' tables.
ENFORCE, WARN, OFF = "enforce", "warn", "off"
REPORT, REFUSE = "report", "refuse"

# read_only_sql_transaction (errcodes of PostgreSQL)
READ_ONLY = "25006"

# Its second row breaks the constraint, which is asked at COMMIT only: that transaction can end in no other way
# than a rollback.
POISONED = "nothing_of_this_is_committed"
POISON = f"""
create temporary table rattail_schema_ext_rehearsal ({POISONED} integer unique deferrable initially deferred);
insert into rattail_schema_ext_rehearsal values (1), (1);
"""
# for as long as it is asked what else is deferred
ANTIDOTE = "delete from pg_temp.rattail_schema_ext_rehearsal; "


class Rehearsed(Exception):
    """A rehearsal came to its end: now everything is to be rolled back."""


class Unrehearsable(Exception):
    """A revision leaves its transaction, which no rehearsal in a transaction can show."""


@dataclass(frozen=True)
class Job:
    """What one child is to do.

    ``target`` is where the app's own config leads, and ``redirect`` where its connections are led instead.
    ``unpooled`` says that this is the server itself, so that no connection through a pooler is taken for it.
    ``only`` names what was planned: nothing else is done. ``rehearsal`` is empty, ``transaction`` or ``clone``.
    ``own`` tells which names are the app's, and ``prefixes``, for each revision that is not free to do what it likes,
    whose a name is. ``lock_pid`` is the server process that holds the lock, 0 where none is needed. ``catalog`` is what
    another session saw before anything began, and ``leaving`` are the revisions that (may) leave their transaction.
    ``directories`` take the place of the config file's version locations. ``compare`` has models and database compared
    in the end, and ``record`` the SQL of each revision told, as it always is in a rehearsal.
    """

    app: str
    config_file: str
    target: Target
    database: str
    redirect: Target | None = None
    unpooled: bool = False
    limits: Limits = field(default_factory=Limits)
    destination: str = "heads"
    downward: bool = False
    only: tuple[str, ...] = ()
    rehearsal: str = ""
    policy: str = ENFORCE
    policy_data: str = REPORT
    prefixes: Mapping[str, Prefixes] = field(default_factory=dict)
    own: Prefixes = field(default_factory=lambda: Prefixes(()))
    lock_pid: int = 0
    catalog: Catalog | None = field(default=None, repr=False)
    leaving: frozenset[str] = frozenset()
    directories: tuple[str, ...] = ()
    compare: bool = False
    record: bool = False
