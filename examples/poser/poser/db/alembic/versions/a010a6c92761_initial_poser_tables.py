# -*- coding: utf-8; -*-
"""initial Poser tables

Revision ID: a010a6c92761
Revises:
Create Date: 2026-11-22 10:02:51.409025

"""

# revision identifiers, used by Alembic.
revision = 'a010a6c92761'
down_revision = None
branch_labels = ('poser',)
depends_on = None

from alembic import op
import sqlalchemy as sa
import rattail.db.types



def upgrade():

    # poser_product
    op.create_table('poser_product',
                    sa.Column('uuid', sa.String(length=32), nullable=False),
                    sa.Column('grower', sa.String(length=100), nullable=True),
                    sa.Column('distance_miles', sa.Integer(), nullable=True),
                    sa.ForeignKeyConstraint(['uuid'], ['product.uuid'], name='poser_product_fk_product'),
                    sa.PrimaryKeyConstraint('uuid', name=op.f('pk_poser_product'))
    )


def downgrade():

    # poser_product
    op.drop_table('poser_product')
