# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The part of a look that reads revisions: the files of every version location at the commit wanted."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..host import environment, git
from ..postgres.connection import ROLE
from ..problem import Refused
from ..revisions import applied, locations
from ..revisions.graph import Graph, Revision, RevisionFile, Unreadable, is_revision_file
from ..revisions.locations import Location
from .observation import Observation, Ready


def look_at_locations(seen: Observation) -> None:
    """Where each version location leads, for the commit wanted."""
    if seen.section is None or seen.source_failed:
        return
    seen.locations = [where(seen, spec) for spec in seen.section.version_locations]


def where(seen: Observation, spec: str) -> Location:
    """Where a location leads, for the commit wanted."""
    request = seen.request
    package = locations.package_of(spec)
    top = package.split(".")[0]
    installed = environment.package_directory(top)
    # A package of the same name in the source may be another one; only what comes from there counts.
    ours = top == request.app.split(".")[0] or (installed and environment.is_below(installed, request.source_dir))
    return locations.resolve(
        spec,
        config_file=request.config_file,
        working_dir=request.env_dir,
        package_directory=environment.package_directory,
        source_dir=request.source_dir if request.source_enabled else "",
        source_files=of_source(seen, locations.signs(package)) if package and ours else (),
    )


def root_of(seen: Observation, package: str) -> str | None:
    """The directory of the source, in relation to it, that a package is imported from; None where it is not there."""
    signs = locations.signs(package)
    return next((signs[name] for name in of_source(seen, signs)), None)


def of_source(seen: Observation, names: Iterable[str]) -> list[str]:
    """Those of ``names`` that the source has, at the commit wanted."""
    if not seen.request.source_enabled:
        return []
    if seen.commits and seen.wanted:
        return seen.commits.present(seen.wanted.commit, names)
    return [name for name in names if os.path.exists(os.path.join(seen.request.source_dir, name))]


def package_of_source(seen: Observation) -> str:
    """The directory that the app's package will have in the checkout; empty where the source has none."""
    app = seen.request.app
    root = root_of(seen, app)
    return "" if root is None else os.path.join(seen.request.source_dir, root, *app.split("."))


def look_at_revisions(seen: Observation) -> None:
    """The graph of all revision files, and warnings about it."""
    if seen.section is None:
        return
    files: dict[str, list[RevisionFile]] = {}
    directories = set()
    for location in seen.locations:
        found = _revision_files(seen, location)
        if found is None:
            _judge_missing(seen, location)
        # Alembic, too, loads a directory once that two locations lead to.
        elif os.path.realpath(location.directory) not in directories:
            directories.add(os.path.realpath(location.directory))
            files[location.spec] = found
    if not seen.locations or seen.problems:
        return
    every = [file for found in files.values() for file in found]
    try:
        if _is_on(seen, "sourceless"):
            raise Unreadable("sourceless revisions are no text")
        seen.graph = Graph.from_files(every)
    except Unreadable:
        seen.fast_path = False
        seen.graph = _graph_by_alembic(seen, files)
    seen.texts = {file.path: file.text for file in every}
    _judge_revisions(seen, seen.graph)


def _is_on(seen: Observation, option: str) -> bool:
    return seen.options.get(option, "").strip().lower() in ("1", "true", "yes", "on")


def _revision_files(seen: Observation, location: Location) -> list[RevisionFile] | None:
    """The revision files of a location at the commit wanted; None where the location does not exist."""
    recursive = _is_on(seen, "recursive_version_locations")
    commits, wanted, below = seen.commits, seen.wanted, location.relative
    elsewhere = _elsewhere(seen, location)
    if elsewhere and commits is None:
        raise git.unreadable(location.directory, elsewhere)
    if not os.path.isdir(location.directory) and (commits is None or below is None):
        return None
    on_disk = _revisions(locations.names_in(location.directory, recursive=recursive))
    uncommitted = [] if elsewhere else _uncommitted(seen, location, on_disk)
    if commits is None or wanted is None or below is None:
        return _from_disk(location, on_disk)
    everything = list(locations.names_below(commits.files(wanted.commit, below), below, recursive=recursive))
    if not everything and not uncommitted:
        # what is on disk now goes with the checkout
        return None
    names = _revisions(everything)
    texts = commits.read(wanted.commit, [os.path.join(below, name) for name in names]).values()
    return [_file(location, name, text) for name, text in zip(names, texts)] + _from_disk(location, uncommitted)


def _elsewhere(seen: Observation, location: Location) -> str:
    """Why git cannot tell what is in a location of the checkout; empty where it can."""
    if seen.request.repository is None or location.relative is None:
        return ""
    place, source = os.path.realpath(location.directory), os.path.realpath(seen.request.source_dir)
    dangling = os.path.islink(location.directory) and not os.path.isdir(place)
    if dangling or not environment.is_below(place, source):
        return git.LINK
    while place != source:
        if os.path.lexists(os.path.join(place, ".git")):
            return git.SUBMODULE
        place = os.path.dirname(place)
    return ""


def _revisions(names: Iterable[str]) -> list[str]:
    return [name for name in names if is_revision_file(os.path.basename(name))]


def _file(location: Location, name: str, text: bytes) -> RevisionFile:
    path = os.path.join(location.directory, name)
    return RevisionFile(path, location.spec, text.decode("utf-8", errors="surrogateescape"))


def _from_disk(location: Location, names: Iterable[str]) -> list[RevisionFile]:
    found = []
    for name in names:
        # There are hundreds, and a Path for each would take longer than its reading.
        path = os.path.join(location.directory, name)
        try:
            with open(path, "rb") as file:
                found.append(_file(location, name, file.read()))
        except OSError as error:
            raise git.unreadable(path, f"cannot be read ({error.strerror})") from None
    return found


def _uncommitted(seen: Observation, location: Location, on_disk: list[str]) -> list[str]:
    """Revision files in the work tree that git does not know: allowed, or a problem."""
    checkout, below = seen.checkout, location.relative
    if seen.request.repository is None or not checkout.commit or below is None:
        return []
    below = os.path.relpath(os.path.realpath(location.directory), os.path.realpath(checkout.directory))
    known = git.tracked(checkout.directory, below)
    for path in (os.path.join(location.directory, name) for name in on_disk):
        if os.path.islink(path) and not environment.is_below(path, checkout.directory):
            raise git.unreadable(path, git.LINK)
    uncommitted = [name for name in on_disk if os.path.join(below, name) not in known]
    if uncommitted and not seen.request.allow_uncommitted_revisions:
        raise Refused(
            "revision_uncommitted",
            f"The checkout {checkout.directory} has a revision that git does not know: "
            f"{os.path.join(below, uncommitted[0])}.",
            "Commit and push it, move it away, or set rattail_schema_ext_allow_uncommitted_revisions: true.",
        )
    return uncommitted


def _judge_missing(seen: Observation, location: Location) -> None:
    """A location that does not exist is skipped by Alembic in silence; never here."""
    request = seen.request
    if location.spec == locations.standard(request.app) and request.source_enabled:
        if location.relative is None:
            raise Refused(
                "source_package_missing",
                f"The source of {request.app!r} has no package {location.name!r} at its top or below src/.",
                "Correct rattail_schema_ext_app, rattail_schema_ext_source_repo or rattail_schema_ext_source_version.",
            )
        seen.versions_needed = True
        return
    package = location.name
    if not location.directory and environment.package_directory(package):
        place = location.package.replace(".", "/")
        cause = (
            f"The version location {location.spec} leads nowhere: {sys.executable} has the package {package!r}, "
            f"which has no {location.package} in it."
        )
        remedy = f"Install a release of {package} that has {place}/__init__.py and {place}/alembic/versions, even empty"
    elif not location.directory:
        cause = f"The version location {location.spec} leads nowhere: {sys.executable} has no package {package!r}."
        remedy = f"Install it into the environment ({sys.executable} -m pip install {package})"
    else:
        cause = f"The version location {location.spec} leads to {location.directory}, which does not exist."
        remedy = f"Install a release of {package or 'the package'} that ships it (package data), or make the directory"
    if location.spec in map(locations.standard, request.integrations):
        remedy += ", or take it out of rattail_schema_ext_integrations"
    elif location.spec == locations.standard(request.app):
        remedy += ", or have the role take its source (rattail_schema_ext_source_enabled: true), where it makes them"
    elif location.spec != request.base.version_location:
        remedy += f", or take it out of [alembic] in {request.config_file}"
    raise Refused("location_missing", cause, f"{remedy}.")


def _graph_by_alembic(seen: Observation, files: Mapping[str, list[RevisionFile]]) -> Graph:
    """The graph as Alembic loads it, from copies where the files are those of a commit not checked out."""
    directories: list[tuple[str, str]] = []
    copies: dict[str, Path] = {}
    for location in seen.locations:
        directory = location.directory
        if seen.commits and location.relative is not None:
            made = seen.closing.enter_context(tempfile.TemporaryDirectory(prefix="rattail_schema_ext_"))
            directory = os.path.realpath(made)
            for file in files.get(location.spec, []):
                copy = Path(directory, os.path.relpath(file.path, location.directory))
                if copies.setdefault(file.path, copy) is copy:
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    copy.write_bytes(file.text.encode("utf-8", errors="surrogateescape"))
        if os.path.isdir(directory):
            directories.append((location.spec, directory))
    originals = {str(copy): path for path, copy in copies.items()}
    revisions = []
    for row in seen.deeper.revisions(seen, directories):
        row["path"] = originals.get(row["path"], row["path"])
        names = {name: tuple(row[name]) for name in ("down_revision", "branch_labels", "depends_on")}
        revisions.append(Revision(**{**row, **names}))
    return Graph(revisions)


def _judge_revisions(seen: Observation, graph: Graph) -> None:
    request = seen.request
    filled = {revision.location for revision in graph.revisions.values()}
    if request.base.version_location not in filled:
        raise Refused(
            "revisions_missing",
            f"No revision was found in {request.base.version_location}.",
            f"Install {request.base.package} again: its package lacks its revisions.",
        )
    ours = locations.standard(request.app)
    if ours not in filled:
        seen.warnings.append(
            f"{request.app} has no revision yet in {ours}, so only {request.base.label} is brought up to date."
            " Write the first one (playbooks/revision.yml, the entry point revision), commit it and run again."
        )
    heads = graph.heads_in(ours)
    if len(heads) > 1:
        paths = " and ".join(graph.revisions[head].path for head in heads)
        seen.warnings.append(
            f"{request.app} has {len(heads)} heads, in {paths}: all are applied. Join them"
            " (playbooks/revision.yml with rattail_schema_ext_revision_merge: true, or alembic merge)."
        )


def refuse_syntax_errors(seen: Observation, revisions: Iterable[Revision]) -> None:
    """Refuse (``revision_syntax``) those in the app's source that are no Python: a look reads only their headers."""
    ours = {location.spec for location in seen.locations if location.relative is not None}
    for each in revisions:
        if each.location not in ours:
            continue
        try:
            compile(seen.texts.get(each.path, ""), each.path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None) or 1
            raise Refused(
                "revision_syntax",
                f"The revision file {each.path} cannot be run: {getattr(error, 'msg', error)} (line {line}).",
                "Mend it, commit and push it, then run again.",
            ) from None


def warn_of_edits(ready: Ready) -> list[str]:
    """Warnings about applied revisions, core's apart, whose file is another than when it was applied."""
    request, core = ready.request, ready.request.base.version_location
    warnings = []
    for name in sorted(ready.plan.applied & ready.past.keys()):
        revision, checksum = ready.graph.revisions[name], ready.past[name].checksum
        text = ready.texts.get(revision.path, "")
        if not checksum or not text or revision.location == core or applied.of(revision, text).checksum == checksum:
            continue
        if ready.contents.history.there:
            forget = (
                f"have it forgotten (DELETE FROM {ROLE}.revision WHERE app = '{request.app}' AND revision = '{name}')"
            )
        else:
            forget = f"move {applied.checksums_file(request.history_dir, request.app)} away"
        warnings.append(
            f"The file of revision {name} ({revision.path}) was changed after it had been applied: "
            "databases that have it and databases that get it now will differ. Undo the change, and put it into a "
            f"revision of its own; or, where it only mends what failed elsewhere, {forget}: the next upgrade "
            "writes down what is there by then."
        )
    return warnings
