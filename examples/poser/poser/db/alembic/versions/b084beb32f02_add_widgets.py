# -*- coding: utf-8; -*-
"""add widgets

Revision ID: b084beb32f02
Revises: a010a6c92761
Create Date: 2026-11-22 12:39:07.233218

"""

# revision identifiers, used by Alembic.
revision = 'b084beb32f02'
down_revision = 'a010a6c92761'
branch_labels = None
depends_on = None

from alembic import op
import sqlalchemy as sa
import rattail.db.types



def upgrade():

    # poser_widget
    op.create_table('poser_widget',
                    sa.Column('uuid', sa.String(length=32), nullable=False),
                    sa.Column('code', sa.String(length=20), nullable=False),
                    sa.Column('description', sa.String(length=255), nullable=True),
                    sa.Column('active', sa.Boolean(), nullable=False),
                    sa.PrimaryKeyConstraint('uuid', name=op.f('pk_poser_widget')),
                    sa.UniqueConstraint('code', name='poser_widget_uq_code')
    )
    op.create_table('poser_widget_version',
                    sa.Column('uuid', sa.String(length=32), autoincrement=False, nullable=False),
                    sa.Column('code', sa.String(length=20), autoincrement=False, nullable=True),
                    sa.Column('description', sa.String(length=255), autoincrement=False, nullable=True),
                    sa.Column('active', sa.Boolean(), autoincrement=False, nullable=True),
                    sa.Column('transaction_id', sa.BigInteger(), autoincrement=False, nullable=False),
                    sa.Column('end_transaction_id', sa.BigInteger(), nullable=True),
                    sa.Column('operation_type', sa.SmallInteger(), nullable=False),
                    sa.PrimaryKeyConstraint('uuid', 'transaction_id', name=op.f('pk_poser_widget_version'))
    )
    op.create_index(op.f('ix_poser_widget_version_end_transaction_id'), 'poser_widget_version', ['end_transaction_id'], unique=False)
    op.create_index(op.f('ix_poser_widget_version_operation_type'), 'poser_widget_version', ['operation_type'], unique=False)
    op.create_index('ix_poser_widget_version_pk_transaction_id', 'poser_widget_version', ['uuid', sa.literal_column('transaction_id DESC')], unique=False)
    op.create_index('ix_poser_widget_version_pk_validity', 'poser_widget_version', ['uuid', 'transaction_id', 'end_transaction_id'], unique=False)
    op.create_index(op.f('ix_poser_widget_version_transaction_id'), 'poser_widget_version', ['transaction_id'], unique=False)


def downgrade():

    # poser_widget
    op.drop_index(op.f('ix_poser_widget_version_transaction_id'), table_name='poser_widget_version')
    op.drop_index('ix_poser_widget_version_pk_validity', table_name='poser_widget_version')
    op.drop_index('ix_poser_widget_version_pk_transaction_id', table_name='poser_widget_version')
    op.drop_index(op.f('ix_poser_widget_version_operation_type'), table_name='poser_widget_version')
    op.drop_index(op.f('ix_poser_widget_version_end_transaction_id'), table_name='poser_widget_version')
    op.drop_table('poser_widget_version')
    op.drop_table('poser_widget')
