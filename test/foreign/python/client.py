"""A small client of the Rookery protocol, written from docs/protocol.md alone.

Numbers in comments are sections of that document. A Store stands for what an
installation keeps on disk; here it is memory that outlives a connection.
"""

import asyncio
import contextlib
import itertools
import math
import random
import time
import uuid
from collections import deque
from dataclasses import dataclass, field

import msgpack
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from packets import Accepted, Bye, CaughtUp, Chat, ChatsPage, Copy, Error, HistoryPage, Message, Outcome
from packets import Receipt, Refused, Row, Truncated, Welcome, decode, fit, make_id

UNIX = 0x01B21DD213814000  # 1970 in ticks of 100 ns since 1582 (4.2)
RETRY = {1, 2, 105}  # codes whose action is retry (12)
MARK_AFTER = 0.1  # seconds (7.3)
JOIN = 65536  # a message that has this many bytes is long enough; with one more send it is still below the limit


def unix_ms():
    return time.time_ns() // 1_000_000


@dataclass
class Sent:
    id: bytes
    to: str
    content: bytes
    retry: bool = False  # its bytes may have touched the socket of an earlier session: flag 1
    place: int | None = None  # once accepted, in the receiver's partition
    refused: int | None = None  # the code with which it was given up


@dataclass
class Store:
    """What an installation persists."""

    device: str
    seq: int = field(default_factory=lambda: random.getrandbits(14))
    last: int = 0  # ticks of the newest id made or seen
    mine: int | None = None  # position
    outbox: dict = field(default_factory=dict)  # id: Sent, in the order of ids
    receipts: dict = field(default_factory=dict)  # peer: (delivered, read)


class Client:
    """One session. Make it with `await Client.open(...)`."""

    def __init__(self, ws, store):
        self.ws, self.store = ws, store
        self.welcome = self.bye = None
        self.unread = []  # packets that no wait() has taken yet
        self.changed = asyncio.Event()
        self.out = asyncio.Queue()
        self.next, self.flying = 1, {}  # n of the next send; n: Sent without an answer
        self.waiting = deque()  # sends without an n yet, or again
        self.window, self.paused = math.inf, False  # how many may fly; a refused one waits for its retry
        self.sent = {}  # id: Sent, of this session
        self.requests = itertools.count(1)
        self.unmarked = 0
        self.reader, self.writer = asyncio.create_task(self._read()), asyncio.create_task(self._write())
        self.reader.add_done_callback(lambda _: self._wake())

    @classmethod
    async def open(cls, url, user, token, store, **options):
        headers = {"Authorization": f"Bearer {token}"}
        options = {"subprotocols": ["rookery.v1"], "additional_headers": headers, "compression": None, **options}
        self = cls(await connect(f"{url}/ws/{user}", **options), store)
        self._put(1, 1, store.device, store.seq, store.mine)
        await self.until(lambda: self.welcome)
        for sent in store.outbox.values():
            sent.retry = True
        self._submit(*store.outbox.values())
        return self

    async def close(self):
        self.writer.cancel()
        with contextlib.suppress(ConnectionClosed):
            await self.ws.send(b"".join(self.out.get_nowait() for _ in range(self.out.qsize())))
        await self.ws.close()
        await self.reader

    async def drop(self):
        """Loses the connection, as a network does."""
        self.ws.transport.abort()
        await self.reader

    def send(self, to, content):
        self.store.last = max(unix_ms() * 10_000 + self.ahead + UNIX, self.store.last + 1)
        sent = Sent(make_id(self.store.last, self.store.seq, self.welcome.node), to, content)
        self.store.outbox[sent.id] = sent
        self._submit(sent)
        return sent

    def mark(self):
        self.unmarked = 0
        self._put(3, self.store.mine)

    def read(self, peer, pos):
        self._put(4, peer, pos)

    async def history(self, peer, before=None, limit=0):
        page = await self._request(8, peer, before, limit)
        return page._replace(rows=[fit(Row, row) for row in page.rows])

    async def chats(self, before=None, limit=0):
        page = await self._request(9, before, limit)
        chats = [fit(Chat, chat) for chat in page.chats]
        return page._replace(chats=[chat._replace(last=fit(Row, chat.last)) for chat in chats])

    async def until(self, condition, timeout=60):
        """Waits until condition() holds, and returns what it gave; the timeout is one of silence."""
        while not (result := condition()):
            if self.reader.done():
                raise ConnectionError(f"the session ended: {self.bye or self.reader.exception()}")
            await asyncio.wait_for(self.changed.wait(), timeout)
        return result

    async def wait(self, kind, where=lambda p: True):
        """Takes the oldest unread packet of a kind."""
        packet = await self.until(lambda: next((p for p in self.unread if isinstance(p, kind) and where(p)), None))
        self.unread.remove(packet)
        return packet

    # Sending (6).

    def _put(self, *packet):
        self.out.put_nowait(msgpack.packb(packet))

    async def _request(self, kind, *fields):
        req = next(self.requests)
        self._put(kind, req, *fields)
        answer = await self.wait((HistoryPage, ChatsPage, Error), lambda p: p.req == req)
        if isinstance(answer, Error):
            raise RuntimeError(f"code {answer.code}: {answer.text}")
        return answer

    def _submit(self, *sends):
        self.waiting.extend(sends)
        while self.waiting and len(self.flying) < self.window and not self.paused:
            sent = self.waiting.popleft()
            self.flying[self.next] = self.sent[sent.id] = sent
            self._put(2, self.next, sent.id, sent.to, 0, sent.content, int(sent.retry))
            self.next += 1

    def _accepted(self, p):
        for n in range(p.n - p.count + 1, p.n + 1):
            sent = self.flying.pop(n)
            del self.store.outbox[sent.id]
            if sent.place is None:  # else an outcome has told it
                sent.place = p.pos - (p.n - n)
        self.window += p.count
        self._submit()

    def _refused(self, p):
        back = [self.flying.pop(n) for n in sorted(self.flying) if n >= p.n]
        self.next = p.n
        if p.code in RETRY:  # slower: first this one alone, then more with each accepted
            self.window, self.paused = 1, True
            asyncio.get_running_loop().call_later(p.retry / 1000, self._resume)
        else:
            given_up = back.pop(0)
            given_up.refused = p.code
            del self.store.outbox[given_up.id]
        self.waiting.extendleft(reversed(back))
        self._submit()

    def _resume(self):
        self.paused = False
        self._submit()

    async def _write(self):
        """Joins the packets that are ready into one message (3.1)."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                batch = await self.out.get()
                while len(batch) < JOIN and not self.out.empty():
                    batch += self.out.get_nowait()
                await self.ws.send(batch)

    # Receiving (7).

    async def _read(self):
        try:
            async for data in self.ws:
                for packet in decode(data):
                    self._handle(packet)
                self._wake()
        except ConnectionClosed:
            pass  # bye has told why, or nobody can
        except (ValueError, msgpack.UnpackException):
            await self.ws.close(1002)
            raise
        finally:
            self.writer.cancel()

    def _wake(self):
        self.changed.set()
        self.changed = asyncio.Event()

    def _handle(self, p):
        store = self.store
        match p:
            case Welcome():
                self.welcome, store.mine = p, p.resume
                self.ahead = (p.now - unix_ms()) * 10_000
            case Accepted():
                self._accepted(p)
            case Refused():
                self._refused(p)
            case Outcome() if p.id in self.sent:
                self.sent[p.id].place = p.place
            case Bye():
                self.bye = p
            case CaughtUp() | Truncated():
                self._advance(max(store.mine, p.pos))
            case Message() | Copy() | Receipt():
                if 0 < p.pos <= store.mine:
                    return  # a repeat
                if p.pos - p.gap > store.mine:
                    raise ValueError(f"a gap: {p} after {store.mine}")
                if isinstance(p, Receipt):
                    delivered, read = store.receipts.get(p.peer, (0, 0))
                    store.receipts[p.peer] = (max(delivered, p.delivered), max(read, p.read))
                else:
                    store.last = max(store.last, uuid.UUID(bytes=p.id).time)
                if p.pos:
                    self._advance(p.pos)
        self.unread.append(p)

    def _advance(self, pos):
        self.store.mine = pos
        self.unmarked += 1
        if self.unmarked >= self.welcome.limits.get("window", 1024) // 4:
            self.mark()
        elif self.unmarked == 1:
            asyncio.get_running_loop().call_later(MARK_AFTER, lambda: self.unmarked and self.mark())
