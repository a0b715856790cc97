# SPDX-License-Identifier: Apache-2.0
"""Leases, by docs/PROTOCOL.md ("Leases"): what replies let a client keep, and that nothing changes under it before it has
dropped it. Raw clients. Whether a request waits is seen from the order of replies, never from time: a ping that was sent
behind it is answered first.
"""
import errno
import os
import stat
import struct
import time

import raw_client as raw
from raw_client import Closed, Refused, handle, make_body, name, read_body, setattr_body, u32, u64, write_body
from test_wire import Wire

LEASE_SECONDS = 1
CHMOD, SIZE = 1, 8  # of setattr's mask
INODES_MAX = 4096  # in one kept
ATTR, NAME, DATA, NAMES, OPEN = raw.LEASE_ATTR, raw.LEASE_NAME, raw.LEASE_DATA, raw.LEASE_NAMES, raw.LEASE_OPEN
DROP = raw.DROP_ATTR, raw.DROP_NAME, raw.DROP_NAMES, raw.DROP_DATA, raw.DROP_TREE
DROP_ATTR, DROP_NAME, DROP_NAMES, DROP_DATA, DROP_TREE = DROP


class Leases(Wire):
    SERVER_ARGS = ("--lease", "60")

    def setUp(self):
        self.writer, self.reader = self.client(want_leases=1), self.client(want_leases=1)
        self.dir = self.directory(self.writer)
        self.file = self.writer.create(self.dir, "f", 1).handle
        self.writer.write(1, 0, b"old")
        self.writer.forget(self.writer.root[0], self.dir[0], self.file[0])  # what the preparation let it keep

    def client(self, *arguments, **options):
        client = super().client(*arguments, **options)
        self.addCleanup(self.bye, client)
        return client

    def bye(self, client):
        """Whatever it keeps is nobody's concern any more."""
        try:
            client.send(client.request("bye", b"", 127))
            client.closed()
        except OSError:
            pass

    def waits(self, client, op, body, slot=5):
        """Sends a request whose answer is held back."""
        client.send(client.request(op, body, slot))
        client.send(client.request("ping", b"", 120))
        self.assertEqual(client.reply(120)[8:], b"")

    def answered(self, client, op, body, slot=5):
        """Sends a request that waits for nobody; its reply."""
        client.send(client.request(op, body, slot))
        client.send(client.request("ping", b"", 120))
        reply = client.reply(slot)
        client.reply(120)
        return reply

    def told(self, client, of, what, entry=b""):
        event = client.invalidate()
        self.assertEqual((event.ino, event.what, event.name), (of[0], what, entry))
        return event

    def nothing_told(self, client):
        client.call("ping", slot=119)
        self.assertEqual(client.invalidates, [])

    def back(self, client, **options):
        client.close()
        again = self.client(session=client.welcome.session, want_leases=1, **options)
        again.seqs = dict(client.seqs)
        return again


class Opens(Leases):
    """Opens that may be kept, and bytes that come with an open."""

    def closed(self, client, *open_ids):
        client.send(raw.frame(raw.OPS["closed"], body=raw.blob(b"".join(u64(open_id) for open_id in open_ids))))

    def accessed(self, client, open_id):
        client.send(raw.frame(raw.OPS["accessed"], body=u64(open_id)))

    def free_inodes(self, client):
        return struct.unpack("<6QI", client.call("statfs", handle(client.root)))[5]

    def test_which_opens_may_be_kept(self):
        c = self.reader
        self.writer.read(1, 0, 1)  # marks the file
        cases = [(raw.READ, ATTR | DATA | OPEN), (raw.EXEC, ATTR | DATA | OPEN), (raw.READ | raw.NOATIME, ATTR | DATA | OPEN),
                 (raw.WRITE, ATTR | DATA), (raw.READ | raw.WRITE, ATTR | DATA), (raw.READ | raw.SYNC, ATTR | DATA),
                 (raw.READ | raw.APPEND, ATTR | DATA)]
        self.writer.call("setattr", setattr_body(self.file, CHMOD, 0o755))
        self.writer.read(1, 0, 1)
        for open_id, (flags, want) in enumerate(cases, 10):
            c.open(self.file, open_id, flags)
            self.assertEqual(c.lease, want, flags)
        c.open(self.dir, 9, raw.READ | raw.DIRECTORY)
        self.assertEqual(c.lease & OPEN, 0)
        plain = self.client()
        plain.open(self.file, 1)
        self.assertEqual(plain.lease & OPEN, 0)
        self.writer.forget(self.file[0])
        c.unlink(self.dir, "f")
        c.open(self.file, 8)
        self.assertEqual(c.lease & (ATTR | OPEN), ATTR)

    def test_what_is_closed_is_closed_when_the_change_is_made(self):
        """A file whose last name goes: its bytes are free when the answer comes."""
        ap = self.access_point(RootDirectory={"Path": "/quota", "CreationInfo": {
            "OwnerUid": 0, "OwnerGid": 0, "Permissions": "0755"}}, BerthQuota={"Inodes": 10})
        c, w = self.client(ap, want_leases=1), self.client(ap, want_leases=1)
        file = w.create(w.root, "f", 1).handle
        w.release(1)
        w.forget(w.root[0], file[0])
        c.open(file, 1)
        before = self.free_inodes(w)
        self.waits(w, "unlink", handle(w.root) + name("f"))
        event = self.told(c, file, DROP_ATTR)
        self.closed(c, 1)
        c.drop(event)
        w.send(w.request("statfs", handle(w.root), 6))
        w.reply(5)
        self.assertEqual(struct.unpack("<6QI", w.reply(6))[5], before + 1)
        self.refused(errno.ESTALE, c.read, 1, 0, 1)

    def test_closing_what_is_not_open_is_harmless(self):
        c = self.reader
        c.open(self.file, 1)
        self.closed(c, 1, 2, 2 ** 64 - 1, 1)
        self.closed(c)
        self.refused(errno.ESTALE, c.read, 1, 0, 1)
        c.open(self.file, 1)
        self.closed(self.writer, 7)
        self.assertEqual(c.read(1, 0, 10), b"old")

    def test_what_locks_is_not_closed_so(self):
        c = self.reader
        c.open(self.file, 1)
        c.setlk(1, raw.lock(raw.FLOCK, raw.LOCK_READ, 0, raw.END, 1))
        self.closed(c, 1)
        self.assertTrue(c.closed())

    def test_malformed_events(self):
        for op, body in (("closed", raw.blob(b"1234567")), ("closed", b""), ("closed", raw.blob(bytes(8)) + b"x"),
                         ("closed", raw.blob(bytes(8 * (INODES_MAX + 1)))), ("accessed", b"1234567"), ("accessed", bytes(9))):
            client = self.client(want_leases=1)
            client.send(raw.frame(raw.OPS[op], body=body))
            self.assertTrue(client.closed())

    def test_a_small_file_comes_with_its_open(self):
        c = self.reader
        for open_id, (first, want) in enumerate(((0, b""), (2, b""), (3, b"old"), (4096, b"old"), (2 ** 32 - 1, b"old")), 10):
            c.open(self.file, open_id, first=first)
            self.assertEqual(c.first, want)
        for open_id, flags in enumerate((raw.READ | raw.WRITE, raw.WRITE, raw.READ | raw.SYNC), 20):
            c.open(self.file, open_id, flags, first=100)
            self.assertEqual(c.first, b"")
        c.open(self.dir, 30, raw.READ | raw.DIRECTORY, first=4096)
        self.assertEqual(c.first, b"")

    def test_how_small(self):
        for size, want in ((16384, 16384), (16385, 0)):
            data = os.urandom(size)
            self.writer.call("setattr", setattr_body(self.file, SIZE, size=0))
            self.writer.write(1, 0, data)
            self.reader.open(self.file, size, first=2 ** 20)
            self.assertEqual(self.reader.first, data[:want])
            self.reader.forget(self.file[0])

    def test_they_are_leased_like_bytes_that_are_read(self):
        c = self.reader
        c.open(self.file, 1, first=100)
        self.waits(self.writer, "write", write_body(1, 0, b"new"))
        c.drop(self.told(c, self.file, DROP_ATTR | DROP_DATA))
        self.writer.reply(5)
        c.open(self.file, 2, first=100)
        self.assertEqual(c.first, b"new")

    def test_nothing_comes_of_what_is_about_to_change(self):
        c, other = self.reader, self.client(want_leases=1)
        other.open(self.file, 1)
        other.read(1, 0, 3, keep=1)
        self.waits(self.writer, "write", write_body(1, 0, b"new"))
        c.open(self.file, 1, first=100)  # and does not wait
        self.assertEqual((c.first, c.lease & (ATTR | OPEN)), (b"", 0))
        other.drop(self.told(other, self.file, DROP_ATTR | DROP_DATA))
        self.writer.reply(5)
        self.nothing_told(c)

    def test_without_leases_nothing_comes(self):
        plain = self.client()
        plain.open(self.file, 1, first=100)
        self.assertEqual(plain.first, b"")

    def test_asked_again_it_comes_again(self):
        big = os.urandom(16000)
        self.writer.write(1, 0, big)
        c = self.reader
        body = raw.open_body(self.file, 1, raw.READ, 20000)
        c.call("open", body, 9)
        c = self.back(c)
        reply = c.call("open", body, 9, seq=c.seqs[9])
        self.assertEqual(reply[raw.Attr.SIZE + 5:], big)
        c.release(1)
        self.refused(errno.ESTALE, c.read, 1, 0, 1)

    def test_the_access_time_is_marked_when_they_are_used(self):
        c = self.reader
        before = c.getattr(self.file).times[0:2]
        c.open(self.file, 1, first=100)
        self.assertEqual((c.first, c.lease & DATA), (b"old", 0))
        self.assertEqual(c.getattr(self.file).times[0:2], before)
        self.accessed(c, 1)
        marked = c.getattr(self.file).times[0:2]
        self.assertGreater(marked, before)
        c.open(self.file, 2, first=100)
        self.assertEqual((c.first, c.lease & DATA), (b"old", DATA))
        self.accessed(c, 2)
        self.assertEqual(c.getattr(self.file).times[0:2], marked)
        self.accessed(c, 99)  # nobody has that open
        c.call("ping")

    def test_a_mount_that_only_reads_marks_nothing(self):
        c = self.client(want_leases=1, read_only=1)
        before = c.getattr(self.file).times[0:2]
        c.open(self.file, 1, first=100)
        self.assertEqual((c.first, c.lease & DATA), (b"old", DATA))
        self.accessed(c, 1)
        self.assertEqual(c.getattr(self.file).times[0:2], before)

    def test_who_lost_a_name_is_told(self):
        w = self.writer
        other = w.create(self.dir, "other", 2).handle

        def renamed(old, new, flags=0):
            body = handle(self.dir) + name(old) + handle(self.dir) + name(new) + u32(flags)
            return struct.unpack_from("<QQ", w.call("rename", body))
        self.assertEqual(renamed("f", "g"), (self.file[0], 0))
        self.assertEqual(renamed("g", "other", 2), (self.file[0], other[0]))
        self.assertEqual(renamed("g", "other"), (other[0], self.file[0]))
        self.assertEqual(w.call("unlink", handle(self.dir) + name("other"))[:8], u64(other[0]))


class Given(Leases):
    def test_by_whom_asks_for_none_nothing_is_kept(self):
        plain = self.client()
        self.assertEqual(plain.welcome.generation, 0)
        plain.lookup(self.dir, "f")
        self.assertEqual(plain.lease, 0)
        self.refused(errno.ENOENT, plain.lookup, self.dir, "absent")
        plain.open(self.file, 1)
        self.assertEqual(plain.lease, 0)
        plain.read(1, 0, 10, keep=1)
        self.assertEqual(plain.lease, 0)
        self.writer.write(1, 0, b"new")
        self.nothing_told(plain)

    def test_every_reply_says_what_may_be_kept(self):
        c = self.reader
        self.assertNotEqual(c.welcome.generation, 0)
        c.lookup(self.dir, "f")
        self.assertEqual(c.lease, NAME | ATTR)
        self.assertIsNone(c.lookup(self.dir, "absent"))
        self.assertEqual(c.lease, NAME)
        for dots in (".", ".."):
            c.lookup(self.dir, dots)
            self.assertEqual(c.lease, ATTR)
        c.getattr(self.file)
        self.assertEqual(c.lease, ATTR)
        c.open(self.file, 1, raw.READ | raw.WRITE)
        self.assertEqual(c.lease, ATTR)
        c.leased(c.call("setattr", setattr_body(self.file, CHMOD, 0o600)))
        self.assertEqual(c.lease, ATTR)
        c.make(self.dir, "made", stat.S_IFDIR | 0o755)
        self.assertEqual(c.lease, NAME | ATTR | NAMES)
        c.make(self.dir, "fifo", stat.S_IFIFO | 0o644)
        self.assertEqual(c.lease, NAME | ATTR)
        c.create(self.dir, "created", 2)
        self.assertEqual(c.lease, NAME | ATTR)
        c.create(self.dir, "f", 3)
        self.assertEqual(c.lease, NAME | ATTR)
        c.link(self.file, self.dir, "linked")
        self.assertEqual(c.lease, NAME | ATTR)
        c.tmpfile(self.dir, 4)
        self.assertEqual(c.lease, ATTR)
        c.read(1, 0, 10)
        self.assertEqual(c.lease, 0)
        c.read(1, 0, 10, keep=1)
        self.assertEqual(c.lease, DATA)
        c.open(self.dir, 5, raw.READ | raw.DIRECTORY)
        _, entries = c.readdir(5, attributes=1)
        self.assertEqual((c.lease, c.page_lease), (NAME | ATTR, NAMES))
        self.assertEqual([e[4] is None for e in entries], [True, True] + [False] * (len(entries) - 2))

    def test_read_only_and_enforced_sessions_keep_too(self):
        enforced = self.access_point(PosixUser={"Uid": 1, "Gid": 1})
        for options in ({"read_only": 1}, {"access_point": enforced}):
            c = self.client(want_leases=1, **options)
            found = c.lookup(c.root, self.id().rsplit(".", 1)[-1])
            self.assertEqual(c.lease, NAME | ATTR)
            self.waits(self.writer, "setattr", setattr_body(self.dir, CHMOD, 0o711))
            c.drop(self.told(c, found.handle, DROP_ATTR))
            self.writer.reply(5)

    def test_operators_see_how_much_is_kept(self):
        keeper = self.client(want_leases=1, client_name="keeper")
        keeper.getattr(self.file)
        keeper.lookup(self.dir, "absent")
        clients = self.api("GET", "/2015-02-01/berth/clients?FileSystemId=" + self.fs)["Clients"]
        self.assertEqual([c["Leases"] for c in clients if c["Name"] == "keeper"], [2])

    def test_want_leases_is_0_or_1(self):
        self.refused(errno.EINVAL, self.client, want_leases=2)


class Changes(Leases):
    """Each change waits for who keeps what it makes old, and asks for no more than that."""

    def change(self, op, body, *told):
        """The writer's request waits until the reader has dropped all of `told`, (handle, what, name) each."""
        self.waits(self.writer, op, body)
        events = [self.reader.invalidate() for _ in told]
        self.assertEqual(sorted((e.ino, e.what, e.name) for e in events), sorted((of[0], what, n) for of, what, n in told))
        for event in events[:-1]:
            self.reader.drop(event)
            self.reader.call("ping", slot=118)
        self.writer.send(self.writer.request("ping", b"", 117))
        self.writer.reply(117)  # still not answered
        self.reader.drop(events[-1])
        reply = self.writer.reply(5)
        self.nothing_told(self.reader)
        return reply

    def keep_all(self):
        c = self.reader
        c.getattr(self.dir)
        c.lookup(self.dir, "f")
        c.lookup(self.dir, "absent")
        c.open(self.file, 1)
        c.read(1, 0, 100, keep=1)

    def test_attributes(self):
        self.keep_all()
        self.change("setattr", setattr_body(self.file, CHMOD, 0o600), (self.file, DROP_ATTR, b""))
        self.assertEqual(self.reader.getattr(self.file).mode & 0o777, 0o600)
        self.assertEqual(self.reader.lease, ATTR)

    def test_extended_attributes(self):
        self.keep_all()
        self.change("setxattr", handle(self.file) + u64(0) + name("user.a") + u32(0) + raw.blob(b"v"),
                    (self.file, DROP_ATTR, b""))

    def test_bytes(self):
        self.keep_all()
        self.change("write", write_body(1, 0, b"new"), (self.file, DROP_ATTR | DROP_DATA, b""))
        self.assertEqual(self.reader.read(1, 0, 100, keep=1), b"new")
        self.change("append", u64(1) + raw.blob(b"er"), (self.file, DROP_DATA, b""))
        self.assertEqual(self.reader.read(1, 0, 100, keep=1), b"newer")
        self.change("setattr", setattr_body(self.file, SIZE, size=2), (self.file, DROP_DATA, b""))
        self.assertEqual(self.reader.read(1, 0, 100, keep=1), b"ne")

    def test_a_name_that_was_absent(self):
        self.keep_all()
        self.change("make", make_body(self.dir, "absent", stat.S_IFDIR | 0o755), (self.dir, DROP_ATTR | DROP_NAME, b"absent"))
        self.assertIsNotNone(self.reader.lookup(self.dir, "absent"))

    def test_a_name_that_goes(self):
        self.keep_all()
        self.change("unlink", handle(self.dir) + name("f"), (self.dir, DROP_ATTR | DROP_NAME, b"f"), (self.file, DROP_ATTR, b""))
        self.assertIsNone(self.reader.lookup(self.dir, "f"))

    def test_a_rename_names_both_names_and_all_inodes(self):
        self.keep_all()
        over = self.writer.make(self.writer.root, "over-%s" % self.id().rsplit(".", 1)[-1], stat.S_IFDIR | 0o755).handle
        target = self.writer.create(over, "t", 2).handle
        self.writer.forget(over[0], target[0])
        self.reader.lookup(over, "t")
        self.change("rename", handle(self.dir) + name("f") + handle(over) + name("t") + u32(0),
                    (self.dir, DROP_ATTR | DROP_NAME, b"f"), (over, DROP_NAME, b"t"), (self.file, DROP_ATTR, b""),
                    (target, DROP_ATTR, b""))

    def test_rights_of_a_directory_take_all_its_names(self):
        self.keep_all()
        self.change("setattr", setattr_body(self.dir, CHMOD, 0o700), (self.dir, DROP_ATTR | DROP_NAMES, b""))
        # not even names that the change did not touch are registered any more
        self.writer.make(self.dir, "free", stat.S_IFDIR | 0o755)
        self.nothing_told(self.reader)

    def test_a_name_recall_keeps_the_other_names(self):
        self.keep_all()
        self.change("make", make_body(self.dir, "x", stat.S_IFDIR | 0o755), (self.dir, DROP_ATTR | DROP_NAME, b"x"))
        self.change("make", make_body(self.dir, "absent", stat.S_IFDIR | 0o755), (self.dir, DROP_NAME, b"absent"))

    def test_only_who_keeps_it_is_asked(self):
        self.reader.lookup(self.dir, "f")
        self.answered(self.writer, "write", write_body(1, 0, b""))  # changes nothing
        self.reader.forget(self.file[0])
        self.answered(self.writer, "write", write_body(1, 0, b"new"))
        self.nothing_told(self.reader)

    def test_nobody_is_asked_for_what_it_changes_itself(self):
        c = self.reader
        self.keep_all()
        c.open(self.file, 2, raw.READ | raw.WRITE)
        self.answered(c, "write", write_body(2, 0, b"own"))
        self.answered(c, "unlink", handle(self.dir) + name("f"))
        self.nothing_told(c)

    def test_several_holders_are_all_waited_for(self):
        readers = [self.client(want_leases=1) for _ in range(3)]
        for c in readers:
            c.getattr(self.file)
        self.waits(self.writer, "setattr", setattr_body(self.file, CHMOD, 0o600))
        for c in readers:
            self.answered(self.writer, "ping", b"", 6)
            c.drop(self.told(c, self.file, DROP_ATTR))
        self.writer.reply(5)

    def test_forget_answers_for_what_is_asked(self):
        self.reader.getattr(self.file)
        self.waits(self.writer, "setattr", setattr_body(self.file, CHMOD, 0o600))
        event = self.told(self.reader, self.file, DROP_ATTR)
        self.reader.forget(self.file[0])
        self.writer.reply(5)
        self.reader.drop(event)  # too late, and harmless
        self.serves()

    def test_bye_leaves_nothing_behind(self):
        self.reader.getattr(self.file)
        self.reader.call("bye", slot=7)
        self.answered(self.writer, "setattr", setattr_body(self.file, CHMOD, 0o600))

    def test_truncating_open_waits_before_any_byte_is_gone(self):
        self.keep_all()
        self.waits(self.writer, "open", raw.open_body(self.file, 9, raw.WRITE | raw.TRUNC))
        self.assertEqual(self.reader.read(1, 0, 100), b"old")
        self.reader.drop(self.told(self.reader, self.file, DROP_ATTR | DROP_DATA))
        self.writer.reply(5)
        self.assertEqual(self.reader.read(1, 0, 100), b"")


class WhileAChangeWaits(Leases):
    def setUp(self):
        super().setUp()
        self.reader.open(self.file, 1)
        self.reader.read(1, 0, 100, keep=1)
        self.reader.getattr(self.file)
        self.reader.lookup(self.dir, "absent")

    def write_waits(self, slot=5):
        self.waits(self.writer, "write", write_body(1, 0, b"new"), slot)

    def test_others_read_the_old_state_and_may_not_keep_it(self):
        other = self.client(want_leases=1)
        self.write_waits()
        self.assertEqual(other.getattr(self.file).size, 3)
        self.assertEqual(other.lease, 0)
        other.open(self.file, 1)
        self.assertEqual(other.read(1, 0, 100), b"old")
        other.lookup(self.dir, "f")
        self.assertEqual(other.lease, NAME)  # nothing happens to the name
        self.reader.drop(self.reader.invalidate())
        self.writer.reply(5)
        other.getattr(self.file)
        self.assertEqual(other.lease, ATTR)

    def test_other_names_may_be_kept_and_this_one_not(self):
        other = self.client(want_leases=1)
        self.waits(self.writer, "make", make_body(self.dir, "absent", stat.S_IFDIR | 0o755))
        other.lookup(self.dir, "f")
        self.assertEqual(other.lease, NAME | ATTR)
        self.refused(errno.ENOENT, other.lookup, self.dir, "absent")
        self.reader.drop(self.reader.invalidate())
        self.writer.reply(5)

    def test_who_has_answered_gets_nothing_either_before_the_change_is_made(self):
        other = self.client(want_leases=1)
        other.getattr(self.file)
        self.write_waits()
        self.reader.drop(self.told(self.reader, self.file, DROP_ATTR | DROP_DATA))
        self.reader.getattr(self.file)
        self.assertEqual(self.reader.lease, 0)
        other.drop(self.told(other, self.file, DROP_ATTR))
        self.writer.reply(5)

    def test_bytes_to_be_kept_wait_for_the_change(self):
        stranger = self.client(want_leases=1)
        stranger.open(self.file, 1)
        stranger.forget(self.file[0])
        self.write_waits()
        self.waits(stranger, "read", read_body(1, 0, 100, keep=1))
        self.reader.drop(self.reader.invalidate())
        self.writer.reply(5)
        self.assertEqual(stranger.reply(5), bytes((DATA,)) + raw.blob(b"new"))

    def test_who_answered_waits_with_its_next_read(self):
        other = self.client(want_leases=1)
        other.open(self.file, 1)
        other.read(1, 0, 100, keep=1)
        self.write_waits()
        self.reader.drop(self.reader.invalidate())
        self.waits(self.reader, "read", read_body(1, 0, 100, keep=1))
        other.drop(self.told(other, self.file, DROP_ATTR | DROP_DATA))
        self.writer.reply(5)
        self.assertEqual(self.reader.reply(5), bytes((DATA,)) + raw.blob(b"new"))

    def test_who_has_not_answered_reads_at_once_and_keeps(self):
        self.write_waits()
        self.assertEqual(self.reader.read(1, 0, 100, keep=1), b"old")
        self.assertEqual(self.reader.lease, DATA)
        self.reader.drop(self.reader.invalidate())
        self.writer.reply(5)

    def test_two_changes_wait_for_one_answer(self):
        second = self.client(want_leases=1)
        second.open(self.file, 1, raw.READ | raw.WRITE)
        second.forget(self.file[0])
        self.write_waits()
        self.waits(second, "write", write_body(1, 3, b"er"))
        event = self.told(self.reader, self.file, DROP_ATTR | DROP_DATA)
        self.nothing_told(self.reader)
        self.reader.drop(event)
        self.writer.reply(5)
        second.reply(5)
        self.assertEqual(self.reader.read(1, 0, 100), b"newer")

    def test_a_change_after_bytes_were_given_needs_an_answer_of_its_own(self):
        second = self.client(want_leases=1)
        second.open(self.file, 1, raw.READ | raw.WRITE)
        second.forget(self.file[0])
        self.write_waits()
        first = self.told(self.reader, self.file, DROP_ATTR | DROP_DATA)
        self.reader.read(1, 0, 100, keep=1)
        self.waits(second, "write", write_body(1, 3, b"er"))
        later = self.told(self.reader, self.file, DROP_ATTR | DROP_DATA)
        self.assertGreater(later.number, first.number)
        self.reader.drop(first)
        self.writer.reply(5)
        self.assertEqual(self.answered(self.reader, "read", read_body(1, 0, 100, keep=1), 6)[:1], bytes((DATA,)))
        self.reader.drop(later)
        second.reply(5)

    def test_nothing_else_is_held_up(self):
        """All but one of the writer's slots wait; that one, and everybody else, goes on."""
        for slot in range(2, 119):
            self.writer.send(self.writer.request("write", write_body(1, slot, b"x"), slot))
        for _ in range(3):
            self.writer.send(self.writer.request("getattr", handle(self.dir) + u64(0), 120))
            self.writer.reply(120)
        other = self.client()
        other.create(other.root, "beside-%s" % self.id().rsplit(".", 1)[-1], 1)
        other.write(1, 0, b"free")
        self.reader.drop(self.told(self.reader, self.file, DROP_ATTR | DROP_DATA))
        self.assertEqual(sorted(self.writer.receive()[1] for _ in range(2, 119)), list(range(2, 119)))

    def test_a_waiting_request_survives_its_connection(self):
        request = self.writer.request("append", u64(1) + raw.blob(b"!"), 5)
        self.writer.send(request)
        event = self.told(self.reader, self.file, DROP_ATTR | DROP_DATA)
        again = self.back(self.writer)
        again.send(request)  # it still waits: this copy is not executed
        again.call("ping", slot=120)
        self.reader.drop(event)
        again.reply(5)
        self.assertEqual(self.reader.read(1, 0, 100), b"old!")

    def test_answers_are_heard_from_who_waits_with_much(self):
        """Each of two clients waits for the other, with more bytes than a connection may hold."""
        mine = self.reader.create(self.dir, "mine", 2).handle
        self.writer.open(mine, 2)
        self.writer.read(2, 0, 10, keep=1)
        data = bytes(raw.IO_MAX)
        for slot in range(10, 22):
            self.writer.send(self.writer.request("write", write_body(1, (slot - 10) * raw.IO_MAX, data), slot))
            self.reader.send(self.reader.request("write", write_body(2, (slot - 10) * raw.IO_MAX, data), slot))
        for client in (self.reader, self.writer):
            client.drop(client.invalidate())
        for client in (self.reader, self.writer):
            self.assertEqual(sorted(client.receive()[1] for _ in range(12)), list(range(10, 22)))

    def test_a_session_that_ends_takes_its_waiting_requests_along(self):
        self.write_waits()
        self.writer.send(self.writer.request("bye", b"", 9))
        self.assertTrue(self.writer.closed())
        other = self.client(want_leases=1)
        other.getattr(self.file)
        self.assertEqual(other.lease, ATTR)  # nothing is pending any more
        self.reader.drop(self.reader.invalidate())
        self.assertEqual(self.reader.read(1, 0, 100), b"old")


class Pages(Leases):
    def setUp(self):
        super().setUp()
        self.reader.open(self.file, 1)
        self.reader.read(1, 0, 100, keep=1)

    def test_written_pages_wait_for_nobody_and_settling_does(self):
        self.answered(self.writer, "write", write_body(1, 0, b"new", pages=1))
        self.waits(self.writer, "settle", u64(1), 6)
        self.waits(self.writer, "fsync", u64(1), 7)
        self.assertEqual(self.reader.read(1, 0, 100), b"new")
        self.reader.drop(self.told(self.reader, self.file, DROP_ATTR | DROP_DATA))
        self.assertEqual(sorted(self.writer.receive()[1] for _ in range(2)), [6, 7])
        self.answered(self.writer, "settle", u64(1))

    def test_what_others_owe_is_not_waited_for(self):
        self.answered(self.writer, "write", write_body(1, 0, b"new", pages=1))
        other = self.client()
        other.open(self.file, 1, raw.READ | raw.WRITE)
        self.answered(other, "settle", u64(1))
        other.fsync(1)
        self.writer.create(self.dir, "another", 2)
        self.answered(self.writer, "settle", u64(2))

    def test_a_session_without_leases_owes_too(self):
        plain = self.client()
        plain.open(self.file, 1, raw.READ | raw.WRITE)
        self.answered(plain, "write", write_body(1, 0, b"new", pages=1))
        self.waits(plain, "settle", u64(1))
        self.reader.drop(self.told(self.reader, self.file, DROP_ATTR | DROP_DATA))
        plain.reply(5)

    def test_pages_is_0_or_1(self):
        self.refused(errno.EINVAL, self.writer.write, 1, 0, b"x", pages=2)
        self.refused(errno.EINVAL, self.reader.read, 1, 0, 10, keep=2)


class Trees(Leases):
    def test_a_directory_that_moves_takes_everything_from_who_sees_but_a_part(self):
        root = self.writer
        top = root.make(root.root, "trees", stat.S_IFDIR | 0o777).handle
        part = root.make(top, "part", stat.S_IFDIR | 0o777).handle
        inner = root.make(part, "inner", stat.S_IFDIR | 0o777).handle
        root.create(inner, "file", 3)
        root.forget(root.root[0], top[0], part[0], inner[0])
        access_point = self.access_point(RootDirectory={"Path": "/trees/part"})
        jailed = self.client(access_point, want_leases=1)
        found = jailed.lookup(jailed.root, "inner").handle
        jailed.lookup(found, "file")
        self.waits(root, "rename", handle(part) + name("inner") + handle(top) + name("out") + u32(0))
        events = [jailed.invalidate(), jailed.invalidate()]
        self.assertEqual([(e.ino, e.what, e.name) for e in events], [(part[0], DROP_NAME, b"inner"), (inner[0], DROP_TREE, b"")])
        jailed.lookup(jailed.root, "inner")
        self.assertEqual(jailed.lease, 0)
        jailed.drop(*events)
        root.reply(5)
        self.refused(errno.ESTALE, jailed.lookup, found, "file")

    def test_a_directory_renamed_in_place_is_no_tree(self):
        access_point = self.access_point(RootDirectory={"Path": "/" + self.id().rsplit(".", 1)[-1]})
        jailed = self.client(access_point, want_leases=1)
        jailed.lookup(jailed.root, "absent")
        self.writer.make(self.writer.root, "here", stat.S_IFDIR | 0o755)
        root = handle(self.writer.root)
        self.answered(self.writer, "rename", root + name("here") + root + name("there") + u32(0))
        self.nothing_told(jailed)

    def test_making_an_access_points_root_tells_who_keeps(self):
        self.reader.lookup(self.reader.root, "fresh-root")
        access_point = self.access_point(RootDirectory={"Path": "/fresh-root", "CreationInfo": {
            "OwnerUid": 1, "OwnerGid": 1, "Permissions": "755"}})
        self.client(access_point)
        event = self.reader.invalidate()
        self.assertEqual((event.what & DROP_NAME, event.name), (DROP_NAME, b"fresh-root"))


class Connections(Leases):
    def test_unanswered_are_told_again_and_everything_stands(self):
        self.reader.getattr(self.file)
        self.reader.getattr(self.dir)
        self.waits(self.writer, "setattr", setattr_body(self.file, CHMOD, 0o600))
        first = self.told(self.reader, self.file, DROP_ATTR)
        again = self.back(self.reader)
        self.assertEqual(again.welcome.generation, self.reader.welcome.generation)
        self.assertEqual(again.invalidate(), first)
        again.drop(first)
        self.writer.reply(5)
        self.waits(self.writer, "setattr", setattr_body(self.dir, CHMOD, 0o711))  # still registered
        again.drop(self.told(again, self.dir, DROP_ATTR))
        self.writer.reply(5)

    def test_what_was_told_while_it_was_away_is_told_when_it_is_back(self):
        self.reader.getattr(self.file)
        self.reader.close()
        self.waits(self.writer, "setattr", setattr_body(self.file, CHMOD, 0o600))
        again = self.back(self.reader)
        again.drop(self.told(again, self.file, DROP_ATTR))
        self.writer.reply(5)

    def test_who_comes_back_without_wanting_leases_has_none(self):
        self.reader.getattr(self.file)
        self.reader.close()
        again = self.client(session=self.reader.welcome.session)
        self.assertEqual(again.welcome.generation, 0)
        self.answered(self.writer, "setattr", setattr_body(self.file, CHMOD, 0o600))

    def test_unknown_numbers_and_generations_are_ignored(self):
        self.reader.getattr(self.file)
        self.reader.send(raw.frame(raw.OPS["dropped"], body=u64(77)))
        self.reader.cleared(self.reader.welcome.generation + 1)
        self.reader.cleared()  # of the generation that it has: nothing before it
        self.reader.kept(self.file)
        self.waits(self.writer, "setattr", setattr_body(self.file, CHMOD, 0o600))
        self.reader.drop(self.told(self.reader, self.file, DROP_ATTR))
        self.writer.reply(5)

    def test_malformed_events_are_the_end(self):
        for op, body in (("dropped", b""), ("dropped", bytes(9)), ("cleared", bytes(7)), ("kept", raw.blob(bytes(8))),
                         ("kept", raw.blob(bytes(16 * 4097))), ("kept", u32(8))):
            with self.subTest(op=op, n=len(body)):
                client = self.client(want_leases=1)
                client.send(raw.frame(raw.OPS[op], body=body))
                self.assertTrue(client.closed())
        for seq, status in ((1, 0), (0, 1)):
            client = self.client(want_leases=1)
            client.send(raw.frame(raw.OPS["dropped"], seq=seq, status=status, body=u64(1)))
            self.assertTrue(client.closed())
        self.serves()

    def test_malformed_forget_is_the_end(self):
        for body in (raw.blob(bytes(7)), raw.blob(bytes(8 * 4097))):
            client = self.client(want_leases=1)
            client.send(client.request("forget", body))
            self.assertTrue(client.closed())

    def test_events_of_the_server_are_no_calls(self):
        for op in ("invalidate", "granted", "dropped"):
            self.refused(errno.ENOSYS, self.reader.call, op, b"")


class Time(Leases):
    """What ends by itself. Waiting for it is bounded by lease times, and what is seen must come after."""
    SERVER_ARGS = ("--lease", str(LEASE_SECONDS))

    def keepalive(self, *clients):
        for client in clients:
            client.call("ping", slot=110)

    def until_answered(self, client, slot, *others):
        """The reply on a slot, while these others (and the client) are heard of."""
        end = time.monotonic() + raw.TIMEOUT_SECONDS
        client.socket.settimeout(LEASE_SECONDS / 10)
        try:
            while time.monotonic() < end:
                try:
                    return client.reply(slot)
                except TimeoutError:
                    self.keepalive(*others)
                    client.send(client.request("ping", b"", 111))
                    client.socket.settimeout(raw.TIMEOUT_SECONDS)
                    op, got, _, status, body = client.receive()
                    if got == slot:
                        client.receive()
                        return body
                    client.socket.settimeout(LEASE_SECONDS / 10)
        finally:
            client.socket.settimeout(raw.TIMEOUT_SECONDS)
        self.fail("no answer")

    def test_silence_ends_leases(self):
        self.reader.getattr(self.file)
        heard = time.monotonic()
        self.waits(self.writer, "setattr", setattr_body(self.file, CHMOD, 0o600))
        self.until_answered(self.writer, 5)
        self.assertGreater(time.monotonic() - heard, LEASE_SECONDS * 0.9)
        self.assertTrue(self.reader.closed())
        again = self.back(self.reader)
        self.assertNotEqual(again.welcome.generation, self.reader.welcome.generation)
        again.getattr(self.file)
        self.assertEqual(again.lease, 0)
        again.open(self.file, 1)
        again.read(1, 0, 10, keep=1)
        self.assertEqual(again.lease, 0)
        again.cleared()
        again.getattr(self.file)
        self.assertEqual(again.lease, ATTR)

    def test_who_does_not_answer_is_cut_off_and_clears(self):
        self.reader.getattr(self.file)
        self.waits(self.writer, "setattr", setattr_body(self.file, CHMOD, 0o600))
        with self.assertRaises((Closed, OSError)):
            while True:
                self.keepalive(self.reader, self.writer)
        again = self.back(self.reader)
        self.assertNotEqual(again.welcome.generation, self.reader.welcome.generation)
        self.answered(self.writer, "ping", b"", 6)
        again.cleared()
        self.writer.reply(5)

    def test_who_never_answers_holds_a_change_up_for_two_leases_at_most(self):
        """However often it comes back."""
        self.reader.getattr(self.file)
        start = time.monotonic()
        self.waits(self.writer, "setattr", setattr_body(self.file, CHMOD, 0o600))
        reader, done = self.reader, False
        while not done:
            self.assertLess(time.monotonic() - start, 2 * LEASE_SECONDS + 2)
            try:
                self.keepalive(reader)
                reader = self.back(reader)
            except (Closed, OSError):
                reader = self.back(reader)
            self.writer.send(self.writer.request("ping", b"", 112))
            while True:
                slot = self.writer.receive()[1]
                done |= slot == 5
                if slot == 112:
                    break
        self.assertGreater(time.monotonic() - start, LEASE_SECONDS)

    def test_who_was_evicted_may_keep_until_its_lease_is_over(self):
        self.reader = self.client(want_leases=1, client_name="victim")
        self.reader.getattr(self.file)
        heard = time.monotonic()
        self.evict(self.reader)
        self.waits(self.writer, "setattr", setattr_body(self.file, CHMOD, 0o600))
        self.until_answered(self.writer, 5)
        self.assertGreater(time.monotonic() - heard, LEASE_SECONDS * 0.9)

    def evict(self, victim):
        clients = self.api("GET", "/2015-02-01/berth/clients?FileSystemId=" + self.fs)["Clients"]
        ids = [c["ClientId"] for c in clients if c["Name"] == "victim"]
        self.assertEqual(len(ids), 1)
        self.api("DELETE", "/2015-02-01/berth/clients/" + ids[0])
        self.assertTrue(victim.closed())


class Restart(Leases):
    SERVER_ARGS = ("--lease", "30")

    def tearDown(self):
        self.doCleanups()
        if not self.server.running():
            self.server.start()

    def crash(self):
        self.server.kill9()
        self.server.start()

    def test_kept_bytes_are_registered_again(self):
        self.reader.open(self.file, 1)
        self.reader.read(1, 0, 100, keep=1)
        self.crash()
        reader, writer = self.back(self.reader), self.back(self.writer)
        self.assertNotEqual(reader.welcome.generation, self.reader.welcome.generation)
        reader.kept(self.file)
        for client in (reader, writer):
            client.call("reopen", handle(self.file) + u64(1) + u32(raw.READ | (raw.WRITE if client is writer else 0)))
            client.call("reclaimed")
        reader.getattr(self.file)
        self.assertEqual(reader.lease, ATTR)  # who has reclaimed has cleared
        self.waits(writer, "settle", u64(1), 6)
        asked = self.told(reader, self.file, DROP_DATA)  # pages written before may have made it old
        self.waits(writer, "fsync", u64(1), 7)
        self.waits(writer, "read", read_body(1, 0, 100), 8)
        self.waits(writer, "write", write_body(1, 0, b"new"))
        self.told(reader, self.file, DROP_ATTR)
        self.assertEqual(reader.read(1, 0, 100), b"old")
        reader.drop(asked)
        self.assertEqual(sorted(writer.receive()[1] for _ in range(3)), [6, 7, 8])
        reader.forget(self.file[0])
        writer.reply(5)

    def test_kept_bytes_of_many_files_are_registered_again(self):
        self.reader.open(self.file, 1)
        self.reader.read(1, 0, 100, keep=1)
        self.crash()
        reader, writer = self.back(self.reader), self.back(self.writer)
        for _ in range(20):
            reader.kept(*[self.file] * INODES_MAX)
        reader.kept(self.file)
        for client in (reader, writer):
            client.call("reopen", handle(self.file) + u64(1) + u32(raw.READ | (raw.WRITE if client is writer else 0)))
            client.call("reclaimed")
        self.waits(writer, "write", write_body(1, 0, b"new"))
        reader.drop(self.told(reader, self.file, DROP_DATA))
        writer.reply(5)

    def test_what_it_was_not_shown_nobody_keeps(self):
        """Or it would learn when that changes."""
        self.crash()
        reader, writer = self.back(self.reader), self.back(self.writer)
        reader.kept((self.file[0], self.file[1] ^ 1))
        for client in (reader, writer):
            client.call("reclaimed")
        writer.open(self.file, 2, raw.READ | raw.WRITE)
        self.answered(writer, "write", write_body(2, 0, b"new"))
        reader.call("ping", slot=120)
        self.assertEqual(reader.invalidates, [])

    def test_settling_waits_for_everybody_to_have_come_back(self):
        self.reader.getattr(self.file)
        self.crash()
        writer = self.back(self.writer)
        writer.call("reopen", handle(self.file) + u64(1) + u32(raw.READ | raw.WRITE))
        writer.call("reclaimed")
        self.waits(writer, "settle", u64(1), 6)
        self.waits(writer, "fsync", u64(1), 7)
        self.back(self.reader).call("reclaimed")
        self.assertEqual(sorted(writer.receive()[1] for _ in range(2)), [6, 7])

    def test_new_bytes_are_not_told_while_somebody_may_show_the_old(self):
        """Pages were written and not settled: until all have said what they keep, nobody is told of the bytes, however often
        the server restarts."""
        self.reader.open(self.file, 1)
        self.reader.read(1, 0, 100, keep=1)
        self.answered(self.writer, "write", write_body(1, 0, b"new", pages=1))
        third = self.client(want_leases=1)
        for _ in range(2):
            self.crash()
            third = self.back(third)
            third.call("reopen", handle(self.file) + u64(1) + u32(raw.READ))
            third.call("reclaimed")
            self.waits(third, "read", read_body(1, 0, 100), 6)
        self.back(self.writer).call("reclaimed")
        reader = self.back(self.reader)
        reader.kept(self.file)
        reader.call("reclaimed")
        asked = self.told(reader, self.file, DROP_DATA)
        third.call("ping", slot=120)
        reader.drop(asked)
        self.assertIn(b"new", third.reply(6))

    def test_bytes_that_all_agree_on_are_told_in_grace(self):
        third = self.client(want_leases=1)
        self.crash()
        third = self.back(third)
        third.call("reopen", handle(self.file) + u64(1) + u32(raw.READ))
        third.call("reclaimed")
        self.assertEqual(third.read(1, 0, 100), b"old")
        for client in (self.reader, self.writer):
            self.back(client).call("reclaimed")

    def test_a_server_that_stops_answers_no_request_that_waits(self):
        self.reader.getattr(self.file)
        self.waits(self.writer, "setattr", setattr_body(self.file, CHMOD, 0o600))
        self.server.stop()
        self.assertTrue(self.writer.closed())
        self.server.start()
        reader, writer = self.back(self.reader), self.back(self.writer)
        for client in (reader, writer):
            client.call("reclaimed")
        self.assertEqual(writer.getattr(self.file).mode & 0o777, 0o644)

    def test_what_was_not_said_to_be_kept_is_not_kept(self):
        self.reader.open(self.file, 1)
        self.reader.read(1, 0, 100, keep=1)
        self.crash()
        reader, writer = self.back(self.reader), self.back(self.writer)
        for client in (reader, writer):
            client.call("reopen", handle(self.file) + u64(1) + u32(raw.READ | (raw.WRITE if client is writer else 0)))
            client.call("reclaimed")
        reader.kept(self.file)  # too late
        reader.call("ping", slot=120)
        self.answered(writer, "write", write_body(1, 0, b"new"))


class Strict(WhileAChangeWaits):
    SERVER_ARGS = ("--lease", "60", "--durability", "strict")


del Leases, Wire
