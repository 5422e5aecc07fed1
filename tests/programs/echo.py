"""A WebSocket server that sends every message back, by the package websockets.

    echo.py [ADDRESS PORT]

Without an address it listens on loopback, at any port. The first line says where.
"""

import asyncio
import json
import logging
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

MESSAGE_BYTES_MAX = 32 * 1024 * 1024
CLOSE_SECONDS_MAX = 5
SUBPROTOCOLS = ["chat", "superchat"]


def select(_, offered):
    """The first that is known; none is none, which the package would refuse."""
    return next((name for name in offered if name in SUBPROTOCOLS), None)


async def echo(connection):
    try:
        async for message in connection:
            await connection.send(message)
    except ConnectionClosed:
        pass  # How it ended is for the client to see.


async def main():
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    settings = {
        "max_size": MESSAGE_BYTES_MAX,
        "ping_interval": None,
        "close_timeout": CLOSE_SECONDS_MAX,
        "subprotocols": SUBPROTOCOLS,
        "select_subprotocol": select,
    }
    address, port = sys.argv[1:] or ("127.0.0.1", 0)
    async with serve(echo, address, int(port), **settings) as server:
        port = server.sockets[0].getsockname()[1]
        print(json.dumps({"kind": "listening", "port": port}), flush=True)
        await server.serve_forever()


asyncio.run(main())
