# SPDX-License-Identifier: Apache-2.0
"""P4, one truth, against warm caches: a reader that has just looked twice at the old state looks again when the change has
returned on another mount, or looks all the time; and it tells a third. Each litmus is a test of its own; what they are is in
tests/coherence/litmus_*.c."""
import os
import unittest

from coherencecase import ThreeMounts, litmus_names

ROUNDS = int(os.environ.get("BERTH_LITMUS_ROUNDS", 120))
ROUNDS_OF_FEW = 60
SECONDS = 2


class Litmus(ThreeMounts):
    """Writer, reader and third on three mounts of an access point without an enforced identity."""

    def check(self, litmus, n=ROUNDS):
        status, said = self.rounds(litmus, n, *self.directories)
        self.assertEqual(status, 0, said)


class LitmusEnforced(ThreeMounts):
    """The kernel checks no permission here: the server does, and the caches must not answer for it."""
    AP_ARGS = ("--uid", "1000", "--gid", "1000", "--path", "/enforced", "--owner", "1000:1000", "--perm", "0755")

    def check(self, litmus, n=ROUNDS):
        status, said = self.rounds(litmus, n, *self.directories, root=True)
        self.assertEqual(status, 0, said)


class WithoutLeases(ThreeMounts):
    """A reader that keeps nothing among others that do, and a writer that keeps nothing."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.mount_b = cls.mount(cls.ap, options="nolease")

    def check(self, litmus, n=ROUNDS_OF_FEW):
        for who, order in (("reader", self.directories), ("writer", [self.b, self.c, self.a])):
            os.mkdir(os.path.join(self.a, who))
            status, said = self.rounds(litmus, n, *[os.path.join(directory, who) for directory in order])
            self.assertEqual(status, 0, said)


def litmus_test(name):
    def test(self):
        self.check(name)
    return test


def add_litmuses(case, names):
    for name in names:
        setattr(case, "test_" + name, litmus_test(name))


add_litmuses(Litmus, litmus_names())
add_litmuses(LitmusEnforced, [name for name in litmus_names() if name.startswith("chmod")])
add_litmuses(WithoutLeases, ["write_then_read_held", "write_then_stat", "create_then_lookup", "unlink_then_open",
                             "rename_over_then_read", "create_then_list", "chmod_parent_then_child", "msync_then_read"])


class Contention(ThreeMounts):
    """Two and three mounts that want the same thing all the time: nothing is lost, and nobody waits for good."""

    def test_counter_under_fcntl_locks(self):
        self.contend("counter_fcntl", SECONDS, *self.directories)

    def test_counter_under_ofd_locks(self):
        self.contend("counter_ofd", SECONDS, *self.directories)

    def test_counter_under_flock(self):
        self.contend("counter_flock", SECONDS, *self.directories)

    def test_creators_in_one_directory(self):
        self.contend("creators", 2 * SECONDS, *self.directories)

    def test_two_creators_in_one_directory(self):
        self.contend("creators", 2 * SECONDS, self.a, self.b)

    def test_writers_in_one_page(self):
        self.contend("page", 2 * SECONDS, *self.directories)

    def test_two_writers_in_one_page(self):
        self.contend("page", 2 * SECONDS, self.a, self.b)

    def test_dirty_mappings_of_one_page(self):
        self.contend("maps", 2 * SECONDS, *self.directories)

    def test_mappings_in_turn(self):
        self.contend("maps_in_turn", SECONDS, *self.directories)

    def test_appends_to_one_file(self):
        self.contend("appends", SECONDS, *self.directories)


del ThreeMounts

if __name__ == "__main__":
    unittest.main()
