"""The studio: a local web page on which a network is watched while it decides.

``create_app`` is the whole of it as an ASGI application; ``fluoroscope studio`` serves it.
"""
