"""
Gadgets
"""

import sqlalchemy as sa
from sqlalchemy import orm

from rattail.db import model


class PoserGadget(model.Base):
    """
    A gadget, which may belong to a product
    """
    __tablename__ = 'poser_gadget'
    __versioned__ = {}

    uuid = model.uuid_column()

    product_uuid = sa.Column(sa.String(length=32), sa.ForeignKey('product.uuid'), nullable=True)
    product = orm.relationship(model.Product)

    name = sa.Column(sa.String(length=50), nullable=False)
