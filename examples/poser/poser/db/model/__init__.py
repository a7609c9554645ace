# -*- coding: utf-8; -*-
"""
Poser data models
"""

# bring in all of Rattail
from rattail.db.model import *

# then our own
from .products import PoserProduct
from .widgets import PoserWidget
