# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs one of Ansible's own modules as the app's user, and believes little of what it says."""

from __future__ import annotations

import sys
from pathlib import Path

# Ansible loads a plugin by its file, and knows nothing of what lies beside it.
if str(Path(__file__).parent) not in sys.path:
    sys.path.append(str(Path(__file__).parent))

from rattail_schema_ext_door.steps import RunDoor as ActionModule

__all__ = ["ActionModule"]
