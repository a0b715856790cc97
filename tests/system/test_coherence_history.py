# SPDX-License-Identifier: Apache-2.0
"""P4, one truth: random operations from four mounts on few files and names, recorded with their times; some order must explain
all answers, object by object. And the judge refuses what it should. `make coherence MINUTES=10 SEED=7` goes on for long."""
import os
import unittest

import harness
from coherencecase import ThreeMounts, history

TIME_LIMIT_S = 150
EPOCHS, EPOCH_SECONDS, SEED = 5, 4, 20261129

V1, V2, V3 = b"1" * 8, b"2" * 8, b"3" * 8


def at(begin, end, client, op, result=None):
    return (begin, end, client, op, result)


def write(begin, end, value, slot=0):
    return at(begin, end, 0, ("write", slot, value))


def read(begin, end, result):
    return at(begin, end, 1, ("read", 0, b""), result)


def size(begin, end, result):
    return at(begin, end, 2, ("size", 0, b""), result)


def names(begin, end, kind, result=None, a=0, b=1):
    return at(begin, end, 0, (kind, a, b), result)


FILES_EXPLAINED = {
    "one after the other": [write(0, 1, V1), read(2, 3, V1), write(4, 5, V2), read(6, 7, V2)],
    "old while the write is under way": [write(0, 1, V1), write(2, 9, V2), read(3, 4, V1), read(5, 6, V2)],
    "new before the write has returned": [write(0, 9, V1), read(1, 2, V1), size(3, 4, 8)],
    "a hole is zeros": [write(0, 1, V1, slot=1), read(2, 3, bytes(8) + V1)],
    "appends in either order": [at(0, 5, 0, ("append", 0, V1)), at(0, 5, 1, ("append", 0, V2)), read(6, 7, V2 + V1)],
    "an older length, of a read that a change overlaps": [write(0, 1, V1), write(2, 3, V2, slot=1), write(4, 9, V3),
                                                          read(5, 6, V3)],
    "a cut between": [write(0, 1, V1), at(2, 3, 0, ("cut", 0, b"")), size(4, 5, 0), read(6, 7, b"")],
}

FILES_REFUSED = {
    "old after the write has returned": [write(0, 1, V1), write(2, 3, V2), read(4, 5, V1)],
    "absent after the write has returned": [write(0, 1, V1), read(2, 3, b"")],
    "new and then old": [write(0, 1, V1), write(2, 9, V2), read(3, 4, V2), read(5, 6, V1)],
    "new, and another that was told sees the old": [write(0, 9, V1), read(1, 2, V1), size(3, 4, 0)],
    "never written": [write(0, 1, V1), read(2, 3, V3)],
    "an older length, of a read that no change overlaps": [write(0, 1, V1), write(2, 3, V2, slot=1), write(4, 5, V3, slot=2),
                                                           read(6, 7, V1 + V2)],
    "older bytes, of a read that a change overlaps": [write(0, 1, V1), write(2, 3, V2), write(4, 9, V3, slot=1), read(5, 6, V1)],
    "two writes seen in two orders": [write(0, 9, V1), write(0, 9, V2), read(1, 2, V1), read(3, 4, V2), read(5, 6, V1)],
    "an append that another took the place of": [at(0, 1, 0, ("append", 0, V1)), at(0, 1, 1, ("append", 0, V2)),
                                                 size(2, 3, 8)],
    "the size of one state with the bytes of another": [write(0, 1, V1), write(2, 3, V2, slot=1), read(4, 5, V1)],
}

NAMES_EXPLAINED = {
    "made, seen, moved, removed": [names(0, 1, "create", 7), names(2, 3, "look", 7), names(4, 5, "rename"),
                                   names(6, 7, "look", "ENOENT"), names(8, 9, "list", ["b"]), names(10, 11, "unlink", a=1)],
    "one of two creators wins": [names(0, 5, "create", 7), names(1, 5, "create", "EEXIST"), names(6, 7, "look", 7)],
    "a listing sees each name at its own time": [names(0, 1, "create", 7), names(2, 9, "list", ["a", "b"]),
                                                 names(3, 4, "rename")],
    "a move that finds its file under the other name": [names(0, 1, "create", 7), names(2, 9, "rename"), names(3, 4, "rename")],
    "exchanged": [names(0, 1, "create", 7), names(0, 1, "create", 8, a=1), names(2, 3, "exchange"), names(4, 5, "look", 8)],
}

NAMES_REFUSED = {
    "absent after it was made": [names(0, 1, "create", 7), names(2, 3, "look", "ENOENT")],
    "there after it was removed": [names(0, 1, "create", 7), names(2, 3, "unlink"), names(4, 5, "look", 7)],
    "the inode that was replaced": [names(0, 1, "create", 7), names(0, 1, "create", 8, a=1), names(2, 3, "rename"),
                                    names(4, 5, "look", 8, a=1)],
    "a move that does nothing": [names(0, 1, "create", 7), names(2, 3, "rename"), names(4, 5, "look", 7)],
    "a move that finds nothing": [names(0, 1, "create", 7, a=1), names(2, 3, "rename")],
    "two creators win": [names(0, 5, "create", 7), names(1, 5, "create", 8)],
    "a listing without what is there": [names(0, 1, "create", 7), names(2, 3, "list", [])],
    "a listing with what is gone": [names(0, 1, "create", 7), names(2, 3, "unlink"), names(4, 5, "list", ["a"])],
    "under both names": [names(0, 1, "create", 7), names(2, 3, "rename"), names(4, 5, "look", 7), names(6, 7, "look", 7, a=1)],
}


class Judge(unittest.TestCase):
    def check(self, histories, model, want):
        for what, records in histories.items():
            with self.subTest(what):
                self.assertEqual(history.unexplained(records, model) is None, want)

    def test_explained_files(self):
        self.check(FILES_EXPLAINED, history.FileModel, True)

    def test_refused_files(self):
        self.check(FILES_REFUSED, history.FileModel, False)

    def test_explained_names(self):
        self.check(NAMES_EXPLAINED, history.NamesModel, True)

    def test_refused_names(self):
        self.check(NAMES_REFUSED, history.NamesModel, False)


def alone(record, records):
    """Nothing else was under way at its time, which could explain another answer."""
    return not any(other is not record and other[0] <= record[1] and other[1] >= record[0] for other in records)


def made_stale(records, looks):
    """The history with one look's answer replaced by what its client had seen at its look before, in a place where others had
    changed the object in between and both looks were alone: what a cache that was not told would answer."""
    order = sorted(records)
    for i, record in enumerate(order):
        if record[3][0] != looks or i == 0:
            continue
        before = next((r for r in reversed(order[:i]) if r[2] == record[2] and r[3][:2] == record[3][:2]), None)
        if before and before[4] != record[4] and alone(before, order) and alone(record, order):
            yield order[:i] + [record[:4] + (before[4],)] + order[i + 1:]


class History(ThreeMounts):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.mount_d = cls.mount(cls.ap)

    def setUp(self):
        super().setUp()
        self.directories.append(os.path.join(self.mount_d.path, os.path.basename(self.a)))

    def epoch(self, number):
        name = "epoch%d" % number
        os.mkdir(os.path.join(self.a, name))
        return history.record_epoch([os.path.join(directory, name) for directory in self.directories],
                                    "%d %d" % (SEED, number), EPOCH_SECONDS, harness.scratch())

    def test_some_order_explains_all_answers(self):
        for number in range(EPOCHS):
            operations, breaches = history.judge(self.epoch(number))
            self.assertEqual(breaches, [], "\n".join(breaches))
            self.assertGreater(operations, 100)

    def test_an_answer_from_a_cache_that_was_not_told_is_seen(self):
        histories = self.epoch(0)
        for name, looks in (("file0", "size"), ("names0", "look")):
            stale = list(made_stale(histories[name], looks))[:5]
            self.assertTrue(stale, "no place for a stale answer in %s" % name)
            for records in stale:
                self.assertIsNotNone(history.unexplained(records, history.model_of(name)))


del ThreeMounts

if __name__ == "__main__":
    unittest.main()
