"""WebSocket frames on a plain socket: what a case sends, byte by byte, and what comes back."""

import base64
import hashlib
import itertools
import socket
import struct

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = base64.b64encode(b"sixteen bytes it").decode()
MASK = bytes.fromhex("37fa213d")
DEADLINE_SECONDS = 20


def masked(payload):
    size = len(payload)
    pattern = (MASK * (size // 4 + 1))[:size]
    number = int.from_bytes(payload, "big") ^ int.from_bytes(pattern, "big")
    return number.to_bytes(size, "big")


def frame(opcode, payload=b"", fin=1, rsv=0, mask=True, form=None):
    """A frame; `form` is the number of bytes of the length, if not the fewest."""
    size = len(payload)
    form = form or (1 if size < 126 else 2 if size < 65536 else 8)
    first = fin << 7 | rsv << 4 | opcode
    bit = 0x80 if mask else 0
    if form == 1:
        head = struct.pack("!BB", first, bit | size)
    elif form == 2:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    return head + (MASK + masked(payload) if mask else payload)


def close(code=None, reason=b""):
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


def fragments(opcode, pieces, rsv=0):
    """A message in frames, one for each piece."""
    last = len(pieces) - 1
    return [
        frame(CONT if at else opcode, piece, fin=int(at == last), rsv=0 if at else rsv)
        for at, piece in enumerate(pieces)
    ]


def pieces(payload, size):
    return [payload[at : at + size] for at in range(0, len(payload), size)] or [b""]


class Ended(Exception):
    """The connection is over: `how`."""

    def __init__(self, how):
        self.how = how


class Connection:
    """A connection and the transcript of what came."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        # In the order of their own kind only: whether a pong overtakes an echo depends on when the
        # server reads what, also without anything between.
        self.control, self.data = [], []
        self.closed = None

    def send(self, data, chop=None):
        try:
            for piece in [data] if chop is None else pieces(data, chop):
                self.socket.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # Shows when reading.

    def read(self, size):
        while len(self.buffer) < size:
            try:
                more = self.socket.recv(1 << 20)
            except ConnectionResetError:
                raise Ended("reset") from None
            except TimeoutError:
                raise Ended("nothing came") from None
            if not more:
                raise Ended("closed" if not self.buffer else "closed within a frame")
            self.buffer += more
        taken = bytes(self.buffer[:size])
        del self.buffer[:size]
        return taken

    def handshake(self, lines):
        """Status and the headers of WebSocket."""
        request = ["GET /echo HTTP/1.1", "Host: ws.test", *lines, "", ""]
        self.send("\r\n".join(request).encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.read(1)
        first, *rest = head.decode("latin-1").split("\r\n")
        headers = (line.split(":", 1) for line in rest if ":" in line)
        own = {name.lower(): value.strip() for name, value in headers}
        expected = base64.b64encode(hashlib.sha1((KEY + GUID).encode()).digest()).decode()
        if own.get("sec-websocket-accept") == expected:
            own["sec-websocket-accept"] = "right"
        kept = {name: own[name] for name in sorted(own) if name.startswith("sec-websocket-")}
        return int(first.split()[1]), kept

    def receive(self):
        """Notes one frame."""
        first, second = self.read(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", self.read(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self.read(8))
        payload = self.read(size)
        opcode = first & 15
        seen = [first >> 4, opcode, size, hashlib.sha256(payload).hexdigest()[:16]]
        if opcode == CLOSE:
            self.closed = [payload[:2].hex(), payload[2:].decode("utf-8", "replace")]
        (self.control if opcode >= CLOSE else self.data).append(seen)

    def await_frames(self, count):
        """Reads until so many frames came in all, or a close frame did."""
        while self.closed is None and len(self.control) + len(self.data) < count:
            self.receive()

    def finish(self):
        """Reads to the end.

        A close frame is not answered: the server either had one from us or has given up on us, and what
        is sent to somebody who has closed makes a reset that says nothing of who is between.
        """
        while True:
            self.receive()


def run(port, case):
    """The transcript of a case."""
    connection = Connection(port)
    transcript = {"case": case.name}
    try:
        transcript["handshake"] = connection.handshake(case.lines)
        if transcript["handshake"][0] != 101:
            raise Ended("no handshake")
        awaited = itertools.accumulate(step.replies for step in case.steps)
        for step, count in zip(case.steps, awaited):
            connection.send(step.data, step.chop)
            connection.await_frames(count)
        if case.half_close:
            connection.socket.shutdown(socket.SHUT_WR)
        connection.finish()
    except Ended as ended:
        transcript["ended"] = ended.how
    finally:
        connection.socket.close()
    transcript["control"] = connection.control
    transcript["data"] = connection.data
    transcript["closed"] = connection.closed
    return transcript
