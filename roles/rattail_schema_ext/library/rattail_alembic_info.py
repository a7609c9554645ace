#!/usr/bin/python
# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ansible module: one look at a Rattail app's source, config, revisions and database."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rattail_alembic_info
short_description: Look at the schema of a Rattail app without changing anything
version_added: "1.0.0"
description:
  - Reads everything that a deployment of the app's schema decides on, and writes nothing.
  - That is the commit wanted and the commit checked out, uncommitted work, where the environment imports the app
    from, the C([alembic]) section as it is and as it should be, the revision files of the commit wanted, the version
    rows of the database, and from all these its state and the pending revisions.
  - What stands in the way of an upgrade is listed in RV(problems); the module itself does not fail on it.
options:
# options
# /options
attributes:
  check_mode:
    description: Changes nothing, so that there is no difference.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
requirements:
  - Run with the Python of the app's environment, as its owner (C(become_user), C(ansible_python_interpreter)).
seealso:
  - module: rattail_alembic
author:
  - rattail_schema_ext contributors
"""

EXAMPLES = r"""
- name: Look
  rattail_alembic_info:
    app: poser
    env_dir: /srv/envs/poser
    config_file: app/rattail.conf
    source_dir: /srv/envs/poser/src/poser
  become_user: rattail
  vars:
    ansible_python_interpreter: /srv/envs/poser/bin/python
  register: schema

- name: Stop where something is pending
  ansible.builtin.assert:
    that: schema.state == 'current'
"""

RETURN = r"""
# look
# /look
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.rattail_alembic.observe import report
from ansible.module_utils.rattail_alembic.observe.first_look import DeeperNeeded, look
from ansible.module_utils.rattail_alembic.observe.request import Request, argument_spec


def main() -> None:
    """Look, and say what was seen, or that it takes the module that changes to see it."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    try:
        seen = look(Request.from_parameters(module.params))
    except DeeperNeeded:
        module.exit_json(changed=False, deeper=True)
    module.exit_json(**report.answer(seen, check_mode=module.check_mode).as_result())


if __name__ == "__main__":
    main()
