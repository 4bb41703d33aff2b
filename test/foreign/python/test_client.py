"""The client against a server. scripts/foreign.sh starts the server and says where it is:

ROOKERY_URL     ws://host:port
ROOKERY_TOKENS  a JSON file: user to token, with users py-01, py-02 ... to use up
"""

import asyncio
import json
import os
import unittest

from client import Client, Store
from packets import Bye, CaughtUp, Copy, Message, Outcome, Refused, make_id
from websockets.exceptions import InvalidStatus

URL = os.environ["ROOKERY_URL"]
with open(os.environ["ROOKERY_TOKENS"]) as file:
    TOKENS = json.load(file)
fresh_users = (user for user in sorted(TOKENS) if user.startswith("py-") and user[3:].isdigit())


class Person:
    """A user with one device, connected or not."""

    def __init__(self, test, user=None, device="laptop"):
        self.test, self.user, self.store = test, user or next(fresh_users), Store(device)

    async def online(self):
        client = await Client.open(URL, self.user, TOKENS[self.user], self.store, proxy=None)
        self.test.addAsyncCleanup(client.close)
        return client


async def receive(client, count):
    return [(await client.wait(Message)).content.decode() for _ in range(count)]


async def accepted(client, *sends):
    await client.until(lambda: all(sent.place for sent in sends))


async def all_history(client, peer, limit):
    """The chat, oldest first, and how many pages it took."""
    rows, pages, before, more = [], 0, None, True
    while more:
        page = await client.history(peer, before, limit)
        rows, pages, more = rows + page.rows, pages + 1, page.more
        before = rows[-1].id if rows else None
    return [row.content.decode() for row in reversed(rows)], pages


class Scenario(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)
        self.alice, self.bob = Person(self), Person(self)

    def test_the_id_of_the_document(self):
        made = make_id(0x1F0E787B282C080, 0x1234, bytes.fromhex("830102030405"))
        self.assertEqual(made.hex(), "b282c080e78711f09234830102030405")

    async def test_sends_are_received_in_order_and_receipts_come_back(self):
        alice, bob = await self.alice.online(), await self.bob.online()
        sends = [alice.send(self.bob.user, f"hello {i}".encode()) for i in range(50)]
        await accepted(alice, *sends)
        self.assertFalse(self.alice.store.outbox)
        got = [await bob.wait(Message) for _ in sends]
        self.assertEqual([(p.id, p.content, p.pos, p.sender) for p in got],
                         [(s.id, s.content, s.place, self.alice.user) for s in sends])  # fmt: skip
        receipts = self.alice.store.receipts
        delivered, read = await alice.until(lambda: (r := receipts.get(self.bob.user)) and r[0] >= sends[-1].place and r)
        self.assertLess(read, sends[0].place)
        bob.read(self.alice.user, got[30].pos)
        await alice.until(lambda: receipts[self.bob.user][1] >= sends[30].place)
        self.assertLess(receipts[self.bob.user][1], sends[31].place)

    async def test_resumes_from_its_position_without_loss_or_repeat(self):
        alice, bob = await self.alice.online(), await self.bob.online()
        await accepted(alice, *[alice.send(self.bob.user, f"{i}".encode()) for i in range(10)])
        got = await receive(bob, 10)
        await bob.drop()
        await accepted(alice, *[alice.send(self.bob.user, f"{i}".encode()) for i in range(10, 20)])
        bob = await self.bob.online()
        alice.send(self.bob.user, b"20")
        got += await receive(bob, 11)
        self.assertEqual(got, [f"{i}" for i in range(21)])
        self.assertFalse([p for p in bob.unread if isinstance(p, Message)])

    async def test_the_client_knows_its_position_better_than_the_server(self):
        alice, bob = await self.alice.online(), await self.bob.online()
        first, second, third = (alice.send(self.bob.user, b) for b in (b"1", b"2", b"3"))
        await accepted(alice, first, second, third)
        await receive(bob, 3)
        await alice.until(lambda: self.alice.store.receipts.get(self.bob.user, (0, 0))[0] >= third.place)  # all marked
        await bob.drop()
        self.bob.store.mine = first.place  # as if a crash had lost the rest
        bob = await self.bob.online()
        self.assertEqual(bob.welcome.resume, first.place)
        await bob.wait(CaughtUp)
        self.assertEqual([p.content for p in bob.unread if isinstance(p, Message)], [b"2", b"3"])

    async def test_an_offline_receiver_catches_up(self):
        alice = await self.alice.online()
        sends = [alice.send(self.bob.user, f"{i}".encode()) for i in range(30)]
        await accepted(alice, *sends)
        while len((await all_history(alice, self.bob.user, 0))[0]) < 30:
            pass  # accepted is durable, and stored a moment later
        bob = await self.bob.online()
        self.assertEqual(bob.welcome.waiting, 30)
        caught_up = await bob.wait(CaughtUp)
        got = [p.content for p in bob.unread if isinstance(p, Message)]
        self.assertEqual(got, [s.content for s in sends])
        self.assertGreaterEqual(caught_up.pos, sends[-1].place)

    async def test_receipts_of_the_time_away_come_with_the_catch_up(self):
        alice, bob = await self.alice.online(), await self.bob.online()
        sent = alice.send(self.bob.user, b"are you there?")
        await accepted(alice, sent)
        await alice.drop()
        message = await bob.wait(Message)
        bob.read(self.alice.user, message.pos)
        await bob.chats()  # the read has been worked on
        alice = await self.alice.online()
        await alice.until(lambda: self.alice.store.receipts.get(self.bob.user, (0, 0))[1] >= sent.place)

    async def test_history_and_chats_by_pages(self):
        alice, bob, carol = await self.alice.online(), await self.bob.online(), Person(self)
        for i in range(13):
            await accepted(alice, alice.send(self.bob.user, f"{i}".encode()))
        await receive(bob, 13)
        answer = bob.send(self.alice.user, b"13")  # its id is above what it answers
        await accepted(bob, answer)
        await alice.wait(Message)  # so the next id is above it
        await accepted(alice, alice.send(carol.user, b"hello carol"))
        content, pages = await all_history(alice, self.bob.user, 5)
        self.assertEqual(content, [f"{i}" for i in range(14)])
        self.assertGreaterEqual(pages, 3)
        page = await alice.chats(limit=1)
        self.assertEqual(([chat.peer for chat in page.chats], page.more), ([carol.user], True))
        page = await alice.chats(page.chats[0].last.id, 1)
        self.assertEqual(([chat.peer for chat in page.chats], page.more), ([self.bob.user], False))
        page = await alice.chats()
        self.assertEqual([(chat.peer, chat.last.content) for chat in page.chats],
                         [(carol.user, b"hello carol"), (self.bob.user, b"13")])  # fmt: skip
        self.assertEqual(page.chats[1].last.place, answer.place)
        self.assertEqual((await alice.history("nobody")).rows, [])

    async def test_a_retry_is_not_doubled(self):
        alice, bob = await self.alice.online(), await self.bob.online()
        first, second = alice.send(self.bob.user, b"once"), alice.send(self.bob.user, b"only")
        await accepted(alice, first, second)
        places = first.place, second.place
        await alice.drop()
        for sent in (first, second):  # as if the accepted had been lost
            sent.place = None
            self.alice.store.outbox[sent.id] = sent
        alice = await self.alice.online()
        outcomes = [await alice.wait(Outcome) for _ in range(2)]
        self.assertEqual([(o.id, o.code, o.place) for o in outcomes], [(first.id, 0, places[0]), (second.id, 0, places[1])])
        await alice.until(lambda: not self.alice.store.outbox)
        await accepted(alice, alice.send(self.bob.user, b"next"))
        self.assertEqual(await receive(bob, 3), ["once", "only", "next"])
        self.assertEqual((await all_history(bob, self.alice.user, 0))[0], ["once", "only", "next"])

    async def test_other_bytes_under_an_old_id_are_told_and_not_stored(self):
        alice, bob = await self.alice.online(), await self.bob.online()
        sent = alice.send(self.bob.user, b"the truth")
        await accepted(alice, sent)
        place = sent.place
        await alice.drop()
        sent.content, self.alice.store.outbox[sent.id] = b"a lie", sent
        alice = await self.alice.online()
        outcome = await alice.wait(Outcome)
        self.assertEqual((outcome.id, outcome.code, outcome.place), (sent.id, 8, place))
        self.assertEqual((await all_history(bob, self.alice.user, 0))[0], ["the truth"])

    async def test_a_refused_send_is_given_up_and_the_others_go_on(self):
        alice, bob = await self.alice.online(), await self.bob.online()
        too_large = b"x" * (alice.welcome.limits["content"] + 1)
        a, b, c, d = (alice.send(self.bob.user, content) for content in (b"a", too_large, b"c", b"d"))
        e = alice.send("not a name", b"e")
        f = alice.send(self.bob.user, b"f")
        await accepted(alice, a, c, d, f)
        self.assertEqual((b.refused, b.place, e.refused, e.place), (3, None, 9, None))
        self.assertEqual(await receive(bob, 4), ["a", "c", "d", "f"])

    async def test_sends_over_the_rate_are_retried_in_order(self):
        alice, bob = await self.alice.online(), await self.bob.online()
        count = alice.welcome.limits["burst"] + 400
        sends = [alice.send(self.bob.user, f"{i}".encode()) for i in range(count)]
        refused = await alice.wait(Refused)
        self.assertIn(refused.code, (1, 2))
        self.assertEqual(await receive(bob, count), [f"{i}" for i in range(count)])
        await accepted(alice, *sends)

    async def test_a_second_device_gets_copies(self):
        phone, web = self.alice, Person(self, self.alice.user, "web-7f3a")
        phone_client = await phone.online()
        web_client = await web.online()
        sent = phone_client.send(self.bob.user, b"from the phone")
        there, own = await web_client.wait(Copy), await phone_client.wait(Copy)
        self.assertEqual((there.id, there.to, there.content), (sent.id, self.bob.user, b"from the phone"))
        self.assertEqual((own.id, own.content, own.place), (sent.id, None, there.place))

    async def test_a_newer_session_of_the_device_replaces_the_older(self):
        older = await self.alice.online()
        await self.alice.online()
        self.assertEqual((await older.wait(Bye)).code, 202)
        await older.reader
        self.assertEqual(older.ws.close_code, 4202)

    async def test_no_token_no_session(self):
        with self.assertRaises(InvalidStatus) as refused:
            await Client.open(URL, self.alice.user, "not.a.token", self.alice.store, proxy=None)
        self.assertEqual(refused.exception.response.status_code, 401)
        self.assertTrue(refused.exception.response.body.startswith(b"unauthorized: "))

    async def test_exchange_with_the_other_client(self):
        """The same test runs in JavaScript at the same time."""
        me, peer = Person(self, "py-exchange"), "js-exchange"
        client = await me.online()
        ping = client.send(peer, b"ping from py-exchange")
        got = await client.wait(Message)
        self.assertEqual((got.sender, got.content), (peer, b"ping from js-exchange"))
        pong = client.send(peer, b"pong from py-exchange")
        got = await client.wait(Message)
        self.assertEqual((got.sender, got.content), (peer, b"pong from js-exchange"))
        client.read(peer, got.pos)
        await accepted(client, ping, pong)
        await client.until(lambda: me.store.receipts.get(peer, (0, 0))[1] >= pong.place)


if __name__ == "__main__":
    unittest.main()
