#!/usr/bin/python
# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ansible module: put the [alembic] section into a config file."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rattail_alembic_config
short_description: Put the options of the C([alembic]) section into a config file
version_added: "1.0.0"
description:
  - Gives the C([alembic]) section of an existing config file the options that O(section) has, and keeps every other
    byte of the file, its owner, group and mode.
  - Inside the section, other options and comments stay as they are, and so does an option that has an equivalent value.
  - A file without the section gets it at its end.
options:
  path:
    description: The config file. A symbolic link is followed.
    type: path
    required: true
  section:
    description: The text of a whole C([alembic]) section.
    type: str
    required: true
  backup:
    description: Whether to keep a copy of the file, beside it, before it is changed.
    type: bool
    default: false
  only_kept:
    description:
      - Whether to leave the file alone where somebody other than root and the user who runs this could put another one
        into its place.
    type: bool
    default: false
  locations:
    description: The only locations that the section may get; any other has to be in the file already.
    type: list
    elements: str
attributes:
  check_mode:
    description: Can run in check mode and return changed status without modifying the target.
    support: full
  diff_mode:
    description: Shows the C([alembic]) section before and after, and nothing else of the file.
    support: full
  platform:
    description: Platforms that the module runs on.
    support: full
    platforms: posix
notes:
  - The file is replaced as a whole (renamed into place), so that a reader sees the old one or the new one.
  - Where that would change its owner or group, because the user who runs this may not give it back, the module fails.
author:
  - rattail_schema_ext contributors (@rattail-schema-ext)
"""

EXAMPLES = r"""
- name: Read the app's revisions before core's
  rattail_alembic_config:
    path: /srv/envs/poser/app/rattail.conf
    section: |
      [alembic]
      script_location = rattail.db:alembic
      version_locations = poser.db:alembic/versions rattail.db:alembic/versions
      path_separator = space
"""

RETURN = r"""
path:
  description: The file itself, links followed.
  returned: always
  type: str
backup_file:
  description: The copy of the file as it was.
  returned: when changed and a backup was asked for
  type: str
not_kept:
  description: That the file was left alone.
  returned: with O(only_kept), where it was
  type: bool
problem:
  description: What is wrong with the file (C(code), C(cause), C(remedy)).
  returned: on failure
  type: dict
"""

import os
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.rattail_alembic.config import file as config_file
from ansible.module_utils.rattail_alembic.config import section
from ansible.module_utils.rattail_alembic.problem import Refused


def get_argument_spec() -> dict[str, dict[str, Any]]:
    """The module's parameters."""
    return {
        "path": {"type": "path", "required": True},
        "section": {"type": "str", "required": True},
        "backup": {"type": "bool", "default": False},
        "only_kept": {"type": "bool", "default": False},
        "locations": {"type": "list", "elements": "str"},
    }


def write(module: AnsibleModule, path: str, data: bytes) -> None:
    """Replace the file as a whole; ``atomic_move`` gives the new one the owner and mode of the old one."""
    # Not in Ansible's directory for such files, which may be that of another user that the play has become.
    handle, scratch = tempfile.mkstemp()
    module.add_cleanup_file(scratch)
    with os.fdopen(handle, "wb") as stream:
        stream.write(data)
    module.atomic_move(scratch, path)


def main() -> None:
    """Read, merge, and write where something differs."""
    module = AnsibleModule(argument_spec=get_argument_spec(), supports_check_mode=True)
    path = os.path.realpath(module.params["path"])
    if module.params["only_kept"] and not config_file.is_kept(module.params["path"], os.geteuid()):
        module.exit_json(not_kept=True)
    try:
        before = config_file.read(path)
        section.read(before, path)
        after = section.replace(before, module.params["section"])
        if module.params["locations"] is not None:
            section.refuse_locations(before, after, module.params["locations"])
        if after != before:
            config_file.refuse_irreplaceable(path)
    except Refused as refused:
        module.fail_json(msg=str(refused), problem=refused.problem.as_dict())
    result: dict[str, Any] = {
        "path": path,
        "changed": after != before,
        "diff": {
            "before_header": f"{path} [alembic]",
            "after_header": f"{path} [alembic]",
            "before": section.extract(before),
            "after": section.extract(after),
        },
    }
    if result["changed"] and not module.check_mode:
        if module.params["backup"]:
            result["backup_file"] = module.backup_local(path)
        write(module, path, after)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
