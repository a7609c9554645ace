# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One look at everything that a run decides on. It writes nothing, and lists what it finds wrong as problems.

Most looks find nothing to do, by files and one query. Ansible sends with a module all that it imports, so the caller
hands over what takes more than that (see :class:`observation.Deeper`).
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from pathlib import Path

from ..config import database_url, ini, section
from ..config import file as config_file
from ..host import distributions, environment, git
from ..postgres import driver
from ..postgres.contents import VERSION_RIGHTS, VERSION_TABLE
from ..postgres.contents import look_at as look_at_database
from ..postgres.url import parse_url
from ..problem import Refused, learn
from ..revisions import applied, locations, plan
from ..revisions.graph import Graph
from . import database_checks
from .observation import Deeper, Observation
from .request import Request
from .revision_files import (
    look_at_locations,
    look_at_revisions,
    of_source,
    package_of_source,
    refuse_syntax_errors,
    warn_of_edits,
)


def look(request: Request, deeper: Deeper | None = None) -> Observation:
    """Look at everything, as the user who owns the environment, with the environment's own Python.

    :raises DeeperNeeded: where the answer takes more, and ``deeper`` was not given.
    """
    learn("", *re.split(r"[^\w.-]+", str(request)))
    seen = Observation(request, deeper or Deeper())
    phases = (
        _look_at_environment,
        _look_at_source,
        _look_at_config,
        _look_at_install,
        look_at_locations,
        look_at_revisions,
        _look_at_database,
        _look_at_plan,
    )
    with seen.closing:
        for phase in phases:
            try:
                phase(seen)
            except Refused as refused:
                if refused.problem.code == "app_failed" and _comes_later(seen):
                    seen.not_yet = refused.problem
                    continue
                seen.problems.append(refused.problem)
                if phase is _look_at_environment:
                    break
    return seen


def _comes_later(seen: Observation) -> bool:
    """Whether what the app lacks may come with the run: by its install, or in a submodule, whose files are not read."""
    submodules = seen.commits and seen.wanted and seen.commits.present(seen.wanted.commit, [".gitmodules"])
    return bool(seen.install_reason or submodules)


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
    if not environment.is_same(sys.prefix, request.env_dir):
        raise environment.explain_from_outside(request.env_dir, request.user)
    seen.warnings += distributions.judge({"Python": "{}.{}.{}".format(*sys.version_info)})
    environment.refuse_wrong_user(request.user)
    environment.refuse_missing(request.base.package, "alembic")
    seen.alembic = environment.version_of("alembic")
    sqlalchemy = environment.version_of("sqlalchemy")
    seen.warnings += distributions.judge({"Alembic": seen.alembic, "SQLAlchemy": sqlalchemy})
    # Alembic takes relative paths from where it is run, and the manual runs it from here.
    os.chdir(request.env_dir)


def _look_at_source(seen: Observation) -> None:
    request, repository = seen.request, seen.request.repository
    if not request.source_enabled:
        return
    if repository is None and not os.path.isdir(request.source_dir):
        raise Refused(
            "source_missing",
            f"There is no source at {request.source_dir}, and no repository to check it out from.",
            "Set rattail_schema_ext_source_repo, put the source there, "
            "or set rattail_schema_ext_source_enabled: false for a released package.",
        )
    if repository is not None or os.path.exists(os.path.join(request.source_dir, ".git")):
        seen.checkout = git.look_at(request.source_dir)
    if repository is None:
        return
    if seen.checkout.modified:
        git.refuse_locked(seen.checkout)
        raise _modified(seen.checkout)
    wanted = git.wanted(repository, seen.checkout)
    if wanted.differs_from(seen.checkout):
        git.refuse_locked(seen.checkout)
        seen.deeper.look_at_commit(seen, repository, wanted)
    else:
        seen.wanted = wanted


def _modified(checkout: git.Checkout) -> Refused:
    remedy = "Commit and push them, or drop them"
    # A stash has nothing of a submodule.
    drops = ["submodule update --init --recursive --force"] if checkout.submodules else []
    if checkout.submodules != checkout.modified:
        drops.insert(0, "stash")
    if all(name.endswith(".pyc") for name in checkout.modified):
        # The .gitignore of Rattail's own project generator does not leave them out.
        remedy = (
            "Python compiles these anew: take them out of the repository (git rm --cached) and name __pycache__/ in"
            " .gitignore, drop the changes"
        )
    return Refused(
        "source_modified",
        f"The checkout {checkout.directory} has uncommitted changes: {', '.join(checkout.modified[:5])}.",
        f"{remedy} ({' && '.join(f'git -C {checkout.directory} {each}' for each in drops)}), then run again.",
    )


def _look_at_config(seen: Observation) -> None:
    request = seen.request
    data = config_file.read(request.config_file)
    seen.config_owner = config_file.owner(request.config_file)
    present = section.read(data, request.config_file)
    ini.refuse_unread(data, request.config_file)
    seen.options = present.options
    seen.section = section.wanted(
        present,
        core=request.base,
        app_location=locations.standard(request.app),
        integration_locations=[locations.standard(package) for package in request.integrations],
        script_location=request.script_location or None,
        alembic_version=environment.version_tuple(seen.alembic),
    )
    seen.warnings += [*present.warnings, *seen.section.warnings]
    if not seen.section.reasons:
        return
    if present.present:  # that it comes where it was not is no surprise
        seen.warnings += [f"[alembic] in {request.config_file}: {reason}." for reason in seen.section.reasons]
    if not request.config_enabled:
        lines = "; ".join(f"{name} = {value}" for name, value in seen.section.options().items())
        raise Refused(
            "config_unmanaged",
            f"[alembic] in {request.config_file} is not as the app needs it ({'; '.join(seen.section.reasons)}), "
            "and rattail_schema_ext_config_enabled is false.",
            f"Give it these options: {lines}.",
        )
    # Where it is kept by root, root writes it, and only root could try.
    if seen.config_owner == request.user or not config_file.is_kept(request.config_file, 0):
        config_file.refuse_irreplaceable(request.config_file)


def _look_at_install(seen: Observation) -> None:
    request = seen.request
    if not request.source_enabled:
        if environment.package_directory(request.app) is None:
            raise Refused(
                "app_missing",
                f"{sys.executable} has no package {request.app!r}.",
                f"Install its release into {request.env_dir}, or set rattail_schema_ext_source_enabled: true and give "
                "rattail_schema_ext_source_repo.",
            )
        return
    if seen.source_failed:
        return
    reason = environment.install_reason(request.app, request.source_dir)
    if not reason and seen.commits and seen.wanted:
        changed = seen.commits.changes(seen.checkout.commit, seen.wanted.commit, environment.PACKAGING_FILES)
        reason = f"{changed[0]} changes" if changed else ""
    if not reason and seen.commits:
        place, installed = package_of_source(seen), environment.package_directory(request.app)
        moves = place and installed and not environment.is_same(place, installed)
        reason = f"{request.app} moves to {place}" if moves else ""
    if reason and not request.install_enabled:
        raise Refused(
            "app_elsewhere",
            f"{sys.executable} does not have {request.source_dir} as it should ({reason}), "
            "and rattail_schema_ext_install_enabled is false.",
            f"Install it: {sys.executable} -m pip install --editable {request.source_dir}.",
        )
    if reason:
        environment.refuse_unable_pip(of_source(seen, environment.PACKAGING_FILES))
    seen.install_reason = reason


def _look_at_database(seen: Observation) -> None:
    request = seen.request
    if seen.section is None:
        return
    try:
        url = database_url.database_url(request.config_file, request.base, os.environ)
    except database_url.Unsure:
        seen.fast_path = False
        url = seen.deeper.database_url(seen)
    seen.target = seen.way = parse_url(url)
    used = driver.load(seen.target.driver)
    seen.warnings += distributions.judge({used.__name__: used.__version__})
    contents = look_at_database(seen.target, request.base.tables, request.app)
    seen.warnings += distributions.judge({"PostgreSQL": contents.identity["server_version"]})
    database_checks.refuse_unexpected(contents, request.expected_database)
    # In an empty database there is nothing that the migrating role's own look does not judge.
    judged = contents.version_schema or not request.database_option
    kept = database_checks.history(contents) if judged else {}
    seen.past = kept if contents.history.there else applied.read_file(request.history_dir, request.app)
    seen.version_table = VERSION_TABLE
    there = environment.package_directory(request.app) or (request.source_enabled and not seen.source_failed)
    if there and not _env_is_cores(request, seen.section.script_location):
        # Its version table may have another name or schema, which only env.py knows.
        seen.fast_path = False
        rows, seen.version_table, width = seen.deeper.version_table(seen, contents)
        if seen.version_table != VERSION_TABLE:
            # What was seen is of another table, the one that has the usual name.
            contents = replace(contents, version_schema="", version_rights=VERSION_RIGHTS, other_version_tables=())
        contents = replace(contents, rows=rows, version_width=width)
    seen.contents = contents


def _env_is_cores(request: Request, script_location: str) -> bool:
    """Whether ``env.py`` is the core package's own, which leaves the version table at Alembic's default."""
    if script_location != request.base.script_location:
        return False
    package, _, directory = script_location.partition(":")
    env = Path(environment.package_directory(package) or "", directory, "env.py")
    try:
        return "version_table" not in env.read_text(encoding="utf-8")
    except OSError:
        return False


def _look_at_plan(seen: Observation) -> None:
    if seen.graph is None or seen.contents is None or seen.not_yet:
        return
    request, database = seen.request, seen.contents.identity["name"]
    seen.warnings += database_checks.judge_schemas(seen.contents, seen.graph.revisions)
    rows, core_tables = seen.contents.rows, seen.contents.core_tables
    found = plan.make(seen.graph, rows, seen.past, core_tables=core_tables)
    if found.state == plan.DIVERGED and found.lost:
        earlier = seen.deeper.earlier_revisions(seen)
        past = {**earlier, **{name: each for name, each in seen.past.items() if each.down_revision is not None}}
        found = plan.make(seen.graph, rows, past, core_tables=core_tables)
    seen.plan = found
    refuse_syntax_errors(seen, found.pending)
    implied = ", ".join(seen.graph.overlapping(found.rows))
    if implied:
        seen.warnings.append(
            f"The version table of {database!r} has the row {implied}, which another row implies: "
            "Alembic will not upgrade from there. Delete that row before the next revision comes."
        )
    seen.warnings += warn_of_edits(seen.ready())
    unknown = ", ".join(found.unknown)
    if found.state == plan.AHEAD:
        seen.warnings.append(
            f"The database {database!r} is ahead: it has revision {unknown}, which the code does not know,"
            " so it is left as it is."
        )
    elif found.state == plan.DIVERGED:
        raise _diverged(seen, seen.graph, found)
    elif found.state == plan.UNSTAMPED:
        raise Refused(
            "unstamped",
            f"The database {database!r} holds {request.core} tables but no version rows, "
            "so what was applied to it is not known.",
            "Restore the version table, or have the rows written for what its tables show to be applied "
            "(playbooks/baseline.yml, the entry point baseline), then run again.",
        )
    if found.pending:
        database_checks.refuse_too_long(seen.contents, seen.version_table, (each.revision for each in found.pending))
        seen.deeper.look_at_pending(seen)
    elif not request.database_option:
        seen.warnings += database_checks.warn_pooled(seen.contents)


def _diverged(seen: Observation, graph: Graph, found: plan.Plan) -> Refused:
    """The refusal where a version row is not shown to be that of newer code."""
    request, database = seen.request, seen.contents.identity["name"] if seen.contents else ""
    missing = ", ".join(head for head in graph.heads if head not in found.applied)
    if found.lost:
        why = f"and nothing shows that it comes after {missing}, as newer code's would"
    else:
        why = f"while {missing}, which the code wants, does not come before it"
    commits = [applied.commit_of(seen.past[row]) for row in found.unknown if row in seen.past]
    version = f": {commits[-1]}" if commits and commits[-1] else ""
    remedy = f"Deploy the version of {request.app} that has it (rattail_schema_ext_source_version{version})"
    back = graph.current_in(locations.standard(request.app), found.applied)
    if len(back) == 1 and not found.lost:
        remedy += f", and with it go back to {back[0]} (playbooks/revert.yml) if that is not what you want to keep"
    return Refused(
        "diverged",
        f"The database {database!r} has revision {', '.join(found.unknown)}, which the code does not know, {why}.",
        f"{remedy}, then run again.",
    )
