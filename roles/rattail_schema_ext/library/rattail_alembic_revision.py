#!/usr/bin/python
# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ansible module: write the next revision of a Rattail app, and prove it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rattail_alembic_revision
short_description: Write the next revision of a Rattail app, and prove it
version_added: "1.0.0"
description:
  - Compares the app's models with its database, as C(alembic revision --autogenerate) does, and writes a revision
    script of what is the app's own. Differences of core's and of other packages' tables are counted and left alone.
  - Finds out by itself whether it is the first revision of the branch or which one it follows, and what it depends on.
  - Proves the script on a scratch database before anything is written (upgrade, downgrade, upgrade again).
  - Where models and database agree, nothing is written.
options:
  message:
    description: What the revision does, in a few plain words.
    type: str
    required: true
  review:
    description: >-
      Whether the script is proved on a scratch database. V(auto) does where one can be had, V(true) refuses where none
      can, V(false) does not.
    type: str
    choices: [auto, 'true', 'false']
    default: auto
  review_dir:
    description: >-
      The directory of the reviews, a page in Markdown each, absolute or below O(env_dir). C(app/schema-reviews), unless
      given.
    type: path
  merge:
    description: Whether several heads of the app's branch are joined. Else they are refused.
    type: bool
    default: false
  commit:
    description: Whether the script is committed in the checkout. Nothing is pushed.
    type: bool
    default: false
  branch:
    description: The branch that it is committed on. Empty makes one that is named after the revision.
    type: str
    default: ""
  app:
    description: The app's Python package, for example V(poser).
    type: str
    required: true
  env_dir:
    description: The app's virtual environment. The module has to run with its Python.
    type: path
    required: true
  config_file:
    description: The app's config file, absolute or below O(env_dir).
    type: path
    required: true
  source_dir:
    description: The directory that the app's source is checked out to.
    type: path
    required: true
  user:
    description: The owner of the environment, whom the module has to run as.
    type: str
    default: rattail
  core:
    description: The package that the app stands on.
    type: str
    choices: [rattail, wutta]
    default: rattail
  config_enabled:
    description: Whether C([alembic]) may be changed. Where it may not, a section that is not right is refused.
    type: bool
    default: true
  source_enabled:
    description: Whether the app comes from source. V(false) means a released package.
    type: bool
    default: true
  source_repo:
    description: The git URL of the app's source. Empty means that the source is used as it lies in O(source_dir).
    type: str
    default: ""
  source_version:
    description: The branch, tag or commit wanted.
    type: str
    default: HEAD
  source_key_file:
    description: An ssh private key on the host, for a private repository.
    type: path
    default: ""
  source_accept_newhostkey:
    description: Whether to trust the repository's ssh host key when it is first seen.
    type: bool
    default: false
  install_enabled:
    description: Whether the source may be installed. Where it may not, a missing install is refused.
    type: bool
    default: true
  integrations:
    description: Packages between the app and its core that have revisions of their own, for example V(rattail_corepos).
    type: list
    elements: str
    default: []
  script_location:
    description: The directory of C(env.py). Empty keeps what the config file says, else takes core's.
    type: str
    default: ""
  allow_uncommitted_revisions:
    description: Whether revision files that git does not know are taken along rather than refused.
    type: bool
    default: false
  prefixes:
    description: >-
      What the names of the app's tables may start with. The app's own name, unless given.
    type: list
    elements: str
  integration_prefixes:
    description: >-
      The same for integration packages, by package, where they are not those that are known or follow from its name.
    type: dict
    default: {}
  policy:
    description: >-
      What to do when a revision touches what is not its own. V(enforce) rolls everything back, V(warn) tells, V(off)
      does not look.
    type: str
    choices: [enforce, warn, 'off']
    default: enforce
  policy_data:
    description: >-
      What to do when such a revision writes rows of tables that are not its own.
    type: str
    choices: [report, refuse]
    default: report
  lock_wait_seconds:
    description: >-
      How many seconds to wait for another run on the same database.
    type: float
    default: 3600
  lock_timeout_seconds:
    description: >-
      How many seconds a statement of a revision may wait for a lock.
    type: float
    default: 5
  lock_retries:
    description: >-
      How often to begin again after such a timeout.
    type: int
    default: 10
  statement_timeout_seconds:
    description: >-
      How many seconds a statement of a revision may take. V(0) is without end.
    type: float
    default: 0
  backup:
    description: >-
      What C(pg_dump) saves before revisions are applied to a database that is not empty.
    type: str
    choices: [none, schema, full]
    default: full
  backup_dir:
    description: >-
      The directory of the dumps, absolute or below O(env_dir). C(app/backups), unless given.
    type: path
  backup_keep:
    description: >-
      How many dumps of this app and database to keep. V(0) keeps all.
    type: int
    default: 5
  rehearsal:
    description: >-
      Whether the upgrade is tried out before anything real is touched, on a copy of the database or in a transaction
      that cannot be committed.
    type: str
    choices: [none, clone, transaction]
    default: none
  expected_database:
    description: >-
      The name of the database that this must be. Any other is refused.
    type: str
    default: ""
  database_option:
    description: >-
      The option of the host's config that has a URL past a pooler, as V(section:option).
    type: str
    default: ""
  postgresql_bin_dir:
    description: >-
      The directory of C(pg_dump) and its like. Empty looks on the C(PATH), then where packages put them.
    type: path
    default: ""
  history_dir:
    description: >-
      The directory of history and checksums, absolute or below O(env_dir). C(app/schema-history), unless given.
    type: path
attributes:
  check_mode:
    description: Can run in check mode and return changed status without modifying the target.
    support: full
  diff_mode:
    description: Shows the script that is (or would be) written.
    support: full
  platform:
    description: Platforms that the module runs on.
    support: full
    platforms: posix
requirements:
  - On the host, in the app's environment, C(alembic) and C(psycopg2).
author:
  - rattail_schema_ext contributors (@rattail-schema-ext)
"""

EXAMPLES = r"""
- name: Write the app's next revision
  rattail_alembic_revision:
    app: poser
    env_dir: /srv/envs/poser
    config_file: app/rattail.conf
    source_dir: /srv/envs/poser/src/poser
    message: add widget colour
  become_user: rattail
  vars:
    ansible_python_interpreter: /srv/envs/poser/bin/python
"""

RETURN = r"""
state:
  description:
    - The state of the database. One of V(current), V(behind), V(ahead), V(diverged), V(unstamped), V(empty) and
      V(unknown).
  returned: always
  type: str
  sample: current
heads:
  description: The heads of the revisions at the commit wanted.
  returned: always
  type: list
  elements: str
current_before:
  description: The revisions in the database's version table before the upgrade.
  returned: always
  type: list
  elements: str
current_after:
  description: The same after the upgrade.
  returned: always
  type: list
  elements: str
pending:
  description: The revisions to apply, in the order in which they would be applied.
  returned: always
  type: list
  elements: dict
  contains:
    revision:
      description: The revision's identifier.
      type: str
    branch:
      description: The label of the branch that it belongs to.
      type: str
    message:
      description: Its message.
      type: str
    path:
      description: Its file.
      type: str
    down_revision:
      description: The revisions that it follows.
      type: list
    depends_on:
      description: The revisions of other branches that it needs.
      type: list
    seconds:
      description: How long it took, none where it was not applied.
      type: float
applied:
  description: The revisions that were applied and committed, each with the seconds that it took, in order.
  returned: always
  type: list
  elements: dict
branches:
  description: One entry for each version location.
  returned: always
  type: list
  elements: dict
  contains:
    branch:
      description: Its branch label, or the package's name where it has none.
      type: str
    location:
      description: The location as the config file writes it.
      type: str
    directory:
      description: The directory that it leads to.
      type: str
    heads:
      description: The newest revisions in it.
      type: list
    current:
      description: The newest applied revisions in it.
      type: list
    pending:
      description: How many of its revisions are pending.
      type: int
database:
  description: The database looked at (C(name), C(host), C(port), C(user), C(server_version), C(search_path)).
  returned: always
  type: dict
source:
  description: The checkout (C(directory), C(branch)) and its commits C(before), C(after) and C(wanted).
  returned: always
  type: dict
config:
  description: The config file's C(path), its C(section) as it should be, and the C(reasons) to change it.
  returned: always
  type: dict
versions:
  description: The directory of the app's own revisions.
  returned: always
  type: str
install_reason:
  description: Why the app has to be installed (again), else empty.
  returned: always
  type: str
warnings:
  description: What does not stand in the way but should be known.
  returned: when there is any
  type: list
  elements: str
revision:
  description:
    - The revision that was written, or in check mode would be. Empty where models and database agree.
  returned: always
  type: dict
  contains:
    revision:
      description: Its identifier; in check mode another one than a real run would choose.
      type: str
    branch:
      description: The label of the app's branch.
      type: str
    message:
      description: Its message.
      type: str
    path:
      description: Its file.
      type: str
    down_revision:
      description: The revisions that it follows, none for the first one.
      type: list
    branch_labels:
      description: The label that it gives to its branch, where it is the first one.
      type: list
    depends_on:
      description: The revisions of other branches that it needs, each with the C(reason).
      type: list
    tables:
      description: The tables that it creates.
      type: list
    hints:
      description: What a person has to decide, for example what looks like a rename.
      type: list
    hooks:
      description: The hooks of C([post_write_hooks]) that were run on it.
      type: list
    commit:
      description: The commit that it was put into, with O(commit).
      type: str
    commit_branch:
      description: The branch of that commit.
      type: str
left_out:
  description:
    - What models and database do not agree on and is not the app's, by C(owner), with the number of C(operations) on
      C(tables), and C(words) about what is more than differences in indexes.
  returned: always
  type: list
  elements: dict
review:
  description:
    - What the scratch database showed. C(result) (V(passed), V(failed), V(skipped)), C(reason), C(place), C(sql),
      C(down_sql), C(seconds), C(locks), C(rewrites), C(findings), C(judge) and the C(file) that it can be read in.
  returned: when there is a revision
  type: dict
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.rattail_alembic.authoring import write
from ansible.module_utils.rattail_alembic.observe.answer import result
from ansible.module_utils.rattail_alembic.observe.look import look
from ansible.module_utils.rattail_alembic.observe.request import Request, argument_spec
from ansible.module_utils.rattail_alembic.problem import Refused


def main() -> None:
    """Look, draft, prove, and write."""
    own = {
        "message": {"type": "str", "required": True},
        "review": {"type": "str", "choices": ["auto", "true", "false"], "default": "auto"},
        "review_dir": {"type": "path"},
        "merge": {"type": "bool", "default": False},
        "commit": {"type": "bool", "default": False},
        "branch": {"type": "str", "default": ""},
    }
    module = AnsibleModule(argument_spec={**argument_spec(), **own}, supports_check_mode=True)
    given = {name: module.params.pop(name) for name in own}
    request = Request.from_parameters(module.params)
    given["review_dir"] = os.path.join(request.env_dir, given["review_dir"] or "app/schema-reviews")
    seen = look(request)
    answer = {**result(seen), "revision": {}, "left_out": [], "review": {}}
    failure = " ".join(answer["refusals"])
    if not failure:
        try:
            write.write(seen, write.Wish(**given), answer, check_mode=module.check_mode)
        except Refused as refused:
            failure = str(refused.problem)
    for warning in answer.pop("warnings"):
        module.warn(warning)
    if failure:
        module.fail_json(msg=failure, **answer)
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
