# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""PostgreSQL by psycopg2 or psycopg 3, without Alembic: driver, connection, lock, catalog, and what changed in it."""
