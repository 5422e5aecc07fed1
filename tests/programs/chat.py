"""Says things to the WebSocket at URL and ends well if all of them come back, by the package websockets.

    chat.py URL
"""

import asyncio
import sys

from websockets.asyncio.client import connect

MESSAGES = ["hello", "κόσμε", b"\x00\xff" * 500, "x" * 2_000_000, b""]
SECONDS_MAX = 20


async def main():
    async with asyncio.timeout(SECONDS_MAX):
        async with connect(sys.argv[1], max_size=None, proxy=None) as connection:
            for message in MESSAGES:
                await connection.send(message)
                if await connection.recv() != message:
                    sys.exit("another message came back")
        if connection.close_code != 1000:
            sys.exit(f"closed with {connection.close_code}")


asyncio.run(main())
