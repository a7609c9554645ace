"""Keeps a session open and reads from it for ever, as Rattail's data sync does."""

import time

from rattail.config import make_config

app = make_config(["/srv/envs/poser/app/rattail.conf"]).get_app()
while True:
    session = app.make_session()
    session.query(app.model.Product).count()
    session.close()
    time.sleep(1)
