# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Planning and applying the Alembic revisions of a Rattail app.

The files are read in the order the data flows, and each imports only from those above it:
problem, cores, ini, order, section, config_file, source, distributions, environment, locations, revision_file, graph,
url, settings, request, connection, pooler, database, right_database, session, lock, catalog, difference, rows,
packages, policy, plan, sql_text, inspection, child, app_alembic, answers, drift, operations, enums, unseen,
script_text, draft, drafting, interception, beside, tally, statements, guard, runner, history, observation, revisions,
report, record, login, programs, backup, filling, cluster, scratch, writable, pending, look, jobs, ownership, attempts,
failure, leftovers, rehearsal, apply, revert, baseline, next_revision, hazards, review, review_text, writing.
"""

import os
import sys
from zipimport import zipimporter


class _Payload(zipimporter):
    """Compiles each of these files once: zipimport does so for the file's name alone, and again to run it.

    Ansible sends a module as a zip file that holds no bytecode: that was a tenth of what "nothing to do" cost one.
    """

    def get_filename(self, fullname: str) -> str:
        return os.path.join(self.archive, self.prefix + fullname.rpartition(".")[2] + ".py")


_loader: object = getattr(__spec__, "loader", None)
if type(_loader) is zipimporter:
    sys.path_importer_cache[__path__[0]] = _Payload(__path__[0])
