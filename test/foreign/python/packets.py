"""The packets of docs/protocol.md that the server sends (13.2)."""

import uuid
from collections import namedtuple
from itertools import zip_longest

import msgpack


def shape(kind, **zeros):
    """A packet or row: its fields in order, each with what nil or absence means (3.2)."""
    return namedtuple(kind, zeros, defaults=zeros.values())


def fit(cls, elements):
    """Elements as cls: missing and nil ones are zero, those of later versions ignored."""
    zeros = cls._field_defaults.values()
    pairs = zip_longest(elements[: len(zeros)], zeros)
    return cls(*(zero if value is None else value for value, zero in pairs))


Welcome = shape("Welcome", version=0, now=0, node=b"", user="", resume=0, waiting=0, heartbeat=0, expires=0, limits={})
Accepted = shape("Accepted", n=0, count=0, pos=0)
Refused = shape("Refused", n=0, code=0, retry=0, text="")
Message = shape("Message", pos=0, gap=0, id=None, sender="", late=0, suite=0, content=b"", expires=0, media="")
Copy = shape("Copy", pos=0, gap=0, id=None, to="", late=0, suite=0, content=None, place=0, expires=0, media="")
Receipt = shape("Receipt", pos=0, gap=0, peer="", delivered=0, read=0)
CaughtUp = shape("CaughtUp", pos=0)
Truncated = shape("Truncated", pos=0)
HistoryPage = shape("HistoryPage", req=0, peer="", delivered=0, read=0, more=False, rows=())
Row = shape("Row", id=None, sender="", place=0, late=0, suite=0, content=b"", expires=0, media="")
ChatsPage = shape("ChatsPage", req=0, more=False, chats=())
Chat = shape("Chat", peer="", delivered=0, read=0, mine=0, last=())
Outcome = shape("Outcome", id=None, to="", code=0, place=0)
Error = shape("Error", code=0, retry=0, text="", req=0)
Bye = shape("Bye", code=0, retry=0, url="", text="")
SERVER = {32: Welcome, 33: Accepted, 34: Refused, 35: Message, 36: Copy, 37: Receipt, 38: CaughtUp, 39: Truncated,
          42: HistoryPage, 43: ChatsPage, 44: Outcome, 47: Error, 48: Bye}


def decode(data):
    """The packets of one WebSocket message, without those of unknown types."""
    unpacker = msgpack.Unpacker()
    unpacker.feed(data)
    for kind, *elements in unpacker:
        if kind in SERVER:
            yield fit(SERVER[kind], elements)
    if unpacker.tell() != len(data):
        raise ValueError("a packet is cut off")


def make_id(ticks, seq, node):
    """A message's id (4.2)."""
    fields = (ticks & 0xFFFFFFFF, ticks >> 32 & 0xFFFF, ticks >> 48 | 0x1000)
    return uuid.UUID(fields=(*fields, seq >> 8 | 0x80, seq & 0xFF, int.from_bytes(node, "big"))).bytes
