#!/usr/bin/env python3
"""An NTP server written from RFC 5905 alone, that is wrong in one way at a time.

ntp_server.py HOST [offset=S] [drift=RATE] [step=S] [lie=S] [version=N] [late=S] [other=HOST] [source=N]

It prints its port, then serves until its standard input ends. A step comes after half of eight
requests, a lie in every fourth reply; `other` replies from another address.
"""
import select
import socket
import struct
import sys
import time

EPOCH = 2208988800


def stamp(seconds):
    """64 bits of NTP time."""
    return struct.pack("!Q", int((seconds + EPOCH) * 2**32) & (2**64 - 1))


def main():
    wrong = {"offset": "0", "drift": "0", "step": "0", "lie": "0", "version": "0", "late": "0", "source": "9"}
    wrong.update(word.split("=") for word in sys.argv[2:])
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((sys.argv[1], 0))
    port = server.getsockname()[1]
    sender = server
    if "other" in wrong:
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.bind((wrong["other"], port))
    print(port, flush=True)
    start, served, waiting = time.time(), 0, []
    while True:
        wait = max(0, waiting[0][0] - time.time()) if waiting else None
        ready, _, _ = select.select([server, sys.stdin], [], [], wait)
        if sys.stdin in ready:
            return
        while waiting and waiting[0][0] <= time.time():
            _, reply, client = waiting.pop(0)
            sender.sendto(reply, client)
        if server not in ready:
            continue
        request, client = server.recvfrom(1024)
        served += 1

        def clock():
            now = time.time()
            moved = float(wrong["step"]) if served > 4 else 0.0
            moved += float(wrong["lie"]) if served % 4 == 3 else 0.0
            return now + float(wrong["offset"]) + float(wrong["drift"]) * (now - start) + moved

        version = int(wrong["version"]) or request[0] >> 3 & 7
        received = clock()
        source = bytes([192, 0, 2, int(wrong["source"])])
        head = struct.pack("!BBbbII4s", version << 3 | 4, 2, 6, -20, 0, 16, source)
        reply = head + stamp(received - 10) + request[40:48] + stamp(received) + stamp(clock())
        waiting.append((time.time() + float(wrong["late"]), reply, client))
        if float(wrong["late"]) == 0:
            sender.sendto(waiting.pop()[1], client)


main()
