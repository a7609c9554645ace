"""What differs in ``examples/poser`` where it stands on WuttJamaican."""

from __future__ import annotations

_CONFIG = """\
from wuttjamaican.conf import WuttaConfigExtension


class PoserConfig(WuttaConfigExtension):
    key = 'poser'

    def configure(self, config):
        config.setdefault('wutta.app_dist', "Poser")
        config.setdefault('wutta.model_spec', 'poser.db.model')
"""
_MODEL = """\
from wuttjamaican.db.model import *

from .widgets import PoserWidget
"""
_WIDGETS = """\
import sqlalchemy as sa

from wuttjamaican.db import model


class PoserWidget(model.Base):
    __tablename__ = 'poser_widget'

    uuid = model.uuid_column()
    owner_uuid = model.uuid_fk_column('person.uuid', nullable=True)
    active = sa.Column(sa.Boolean(), nullable=False, default=True)
"""
_FIRST = """\
\"\"\"initial Poser tables\"\"\"

revision = 'a010a6c92761'
down_revision = None
branch_labels = ('poser',)
depends_on = None

from alembic import op
import sqlalchemy as sa
import wuttjamaican.db.util


def upgrade():
    op.create_table('poser_widget',
                    sa.Column('uuid', wuttjamaican.db.util.UUID(), nullable=False),
                    sa.Column('owner_uuid', wuttjamaican.db.util.UUID(), nullable=True),
                    sa.ForeignKeyConstraint(['owner_uuid'], ['person.uuid'],
                                            name=op.f('fk_poser_widget_owner_uuid_person')),
                    sa.PrimaryKeyConstraint('uuid', name=op.f('pk_poser_widget')))


def downgrade():
    op.drop_table('poser_widget')
"""
_SECOND = """\
\"\"\"add widgets' state\"\"\"

revision = 'b084beb32f02'
down_revision = 'a010a6c92761'
branch_labels = None
depends_on = None

from alembic import op
import sqlalchemy as sa


def upgrade():
    op.add_column('poser_widget', sa.Column('active', sa.Boolean(), nullable=False))


def downgrade():
    op.drop_column('poser_widget', 'active')
"""
_VERSIONS = "poser/db/alembic/versions"

FILES: dict[str, str | None] = {
    "poser/config.py": _CONFIG,
    "poser/db/model/__init__.py": _MODEL,
    "poser/db/model/products.py": None,
    "poser/db/model/widgets.py": _WIDGETS,
    f"{_VERSIONS}/a010a6c92761_initial_poser_tables.py": _FIRST,
    f"{_VERSIONS}/b084beb32f02_add_widgets.py": _SECOND,
}
