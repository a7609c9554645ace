# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One look at everything that a run decides on. It writes nothing and refuses nothing.

What it finds wrong it lists as problems; whoever acts on the observation refuses.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from . import environment, locations, plan, runner, section, settings, source
from .database import Contents
from .database import look_at as look_at_database
from .graph import Graph, Revision, RevisionFile, Unreadable, is_revision_file
from .locations import Location
from .plan import Plan
from .problem import Problem, Refused
from .request import Request
from .url import parse_url


@dataclass
class Observation:
    """What was seen. A part that could not be looked at keeps its empty value, and a problem says why."""

    request: Request
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    alembic: str = ""
    checkout: source.Checkout = field(default_factory=lambda: source.Checkout(""))
    wanted: source.Wanted | None = None
    commits: source.Commits | None = None
    options: dict[str, str] = field(default_factory=dict)
    section: section.Wanted | None = None
    locations: list[Location] = field(default_factory=list)
    graph: Graph | None = None
    versions_needed: bool = False
    install_reason: str = ""
    contents: Contents | None = None
    plan: Plan | None = None
    fast_path: bool = True

    @property
    def moves(self) -> bool:
        """Whether the work tree is not at the commit wanted."""
        return self.wanted is not None and self.wanted.differs_from(self.checkout)

    @property
    def todo(self) -> list[str]:
        """The phases that have something to do, in order."""
        if self.problems:
            return []
        return [
            phase
            for phase, needed in (
                ("source", self.moves),
                ("install", bool(self.install_reason)),
                ("config", self.section is not None and self.section.needed),
                ("versions", self.versions_needed),
                ("upgrade", self.plan is not None and bool(self.plan.pending)),
            )
            if needed
        ]


def look(request: Request) -> Observation:
    """Look at everything, as the user who owns the environment, with the environment's own Python."""
    seen = Observation(request)
    with ExitStack() as stack:
        phases: tuple[Callable[[], None], ...] = (
            lambda: _look_at_environment(seen),
            lambda: _look_at_source(seen, stack),
            lambda: _look_at_config(seen),
            lambda: _look_at_locations(seen),
            lambda: _look_at_revisions(seen, stack),
            lambda: _look_at_install(seen),
            lambda: _look_at_database(seen),
            lambda: _look_at_plan(seen),
        )
        for phase in phases:
            try:
                phase()
            except Refused as refused:
                seen.problems.append(refused.problem)
                if phase is phases[0]:
                    break
    return seen


def _look_at_environment(seen: Observation) -> None:
    request = seen.request
    if not request.app.replace(".", "_").isidentifier():
        raise Refused(
            "app_name",
            f"{request.app!r} is not the name of a Python package.",
            "Set rattail_schema_ext_app to the package that the app's code lies in, e.g. poser.",
        )
    for name, path in (("env_dir", request.env_dir), ("source_dir", request.source_dir)):
        if not os.path.isabs(path):
            raise Refused(
                "path_relative",
                f"rattail_schema_ext_{name} is {path!r}, which is no absolute path.",
                "Begin it with a slash: which directory it would count from differs between tasks.",
            )
    if not environment.is_running_in(request.env_dir):
        raise environment.explain_from_outside(request.env_dir, request.user)
    environment.refuse_wrong_user(request.user)
    environment.refuse_missing("psycopg2")
    seen.alembic = environment.version_of("alembic")
    # Alembic takes relative paths from where it is run, and the manual runs it from here.
    os.chdir(request.env_dir)


def _look_at_source(seen: Observation, stack: ExitStack) -> None:
    request = seen.request
    if not request.source_enabled:
        return
    repository = request.repository
    if repository is None:
        if not os.path.isdir(request.source_dir):
            raise Refused(
                "source_missing",
                f"There is no source at {request.source_dir}, and no repository to check it out from.",
                "Set rattail_schema_ext_source_repo, put the source there, "
                "or set rattail_schema_ext_source_enabled: false for a released package.",
            )
        if os.path.exists(os.path.join(request.source_dir, ".git")):
            seen.checkout = source.look_at(request.source_dir)
        return
    seen.checkout = source.look_at(request.source_dir)
    if seen.checkout.modified:
        names = ", ".join(seen.checkout.modified[:5])
        raise Refused(
            "source_modified",
            f"The checkout {request.source_dir} has uncommitted changes: {names}.",
            f"Commit and push them, or drop them (git -C {request.source_dir} stash), then run again.",
        )
    target = source.wanted(repository, seen.checkout)
    if target.differs_from(seen.checkout):
        seen.commits = stack.enter_context(source.Commits(repository, seen.checkout))
        target = seen.commits.bring(target)
        seen.commits.refuse_unpushed(target)
    seen.wanted = target


def _look_at_config(seen: Observation) -> None:
    request = seen.request
    try:
        data = Path(request.config_file).read_bytes()
    except FileNotFoundError:
        raise Refused(
            "config_missing",
            f"There is no config file {request.config_file}.",
            f"Create it with the database's URL (default.url in [{request.base.config_prefix}.db]), "
            "or correct rattail_schema_ext_config_file.",
        ) from None
    except PermissionError:
        raise Refused(
            "config_forbidden",
            f"The config file {request.config_file} cannot be read by {request.user!r}.",
            f"Give it to that user: chown {request.user} {request.config_file}.",
        ) from None
    present = section.read(data, request.config_file)
    seen.options = present.options
    seen.section = section.wanted(
        present,
        core=request.base,
        app_location=location_in(request.app),
        integration_locations=[location_in(package) for package in request.integrations],
        script_location=request.script_location or None,
        alembic_version=environment.version_tuple(seen.alembic),
    )
    seen.warnings += [*present.warnings, *seen.section.warnings]
    if not seen.section.needed:
        return
    seen.warnings += [f"[alembic] in {request.config_file}: {reason}." for reason in seen.section.reasons]
    if not request.config_enabled:
        lines = "; ".join(f"{name} = {value}" for name, value in seen.section.options().items())
        raise Refused(
            "config_unmanaged",
            f"[alembic] in {request.config_file} is not as the app needs it ({'; '.join(seen.section.reasons)}), "
            "and rattail_schema_ext_config_enabled is false.",
            f"Give it these options: {lines}.",
        )
    directory = os.path.dirname(os.path.realpath(request.config_file))
    if not os.access(directory, os.W_OK):
        raise Refused(
            "config_forbidden",
            f"[alembic] in {request.config_file} has to change, but {request.user!r} may not write to {directory}.",
            f"Give the directory to that user (chown {request.user} {directory}), "
            "or set rattail_schema_ext_config_enabled: false and manage the section yourself.",
        )


def location_in(package: str) -> str:
    return f"{package}.db:alembic/versions"


def _look_at_locations(seen: Observation) -> None:
    if seen.section is None or _source_failed(seen):
        return
    request = seen.request
    files: list[str] = []
    if seen.commits is not None and seen.wanted is not None:
        files = seen.commits.files(seen.wanted.commit)
    for spec in seen.section.version_locations:
        package = locations.package_of(spec)
        # Another package of the same name may lie in the source; only what is known to come from it counts.
        ours = request.source_enabled and package and _comes_from_source(request, package.split(".")[0])
        offered = (files or locations.source_files(request.source_dir, package)) if ours else []
        seen.locations.append(
            locations.resolve(
                spec,
                config_file=request.config_file,
                working_dir=request.env_dir,
                package_directory=environment.package_directory,
                source_dir=request.source_dir if request.source_enabled else "",
                source_files=offered,
            )
        )


def _source_failed(seen: Observation) -> bool:
    return seen.request.repository is not None and seen.wanted is None


def _comes_from_source(request: Request, package: str) -> bool:
    if package == request.app.split(".")[0]:
        return True
    found = environment.package_directory(package)
    return found is not None and environment.is_below(found, request.source_dir)


def _look_at_revisions(seen: Observation, stack: ExitStack) -> None:
    files: dict[str, list[RevisionFile]] = {}
    for location in seen.locations:
        found = _revision_files(seen, location)
        if found is not None:
            files[location.spec] = found
        else:
            _judge_missing(seen, location)
    if not seen.locations or seen.problems:
        return
    try:
        if _is_on(seen.options.get("sourceless", "")):
            raise Unreadable(seen.request.config_file, "sourceless revisions are no text")
        seen.graph = Graph.from_files(file for found in files.values() for file in found)
    except Unreadable:
        seen.fast_path = False
        seen.graph = _graph_by_alembic(seen, files, stack)
    _judge_revisions(seen, seen.graph)


def _is_on(value: str) -> bool:
    return value.strip().lower() in ("1", "true", "yes", "on")


def _revision_files(seen: Observation, location: Location) -> list[RevisionFile] | None:
    """The revision files of a location at the commit wanted; None where the location does not exist."""
    recursive = _is_on(seen.options.get("recursive_version_locations", ""))
    on_disk: list[str] = []
    if location.directory and os.path.isdir(location.directory):
        on_disk = [name for name in locations.names_in(location.directory, recursive=recursive) if _is_revision(name)]
    elif seen.commits is None or location.relative is None:
        return None
    if location.relative is None or seen.request.repository is None:
        return _from_disk(location, on_disk)
    uncommitted = _uncommitted(seen, location, on_disk)
    if seen.commits is None or seen.wanted is None:
        return _from_disk(location, on_disk)
    commit = seen.wanted.commit
    everything = list(locations.names_below(seen.commits.files(commit, location.relative), location.relative,
                                            recursive=recursive))  # fmt: skip
    if not everything and not os.path.isdir(location.directory):
        return None
    names = [name for name in everything if _is_revision(name)]
    contents = seen.commits.read(commit, [os.path.join(location.relative, name) for name in names])
    found = {name: text.decode("utf-8", errors="surrogateescape") for name, text in zip(names, contents.values())}
    files = [RevisionFile(os.path.join(location.directory, name), location.spec, found[name]) for name in names]
    return files + _from_disk(location, uncommitted)


def _is_revision(name: str) -> bool:
    return is_revision_file(os.path.basename(name))


def _from_disk(location: Location, names: list[str]) -> list[RevisionFile]:
    paths = [os.path.join(location.directory, name) for name in names]
    return [
        RevisionFile(path, location.spec, Path(path).read_bytes().decode("utf-8", errors="surrogateescape"))
        for path in paths
    ]


def _uncommitted(seen: Observation, location: Location, on_disk: list[str]) -> list[str]:
    """Revision files in the work tree that git does not know: allowed, or a problem."""
    if not seen.checkout.commit or location.relative is None:
        return []
    known = source.tracked(seen.checkout.directory, location.relative)
    uncommitted = [name for name in on_disk if os.path.join(location.relative, name) not in known]
    if uncommitted and not seen.request.allow_uncommitted_revisions:
        raise Refused(
            "revision_uncommitted",
            f"The checkout {seen.checkout.directory} has a revision that git does not know: "
            f"{os.path.join(location.relative, uncommitted[0])}.",
            "Commit and push it, move it away, or set rattail_schema_ext_allow_uncommitted_revisions: true.",
        )
    return uncommitted


def _judge_missing(seen: Observation, location: Location) -> None:
    """A location that does not exist is skipped by Alembic in silence; never here."""
    request = seen.request
    if location.spec == location_in(request.app) and request.source_enabled:
        if location.relative is None:
            raise Refused(
                "source_package_missing",
                f"The source of {request.app!r} has no package {location.package.split('.')[0]!r} "
                "at its top or below src/.",
                "Correct rattail_schema_ext_app, rattail_schema_ext_source_repo or rattail_schema_ext_source_version.",
            )
        seen.versions_needed = True
        return
    package = location.package.split(".")[0]
    if not location.directory:
        cause = f"The version location {location.spec} leads nowhere: {sys.executable} has no package {package!r}."
        remedy = f"Install it into the environment ({sys.executable} -m pip install {package})."
    else:
        cause = f"The version location {location.spec} leads to {location.directory}, which does not exist."
        remedy = f"Install a release of {package or 'the package'} that ships it (package data), or make the directory."
    if location.spec not in (location_in(request.app), request.base.version_location):
        remedy += f" If it is not meant to be there, take it out of [alembic] in {request.config_file}."
    raise Refused("location_missing", cause, remedy)


def _graph_by_alembic(seen: Observation, files: dict[str, list[RevisionFile]], stack: ExitStack) -> Graph:
    """The graph as Alembic loads it, from copies where the files are those of a commit not checked out."""
    assert seen.section is not None
    directories: list[tuple[str, str]] = []
    for location in seen.locations:
        directory = location.directory
        if seen.commits is not None and location.relative is not None:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="rattail_schema_ext_"))
            for file in files.get(location.spec, []):
                copy = Path(directory, os.path.basename(file.path))
                copy.write_bytes(file.text.encode("utf-8", errors="surrogateescape"))
        if os.path.isdir(directory):
            directories.append((location.spec, directory))
    rows = runner.revisions(seen.request.config_file, seen.section.options(), directories)
    places = {location.spec: location.directory for location in seen.locations}
    return Graph(
        Revision(
            revision=row["revision"],
            down_revision=tuple(row["down_revision"]),
            branch_labels=tuple(row["branch_labels"]),
            depends_on=tuple(row["depends_on"]),
            message=row["message"],
            path=os.path.join(places[row["location"]], os.path.basename(row["path"])),
            location=row["location"],
        )
        for row in rows
    )


def _judge_revisions(seen: Observation, graph: Graph) -> None:
    request = seen.request
    filled = {revision.location for revision in graph.revisions.values()}
    if request.base.version_location not in filled:
        raise Refused(
            "revisions_missing",
            f"Not one revision was found in {request.base.version_location}.",
            f"Install {request.base.package} anew: its package lacks its revisions.",
        )
    ours = location_in(request.app)
    if ours not in filled:
        seen.warnings.append(
            f"{request.app} has no revision yet in {ours}, so only {request.base.label} is brought up to date."
            " Write the first one with alembic revision, commit it and run again."
        )
    heads = graph.heads_in(ours)
    if len(heads) > 1:
        paths = " and ".join(graph.revisions[head].path for head in heads)
        seen.warnings.append(
            f"{request.app} has {len(heads)} heads, in {paths}: all are applied. Join them with alembic merge."
        )


def _look_at_install(seen: Observation) -> None:
    request = seen.request
    if not request.source_enabled:
        if environment.package_directory(request.app) is None:
            raise Refused(
                "app_missing",
                f"{sys.executable} has no package {request.app!r}.",
                f"Install its release into {request.env_dir}, or give rattail_schema_ext_source_repo.",
            )
        return
    if _source_failed(seen):
        return
    reason = environment.install_reason(request.app, request.source_dir)
    if not reason and seen.commits is not None and seen.wanted is not None:
        changed = seen.commits.changes(seen.checkout.commit, seen.wanted.commit, environment.PACKAGING_FILES)
        reason = f"{changed[0]} changes" if changed else ""
    if not reason:
        return
    if not request.install_enabled:
        raise Refused(
            "app_elsewhere",
            f"{sys.executable} does not have {request.source_dir} as it should ({reason}), "
            "and rattail_schema_ext_install_enabled is false.",
            f"Install it: {sys.executable} -m pip install --editable {request.source_dir}.",
        )
    seen.install_reason = reason


def _look_at_database(seen: Observation) -> None:
    request = seen.request
    if seen.section is None:
        return
    try:
        url = settings.database_url(request.config_file, request.base, os.environ)
    except settings.Unsure:
        seen.fast_path = False
        url = runner.database_url(request.config_file, request.base)
    contents = look_at_database(parse_url(url), request.base.tables)
    if not _env_is_cores(seen) and environment.package_directory(request.app) is not None:
        # Its version table may have another name or schema, which only env.py knows.
        seen.fast_path = False
        rows = runner.version_rows(request.config_file, seen.section.options())
        contents = Contents(contents.identity, rows, contents.core_tables)
    seen.contents = contents


def _env_is_cores(seen: Observation) -> bool:
    """Whether ``env.py`` is the core package's own, which leaves the version table at Alembic's default."""
    assert seen.section is not None
    if seen.section.script_location != seen.request.base.script_location:
        return False
    directory = locations.resolve(
        seen.section.script_location,
        config_file=seen.request.config_file,
        working_dir=seen.request.env_dir,
        package_directory=environment.package_directory,
    ).directory
    try:
        return "version_table" not in Path(directory, "env.py").read_text(encoding="utf-8")
    except OSError:
        return False


def _look_at_plan(seen: Observation) -> None:
    if seen.graph is None or seen.contents is None:
        return
    request, database = seen.request, seen.contents.identity["name"]
    seen.plan = plan.make(seen.graph, seen.contents.rows, core_tables=seen.contents.core_tables)
    strangers = ", ".join(seen.plan.unknown)
    if seen.plan.state == plan.AHEAD:
        seen.warnings.append(
            f"The database {database!r} is ahead: it has revision {strangers}, which the code does not know,"
            " so it is left as it is."
        )
    elif seen.plan.state == plan.DIVERGED:
        raise Refused(
            "diverged",
            f"The database {database!r} has revision {strangers}, which the code does not know, "
            "while other revisions are pending.",
            f"Deploy the version of {request.app} that has it (rattail_schema_ext_source_version), then run again.",
        )
    elif seen.plan.state == plan.UNSTAMPED:
        raise Refused(
            "unstamped",
            f"The database {database!r} holds {request.core} tables but no version rows, "
            "so what was applied to it is not known.",
            "Restore the version table, or stamp the revisions that it is at (alembic stamp), then run again.",
        )
