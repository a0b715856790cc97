# SPDX-License-Identifier: Apache-2.0
"""P3, P6 and P8 on the wire: what a client sent and was not answered takes effect once whatever happens to the connection
or the server; what it held is still its own when it comes back, unless another needed it; and until all have come back
after a restart, nobody changes anything."""
import errno
import os
import signal
import time
import unittest

import harness
import raw_client as raw
from raw_client import Closed, Refused, handle, lock, name, u32, u64
from test_restart import stopped
from test_wire import Wire

LEASE_SECONDS = 2
WHOLE = lock(raw.FLOCK, raw.LOCK_WRITE, 0, raw.END, 1)


class Sessions(Wire):
    SERVER_ARGS = ("--lease", str(LEASE_SECONDS))

    def tearDown(self):
        # What this test left behind would keep the next one's server in grace.
        self.doCleanups()
        if not self.server.running():
            self.server.start()

    def back(self, client, access_point=None):
        """The client's session on a new connection, with the numbers of its slots."""
        client.close()
        again = self.client(access_point, session=client.welcome.session)
        again.seqs = dict(client.seqs) if again.welcome.resumed else {}
        return again

    def back_and_claimed(self, client):
        again = self.back(client)
        self.assertEqual((again.welcome.resumed, again.welcome.claims), (1, 1))
        again.call("reclaimed")
        return again

    def crash(self):
        self.server.kill9()
        self.server.start()

    def quiet(self, client, seconds=0.3):
        """Nothing comes for so long: the only way to see that an answer is held back."""
        client.socket.settimeout(seconds)
        with self.assertRaises(TimeoutError):
            client.receive()
        client.socket.settimeout(raw.TIMEOUT_SECONDS)

    def alone(self):
        """A client whose session is the only one, so that a restart waits for nobody else."""
        client = self.client()
        self.addCleanup(self.bye, client)
        return client

    def bye(self, client):
        try:
            client.call("bye", slot=127)
        except (OSError, Closed, Refused):
            pass


class ExactlyOnce(Sessions):
    def again(self, op, body, slot=5):
        """Sends a request, loses the server before the answer is looked at, and sends it again: (first, second, client)."""
        client = self.alone()
        request = client.request(op, body(client), slot)
        client.send(request)
        first = client.receive()
        self.crash()
        client = self.back_and_claimed(client)
        self.addCleanup(self.bye, client)
        client.send(request)
        return first, client.receive(), client

    def test_mkdir_is_answered_again_and_not_refused(self):
        first, second, client = self.again("make", lambda c: make_body(c, "d1"))
        self.assertEqual(first[3], 0)
        self.assertEqual(first, second)

    def test_unlink_is_answered_again_and_takes_no_second_file(self):
        client = self.alone()
        client.create(client.root, "u1", 1)
        request = client.request("unlink", handle(client.root) + name("u1"), 5)
        client.send(request)
        first = client.receive()
        other = self.alone()
        other.create(other.root, "u1", 1)
        self.crash()
        client, other = self.back(client), self.back(other)
        client.call("reclaimed")
        other.call("reclaimed")
        client.send(request)
        self.assertEqual(client.receive(), first)
        other.lookup(other.root, "u1")
        self.bye(client)
        self.bye(other)

    def test_append_is_there_once(self):
        client = self.alone()
        file = client.create(client.root, "a1", 1).handle
        request = client.request("append", u64(1) + raw.blob(b"record"), 5)
        client.send(request)
        first = client.receive()
        self.crash()
        client = self.back(client)
        client.call("reopen", handle(file) + u64(1) + u32(raw.READ | raw.WRITE))
        client.call("reclaimed")
        client.send(request)
        self.assertEqual(client.receive(), first)
        self.assertEqual(client.getattr(file).size, 6)
        self.assertEqual(client.append(1, b"next"), 6)
        self.bye(client)

    def test_created_file_is_open_after_the_answer_was_lost(self):
        client = self.alone()
        request = client.request("create", create_body(client, "c1", 9), 5)
        client.send(request)
        first = client.receive()
        self.assertEqual(first[3], 0)
        self.crash()
        client = self.back_and_claimed(client)
        client.send(request)
        self.assertEqual(client.receive(), first)
        client.write(9, 0, b"through the open that the first answer granted")
        self.bye(client)

    def test_write_does_not_come_over_a_later_one(self):
        one, two = self.alone(), self.alone()
        file = one.create(one.root, "w1", 1).handle
        two.open(file, 1, raw.READ | raw.WRITE)
        request = one.request("write", u64(1) + u64(0) + raw.u8(0) + raw.blob(b"old"), 5)
        one.send(request)
        first = one.receive()
        two.write(1, 0, b"new")
        self.crash()
        one, two = self.back(one), self.back(two)
        for client in (one, two):
            client.call("reopen", handle(file) + u64(1) + u32(raw.READ | raw.WRITE))
            client.call("reclaimed")
        one.send(request)
        self.assertEqual(one.receive(), first)
        self.assertEqual(two.read(1, 0, 10), b"new")
        self.bye(one)
        self.bye(two)

    def test_session_that_said_bye_is_forgotten(self):
        client = self.alone()
        client.call("bye")
        self.crash()
        again = self.back(client)
        self.assertEqual((again.welcome.resumed, again.welcome.claims), (0, 0))
        again.make(again.root, "after-bye", 0o40755)  # nobody is waited for
        self.bye(again)


class Grace(Sessions):
    def test_changes_wait_for_the_last_to_come_back(self):
        one, two = self.alone(), self.alone()
        file = one.create(one.root, "g1", 1).handle
        self.crash()
        two = self.back_and_claimed(two)
        two.getattr(two.root)  # reads are served
        two.send(two.request("make", make_body(two, "g2"), 6))
        two.send(two.request("setlk", u64(1) + WHOLE + u64(0) + b"\0", 7))
        self.quiet(two)
        two.call("getattr", handle(two.root) + u64(0), 8)
        one = self.back(one)
        self.quiet(two)
        one.call("reopen", handle(file) + u64(1) + u32(raw.READ | raw.WRITE))
        one.call("reclaimed")
        answers = {two.receive()[1] for _ in range(2)}
        self.assertEqual(answers, {6, 7})
        self.bye(one)
        self.bye(two)

    def test_nobody_is_waited_for_longer_than_a_lease(self):
        one, two = self.alone(), self.alone()
        one.close()
        self.crash()
        start = time.monotonic()
        two = self.back_and_claimed(two)
        two.make(two.root, "g3", 0o40755)
        self.assertLess(time.monotonic() - start, LEASE_SECONDS + 1.5)
        self.assertGreater(time.monotonic() - start, LEASE_SECONDS - 1.5)
        self.bye(two)
        self.bye(self.back(one))

    def test_a_server_that_stood_still_before_it_opened_waits_all_the_same(self):
        one, two = self.alone(), self.alone()
        one.close()
        self.crash()
        os.kill(self.server.process.pid, signal.SIGSTOP)
        try:
            time.sleep(LEASE_SECONDS + 0.5)  # the pause itself is what is tried
        finally:
            os.kill(self.server.process.pid, signal.SIGCONT)
        two = self.back_and_claimed(two)
        two.send(two.request("make", make_body(two, "g9"), 6))
        self.quiet(two)
        one = self.back(one)
        one.call("reclaimed")
        self.assertEqual(two.receive()[1], 6)
        self.bye(one)
        self.bye(two)

    def test_before_it_has_claimed_a_client_is_served_nothing_else(self):
        client = self.alone()
        self.crash()
        client = self.back(client)
        client.send(client.request("getattr", handle(client.root) + u64(0), 3))
        self.quiet(client)
        client.send(client.request("reclaimed", b"", 4))
        self.assertEqual([client.receive()[1] for _ in range(2)], [4, 3])
        self.bye(client)

    def test_lock_is_kept_for_its_holder(self):
        one, two = self.alone(), self.alone()
        file = one.create(one.root, "g4", 1).handle
        one.setlk(1, WHOLE)
        two.open(file, 1, raw.READ | raw.WRITE)
        self.crash()
        two = self.back(two)
        two.call("reopen", handle(file) + u64(1) + u32(raw.READ | raw.WRITE))
        two.call("reclaimed")
        two.send(two.request("setlk", u64(1) + WHOLE + u64(0) + b"\0", 7))
        self.quiet(two)
        one = self.back(one)
        one.call("reopen", handle(file) + u64(1) + u32(raw.READ | raw.WRITE))
        one.call("setlk", u64(1) + WHOLE + u64(0) + b"\1")
        one.call("reclaimed")
        self.assertEqual(two.receive()[3], errno.EAGAIN)
        self.bye(one)
        self.bye(two)

    def test_the_servers_own_pause_is_no_part_of_grace(self):
        one, two = self.alone(), self.alone()
        file = one.create(one.root, "g7", 1).handle
        one.setlk(1, WHOLE)
        two.open(file, 1, raw.READ | raw.WRITE)
        self.crash()
        two = self.back(two)
        two.call("reopen", handle(file) + u64(1) + u32(raw.READ | raw.WRITE))
        two.call("reclaimed")
        with stopped(self.server.process.pid):
            time.sleep(LEASE_SECONDS + 1)  # the length of the pause is what is tested
            two.send(two.request("setlk", u64(1) + WHOLE + u64(0) + b"\0", 7))
        self.quiet(two)
        one = self.back(one)
        one.call("reopen", handle(file) + u64(1) + u32(raw.READ | raw.WRITE))
        one.call("setlk", u64(1) + WHOLE + u64(0) + b"\1")
        one.call("reclaimed")
        self.assertEqual(two.receive()[3], errno.EAGAIN)
        self.bye(one)
        self.bye(two)

    def test_late_claim_of_what_another_locked_since_is_refused(self):
        one, two = self.alone(), self.alone()
        files = [one.create(one.root, "g5%d" % i, 1 + i).handle for i in range(2)]
        for i in range(2):
            one.setlk(1 + i, WHOLE)
        one.close()
        self.crash()
        two = self.back_and_claimed(two)
        two.open(files[0], 1, raw.READ | raw.WRITE)
        two.setlk(1, WHOLE)  # when grace is over
        two.setlk(1, lock(raw.FLOCK, raw.LOCK_UNLOCK, 0, raw.END, 1))
        one = self.back(one)
        self.assertEqual((one.welcome.resumed, one.welcome.claims), (1, 1))
        for i in range(2):
            one.call("reopen", handle(files[i]) + u64(1 + i) + u32(raw.READ | raw.WRITE))
        self.refused(errno.EAGAIN, one.call, "setlk", u64(1) + WHOLE + u64(0) + b"\1")
        one.call("setlk", u64(2) + WHOLE + u64(0) + b"\1")  # nobody touched this one
        one.call("reclaimed")
        self.bye(one)
        self.bye(two)

    def test_unlinked_open_file_waits_for_its_holder(self):
        one, two = self.alone(), self.alone()
        file = one.create(one.root, "g6", 1).handle
        two.open(file, 1, raw.READ)
        one.write(1, 0, b"kept")
        one.unlink(one.root, "g6")
        self.crash()
        one = self.back(one)
        one.call("reopen", handle(file) + u64(1) + u32(raw.READ))
        one.call("release", u64(1))  # the first to come back was not the only holder
        one.call("reclaimed")
        two = self.back(two)
        two.call("reopen", handle(file) + u64(1) + u32(raw.READ))
        two.call("reclaimed")
        self.assertEqual(two.read(1, 0, 10), b"kept")
        self.bye(one)
        self.bye(two)


class Courtesy(Sessions):
    def test_long_silence_costs_nothing_when_nobody_needs_what_was_held(self):
        client = self.alone()
        file = client.create(client.root, "k1", 1).handle
        client.setlk(1, WHOLE)
        expired = self.server.log().count(" expire ")
        client.close()
        harness.wait_for(lambda: self.server.log().count(" expire ") > expired, 10)
        again = self.back(client)
        self.assertEqual((again.welcome.resumed, again.welcome.claims), (1, 0))
        other = self.alone()
        other.open(file, 1, raw.READ | raw.WRITE)
        self.refused(errno.EAGAIN, other.setlk, 1, WHOLE)
        self.bye(again)

    def test_expired_holder_is_fenced_when_another_asks(self):
        silent, other = self.alone(), self.alone()
        file = silent.create(silent.root, "k2", 1).handle
        silent.setlk(1, WHOLE)
        other.open(file, 1, raw.READ | raw.WRITE)
        self.refused(errno.EAGAIN, other.setlk, 1, WHOLE)
        start = time.monotonic()
        while True:  # connected, and silent: as a client that was stopped
            try:
                other.setlk(1, WHOLE)
                break
            except Refused:
                self.assertLess(time.monotonic() - start, LEASE_SECONDS + 3)
        self.assertGreater(time.monotonic() - start, LEASE_SECONDS - 1)
        # What it sends now is too late.
        try:
            silent.send(silent.request("write", u64(1) + u64(0) + raw.u8(0) + raw.blob(b"late"), 3))
        except OSError:
            pass
        self.assertTrue(silent.closed())
        self.assertEqual(other.getattr(file).size, 0)
        again = self.back(silent)
        self.assertEqual((again.welcome.resumed, again.welcome.claims), (0, 0))
        self.refused(errno.ESTALE, again.write, 1, 0, b"late")
        self.bye(again)

    def test_waiter_is_let_in_when_the_holder_expires(self):
        silent, other = self.alone(), self.alone()
        file = silent.create(silent.root, "k3", 1).handle
        silent.setlk(1, WHOLE)
        other.open(file, 1, raw.READ | raw.WRITE)
        self.assertTrue(other.setlk(1, WHOLE, ticket=4))
        self.granted(other, 4)

    def test_stopped_server_blames_nobody(self):
        one, two = self.alone(), self.alone()
        file = one.create(one.root, "k4", 1).handle
        one.setlk(1, WHOLE)
        two.open(file, 1, raw.READ | raw.WRITE)
        with stopped(self.server.process.pid):
            time.sleep(LEASE_SECONDS + 1)  # the length of the pause is what is tested
            two.send(two.request("setlk", u64(1) + WHOLE + u64(0) + b"\0", 7))
        self.assertEqual(two.receive()[3], errno.EAGAIN)
        one.write(1, 0, b"still mine")


def make_body(client, entry, mode=0o40755):
    return handle(client.root) + name(entry) + u32(mode) + u32(0) + u32(0) + raw.blob(b"")


def create_body(client, entry, open_id):
    return handle(client.root) + name(entry) + u64(open_id) + u32(0o644) + u32(0) + u32(raw.READ | raw.WRITE)


del Wire  # its own suite runs it

if __name__ == "__main__":
    unittest.main()
