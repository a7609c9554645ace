"""Revisions that an app may have: each must get through, and nothing is to be said of it."""

from __future__ import annotations

from .actions import actions
from .arena import Case
from .ways import COMMITTED, CONFINED, UNCONFINED, UNHEARD, WAYS, executed

_BLOCK = "with op.get_context().autocommit_block():\n    "
_OWN = "create table poser_x (id integer)"
# Ways that are no fault in themselves.
_NO_FAULT = {
    *(set(WAYS) - set(COMMITTED) - set(CONFINED) - set(UNCONFINED) - set(UNHEARD) - {"read_only_afterwards"}),
    *("commit", "commit_and_begin", "commit_before", "autocommit_block", "autocommit_block_after"),
}

_PYTHON: dict[str, str] = {
    "op-create_table": "op.create_table('poser_a', sa.Column('id', sa.Integer, primary_key=True),\n"
    "    sa.Column('till_id', sa.Integer, sa.ForeignKey('till.id')))",
    "op-columns": "op.add_column('poser_widget', sa.Column('n', sa.Integer, server_default='1'))\n"
    "op.alter_column('poser_widget', 'n', type_=sa.BigInteger, nullable=False)\n"
    "op.alter_column('poser_widget', 'n', new_column_name='number')\nop.drop_column('poser_widget', 'description')",
    "op-constraints": "op.create_unique_constraint('uq', 'poser_widget', ['description'])\n"
    "op.create_check_constraint('ck', 'poser_widget', \"code <> ''\")\nop.drop_constraint('uq', 'poser_widget')\n"
    "op.create_foreign_key('fk', 'poser_product', 'till', ['distance_miles'], ['id'])",
    "op-batch": "with op.batch_alter_table('poser_widget') as batch:\n"
    "    batch.add_column(sa.Column('n', sa.Integer))\n    batch.create_index('poser_ix', ['n'])",
    "op-bulk_insert": "table = sa.table('poser_widget', sa.column('uuid'), sa.column('code'), sa.column('active'))\n"
    "op.bulk_insert(table, [{'uuid': str(n), 'code': str(n), 'active': True} for n in range(50)])",
    "op-rename_and_drop": "op.rename_table('poser_widget', 'poser_gadget')\nop.drop_table('poser_product')",
    "rows-core_s_read_by_python": "rows = op.get_bind().execute(sa.text('select id, note from till')).fetchall()\n"
    "for number, note in rows:\n"
    "    insert = sa.text('insert into poser_widget (uuid, code, active) values (:n, :n, true)')\n"
    "    op.get_bind().execute(insert, {'n': str(number)})",
    "savepoint-rolled_back": "nested = op.get_bind().begin_nested()\n"
    "op.execute('drop table drawer')\nnested.rollback()\n" + executed(_OWN),
    "savepoint-rows_rolled_back": "nested = op.get_bind().begin_nested()\n"
    "op.execute('delete from till_line')\nnested.rollback()\n" + executed(_OWN),
    "block-index_concurrently": _BLOCK
    + "op.create_index('poser_ix', 'poser_widget', ['description'], postgresql_concurrently=True)",
    "block-index_dropped_concurrently": executed("create index poser_ix on poser_widget (description)") + f"\n{_BLOCK}"
    "op.drop_index('poser_ix', postgresql_concurrently=True)",
    "block-vacuum": f"{_BLOCK}op.execute('vacuum analyze poser_widget')",
    "block-reindex_concurrently": f"{_BLOCK}op.execute('reindex table concurrently poser_widget')",
    "block-then_more": f"{executed(_OWN)}\n{_BLOCK}op.execute('create index concurrently poser_ix on poser_x (id)')\n"
    "op.execute('alter table poser_x add column n integer')",
    "block-enum_value": executed("create type poser_taste as enum ('sweet')") + f"\n{_BLOCK}"
    "op.execute(\"alter type poser_taste add value 'sour'\")",
    "beside-reads": "with op.get_bind().engine.connect() as beside:\n"
    "    beside.execute(sa.text('select count(*) from till')).fetchall()\n" + executed(_OWN),
    "python-copy_into_own": executed(_OWN) + "\nimport io\n"
    "op.get_bind().connection.cursor().copy_expert('copy poser_x from stdin', io.StringIO('1\\n2\\n'))",
    "python-inspector": "assert 'till' in sa.inspect(op.get_bind()).get_table_names()\n" + executed(_OWN),
    "python-helper_at_the_top": "make('poser_a')\nmake('poser_b')",
    "nothing": "pass",
}  # fmt: skip
_TOP = {"python-helper_at_the_top": "def make(name):\n    op.create_table(name, sa.Column('id', sa.Integer))\n"}

HONEST: dict[str, Case] = {
    **{name: Case(executed(action.sql), options={"policy_data": "refuse"})
       for name, action in actions("honest").items()},
    **{name: Case(python, top=_TOP.get(name, "")) for name, python in _PYTHON.items()},
    **{f"own_table-{name}": Case(way(_OWN)) for name, way in WAYS.items() if name in _NO_FAULT},
}  # fmt: skip
