# -*- coding: utf-8; -*-
"""
Poser package root
"""

from ._version import __version__
