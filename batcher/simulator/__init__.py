"""The remote API, honest and moody, as a real HTTP server. A stranger to the client: the two share only the wire.

`serving.start` serves a world on a port; `app.create_app` is the same wire as an ASGI application. They are not
imported here: a server takes 150 ms to load, and `batcher --help` needs none.
"""

from batcher.simulator.settings import Settings
from batcher.simulator.world import World

__all__ = ["Settings", "World"]
