# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Plans and applies the Alembic revisions of a Rattail app.

Ten wings on six floors. A wing imports only from wings on floors below its own:

6  change, authoring
5  observe
4  migration
3  copies, revisions, config, policy
2  postgres, host
1  the files problem and cores
"""

import os
import sys
from zipimport import zipimporter


class _Payload(zipimporter):
    """Compiles each of these files once: zipimport does so for the file's name alone, and again to run it.

    Ansible sends a module as a zip file that holds no bytecode: that was a tenth of what "nothing to do" cost one.
    """

    def get_filename(self, fullname: str) -> str:
        place = os.path.join(self.archive, self.prefix + fullname.rpartition(".")[2])
        return os.path.join(place, "__init__.py") if self.is_package(fullname) else f"{place}.py"


def _import_by_payload(path: str) -> zipimporter:
    """The path hook of everything below this package."""
    if path.startswith(__path__[0]):
        return _Payload(path)
    raise ImportError(path)


if type(getattr(__spec__, "loader", None)) is zipimporter:
    sys.path_hooks.insert(0, _import_by_payload)
