"""Plays several hundred WebSocket cases against the echo server at PORT and prints what came back.

    websocket.py PORT

One line of JSON for each case. The numbers are those of the categories of Autobahn's test suite, on
which the cases are modelled. Two runs of it against one server, one of them through a proxy, must print
the same: nothing here says what is right.
"""

import json
import sys
import zlib
from dataclasses import dataclass, field

import frames
from frames import BINARY, CONT, PING, PONG, TEXT, KEY, close, fragments, frame, pieces

UPGRADE = [
    "Upgrade: websocket",
    "Connection: Upgrade",
    f"Sec-WebSocket-Key: {KEY}",
    "Sec-WebSocket-Version: 13",
]
KIB, MIB = 1024, 1024 * 1024
PHRASE = "κόσμε Hello-µ@ßöäüàá-UTF-8!! 𐀀".encode()


@dataclass
class Step:
    """Bytes to send, in writes of `chop` bytes, and how many frames come back for them."""

    data: bytes
    replies: int = 0
    chop: int | None = None


@dataclass
class Case:
    name: str
    steps: list = field(default_factory=list)
    lines: list = field(default_factory=lambda: UPGRADE)
    half_close: bool = False


def case(name, *steps, lines=UPGRADE):
    """A case that the client ends after all steps."""
    return Case(name, [*steps, Step(close(1000))], lines)


def failing(name, *steps, lines=UPGRADE):
    """A case whose last step makes the server end the connection."""
    *before, last = steps
    return Case(name, [*before, Step(last.data, 1, last.chop)], lines)


def valid(payload=b"before"):
    return Step(frame(TEXT, payload), 1)


def letters(size):
    return (b"0123456789abcdef" * (size // 16 + 1))[:size]


def framing():
    sizes = [0, 1, 2, 64, 124, 125, 126, 127, 128, 129, 255, 256, 1000, 32767, 32768, 65535, 65536, 65537]
    for opcode in TEXT, BINARY:
        for size in sizes:
            for chop in [None, 997] + ([1] if size <= 1000 else []):
                step = Step(frame(opcode, letters(size)), 1, chop)
                yield case(f"1.{opcode}: {size} bytes in writes of {chop}", step)
        for form in 2, 8:
            step = Step(frame(opcode, b"small", form=form), 1)
            yield case(f"1.{opcode}: a length of {form} bytes", step)
    unmasked = Step(frame(TEXT, b"x", mask=False))
    yield failing("1: not masked", unmasked)
    yield failing("1: a length of 63 bits and more", Step(b"\x82\xff" + b"\xff" * 8 + frames.MASK))


def pings():
    for chop in None, 1:
        for size in 0, 1, 5, 124, 125:
            step = Step(frame(PING, letters(size)), 1, chop)
            yield case(f"2: ping of {size} bytes in writes of {chop}", step)
        many = b"".join(frame(PING, b"%d" % number) for number in range(10))
        yield case(f"2: ten pings in writes of {chop}", Step(many, 10, chop))
        yield failing(f"2: ping of 126 bytes in writes of {chop}", Step(frame(PING, letters(126)), 0, chop))
    for payload in b"", b"unsolicited":
        yield case(f"2: pong {payload}", Step(frame(PONG, payload)), valid())
        mixed = frame(PONG, payload) + frame(PING, b"ping")
        yield case(f"2: pong {payload} and ping", Step(mixed, 1))
    yield case("2: ping of no text", Step(frame(PING, b"\0\xff\xfe"), 1))
    yield failing("2: ping in fragments", Step(frame(PING, b"x", fin=0)))


def reserved_bits():
    for rsv in range(1, 8):
        for opcode in CONT, TEXT, BINARY, frames.CLOSE, PING, PONG:
            bad = Step(frame(opcode, b"\x03\xe8", rsv=rsv))
            yield failing(f"3: bits {rsv} in opcode {opcode}", valid(), bad)
        yield failing(f"3: bits {rsv} in writes of 1", Step(frame(TEXT, b"small", rsv=rsv), 0, 1))


def opcodes():
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]:
        for payload in b"", b"reserved":
            yield failing(f"4: opcode {opcode} {payload}", Step(frame(opcode, payload)))
            yield failing(f"4: opcode {opcode} {payload}, later", valid(), Step(frame(opcode, payload)))


def fragmentation():
    for opcode in TEXT, BINARY:
        for number in 1, 2, 3, 10, 100:
            for chop in None, 1, 13:
                sent = b"".join(fragments(opcode, pieces(letters(number * 7), 7)))
                yield case(f"5.{opcode}: {number} fragments in writes of {chop}", Step(sent, 1, chop))
        for sizes in [0, 0, 0], [0, 5, 0], [5, 0, 5], [200, 0, 70000]:
            sent = b"".join(fragments(opcode, [letters(size) for size in sizes]))
            yield case(f"5.{opcode}: fragments of {sizes}", Step(sent, 1))
        for chop in None, 1:
            first, second, third = fragments(opcode, [b"one", b"two", b"three"])
            ping = frame(PING, b"between")
            sent = first + ping + second + ping + frame(PONG, b"x") + third
            yield case(f"5.{opcode}: control between in writes of {chop}", Step(sent, 3, chop))
            steps = [Step(first), Step(ping, 1), Step(second), Step(ping, 1), Step(third, 1)]
            yield case(f"5.{opcode}: control between, in turns {chop}", *steps)
        first, _ = fragments(opcode, [b"one", b"two"])
        yield failing(f"5.{opcode}: another message between", Step(first + frame(opcode, b"new")))
        yield Case(f"5.{opcode}: close between", [Step(first + close(1000), 1)])
    for fin in 0, 1:
        yield failing(f"5: nothing to continue, end {fin}", Step(frame(CONT, b"x", fin=fin)))
        yield failing(f"5: nothing to continue any more, end {fin}", valid(), Step(frame(CONT, b"x", fin=fin)))


TEXTS = [
    PHRASE, b"\x00", b"\x7f", b"\xc2\x80", b"\xdf\xbf", b"\xe0\xa0\x80", b"\xef\xbf\xbf", b"\xed\x9f\xbf",
    b"\xee\x80\x80", b"\xef\xbf\xbd", b"\xf0\x90\x80\x80", b"\xf4\x8f\xbf\xbf", b"\xef\xbb\xbf", b"\xef\xbf\xbe",
]
NO_TEXTS = [
    b"\x80", b"\xbf", b"\xc2", b"\xc0\xaf", b"\xc1\xbf", b"\xe0\x80\xaf", b"\xe0\x9f\xbf", b"\xf0\x80\x80\xaf",
    b"\xf0\x8f\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80",
    b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xed\xa0\x80\xed\xb0\x80", b"\xfe", b"\xff", b"\xe2\x82", b"\xf0\x9f\x98",
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
]


def texts():
    for text in TEXTS:
        for size in sorted({len(text), 1, 2}):
            sent = b"".join(fragments(TEXT, pieces(text, size)))
            yield case(f"6: {text.hex()} in fragments of {size}", Step(sent, 1))
        yield case(f"6: {text.hex()} in writes of 1", Step(frame(TEXT, text), 1, 1))
    for text in NO_TEXTS:
        for size in sorted({len(text), 1}):
            sent = b"".join(fragments(TEXT, pieces(text, size)))
            yield failing(f"6: {text.hex()} in fragments of {size}", Step(sent))
        yield failing(f"6: {text.hex()} after valid text", valid(), Step(frame(TEXT, b"valid " + text)))
        yield case(f"6: {text.hex()} as binary", Step(frame(BINARY, text), 1))


def closes():
    codes = [0, 1, 999, *range(1000, 1017), 1100, 2000, 2999, 3000, 3999, 4000, 4999, 5000, 65535]
    for code in codes:
        for reason in b"", b"because", "größer".encode():
            yield Case(f"7: code {code} {reason}", [Step(close(code, reason), 1)])
    for name, sent in {
        "no code": close(),
        "one byte": frame(frames.CLOSE, b"\x03"),
        "the longest reason": close(1000, letters(123)),
        "too long a reason": close(1000, letters(124)),
        "a reason that is no text": close(1000, b"\xce\xba\xed\xa0\x80"),
        "in fragments": frame(frames.CLOSE, b"\x03\xe8", fin=0),
    }.items():
        yield Case(f"7: {name}", [Step(sent, 1)])
        yield Case(f"7: {name}, later", [valid(), Step(sent, 1)])
        yield Case(f"7: {name}, in writes of 1", [Step(sent, 1, 1)])
    yield Case("7: the end without a close", [valid()], half_close=True)
    yield Case("7: the end at once", half_close=True)
    yield Case("7: the end within a frame", [valid(), Step(frame(TEXT, b"broken")[:-3])], half_close=True)
    yield Case("7: the end within a message", [Step(frame(TEXT, b"one", fin=0))], half_close=True)


def limits():
    for opcode in TEXT, BINARY:
        for size in 64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB:
            yield case(f"9.{opcode}: {size} bytes", Step(frame(opcode, letters(size)), 1))
        for size, piece in [(256 * KIB, 64), (MIB, 4 * KIB), (4 * MIB, 64 * KIB), (4 * MIB, MIB)]:
            sent = b"".join(fragments(opcode, pieces(letters(size), piece)))
            yield case(f"9.{opcode}: {size} bytes in fragments of {piece}", Step(sent, 1))
        for chop in 128, 512, 1500, 4096:
            step = Step(frame(opcode, letters(MIB)), 1, chop)
            yield case(f"9.{opcode}: 1 MiB in writes of {chop}", step)
        for size in 0, 16, 256, 4096:
            steps = [Step(frame(opcode, letters(size)), 1)] * 200
            yield case(f"9.{opcode}: 200 times {size} bytes in turns", *steps)
            together = Step(frame(opcode, letters(size)) * 200, 200)
            yield case(f"9.{opcode}: 200 times {size} bytes at once", together)


def misc():
    sent = b"".join(fragments(TEXT, pieces(letters(65536), 1300)))
    yield case("10: 65536 bytes in fragments of 1300", Step(sent, 1))


OFFERS = [
    "permessage-deflate",
    "permessage-deflate; client_max_window_bits",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    "permessage-deflate; server_max_window_bits=9",
    "permessage-deflate; client_max_window_bits=10; server_max_window_bits=10",
    "x-unknown, permessage-deflate",
]


def deflated(payload):
    """Complete in itself, so that it may stand anywhere in a stream, with or without memory."""
    packer = zlib.compressobj(wbits=-9)
    return (packer.compress(payload) + packer.flush(zlib.Z_FULL_FLUSH))[:-4]


def compression():
    for offer in OFFERS:
        lines = [*UPGRADE, f"Sec-WebSocket-Extensions: {offer}"]
        for size in 0, 16, 1024, 8192, 65536, 131072:
            for opcode in TEXT, BINARY:
                packed = deflated(letters(size))
                once = Step(frame(opcode, packed, rsv=4), 1)
                yield case(f"12.{opcode}: {offer}: {size} bytes", once, once, once, lines=lines)
                split = fragments(opcode, pieces(packed, max(1, len(packed) // 3)), rsv=4)
                yield case(f"12.{opcode}: {offer}: {size} bytes, fragments", Step(b"".join(split), 1), lines=lines)
        yield case(f"12: {offer}: not compressed", valid(), lines=lines)
        yield failing(f"12: {offer}: no deflate", Step(frame(TEXT, b"\xff\xff\xff", rsv=4)), lines=lines)
        yield failing(f"12: {offer}: compressed ping", Step(frame(PING, b"x", rsv=4)), lines=lines)
    for offer in "x-unknown", "permessage-deflate; nonsense", "permessage-deflate; server_max_window_bits=99":
        yield case(f"13: {offer}", valid(), lines=[*UPGRADE, f"Sec-WebSocket-Extensions: {offer}"])


def handshakes():
    for offer in "chat", "superchat, chat", "other", "other, superchat":
        yield case(f"14: {offer}", valid(), lines=[*UPGRADE, f"Sec-WebSocket-Protocol: {offer}"])
    for version in "", "8", "14", "x":
        lines = [*UPGRADE[:3], f"Sec-WebSocket-Version: {version}"]
        yield case(f"14: version {version}", lines=lines)
    yield case("14: no key", lines=[*UPGRADE[:2], UPGRADE[3]])
    yield case("14: no version", lines=UPGRADE[:3])
    yield case("14: another case", valid(), lines=["upgrade: WebSocket", "CONNECTION: keep-alive, UPGRADE", *UPGRADE[2:]])


CATEGORIES = [
    framing, pings, reserved_bits, opcodes, fragmentation, texts, closes, limits, misc, compression, handshakes,
]


def main():
    port = int(sys.argv[1])
    for category in CATEGORIES:
        for one in category():
            print(json.dumps(frames.run(port, one)), flush=True)


main()
