#!/usr/bin/python
# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ansible module: upgrade, revert or take over the database of a Rattail app, or write the app's next revision."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rattail_alembic
short_description: Change the schema of a Rattail app
version_added: "1.0.0"
description:
  - Looks at everything, as M(rattail_alembic_info) does, and refuses before the first write what cannot work.
  - A run that changes a database does so under a lock, so that there is one run at a time.
options:
  command:
    description:
      - V(upgrade) applies what is pending, V(revert) undoes revisions of the app and of nobody else, V(baseline) writes
        the version rows of a database that was migrated by hand, V(revision) writes the app's next revision.
      - V(look) changes nothing. It is what M(rattail_alembic_info) asks for where it takes the app's own Alembic.
    type: str
    required: true
    choices: [upgrade, revert, baseline, revision, look]
# options
  app: {type: str, required: true, description: "The app's Python package, for example V(poser). Its tables, its
      source directory and its branch are named after it."}
  env_dir: {type: path, required: true, description: "The app's virtual environment."}
  config_file: {type: path, required: true, description: "The app's config file, below the environment or absolute.
      Root edits it where only root can put another file into its place, anywhere else the app's user does."}
  source_dir: {type: path, required: true, description: "The directory of the checkout."}
  user: {type: str, default: rattail, description: "The owner of the environment, the checkout and the config file.
      The role has to be that user or able to become it."}
  core: {type: str, default: rattail, choices: [rattail, wutta], description: "What the app stands on. Sets the core
      package's version location and C(env.py), and the name of the config file."}
  config_enabled: {type: bool, default: true, description: "Whether the role may change the C([alembic]) section of
      the config file. Where somebody else manages the file, V(false) checks it and refuses with the options to set."}
  source_enabled: {type: bool, default: true, description: "Whether the app comes from source. V(false) is for a
      released package, with no git and no editable install."}
  source_repo: {type: str, default: "", description: "The git URL of the app's source. Credentials in it are refused.
      Empty means that the source is used as it lies in O(source_dir)."}
  source_version: {type: str, default: HEAD, description: "The branch (the checkout stays on it), tag or commit
      wanted."}
  source_key_file: {type: path, default: "", description: "An ssh private key on the host, for a private repository."}
  source_accept_newhostkey: {type: bool, default: false, description: "Whether to trust the repository's ssh host key
      when it is first seen."}
  install_enabled: {type: bool, default: true, description: "Whether to install the source into the environment
      (editable) when the app is imported from elsewhere, its packaging files changed since, or a declared dependency
      is unmet."}
  integrations: {type: list, elements: str, default: [], description: "Packages between the app and its core that have
      revisions of their own, for example V([rattail_corepos])."}
  script_location: {type: str, default: "", description: "The directory of C(env.py), for example V(poser.db:alembic).
      Empty keeps what the config file says, else takes core's."}
  allow_uncommitted_revisions: {type: bool, default: false, description: "Whether revision files in the checkout that
      git does not know are taken along rather than refused."}
  prefixes: {type: list, elements: str, default: [], description: "What the names of the app's tables, views,
      sequences, types and functions may start with. With V(poser) these are C(poser_…), C(batch_poser_…) and the
      version tables of both; with V(acme.poser) also C(acme_poser_…) and C(acme_…). A schema of such a name is the
      app's with all that is in it, unless the C(search_path) leads through it before core's."}
  integration_prefixes: {type: dict, default: {}, description: "The same for integration packages, by package, for
      example V({rattail_acme: [acme]}). Those of Rattail's published packages are known, and for others the package's
      name is taken, without C(rattail_)."}
  policy: {type: str, default: enforce, choices: [enforce, warn, "off"], description: "What to do when a revision of
      the app's or of an integration's makes something without its prefix, or alters or drops what is not its own.
      V(enforce) rolls everything back, V(warn) tells and goes on, V(off) does not look."}
  policy_data: {type: str, default: report, choices: [report, refuse], description: "What to do when such a revision
      writes rows of tables that are not its own. V(report) tells the tables and how many rows, V(refuse) rolls
      everything back."}
  lock_wait_seconds: {type: float, default: 3600, description: "How many seconds to wait for another run that is at
      work on the same database."}
  lock_timeout_seconds: {type: float, default: 5, description: "How many seconds a statement of a revision may wait
      for a lock that an app's session holds. As long as it waits, everyone else who wants that table waits behind
      it."}
  lock_retries: {type: int, default: 10, description: "How often to roll back and begin again after such a timeout,
      with longer and longer pauses."}
  statement_timeout_seconds: {type: float, default: 0, description: "How many seconds a statement of a revision may
      take. V(0) is without end."}
  backup: {type: str, default: full, choices: [full, schema, "none"], description: "What C(pg_dump) saves before
      revisions are applied to a database that is not empty. V(full) is everything, V(schema) all but the rows,
      V(none) nothing. A dump that fails stops the upgrade."}
  backup_dir: {type: path, default: "", description: "The directory of the dumps. It is made where it is missing, for
      the user alone."}
  backup_keep: {type: int, default: 5, description: "How many dumps of this app and database to keep, of those made
      before a change. V(0) keeps all."}
  rehearsal: {type: str, default: "none", choices: ["none", clone, transaction], description: "Whether the upgrade is
      tried out before anything real is touched. V(clone) runs it on a copy of the database, which is dropped
      afterwards. V(transaction) runs it in the database itself, in a transaction that cannot be committed: it takes
      the same locks, so that the app waits as it would in earnest."}
  expected_database: {type: str, default: "", description: "The name of the database that this must be. Any other is
      refused. Empty takes the one that the app's config leads to."}
  database_option: {type: str, default: "", description: "Where the app reaches its database through a pooler: the
      option of the host's config that has a URL past it, as V(section:option), for example
      V(rattail.db:migration.url). The URL itself, with its password, stays on the host."}
  postgresql_bin_dir: {type: path, default: "", description: "The directory of C(pg_dump), C(pg_restore) and their
      like on the host. Empty looks on the C(PATH), then where packages put them, and takes programs that are new
      enough for the server."}
  history_dir: {type: path, default: "", description: "The directory of the history, a line of JSON for each run that
      touched the database, and of what is known of applied revisions, where the app's role may make no schema in the
      database. Else they are there, in the schema C(rattail_schema_ext), and files of earlier runs are moved there.
      Not with a quote, a backslash or a brace in its name."}
  revert_to: {type: str, default: "", description: "The app's revision that is to be its newest afterwards, or V(base)
      for none."}
  revert_confirm: {type: str, default: "", description: "C(APP@REVISION), for example V(poser@a010a6c92761), so that
      nobody reverts by accident."}
  baseline_revision: {type: list, elements: str, default: [], description: "The revisions that the database is at, one
      for each branch, or V([heads]) for those of all branches that have no row yet."}
  revision_message: {type: str, default: "", description: "What the revision does, in a few plain words, for example
      V(add widget colour)."}
  revision_review: {type: str, default: auto, choices: [auto, "true", "false"], description: "Whether the script is
      proved on a scratch database (upgrade, downgrade, upgrade again) before it is written. V(auto) does where one
      can be had, and says so where not. V(true) refuses then. V(false) does not."}
  revision_review_dir: {type: path, default: "", description: "The directory on the host that takes the reviews, a
      page in Markdown each."}
  revision_merge: {type: bool, default: false, description: "Whether several heads of the app's branch are joined.
      Else they are refused."}
# /options
attributes:
  check_mode:
    description: Says what would be done, and changes nothing.
    support: full
  diff_mode:
    description: Shows the revisions, and of those that were applied the SQL.
    support: full
requirements:
  - Run with the Python of the app's environment, as its owner (C(become_user), C(ansible_python_interpreter)).
seealso:
  - module: rattail_alembic_info
author:
  - rattail_schema_ext contributors
"""

EXAMPLES = r"""
- name: Ensure every revision is applied
  rattail_alembic:
    command: upgrade
    app: poser
    env_dir: /srv/envs/poser
    config_file: app/rattail.conf
    source_dir: /srv/envs/poser/src/poser
  become_user: rattail
  vars:
    ansible_python_interpreter: /srv/envs/poser/bin/python

- name: Ensure no later revision of the app's is applied
  rattail_alembic:
    command: revert
    app: poser
    env_dir: /srv/envs/poser
    config_file: app/rattail.conf
    source_dir: /srv/envs/poser/src/poser
    revert_to: a010a6c92761
    revert_confirm: poser@a010a6c92761
  become_user: rattail
  vars:
    ansible_python_interpreter: /srv/envs/poser/bin/python
"""

RETURN = r"""
answer:
  description: What was seen and done. A key whose subject did not come up has its empty value.
  returned: always
  type: dict
  contains:
# answer
    changed: {type: bool, description: "Whether anything differed."}
    check_mode: {type: bool, description: "Whether this was a run in check mode."}
    state: {type: str, description: "V(current), V(behind), V(ahead), V(diverged), V(unstamped), V(empty), or
        V(unknown) where it could not be told: after the run, in check mode as it is now."}
    state_reason: {type: str, description: "Why the state is V(unknown)."}
    pending:
      description: "The revisions that were pending when the run began, in order."
      type: list
      elements: dict
      contains:
        revision: {type: str, description: "The revision's identifier."}
        branch: {type: str, description: "The label of the branch that it belongs to."}
        message: {type: str, description: "Its message."}
        path: {type: str, description: "Its file."}
        down_revision: {type: list, elements: str, description: "The revisions that it follows."}
        depends_on: {type: list, elements: str, description: "The revisions of other branches that it needs."}
        seconds: {type: float, description: "How long it took; none where it was not run."}
    applied:
      description: "Those of them that were applied and committed."
      type: list
      elements: dict
      contains:
        revision: {type: str, description: "The revision's identifier."}
        branch: {type: str, description: "The label of the branch that it belongs to."}
        message: {type: str, description: "Its message."}
        path: {type: str, description: "Its file."}
        down_revision: {type: list, elements: str, description: "The revisions that it follows."}
        depends_on: {type: list, elements: str, description: "The revisions of other branches that it needs."}
        seconds: {type: float, description: "How long it took; none where it was not run."}
    heads: {type: list, elements: str, description: "The heads of the revisions at the commit wanted."}
    current_before: {type: list, elements: str, description: "The rows of the version table before the run."}
    current_after: {type: list, elements: str, description: "The same after the run."}
    branches:
      description: "One entry for each version location."
      type: list
      elements: dict
      contains:
        branch: {type: str, description: "Its branch label, or the package's name where it has none."}
        location: {type: str, description: "The location as the config file writes it."}
        directory: {type: str, description: "The directory that it leads to."}
        heads: {type: list, elements: str, description: "The newest revisions in it."}
        current: {type: list, elements: str, description: "The newest applied revisions in it."}
        pending: {type: int, description: "How many of its revisions are pending."}
    summary: {type: list, elements: str, description: "All of this in a few lines for a person."}
    database:
      description: "The database looked at."
      type: dict
      contains:
        name: {type: str, description: "Its name."}
        host: {type: str, description: "The server's host, or the directory of its socket."}
        port: {type: int, description: "The server's port."}
        user: {type: str, description: "The role that the app connects as."}
        server_version: {type: str, description: "The server's version."}
        search_path: {type: str, description: "The search_path of that role."}
    source:
      description: "The checkout and its commits."
      type: dict
      contains:
        directory: {type: str, description: "Its directory; empty for a released package."}
        branch: {type: str, description: "The branch checked out; empty where none is."}
        before: {type: str, description: "The commit checked out before the run."}
        after: {type: str, description: "The same after the run."}
        wanted: {type: str, description: "The commit wanted."}
        version: {type: str, description: "What git is asked for: a branch, a tag, or the commit in full."}
        moved_tags: {type: list, elements: str, description: "Tags of the repository that mean another commit than in
            the checkout."}
    config:
      description: "The config file."
      type: dict
      contains:
        path: {type: str, description: "The file."}
        owner: {type: str, description: "Its owner."}
        section:
          description: "C([alembic]) as it should be."
          type: dict
          contains:
            script_location: {type: str, description: "The option of that name."}
            version_locations: {type: list, elements: str, description: "The version locations in their order."}
            separator_name: {type: str, description: "What the Alembic in use calls its separator."}
            separator: {type: str, description: "V(space) or V(newline)."}
            other_separator_name: {type: str, description: "The separator's name in other releases of Alembic."}
            other_separator: {type: str, description: "What that option has to say; empty where the file does not have
                it."}
        reasons: {type: list, elements: str, description: "Why it has to be changed; none where it is right."}
    versions: {type: str, description: "The directory of the app's own revisions."}
    install_reason: {type: str, description: "Why the app has to be installed (again)."}
    todo: {type: list, elements: str, description: "The phases to run, of V(source), V(install), V(config),
        V(versions) and V(upgrade)."}
    msg: {type: str, description: "Why nothing is done, or why the run failed: a sentence of cause and one of
        remedy."}
    problems:
      description: "What stands in the way."
      type: list
      elements: dict
      contains:
        code: {type: str, description: "A short word for programs, see docs/refusals.md."}
        cause: {type: str, description: "What is wrong, in a sentence."}
        remedy: {type: str, description: "What to do about it, in a sentence."}
    warnings: {type: list, elements: str, description: "What does not stand in the way but should be known."}
    alembic_version: {type: str, description: "The version of Alembic in the environment."}
    python: {type: str, description: "The Python that the module ran with."}
    fast_path: {type: bool, description: "Whether the answer was found without running Alembic or the app."}
    lock:
      description: "The wait for other runs on the same database."
      type: dict
      contains:
        waited_seconds: {type: float, description: "How long was waited."}
        holders:
          description: "The runs that were waited for, in order."
          type: list
          elements: dict
          contains:
            pid: {type: int, description: "Its server process."}
            user: {type: str, description: "Its role."}
            application: {type: str, description: "Its application name."}
            address: {type: str, description: "The address that it came from."}
            host: {type: str, description: "The host that it ran on."}
            phase: {type: str, description: "What it was doing."}
            since: {type: str, description: "Since when, ISO 8601."}
    retries: {type: int, description: "How often the run was rolled back and begun again after a lock timeout or a
        deadlock."}
    blockers:
      description: "The sessions that stood in the way last."
      type: list
      elements: dict
      contains:
        pid: {type: int, description: "Its server process."}
        user: {type: str, description: "Its role."}
        application: {type: str, description: "Its application name."}
        address: {type: str, description: "The address that it came from."}
        state: {type: str, description: "What it was doing, as C(pg_stat_activity) has it."}
        transaction_seconds: {type: float, description: "For how long it had been in its transaction."}
    backup:
      description: "The backup that was made before."
      type: dict
      contains:
        file: {type: str, description: "The file."}
        size: {type: int, description: "Its size in bytes."}
        sha256: {type: str, description: "Its checksum."}
        seconds: {type: float, description: "How long it took."}
        mode: {type: str, description: "V(full) or V(schema)."}
        pruned: {type: list, elements: str, description: "The older ones that were deleted."}
    rehearsal:
      description: "What the rehearsal showed."
      type: dict
      contains:
        mode: {type: str, description: "V(clone) or V(transaction)."}
        place: {type: str, description: "Where it was held."}
        seconds: {type: float, description: "How long it took."}
        revisions:
          description: "The revisions, in order."
          type: list
          elements: dict
          contains:
            revision: {type: str, description: "The revision."}
            seconds: {type: float, description: "How long it took there."}
            sql: {type: list, elements: str, description: "The statements that it executed."}
            locks: {type: list, elements: str, description: "The locks that it held at its end."}
        violations:
          description: "As in the upgrade itself."
          type: list
          elements: dict
          contains:
            revision: {type: str, description: "The revision; empty where that was only seen in the end."}
            action: {type: str, description: "One of V(created), V(altered) and V(dropped)."}
            kind: {type: str, description: "The kind of object, for example V(column)."}
            object: {type: str, description: "The object."}
            rule: {type: str, description: "What is allowed instead."}
        data:
          description: "As in the upgrade itself."
          type: list
          elements: dict
          contains:
            revision: {type: str, description: "The revision."}
            table: {type: str, description: "The table."}
            inserted: {type: int, description: "How many rows it inserted."}
            updated: {type: int, description: "How many it updated."}
            deleted: {type: int, description: "How many it deleted."}
            rewritten: {type: bool, description: "Whether the rows were replaced as a whole."}
    violations:
      description: "What revisions did that the policy forbids."
      type: list
      elements: dict
      contains:
        revision: {type: str, description: "The revision; empty where that was only seen in the end."}
        action: {type: str, description: "One of V(created), V(altered) and V(dropped)."}
        kind: {type: str, description: "The kind of object, for example V(column)."}
        object: {type: str, description: "The object."}
        rule: {type: str, description: "What is allowed instead."}
    data:
      description: "Rows that revisions wrote to tables that are not theirs."
      type: list
      elements: dict
      contains:
        revision: {type: str, description: "The revision."}
        table: {type: str, description: "The table."}
        inserted: {type: int, description: "How many rows it inserted."}
        updated: {type: int, description: "How many it updated."}
        deleted: {type: int, description: "How many it deleted."}
        rewritten: {type: bool, description: "Whether the rows were replaced as a whole."}
    drift: {type: list, elements: str, description: "How the app's own tables differ from its models after the
        upgrade, in words."}
    failed_revision:
      description: "The revision that failed, where one did."
      type: dict
      contains:
        revision: {type: str, description: "The revision."}
        path: {type: str, description: "Its file."}
        statement: {type: str, description: "The statement that failed."}
        error: {type: str, description: "Why it failed."}
    partial:
      description: "What stays of a revision that left its transaction and then failed."
      type: dict
      contains:
        revision: {type: str, description: "The revision."}
        how: {type: str, description: "How it had left its transaction."}
        objects: {type: list, elements: str, description: "What stays."}
        undo: {type: list, elements: str, description: "The SQL to undo what of it is the app's by its name."}
        invalid_indexes: {type: list, elements: str, description: "Indexes that are not valid."}
    app_output: {type: list, elements: str, description: "The end of the app's output, where its process failed
        without an error."}
    reverted:
      description: "The revisions that C(revert) undid, newest first."
      type: list
      elements: dict
      contains:
        revision: {type: str, description: "The revision's identifier."}
        branch: {type: str, description: "The label of the branch that it belongs to."}
        message: {type: str, description: "Its message."}
        path: {type: str, description: "Its file."}
        down_revision: {type: list, elements: str, description: "The revisions that it follows."}
        depends_on: {type: list, elements: str, description: "The revisions of other branches that it needs."}
        seconds: {type: float, description: "How long it took; none where it was not run."}
    stamped: {type: list, elements: str, description: "The version rows that C(baseline) wrote."}
    revision:
      description: "What C(revision) wrote; empty where models and database agree."
      type: dict
      contains:
        revision: {type: str, description: "Its identifier; in check mode another one than a real run would choose."}
        branch: {type: str, description: "The label of the app's branch."}
        message: {type: str, description: "Its message."}
        path: {type: str, description: "Its file."}
        down_revision: {type: list, elements: str, description: "The revisions that it follows, none for the first
            one."}
        branch_labels: {type: list, elements: str, description: "The label that it gives to its branch, where it is
            the first one."}
        depends_on:
          description: "The revisions of other branches that it needs."
          type: list
          elements: dict
          contains:
            revision: {type: str, description: "The revision."}
            reason: {type: str, description: "Why it is needed."}
        tables: {type: list, elements: str, description: "The tables that it creates."}
        hints: {type: list, elements: str, description: "What a person has to decide, for example what looks like a
            rename."}
        hooks: {type: list, elements: str, description: "The hooks of C([post_write_hooks]) that were run on it."}
    left_out:
      description: "Where models and database differ in what is not the app's, by owner."
      type: list
      elements: dict
      contains:
        owner: {type: str, description: "Whose it is."}
        operations: {type: int, description: "How many differences there are."}
        tables: {type: int, description: "On how many tables."}
        words: {type: list, elements: str, description: "What is more than differences in indexes."}
    review:
      description: "What the scratch database showed of that revision."
      type: dict
      contains:
        result: {type: str, description: "V(passed), V(failed) or V(skipped)."}
        reason: {type: str, description: "Why, where it is not V(passed)."}
        place: {type: str, description: "Where the scratch database was."}
        sql: {type: list, elements: str, description: "The statements of the upgrade."}
        down_sql: {type: list, elements: str, description: "The statements of the downgrade."}
        seconds: {type: float, description: "How long the upgrade took there."}
        locks: {type: list, elements: str, description: "The locks that the upgrade held."}
        rewrites: {type: list, elements: str, description: "The tables that it rewrote."}
        findings:
          description: "What it does to a store that is open."
          type: list
          elements: dict
          contains:
            rule: {type: str, description: "The rule that found it."}
            effect: {type: str, description: "V(fails), V(loses), V(blocks), V(breaks) or V(warns)."}
            object: {type: str, description: "The object."}
            message: {type: str, description: "What it does."}
            safer: {type: str, description: "What to do instead."}
        file: {type: str, description: "The page to read it on."}
# /answer
"""

import gc
from collections.abc import Callable

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.rattail_alembic.authoring import write
from ansible.module_utils.rattail_alembic.change import baseline, revert, upgrade
from ansible.module_utils.rattail_alembic.observe import report
from ansible.module_utils.rattail_alembic.observe.answer import Answer
from ansible.module_utils.rattail_alembic.observe.look import look
from ansible.module_utils.rattail_alembic.observe.request import Request, argument_spec


def main() -> None:
    """Do what is asked, and fail where the answer says why."""
    # The process is short, and what it loads stays: nothing to collect, neither now nor when it ends.
    gc.disable()
    commands: dict[str, Callable[[Request], Answer]] = {
        "upgrade": lambda request: upgrade.run(request, **mode, log=module.log, with_sql=module._diff),
        "revert": lambda request: revert.run(request, **mode, log=module.log),
        "baseline": lambda request: baseline.run(request, **mode, log=module.log),
        "revision": lambda request: write.run(request, **mode),
        "look": lambda request: report.answer(look(request), check_mode=mode["check_mode"]),
    }
    spec = {"command": {"type": "str", "required": True, "choices": list(commands)}, **argument_spec()}
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    mode = {"check_mode": bool(module.check_mode)}
    answer = commands[module.params["command"]](Request.from_parameters(module.params))
    result = answer.for_ansible()
    gc.freeze()
    if answer.msg and module.params["command"] != "look":
        module.fail_json(msg=result["answer"]["msg"], **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
