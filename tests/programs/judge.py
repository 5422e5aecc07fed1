"""A judge of HTTP/1: the parser h11, which prints what it understood, one JSON line for each request.

The first line says where it listens.
"""

import asyncio
import json
import re

import h11

HEAD_BYTES_MAX = 256 * 1024
READ_BYTES = 64 * 1024
PRINTABLE = re.compile(rb"[\x21-\x7e]+")


def say(line):
    print(json.dumps(line), flush=True)


def text(value):
    return value.decode("latin-1")


def understood(request, body):
    host = [value for name, value in request.headers if name == b"host"]
    headers = [[text(name), text(value)] for name, value in request.headers.raw_items()]
    say(
        {
            "kind": "request",
            "method": text(request.method),
            "target": text(request.target),
            "host": text(b",".join(host)),
            "body": text(body),
            "headers": headers,
        }
    )


class Judged:
    """One connection."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer
        self.conn = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)

    async def event(self):
        while True:
            event = self.conn.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self.conn.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[])
                self.writer.write(self.conn.send(go_on))
            self.conn.receive_data(await self.reader.read(READ_BYTES))

    async def request(self):
        """Takes one request; whether another may follow."""
        request = await self.event()
        if isinstance(request, h11.ConnectionClosed):
            return False
        body = b""
        while isinstance(part := await self.event(), h11.Data):
            body += part.data
        understood(request, body)
        self.answer(request.target)
        if self.conn.our_state is h11.MUST_CLOSE:
            return False
        self.conn.start_next_cycle()
        return True

    def answer(self, target):
        headers = [("content-length", "6")]
        if PRINTABLE.fullmatch(target):
            headers.append(("x-judged", target))
        for event in (
            h11.Response(status_code=200, headers=headers),
            h11.Data(data=b"judged"),
            h11.EndOfMessage(),
        ):
            self.writer.write(self.conn.send(event) or b"")

    async def serve(self):
        try:
            while await self.request():
                pass
        except h11.RemoteProtocolError as error:
            say({"kind": "refused", "reason": str(error)})
            self.writer.write(
                b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            )
        except (h11.LocalProtocolError, ConnectionError) as error:
            say({"kind": "refused", "reason": str(error)})
        finally:
            self.writer.close()


async def main():
    server = await asyncio.start_server(
        lambda reader, writer: Judged(reader, writer).serve(), "127.0.0.1", 0
    )
    say({"kind": "listening", "port": server.sockets[0].getsockname()[1]})
    await server.serve_forever()


asyncio.run(main())
