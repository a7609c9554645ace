# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the role returns: every key, its type, its empty value, and what it means.

Modules build an :class:`Answer`, and the controller builds it again from what a host sent. What the other classes are
is told where they are the type of a key. ``scripts/document.py`` writes the documentation of all results from here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Optional

from .. import problem

# What Ansible shows by itself, and is no part of the result.
OF_ANSIBLE = ("diff", "exception")
# What tasks act on, where no stranger's text is.
_ACTED_ON = ("state", "todo", "source", "config", "versions")


# The words that these keys may hold.
STATES = ("current", "behind", "ahead", "diverged", "unstamped", "empty", "unknown")
PHASES = ("source", "install", "config", "versions", "upgrade")
_SEPARATOR_NAMES = ("path_separator", "version_path_separator")
_SEPARATORS = ("space", "newline")


def key(description: str, empty: Any = "", *, change: bool = False, form: Any = "line") -> Any:
    """A key of a result; ``empty`` is its empty value, or the type that makes one.

    ``form`` is what its text has to look like: the words that it may be, or one of the forms that the door knows.
    """
    about = {"description": description, "change": change, "form": form}
    if isinstance(empty, type):
        return field(default_factory=empty, metadata=about)
    return field(default=empty, metadata=about)


def of_change(description: str, empty: Any = "", form: Any = "line") -> Any:
    """A key that a look leaves empty."""
    return key(description, empty, change=True, form=form)


@dataclass(eq=False)
class Revision:
    revision: str = key("The revision's identifier.", form="name")
    branch: str = key("The label of the branch that it belongs to.")
    message: str = key("Its message.")
    path: str = key("Its file.")
    down_revision: list[str] = key("The revisions that it follows.", list, form="name")
    depends_on: list[str] = key("The revisions of other branches that it needs.", list, form="name")
    seconds: Optional[float] = key("How long it took; none where it was not run.", None)


@dataclass(eq=False)
class Branch:
    branch: str = key("Its branch label, or the package's name where it has none.")
    location: str = key("The location as the config file writes it.")
    directory: str = key("The directory that it leads to.")
    heads: list[str] = key("The newest revisions in it.", list, form="name")
    current: list[str] = key("The newest applied revisions in it.", list, form="name")
    pending: int = key("How many of its revisions are pending.", 0)


@dataclass(eq=False)
class Database:
    """The database that the app's config leads to; never a password."""

    name: str = key("Its name.")
    host: str = key("The server's host, or the directory of its socket.")
    port: int = key("The server's port.", 0)
    user: str = key("The role that the app connects as.")
    server_version: str = key("The server's version.")
    search_path: str = key("The search_path of that role.")


@dataclass(eq=False)
class Source:
    directory: str = key("Its directory; empty for a released package.")
    branch: str = key("The branch checked out; empty where none is.", form="ref")
    before: str = key("The commit checked out before the run.", form="commit")
    after: str = key("The same after the run.", form="commit")
    wanted: str = key("The commit wanted.", form="commit")
    version: str = key("What git is asked for: a branch, a tag, or the commit in full.", form="ref")
    moved_tags: list[str] = key(
        "Tags of the repository that mean another commit than in the checkout.", list, form="ref"
    )


@dataclass(eq=False)
class Section:
    script_location: str = key("The option of that name.", form="location")
    version_locations: list[str] = key("The version locations in their order.", list, form="location")
    separator_name: str = key("What the Alembic in use calls its separator.", form=_SEPARATOR_NAMES)
    separator: str = key("V(space) or V(newline).", form=_SEPARATORS)
    other_separator_name: str = key("The separator's name in other releases of Alembic.", form=_SEPARATOR_NAMES)
    other_separator: str = key("What that option has to say; empty where the file does not have it.", form=_SEPARATORS)


@dataclass(eq=False)
class Config:
    path: str = key("The file.")
    owner: str = key("Its owner.")
    section: Optional[Section] = key("C([alembic]) as it should be.", None)
    reasons: list[str] = key("Why it has to be changed; none where it is right.", list)


@dataclass(eq=False)
class Problem:
    code: str = key("A short word for programs, see docs/refusals.md.", form="code")
    cause: str = key("What is wrong, in a sentence.")
    remedy: str = key("What to do about it, in a sentence.")


@dataclass(eq=False)
class Holder:
    pid: int = key("Its server process.", 0)
    user: str = key("Its role.")
    application: str = key("Its application name.")
    address: str = key("The address that it came from.")
    host: str = key("The host that it ran on.")
    phase: str = key("What it was doing.")
    since: str = key("Since when, ISO 8601.")


@dataclass(eq=False)
class Lock:
    waited_seconds: float = key("How long was waited.", 0.0)
    holders: list[Holder] = key("The runs that were waited for, in order.", list)


@dataclass(eq=False)
class Blocker:
    pid: int = key("Its server process.", 0)
    user: str = key("Its role.")
    application: str = key("Its application name.")
    address: str = key("The address that it came from.")
    state: str = key("What it was doing, as C(pg_stat_activity) has it.")
    transaction_seconds: Optional[float] = key("For how long it had been in its transaction.", None)


@dataclass(eq=False)
class Backup:
    file: str = key("The file.")
    size: int = key("Its size in bytes.", 0)
    sha256: str = key("Its checksum.")
    seconds: Optional[float] = key("How long it took.", None)
    mode: str = key("V(full) or V(schema).")
    pruned: list[str] = key("The older ones that were deleted.", list)


@dataclass(eq=False)
class Violation:
    revision: str = key("The revision; empty where that was only seen in the end.", form="name")
    action: str = key("One of V(created), V(altered) and V(dropped).")
    kind: str = key("The kind of object, for example V(column).")
    object: str = key("The object.")
    rule: str = key("What is allowed instead.")


@dataclass(eq=False)
class Rows:
    revision: str = key("The revision.", form="name")
    table: str = key("The table.")
    inserted: int = key("How many rows it inserted.", 0)
    updated: int = key("How many it updated.", 0)
    deleted: int = key("How many it deleted.", 0)
    rewritten: bool = key("Whether the rows were replaced as a whole.", False)


@dataclass(eq=False)
class Rehearsed:
    revision: str = key("The revision.", form="name")
    seconds: Optional[float] = key("How long it took there.", None)
    sql: list[str] = key("The statements that it executed.", list, form="text")
    locks: list[str] = key("The locks that it held at its end.", list)


@dataclass(eq=False)
class Rehearsal:
    mode: str = key("V(clone) or V(transaction).")
    place: str = key("Where it was held.")
    seconds: Optional[float] = key("How long it took.", None)
    revisions: list[Rehearsed] = key("The revisions, in order.", list)
    violations: list[Violation] = key("As in the upgrade itself.", list)
    data: list[Rows] = key("As in the upgrade itself.", list)


@dataclass(eq=False)
class FailedRevision:
    revision: str = key("The revision.", form="name")
    path: str = key("Its file.")
    statement: str = key("The statement that failed.", form="text")
    error: str = key("Why it failed.", form="text")


@dataclass(eq=False)
class Partial:
    revision: str = key("The revision.", form="name")
    how: str = key("How it had left its transaction.")
    objects: list[str] = key("What stays.", list)
    undo: list[str] = key("The SQL to undo what of it is the app's by its name.", list, form="text")
    invalid_indexes: list[str] = key("Indexes that are not valid.", list)


@dataclass(eq=False)
class Dependency:
    revision: str = key("The revision.", form="name")
    reason: str = key("Why it is needed.")


@dataclass(eq=False)
class NewRevision:
    revision: str = key("Its identifier; in check mode another one than a real run would choose.", form="name")
    branch: str = key("The label of the app's branch.")
    message: str = key("Its message.")
    path: str = key("Its file.")
    down_revision: list[str] = key("The revisions that it follows, none for the first one.", list, form="name")
    branch_labels: list[str] = key("The label that it gives to its branch, where it is the first one.", list)
    depends_on: list[Dependency] = key("The revisions of other branches that it needs.", list, form="name")
    tables: list[str] = key("The tables that it creates.", list)
    hints: list[str] = key("What a person has to decide, for example what looks like a rename.", list)
    hooks: list[str] = key("The hooks of C([post_write_hooks]) that were run on it.", list)


@dataclass(eq=False)
class LeftOut:
    owner: str = key("Whose it is.")
    operations: int = key("How many differences there are.", 0)
    tables: int = key("On how many tables.", 0)
    words: list[str] = key("What is more than differences in indexes.", list)


@dataclass(eq=False)
class Finding:
    rule: str = key("The rule that found it.")
    effect: str = key("V(fails), V(loses), V(blocks), V(breaks) or V(warns).")
    object: str = key("The object.")
    message: str = key("What it does.")
    safer: str = key("What to do instead.")


@dataclass(eq=False)
class Review:
    result: str = key("V(passed), V(failed) or V(skipped).")
    reason: str = key("Why, where it is not V(passed).")
    place: str = key("Where the scratch database was.")
    sql: list[str] = key("The statements of the upgrade.", list, form="text")
    down_sql: list[str] = key("The statements of the downgrade.", list, form="text")
    seconds: Optional[float] = key("How long the upgrade took there.", None)
    locks: list[str] = key("The locks that the upgrade held.", list)
    rewrites: list[str] = key("The tables that it rewrote.", list)
    findings: list[Finding] = key("What it does to a store that is open.", list)
    file: str = key("The page to read it on.")


@dataclass(eq=False)
class Diff:
    before_header: str = key("What it is about.")
    after_header: str = key("The same.")
    before: str = key("As it was.", form="text")
    after: str = key("As it is.", form="text")


@dataclass(eq=False)
class Answer:
    """What an entry point of the role returns. A key whose subject did not come up has its empty value."""

    changed: bool = key("Whether anything differed.", False)
    check_mode: bool = key("Whether this was a run in check mode.", False)
    state: str = key(
        "V(current), V(behind), V(ahead), V(diverged), V(unstamped), V(empty), or V(unknown) where it could not be"
        " told: after the run, in check mode as it is now.",
        "unknown",
        form=STATES,
    )
    state_reason: str = key("Why the state is V(unknown).")
    pending: list[Revision] = key("The revisions that were pending when the run began, in order.", list)
    applied: list[Revision] = of_change("Those of them that were applied and committed.", list)
    heads: list[str] = key("The heads of the revisions at the commit wanted.", list, form="name")
    current_before: list[str] = key("The rows of the version table before the run.", list, form="name")
    current_after: list[str] = key("The same after the run.", list, form="name")
    branches: list[Branch] = key("One entry for each version location.", list)
    summary: list[str] = key("All of this in a few lines for a person.", list)
    database: Optional[Database] = key("The database looked at.", None)
    source: Source = key("The checkout and its commits.", Source)
    config: Config = key("The config file.", Config)
    versions: str = key("The directory of the app's own revisions.")
    install_reason: str = key("Why the app has to be installed (again).")
    todo: list[str] = key(
        "The phases to run, of V(source), V(install), V(config), V(versions) and V(upgrade).", list, form=PHASES
    )
    msg: str = key("Why nothing is done, or why the run failed: a sentence of cause and one of remedy.")
    problems: list[Problem] = key("What stands in the way.", list)
    warnings: list[str] = key("What does not stand in the way but should be known.", list)
    alembic_version: str = key("The version of Alembic in the environment.")
    python: str = key("The Python that the module ran with.")
    fast_path: bool = key("Whether the answer was found without running Alembic or the app.", True)
    lock: Optional[Lock] = of_change("The wait for other runs on the same database.", None)
    retries: int = of_change("How often the run was rolled back and begun again after a lock timeout or a deadlock.", 0)
    blockers: list[Blocker] = of_change("The sessions that stood in the way last.", list)
    backup: Optional[Backup] = of_change("The backup that was made before.", None)
    rehearsal: Optional[Rehearsal] = of_change("What the rehearsal showed.", None)
    violations: list[Violation] = of_change("What revisions did that the policy forbids.", list)
    data: list[Rows] = of_change("Rows that revisions wrote to tables that are not theirs.", list)
    drift: list[str] = of_change("How the app's own tables differ from its models after the upgrade, in words.", list)
    failed_revision: Optional[FailedRevision] = of_change("The revision that failed, where one did.", None)
    partial: Optional[Partial] = of_change("What stays of a revision that left its transaction and then failed.", None)
    app_output: list[str] = of_change("The end of the app's output, where its process failed without an error.", list)
    reverted: list[Revision] = of_change("The revisions that C(revert) undid, newest first.", list)
    stamped: list[str] = of_change("The version rows that C(baseline) wrote.", list, form="name")
    revision: Optional[NewRevision] = of_change("What C(revision) wrote; empty where models and database agree.", None)
    left_out: list[LeftOut] = of_change("Where models and database differ in what is not the app's, by owner.", list)
    review: Optional[Review] = of_change("What the scratch database showed of that revision.", None)
    diff: Optional[Diff] = of_change("What C(--diff) shows.", None)
    exception: str = of_change("The traceback of what failed, for C(-vvv).", form="text")

    def as_result(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {name: value for name, value in asdict(self, dict_factory=_plain).items() if name not in OF_ANSIBLE}

    def for_ansible(self) -> dict[str, Any]:
        """What a module returns, without passwords: the answer, and the keys that Ansible itself reads."""
        diff = asdict(self.diff) if self.diff else {}
        answer = {
            name: value if name in _ACTED_ON else problem.masked(value) for name, value in self.as_result().items()
        }
        return {
            "changed": self.changed,
            "answer": answer,
            **problem.masked({"diff": diff, "exception": self.exception}),
        }

    def refuse(self, why: problem.Problem) -> None:
        """Fail with a problem."""
        self.problems.append(Problem(why.code, why.cause, why.remedy))
        self.msg = str(why)

    def warn(self, *warnings: str) -> None:
        """Add those warnings that are not there yet."""
        self.warnings += [warning for warning in dict.fromkeys(warnings) if warning not in self.warnings]


def _plain(keys: list[tuple[str, Any]]) -> dict[str, Any]:
    """An empty dictionary for what is not there; only a time stays None."""
    return {name: {} if value is None and "seconds" not in name else value for name, value in keys}
