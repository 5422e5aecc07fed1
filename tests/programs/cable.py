"""Carries frames between the interfaces ONE and OTHER, both ways: a cable with faults.

    cable.py ONE OTHER

Each line of stdin says what happens to frames from now on: LOSS DELAY JITTER, the loss in percent, the
others in milliseconds. A frame that is delayed may be overtaken by one that is delayed less, as in
netem. Ends with its stdin.
"""

import heapq
import itertools
import os
import random
import select
import socket
import sys
import time

FRAME_BYTES_MAX = 65_536
ETH_P_ALL = 3
PACKET_OUTGOING = 4
# More would be a queue that no cable has.
FRAMES_MAX = 10_000


def open_interface(name):
    interface = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    interface.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    interface.bind((name, 0))
    interface.setblocking(False)
    return interface


def arrived(interface):
    """Frames that came from the wire; those that were sent there come back here as well."""
    while True:
        try:
            frame, address = interface.recvfrom(FRAME_BYTES_MAX)
        except BlockingIOError:
            return
        if address[2] != PACKET_OUTGOING:
            yield frame


def send(interface, frame):
    try:
        interface.send(frame)
    except OSError:
        pass  # A queue that is full loses frames, as it does anywhere.


def carry(one, other):
    loss, delay, jitter = 0.0, 0.0, 0.0
    under_way, number = [], itertools.count()
    opposite = {one: other, other: one}
    while True:
        wait = max(under_way[0][0] - time.monotonic(), 0) if under_way else None
        ready, _, _ = select.select([one, other, sys.stdin], [], [], wait)
        if sys.stdin in ready:
            orders = os.read(sys.stdin.fileno(), 4_096)
            if not orders:
                return
            loss, delay, jitter = (float(word) for word in orders.splitlines()[-1].split())
        for interface in (one, other):
            if interface not in ready:
                continue
            for frame in arrived(interface):
                if random.uniform(0, 100) < loss or len(under_way) >= FRAMES_MAX:
                    continue
                if delay == 0 and jitter == 0:
                    send(opposite[interface], frame)
                    continue
                late = max(delay + random.uniform(-jitter, jitter), 0) / 1_000
                entry = (time.monotonic() + late, next(number), opposite[interface], frame)
                heapq.heappush(under_way, entry)
        while under_way and under_way[0][0] <= time.monotonic():
            _, _, interface, frame = heapq.heappop(under_way)
            send(interface, frame)


carry(open_interface(sys.argv[1]), open_interface(sys.argv[2]))
