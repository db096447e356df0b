"""Registers the tests' probe."""

from ip2p_probe import routes

routes.register()
