# SPDX-License-Identifier: Apache-2.0
"""P7 against a client that lies: what it was not shown, what was moved out of its root, what belongs to another session or
access point, and what permission refuses stay out of its reach, also through a restart of the server."""
import errno
import stat
import struct
import unittest

import harness
import raw_client as raw
from raw_client import Refused, blob, handle, lock, name, u32, u64, u8
from test_sessions import Sessions, WHOLE

DIRECTORY = stat.S_IFDIR | 0o777
SOMEBODY = {"Uid": 1234, "Gid": 1234}


class Isolation(Sessions):
    """`top` sees everything as root; `sub` is user 1234 below a directory of the test's own."""

    def setUp(self):
        self.name = self.id().rsplit(".", 1)[-1][:60]
        self.top = self.alone()
        self.sub_ap = self.sub_access_point("/" + self.name)
        self.sub = self.user(self.sub_ap)
        self.inside = self.top.lookup(self.top.root, self.name).handle

    def sub_access_point(self, path):
        return self.access_point(PosixUser=SOMEBODY, RootDirectory={
            "Path": path, "CreationInfo": {"OwnerUid": 1234, "OwnerGid": 1234, "Permissions": "0755"}})

    def user(self, access_point, **options):
        client = self.client(access_point, **options)
        self.addCleanup(self.bye, client)
        return client

    def both_back(self):
        self.top = self.back_and_claimed(self.top)
        self.sub = self.back(self.sub, self.sub_ap)
        self.addCleanup(self.bye, self.top)
        self.addCleanup(self.bye, self.sub)

    def reopen(self, client, of, open_id, flags=raw.READ):
        client.call("reopen", handle(of) + u64(open_id) + u32(flags))

    def secret(self):
        """A directory of root's outside of sub's reach, with a file in it: (directory, file)."""
        outside = self.top.make(self.top.root, self.name + "-outside", stat.S_IFDIR | 0o755).handle
        file = self.top.create(outside, "secret", 50, 0o644).handle
        self.top.write(50, 0, b"secret")
        self.top.release(50)
        return outside, file

    def calls_with(self, forged):
        """Every call that takes a handle."""
        times = struct.pack("<qIqI", 0, 0, 0, 0)
        own = self.sub.root
        return {
            "lookup": handle(forged) + name("secret") + u64(0), "getattr": handle(forged) + u64(0),
            "setattr": handle(forged) + u64(0) + u32(1) + u32(0o777) + u32(0) * 2 + u64(0) + times,
            "access": handle(forged) + u32(4), "readlink": handle(forged),
            "make": handle(forged) + name("x") + u32(DIRECTORY) + u32(0) * 2 + blob(b""),
            "link": handle(forged) + handle(own) + name("x"), "unlink": handle(forged) + name("secret"),
            "rmdir": handle(forged) + name("secret"),
            "rename": handle(forged) + name("secret") + handle(own) + name("x") + u32(0),
            "open": raw.open_body(forged, 9, raw.READ),
            "create": handle(forged) + name("secret") + u64(9) + u32(0o644) + u32(0) + u32(raw.READ),
            "tmpfile": handle(forged) + u64(9) + u32(0o644) + u32(0) + u32(raw.WRITE),
            "reopen": handle(forged) + u64(9) + u32(raw.READ), "statfs": handle(forged),
            "getxattr": handle(forged) + u64(0) + name("user.a") + u32(10), "listxattr": handle(forged) + u64(0) + u32(10),
            "setxattr": handle(forged) + u64(0) + name("user.a") + u32(0) + blob(b"x"),
            "removexattr": handle(forged) + u64(0) + name("user.a"),
        }

    def check_stale(self, forged, but=(), gone=()):
        for op, body in self.calls_with(forged).items():
            if op in but:
                continue
            with self.subTest(op=op, forged=forged):
                self.refused(errno.ENOENT if op in gone else errno.ESTALE, self.sub.call, op, body)


class Handles(Isolation):
    def test_what_it_was_not_shown(self):
        outside, file = self.secret()
        own_mac = self.sub.root[1]
        for ino in (outside[0], file[0], self.top.root[0]):
            for mac in (own_mac, 0, 2 ** 64 - 1, outside[1], file[1], self.top.root[1], own_mac ^ 1):
                self.check_stale((ino, mac))

    def test_every_bit_of_a_mac_counts(self):
        own = self.sub.create(self.sub.root, "f", 1).handle
        for bit in range(64):
            self.refused(errno.ESTALE, self.sub.getattr, (own[0], own[1] ^ 1 << bit))
            self.refused(errno.ESTALE, self.sub.getattr, (own[0] ^ 1 << bit, own[1]))

    def test_of_another_access_point_to_the_same_directory(self):
        own = self.sub.create(self.sub.root, "f", 1).handle
        other = self.user(self.sub_access_point("/" + self.name))
        self.assertEqual(other.root[0], self.sub.root[0])
        self.assertNotEqual(other.root, self.sub.root)
        for theirs in (own, self.sub.root):
            self.refused(errno.ESTALE, other.getattr, theirs)

    def test_of_another_file_system(self):
        fs = self.api("POST", "/2015-02-01/file-systems", {"CreationToken": self.name})["FileSystemId"]
        other = self.user(self.access_point(FileSystemId=fs))
        file = other.create(other.root, "f", 1).handle
        for theirs in (file, other.root):
            self.refused(errno.ESTALE, self.top.getattr, theirs)
            self.refused(errno.ESTALE, self.sub.getattr, theirs)
        self.refused(errno.ESTALE, other.getattr, self.top.root)

    def test_of_a_removed_inode(self):
        file = self.sub.create(self.sub.root, "f", 1).handle
        directory = self.sub.make(self.sub.root, "d", DIRECTORY).handle
        self.sub.release(1)
        self.sub.unlink(self.sub.root, "f")
        self.sub.rmdir(self.sub.root, "d")
        self.check_stale(directory, but=("reopen",), gone=(
            "lookup", "getattr", "access", "open", "make", "unlink", "rmdir", "rename", "create", "tmpfile"))
        self.refused(errno.EINVAL, self.reopen, self.sub, directory, 9)
        self.refused(errno.ENOENT, self.sub.getattr, file)
        self.refused(errno.ESTALE, self.sub.link, file, self.sub.root, "again")

    def test_names_at_the_root(self):
        self.assertEqual(self.sub.lookup(self.sub.root, ".").handle, self.sub.root)
        self.assertEqual(self.sub.lookup(self.sub.root, "..").handle, self.sub.root)
        self.assertEqual(self.sub.lookup(self.sub.root, "..").attr.ino, self.sub.root[0])
        for entry in ("../" + self.name, "/", "a/b", b"a\0b", b"\0", "", "../..", "./.."):
            with self.subTest(entry=entry):
                client = self.client(self.sub_ap)
                client.send(client.request("lookup", raw.lookup_body(client.root, entry)))
                self.assertTrue(client.closed())
        for op, tail in (("unlink", b""), ("rmdir", b""), ("make", u32(DIRECTORY) + u32(0) * 2 + blob(b"")),
                         ("create", u64(1) + u32(0o644) + u32(0) + u32(raw.READ))):
            for entry in (".", ".."):
                with self.subTest(op=op, entry=entry):
                    client = self.client(self.sub_ap)
                    client.send(client.request(op, handle(client.root) + name(entry) + tail))
                    self.assertTrue(client.closed())


class MovedOut(Isolation):
    """What is moved out of the root is out. What was open stays usable through its open, and leads nowhere else."""

    def setUp(self):
        super().setUp()
        self.d = self.sub.make(self.sub.root, "d", DIRECTORY).handle
        self.f = self.sub.create(self.d, "f", 1).handle
        self.sub.open(self.d, 2)

    def move(self):
        outside, _ = self.secret()
        self.top.rename(self.inside, "d", outside, "d")
        return outside

    def test_an_open_directory_is_no_way_out(self):
        outside = self.move()
        moved = self.top.lookup(outside, "d").handle
        self.top.make(moved, "since", stat.S_IFREG | 0o666)
        self.refused(errno.ESTALE, self.sub.lookup, self.d, "..")
        self.refused(errno.ESTALE, self.sub.lookup, self.d, "since")
        self.refused(errno.ESTALE, self.sub.readdir, 2, 0, 4096, 1)
        self.refused(errno.ESTALE, self.sub.create, self.d, "since", 3)
        self.refused(errno.ESTALE, self.sub.tmpfile, self.d, 3)
        self.refused(errno.ESTALE, self.sub.make, self.d, "new", DIRECTORY)
        self.refused(errno.ESTALE, self.sub.unlink, self.d, "since")
        self.refused(errno.ESTALE, self.sub.rename, self.d, "since", self.sub.root, "since")
        self.refused(errno.ESTALE, self.sub.rename, self.sub.root, "x", self.d, "x")
        self.refused(errno.ESTALE, self.sub.link, self.f, self.sub.root, "back")
        self.assertEqual(self.sub.getattr(self.d, 2).ino, self.d[0])
        self.sub.write(1, 0, b"through the open")

    def test_a_hold_is_no_way_out(self):
        self.sub.release(1)
        self.sub.release(2)
        self.sub.lookup(self.sub.root, "d", hold=3)
        self.sub.lookup(self.d, "f", hold=4)
        outside = self.move()
        for of in (self.d, self.f):
            self.check_stale(of, but=("reopen",))
        self.top.unlink(self.top.lookup(outside, "d").handle, "f")
        self.check_stale(self.f, but=("reopen",))

    def test_no_claim_brings_it_back(self):
        self.move()
        self.sub.release(1)
        self.sub.release(2)
        for of in (self.d, self.f):
            self.refused(errno.EINVAL, self.reopen, self.sub, of, 5)
        self.crash()
        self.both_back()
        for of in (self.d, self.f):
            self.refused(errno.ESTALE, self.reopen, self.sub, of, 5)
        self.sub.call("reclaimed")

    def test_a_second_name_inside_keeps_it_inside(self):
        self.sub.link(self.f, self.sub.root, "name")
        self.move()
        self.sub.release(1)
        self.assertEqual(self.sub.getattr(self.f).nlink, 2)
        self.sub.unlink(self.sub.root, "name")
        self.refused(errno.ESTALE, self.sub.getattr, self.f)

    def test_the_roots_parent_moves_under_a_live_session(self):
        parent = self.top.make(self.top.root, self.name + "-p", DIRECTORY).handle
        ap = self.sub_access_point("/%s-p/root" % self.name)
        client = self.user(ap)
        below = client.make(client.root, "below", DIRECTORY).handle
        elsewhere = self.top.make(self.top.root, self.name + "-q", DIRECTORY).handle
        self.top.rename(self.top.root, self.name + "-p", elsewhere, "p")
        self.assertEqual(client.lookup(client.root, "below").handle, below)
        self.assertEqual(client.lookup(client.root, "..").handle, client.root)
        root = self.top.lookup(parent, "root").handle
        self.refused(errno.EINVAL, self.top.rename, elsewhere, "p", root, "p")
        self.refused(errno.EBUSY, self.top.rename, parent, "root", self.top.root, "x")
        # A new attach goes by the path, where another root is made.
        another = self.user(ap) if self.top.make(self.top.root, self.name + "-p", DIRECTORY) else None
        self.assertNotEqual(another.root, client.root)
        self.refused(errno.ESTALE, another.getattr, below)


class Claims(Isolation):
    """A claim gets what the session may have anyway, in a restart of the server, and nothing else."""

    def test_nothing_to_claim(self):
        file = self.sub.create(self.sub.root, "f", 1, 0o600).handle
        self.refused(errno.EINVAL, self.reopen, self.sub, file, 2)
        self.reopen(self.sub, file, 1, raw.READ | raw.WRITE)  # asked again: it has it
        self.crash()
        self.both_back()
        self.reopen(self.sub, file, 1, raw.READ | raw.WRITE)
        self.sub.call("reclaimed")
        self.refused(errno.EINVAL, self.reopen, self.sub, file, 2)

    def test_a_claim_gives_nobody_more_than_he_may(self):
        self.top.create(self.inside, "theirs", 1, 0o644)
        theirs = self.sub.lookup(self.sub.root, "theirs").handle
        own = self.sub.create(self.sub.root, "own", 3, 0o400).handle
        self.sub.unlink(self.sub.root, "own")
        self.crash()
        self.both_back()
        self.refused(errno.EACCES, self.reopen, self.sub, theirs, 2, raw.READ | raw.WRITE)
        self.refused(errno.EACCES, self.reopen, self.sub, theirs, 2, raw.READ | raw.APPEND)
        self.refused(errno.EACCES, self.reopen, self.sub, theirs, 2, raw.READ | raw.TRUNC)
        self.reopen(self.sub, theirs, 2)
        self.reopen(self.sub, own, 4, raw.READ | raw.WRITE | raw.CREATE | raw.EXCL)
        self.sub.call("reclaimed")
        self.refused(errno.EBADF, self.sub.write, 2, 0, b"x")
        self.sub.write(4, 0, b"x")
        # No claim of an open makes it one that has its name yet to get.
        self.refused(errno.ENOENT, self.sub.link, own, self.sub.root, "x")

    def test_read_only_stays_read_only(self):
        self.sub.create(self.sub.root, "f", 1)
        reader = self.user(self.sub_ap, read_only=1)
        file = reader.lookup(reader.root, "f").handle
        self.crash()
        self.both_back()
        reader.close()
        again = self.user(self.sub_ap, read_only=1, session=reader.welcome.session)
        self.assertEqual((again.welcome.resumed, again.welcome.claims), (1, 1))
        again.seqs = dict(reader.seqs)
        self.refused(errno.EROFS, self.reopen, again, file, 1, raw.READ | raw.WRITE)
        again.call("reclaimed")
        self.sub.call("reclaimed")

    def again_after_a_crash(self, client, slot, op, other_body):
        """Another body under a number whose answer the server keeps."""
        seq = client.seqs[slot]
        self.crash()
        self.both_back()
        self.sub.call("reclaimed", slot=100)
        return self.sub.call(op, other_body, slot, seq)

    def test_an_answer_given_again_opens_nothing_else(self):
        _, secret = self.secret()
        mine = self.sub.create(self.sub.root, "mine", 1).handle
        self.sub.call("open", raw.open_body(mine, 2, raw.WRITE | raw.TRUNC), 5)
        for forged in (secret, (secret[0], mine[1])):
            self.refused(errno.ESTALE, self.again_after_a_crash, self.sub, 5, "open",
                         raw.open_body(forged, 7, raw.READ | raw.WRITE))
            self.refused(errno.ESTALE, self.sub.read, 7, 0, 10)

    def test_an_answer_given_again_opens_it_no_wider(self):
        self.top.create(self.inside, "theirs", 1, 0o644)
        body = handle(self.sub.root) + name("theirs")
        tail = u32(0o644) + u32(0)
        self.sub.call("create", body + u64(2) + tail + u32(raw.READ), 5)
        self.refused(errno.EACCES, self.again_after_a_crash, self.sub, 5, "create",
                     body + u64(7) + tail + u32(raw.READ | raw.WRITE))
        self.refused(errno.ESTALE, self.sub.write, 7, 0, b"x")

    def test_a_lock_is_claimed_by_its_holder_alone(self):
        file = self.sub.create(self.sub.root, "f", 1, 0o666).handle
        self.sub.setlk(1, WHOLE)
        theirs = self.top.lookup(self.inside, "f").handle
        self.top.open(theirs, 1, raw.READ | raw.WRITE)
        self.crash()
        self.top = self.back(self.top)
        self.reopen(self.top, theirs, 1, raw.READ | raw.WRITE)
        self.top.call("reclaimed")
        # It said that it has claimed all: what it calls a claim now waits like any other lock.
        self.top.send(self.top.request("setlk", u64(1) + WHOLE + u64(0) + u8(1), 6))
        # One that was not here before has nothing to claim either.
        stranger = self.alone()
        self.refused(errno.EINVAL, self.reopen, stranger, stranger.lookup(stranger.root, self.name).handle, 1)
        self.sub = self.back(self.sub, self.sub_ap)
        self.reopen(self.sub, file, 1, raw.READ | raw.WRITE)
        self.sub.call("setlk", u64(1) + WHOLE + u64(0) + u8(1))
        self.sub.call("reclaimed")
        self.assertEqual(self.top.receive()[3], errno.EAGAIN)


class OthersSessions(Isolation):
    def test_a_session_is_resumed_as_what_it_was(self):
        session = self.sub.welcome.session
        same_root = self.access_point(RootDirectory={"Path": "/" + self.name})
        for ap, options in ((self.ap, {}), (same_root, {}), (self.sub_access_point("/" + self.name), {}),
                            (self.sub_ap, {"read_only": 1})):
            other = self.user(ap, session=session, **options)
            self.assertEqual((other.welcome.resumed, other.welcome.claims), (0, 0))
            self.assertNotEqual(other.welcome.session, session)
        for session in ((session[0] ^ 1, session[1]), (session[0], session[1] ^ 1), (0, session[1]), (session[0], 0),
                        (2 ** 64 - 1, 2 ** 64 - 1), (session[1], session[0])):
            self.assertEqual(self.user(self.sub_ap, session=session).welcome.resumed, 0)
        self.sub.getattr(self.sub.root)  # nobody has cut it off

    def test_opens_tickets_and_locks_are_a_sessions_own(self):
        file = self.sub.create(self.sub.root, "f", 77).handle
        twin = self.user(self.sub_ap)
        self.sub.setlk(77, WHOLE)
        for op, body in (("read", u64(77) + u64(0) + u32(1) + u8(0)),
                         ("write", u64(77) + u64(0) + u8(0) + blob(b"x")),
                         ("append", u64(77) + blob(b"x")), ("fsync", u64(77)), ("settle", u64(77)),
                         ("seek", u64(77) + u64(0) + u8(0)),
                         ("fallocate", u64(77) + u32(0) + u64(0) + u64(1)), ("readdir", u64(77) + u64(0) + u32(100) + u8(0)),
                         ("setlk", u64(77) + WHOLE + u64(0) + u8(0)), ("getlk", u64(77) + WHOLE),
                         ("copy_range", u64(77) + u64(0) + u64(77) + u64(9) + u64(1)),
                         ("getattr", handle(file) + u64(77))):
            with self.subTest(op=op):
                self.refused(errno.ESTALE, twin.call, op, body)
        twin.open(file, 77, raw.READ | raw.WRITE)
        twin.setlk(77, lock(raw.FLOCK, raw.LOCK_UNLOCK, 0, raw.END, 1))  # an owner of the same number
        self.refused(errno.EAGAIN, twin.setlk, 77, WHOLE)
        self.assertTrue(twin.setlk(77, WHOLE, ticket=5))
        self.assertFalse(self.sub.cancel(5))
        twin.release(77)
        self.refused(errno.ESTALE, twin.read, 77, 0, 1)
        self.sub.read(77, 0, 1)
        third = self.user(self.sub_ap)
        third.open(file, 1, raw.READ | raw.WRITE)
        self.refused(errno.EAGAIN, third.setlk, 1, WHOLE)

    def test_numbers_out_of_order(self):
        for seqs in ((2,), (0,), (1, 3), (1, 2, 1), (2 ** 32 - 1,), (1, 0)):
            with self.subTest(seqs=seqs):
                client = self.client(self.sub_ap)
                for seq in seqs:
                    client.send(client.request("ping", b"", 3, seq))
                self.assertTrue(client.closed())

    def test_a_proof_is_good_for_one_connection(self):
        with open(self.server.credentials()["AWS_SHARED_CREDENTIALS_FILE"]) as f:
            words = dict(line.split(" = ") for line in f.read().splitlines() if " = " in line)
        key, secret = words["aws_access_key_id"], words["aws_secret_access_key"]
        first = self.bare(self.server.data_address)
        said = raw.frame(raw.OPS["hello"], body=first.hello_body(self.ap, key=key, secret=secret))
        first.send(said)
        self.assertEqual(first.receive()[3], 0)
        for address in (self.server.data_address, self.unix):
            thief = self.bare(address)
            self.assertNotEqual(thief.nonce, first.nonce)
            thief.send(said)
            self.assertEqual(thief.receive()[3], errno.EACCES)
            self.assertTrue(thief.closed())


class Roots(Isolation):
    def test_an_access_point_made_again_elsewhere(self):
        file = self.sub.create(self.sub.root, "f", 1).handle
        self.api("DELETE", "/2015-02-01/access-points/" + self.sub_ap)
        self.sub.getattr(file)
        other = self.user(self.sub_access_point("/" + self.name + "-other"), session=self.sub.welcome.session)
        self.assertEqual(other.welcome.resumed, 0)
        self.refused(errno.ESTALE, other.getattr, file)
        gone = self.bare()
        self.refused(errno.ENOENT, gone.hello, self.sub_ap, session=self.sub.welcome.session)
        self.sub.write(1, 0, b"the live session goes on")

    def test_a_root_that_becomes_a_symlink_while_others_attach(self):
        outside, _ = self.secret()
        top = self.top.make(self.top.root, self.name + "-r", DIRECTORY).handle
        ap = self.access_point(PosixUser=SOMEBODY, RootDirectory={"Path": "/%s-r/a/b" % self.name})
        a = self.top.make(top, "a", DIRECTORY).handle
        self.top.make(a, "b", DIRECTORY)
        self.top.make(top, "l", stat.S_IFLNK | 0o777, target=("../%s-outside" % self.name).encode())
        self.top.make(outside, "b", DIRECTORY)
        b = self.top.lookup(a, "b").handle[0]
        for turn in range(40):
            self.top.rename(top, "a", top, "l", 2)  # exchange
            client = self.bare()
            client.send(raw.frame(raw.OPS["hello"], body=client.hello_body(ap)))
            if turn % 2:
                self.top.rename(top, "a", top, "l", 2)
                self.top.rename(top, "a", top, "l", 2)
            _, _, _, status, body = client.receive()
            if status == 0:
                self.assertEqual(raw.Welcome(body).root.handle[0], b)
                client.send(raw.frame(raw.OPS["bye"], 1, 1))
                client.closed()
            else:
                self.assertIn(status, (errno.ENOTDIR, errno.ELOOP, errno.ENOENT))


class WrongKinds(Isolation):
    """Opens of the wrong kind, offsets at the ends, malformed lists: an error, nothing changed."""

    def test_data_calls_on_a_directory_and_the_other_way_round(self):
        self.sub.create(self.sub.root, "f", 1)
        self.sub.open(self.sub.root, 2)
        for op, body in (("read", u64(2) + u64(0) + u32(1) + u8(0)),
                         ("write", u64(2) + u64(0) + u8(0) + blob(b"x")),
                         ("append", u64(2) + blob(b"x")), ("seek", u64(2) + u64(0) + u8(0)),
                         ("fallocate", u64(2) + u32(0) + u64(0) + u64(1)),
                         ("copy_range", u64(2) + u64(0) + u64(1) + u64(0) + u64(1)),
                         ("copy_range", u64(1) + u64(0) + u64(2) + u64(0) + u64(1)),
                         ("readdir", u64(1) + u64(0) + u32(100) + u8(0))):
            with self.subTest(op=op):
                with self.assertRaises(Refused) as caught:
                    self.sub.call(op, body)
                self.assertIn(caught.exception.status, (errno.EISDIR, errno.EBADF, errno.ENOTDIR, errno.EINVAL, errno.ENXIO,
                                                        errno.ENODEV))

    def test_open_for_one_thing_is_not_open_for_another(self):
        file = self.sub.create(self.sub.root, "f", 1).handle
        self.sub.write(1, 0, b"0123456789")
        self.sub.open(file, 2, raw.READ)
        self.sub.open(file, 3, raw.WRITE)
        self.refused(errno.EBADF, self.sub.read, 3, 0, 1)
        for op, body in (("write", u64(2) + u64(0) + u8(0) + blob(b"x")), ("append", u64(2) + blob(b"x")),
                         ("fallocate", u64(2) + u32(3) + u64(0) + u64(1)),
                         ("copy_range", u64(1) + u64(0) + u64(2) + u64(20) + u64(1)),
                         ("copy_range", u64(3) + u64(0) + u64(1) + u64(20) + u64(1))):
            with self.subTest(op=op):
                self.refused(errno.EBADF, self.sub.call, op, body)
        self.assertEqual(self.sub.read(1, 0, 100), b"0123456789")

    def test_offsets_at_the_ends(self):
        file = self.sub.create(self.sub.root, "f", 1).handle
        self.sub.write(1, 0, b"0123456789")
        ends = (2 ** 63 - 1, 2 ** 63, 2 ** 63 + 1, 2 ** 64 - 1)
        for at in ends:
            for n in (1, 2, 2 ** 62, 2 ** 63 - 1, 2 ** 63, 2 ** 64 - 1):
                for mode in (0, 1, 3, 0x10, 0x11):
                    if at + n > 2 ** 63 - 1:
                        self.errs((errno.EFBIG, errno.EINVAL), "fallocate", u64(1) + u32(mode) + u64(at) + u64(n))
                    if n + 5 > 2 ** 63 - 1:
                        self.errs((errno.EFBIG, errno.EINVAL), "fallocate", u64(1) + u32(mode) + u64(5) + u64(n))
            self.errs((errno.ENXIO, errno.EINVAL), "seek", u64(1) + u64(at) + u8(0))
            self.errs((errno.ENXIO, errno.EINVAL), "seek", u64(1) + u64(at) + u8(1))
            self.errs((errno.EFBIG, errno.EINVAL, errno.EOVERFLOW), "copy_range",
                      u64(1) + u64(0) + u64(1) + u64(at) + u64(2 ** 64 - 1))
            self.errs((errno.EFBIG, errno.EINVAL), "copy_range", u64(1) + u64(0) + u64(1) + u64(at) + u64(5))
            if at >= 2 ** 63:
                self.errs((errno.EFBIG, errno.EINVAL), "write", u64(1) + u64(at) + u8(0) + blob(b"x"))
            self.assertIn(self.outcome("read", u64(1) + u64(at) + u32(100) + u8(0)), (b"\0\0\0\0\0", errno.EINVAL))
        self.assertEqual(self.sub.getattr(file).size, 10)
        self.assertEqual(self.sub.read(1, 0, 100), b"0123456789")

    def outcome(self, op, body):
        try:
            return self.sub.call(op, body)
        except Refused as refused:
            return refused.status

    def errs(self, numbers, op, body):
        self.assertIn(self.outcome(op, body), numbers, (op, body[:100]))

    def test_copies_that_overlap(self):
        self.sub.create(self.sub.root, "f", 1)
        self.sub.write(1, 0, b"0123456789")
        for at, to, n in ((0, 0, 1), (0, 5, 6), (5, 1, 6), (0, 1, 10), (3, 2, 100)):
            self.refused(errno.EINVAL, self.sub.call, "copy_range", u64(1) + u64(at) + u64(1) + u64(to) + u64(n))
        self.assertEqual(self.sub.read(1, 0, 100), b"0123456789")

    def test_malformed_access_lists(self):
        file = self.sub.create(self.sub.root, "f", 1, 0o640).handle
        head, entry = struct.pack("<I", 2), struct.Struct("<HHI").pack
        good = head + entry(1, 6, 2 ** 32 - 1) + entry(4, 4, 2 ** 32 - 1) + entry(0x20, 0, 2 ** 32 - 1)
        mask = entry(0x10, 7, 2 ** 32 - 1)
        whole = good[:12] + entry(2, 4, 5) + good[12:20] + mask + good[20:]
        self.sub.call("setxattr", handle(file) + u64(0) + name("system.posix_acl_access") + u32(0) + blob(whole))
        table = {
            "short head": b"\2\0", "version": struct.pack("<I", 3) + good[4:], "half an entry": good + b"\0" * 3,
            "permission bits": head + entry(1, 8, 0) + good[12:], "unknown tag": good + entry(3, 0, 0),
            "no owner": head + good[12:], "two owners": head + good[4:12] + good[4:],
            "user without mask": head + entry(1, 6, 0) + entry(2, 7, 5) + good[12:],
            "nobody": head + entry(1, 6, 0) + entry(2, 7, 2 ** 32 - 1) + entry(4, 4, 0) + mask + entry(0x20, 0, 0),
            "out of order": head + good[20:28] + good[4:20], "past all bounds": head + entry(2, 7, 5) * 8000,
            "garbage": bytes(range(256)) * 4,
        }
        before = self.sub.call("getxattr", handle(file) + u64(0) + name("system.posix_acl_access") + u32(65536)), \
            self.sub.getattr(file).mode
        for which in ("access", "default"):
            of = file if which == "access" else self.sub.root
            for what, value in table.items():
                with self.subTest(what, which=which):
                    body = handle(of) + u64(0) + name("system.posix_acl_" + which) + u32(0) + blob(value)
                    self.errs((errno.EINVAL, errno.E2BIG, errno.ENOSPC, errno.EOPNOTSUPP), "setxattr", body)
        after = self.sub.call("getxattr", handle(file) + u64(0) + name("system.posix_acl_access") + u32(65536)), \
            self.sub.getattr(file).mode
        self.assertEqual(before, after)

    def test_links_of_what_has_no_name(self):
        twin = self.user(self.sub_ap)
        nameless = self.sub.tmpfile(self.sub.root, 1, 0o600, raw.READ | raw.WRITE | raw.EXCL).handle
        for client in (self.sub, twin):
            self.refused(errno.ENOENT, client.link, nameless, client.root, "x")
        loose = self.sub.tmpfile(self.sub.root, 2, 0o600).handle
        other = self.user(self.sub_access_point("/" + self.name + "-other"))
        self.refused(errno.ESTALE, other.link, loose, other.root, "x")
        self.sub.release(2)
        self.refused(errno.ESTALE, self.sub.link, loose, self.sub.root, "x")


class Counting(Isolation):
    def test_silent_sessions_do_not_keep_a_file_system_after_a_restart(self):
        fs = self.api("POST", "/2015-02-01/file-systems", {"CreationToken": self.name})["FileSystemId"]
        ap = self.access_point(FileSystemId=fs)
        silent = self.client(ap)
        silent.close()
        expired = "fs=%s connected=0" % fs
        harness.wait_for(lambda: expired in self.server.log(), 10)
        self.server.restart()
        client = self.client(ap)
        self.assertEqual(client.call("bye"), b"")
        self.assertTrue(client.closed())
        self.api("DELETE", "/2015-02-01/access-points/" + ap)
        self.api("DELETE", "/2015-02-01/file-systems/" + fs)


if __name__ == "__main__":
    unittest.main()
