# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The door: what stands on the controller before each of the role's modules.

Everything that the user sets and everything that a host sends passes here, and only here.
"""

from pathlib import Path

import ansible.module_utils

ROLE = Path(__file__).resolve().parents[2]
# Ansible lets modules import a role's module_utils, but not plugins.
if str(ROLE / "module_utils") not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(str(ROLE / "module_utils"))
