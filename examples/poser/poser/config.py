# -*- coding: utf-8; -*-
"""
Poser config extensions
"""

from wuttjamaican.conf import WuttaConfigExtension


class PoserConfig(WuttaConfigExtension):
    """
    Rattail config extension for Poser
    """
    key = 'poser'

    def configure(self, config):

        # app info
        config.setdefault('rattail.app_title', "Poser")
        config.setdefault('rattail.app_dist', "Poser")

        # primary data model
        config.setdefault('rattail.model_spec', 'poser.db.model')
