# -*- coding: utf-8; -*-
"""
Extension of Rattail's product
"""

import sqlalchemy as sa
from sqlalchemy import orm

from rattail.db import model


class PoserProduct(model.Base):
    """
    What Poser knows about a product, in addition to
    :class:`rattail:rattail.db.model.Product`.
    """
    __tablename__ = 'poser_product'
    __table_args__ = (
        sa.ForeignKeyConstraint(['uuid'], ['product.uuid'],
                                name='poser_product_fk_product'),
    )

    # the product's own key: there can be no second row for it
    uuid = model.uuid_column(default=None)
    product = orm.relationship(
        model.Product,
        doc="""
        Reference to the product which this record extends.
        """,
        backref=orm.backref(
            '_poser',
            uselist=False,
            cascade='all, delete-orphan',
            doc="""
            Reference to the Poser record for this product, if any.
            """))

    grower = sa.Column(sa.String(length=100), nullable=True, doc="""
    Name of the farm or maker the product comes from.
    """)

    distance_miles = sa.Column(sa.Integer(), nullable=True, doc="""
    How far away from the store that is.
    """)

    def __str__(self):
        return str(self.product)


PoserProduct.make_proxy(model.Product, '_poser', 'grower')
PoserProduct.make_proxy(model.Product, '_poser', 'distance_miles')
