# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Planning and applying the Alembic revisions of a Rattail app.

The files are read in the order the data flows, and each imports only from those above it:
problem, cores, ini, order, section, config_file, source, environment, locations, revision_file, graph, url,
settings, request, database, plan, runner, observation, revisions, look, report, apply.
"""
