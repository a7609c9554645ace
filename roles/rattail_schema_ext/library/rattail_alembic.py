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
# answer
# /answer
"""

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
    commands: dict[str, Callable[[Request], Answer]] = {
        "upgrade": lambda request: upgrade.run(request, **mode, tell=module.log, with_sql=module._diff),
        "revert": lambda request: revert.run(request, **mode, tell=module.log),
        "baseline": lambda request: baseline.run(request, **mode, tell=module.log),
        "revision": lambda request: write.run(request, **mode),
        "look": lambda request: report.answer(look(request), **mode),
    }
    spec = {"command": {"type": "str", "required": True, "choices": list(commands)}, **argument_spec()}
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    mode = {"check_mode": bool(module.check_mode)}
    command = module.params["command"]
    answer = commands[command](Request.from_parameters(module.params))
    if answer.msg and command != "look":
        module.fail_json(**answer.as_result())
    module.exit_json(**answer.as_result())


if __name__ == "__main__":
    main()
