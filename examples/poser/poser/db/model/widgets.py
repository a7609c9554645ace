# -*- coding: utf-8; -*-
"""
Widgets
"""

import sqlalchemy as sa

from rattail.db import model


class PoserWidget(model.Base):
    """
    A widget, something Rattail itself knows nothing of.
    """
    __tablename__ = 'poser_widget'
    __table_args__ = (
        sa.UniqueConstraint('code', name='poser_widget_uq_code'),
    )
    __versioned__ = {}

    uuid = model.uuid_column()

    code = sa.Column(sa.String(length=20), nullable=False, doc="""
    Short code by which people call the widget.
    """)

    description = sa.Column(sa.String(length=255), nullable=True, doc="""
    Description of the widget.
    """)

    active = sa.Column(sa.Boolean(), nullable=False, default=True, doc="""
    Whether the widget is in use.
    """)

    def __str__(self):
        return self.description or self.code
