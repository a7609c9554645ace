#!/usr/bin/python
"""The least that a module can do with the app's database: connect to it, and say so."""

from __future__ import annotations

import psycopg2
from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    module = AnsibleModule(argument_spec={"url": {"type": "str", "required": True}}, supports_check_mode=True)
    psycopg2.connect(module.params["url"]).close()
    module.exit_json(changed=False)


if __name__ == "__main__":
    main()
