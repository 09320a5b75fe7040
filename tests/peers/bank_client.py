#!/usr/bin/env python3
"""A bank client written from src/bank/PROTOCOL.md alone, standard library only.

It exists to prove that the page is enough: deposit an amount, read the balance back, say so.

    bank_client.py tcp|udp HOST PORT [AMOUNT [ACCOUNT]]

Prints one JSON line; exit 0 where the balance rose by the amount, 1 where it did not.
"""
import json
import os
import socket
import struct
import sys
import time

HEADER = struct.Struct("<II2sBBBBHQQQIHH")
HELLO, WELCOME, REQUEST, RESPONSE, GOAWAY = 1, 2, 3, 4, 5
BALANCE, DEPOSIT = 1, 2
DEADLINE_S = 10.0


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def encode(kind, block, op=0, client=0, seq=0, ack_upto=0, deadline_us=0, attempt=0, pad_to=0):
    short = pad_to - HEADER.size - len(block)
    pad = struct.pack("<HH", 2, max(short - 4, 0)) + bytes(max(short - 4, 0)) if short > 0 else b""
    length = HEADER.size - 4 + len(block) + len(pad)
    header = HEADER.pack(length, 0, b"IG", 1, kind, op, 0, 0, client, seq, ack_upto,
                         deadline_us, attempt, len(block))
    frame = header + block + pad
    return frame[:4] + struct.pack("<I", crc32c(frame[:4] + frame[8:])) + frame[8:]


def decode(frame):
    (length, crc, magic, version, kind, _op, _flags, status, client, seq, _ack, _deadline, attempt,
     block_len) = HEADER.unpack_from(frame)
    assert length == len(frame) - 4, "length"
    assert magic == b"IG" and version == 1, "magic or version"
    assert crc == crc32c(frame[:4] + frame[8:]), "checksum"
    return kind, status, client, seq, attempt, frame[48:48 + block_len]


class Stream:
    def __init__(self, host, port):
        self.socket = socket.create_connection((host, port), DEADLINE_S)

    def exchange(self, make, matches):
        self.socket.sendall(make(1))
        while True:
            head = self.read(4)
            answer = decode(head + self.read(struct.unpack("<I", head)[0]))
            if matches(answer):
                return answer

    def read(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise ConnectionError("the server closed the stream")
            data += piece
        return data


class Datagram:
    def __init__(self, host, port):
        info = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        self.socket = socket.socket(info[0], info[1])
        self.socket.connect(info[4])

    def exchange(self, make, matches):
        timer, until, attempt = 1.0, time.monotonic() + DEADLINE_S, 0
        while time.monotonic() < until:
            attempt += 1
            self.socket.send(make(attempt))
            resend = min(until, time.monotonic() + timer)
            timer *= 2
            while (left := resend - time.monotonic()) > 0:
                self.socket.settimeout(left)
                try:
                    answer = decode(self.socket.recv(2048))
                except (TimeoutError, AssertionError, struct.error):
                    continue
                if matches(answer):
                    return answer
        raise TimeoutError("no answer by the deadline: the outcome is unknown")


def main(carrier, host, port, amount=1234, account=1):
    link = {"tcp": Stream, "udp": Datagram}[carrier](host, int(port))
    nonce = int.from_bytes(os.urandom(8), "little")
    hello = encode(HELLO, struct.pack("<BBHIQQ", 1, 1, 0, 65536, nonce, 0))
    _, status, client, *_ = link.exchange(lambda _: hello, lambda a: a[0] == WELCOME)
    assert status == 0, f"HELLO was refused with status {status}"
    numbers = iter(range(1, 100))

    def call(op, block):
        seq = next(numbers)

        def make(attempt):
            return encode(REQUEST, block, op, client, seq, seq - 1, int(DEADLINE_S * 1e6), attempt, 64)

        _, status, _, _, _, block = link.exchange(make, lambda a: a[0] == RESPONSE and a[3] == seq)
        assert status == 0, f"operation {op} was refused with status {status}"
        return struct.unpack_from("<qQ", block)

    before, _ = call(BALANCE, struct.pack("<Q", account))
    deposited, entry = call(DEPOSIT, struct.pack("<Qq", account, amount))
    after, _ = call(BALANCE, struct.pack("<Q", account))
    ok = deposited == after == before + amount
    return {"ok": ok, "carrier": carrier, "client": client, "account": account, "amount": amount,
            "entry": entry, "before": before, "after": after}


if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[1] not in ("tcp", "udp"):
        sys.exit(__doc__)
    try:
        result = main(*sys.argv[1:4], *map(int, sys.argv[4:6]))
    except (OSError, AssertionError, struct.error) as error:
        result = {"ok": False, "error": str(error) or type(error).__name__}
    print(json.dumps(result))
    sys.exit(0 if result["ok"] else 1)
