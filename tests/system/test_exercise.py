# SPDX-License-Identifier: Apache-2.0
"""The exercisers of tests/posix for some seconds each, as they are and while the server is killed; and that they see what
they are there to see. `make exercise` runs them for long."""
import os
import re
import sys
import tempfile
import unittest

import harness
from mountcase import TwoMounts

sys.path.insert(0, os.path.join(harness.ROOT, "tests", "posix"))
import exercise  # noqa: E402

SEED = 20
SECONDS, SECONDS_SHORT, SECONDS_OF_TWINS = 12, 7, 30  # a twin ends at its difference, long before
AT_STEP = 60
TIME_LIMIT_S = 150  # an exerciser that hangs is told so by exercise.run, sooner


class Exercise(TwoMounts):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enforcing = cls.mount(cls.server.ap_create(cls.fs, *exercise.ENFORCED))

    def setUp(self):
        super().setUp()
        self.directories = [self.a, self.b, harness.new_directory("host-")]
        self.output = tempfile.TemporaryFile(dir=harness.scratch())
        self.addCleanup(self.output.close)

    def said(self):
        self.output.seek(0)
        return self.output.read().decode()

    def expect_no_difference(self, program, words=(), seconds=SECONDS):
        status = exercise.run(program, self.directories, SEED, seconds, words, self.output)
        self.assertEqual(status, 0, self.said())
        self.assertRegex(self.said(), r"%s: seed %d: [1-9]\d+ steps, no difference" % (program, SEED))

    def expect_no_difference_with_kills(self, program):
        status, kills = exercise.run_with_kills(self.server, program, self.directories, SEED, SECONDS_SHORT,
                                                output=self.output)
        self.assertEqual(status, 0, self.said())
        self.assertGreater(kills, 0)

    def expect_difference(self, program, words):
        """A lie at a step is told as a difference of that step, or of one soon after it that meets what the lie left."""
        status = exercise.run(program, self.directories, SEED, SECONDS_OF_TWINS, words, self.output)
        self.assertEqual(status, 1, self.said())
        told = re.search(r"%s: DIFFERENCE at seed %d step (\d+): \S" % (program, SEED), self.said())
        self.assertIsNotNone(told, self.said())
        self.assertGreaterEqual(int(told.group(1)), AT_STEP)
        self.assertLess(int(told.group(1)), AT_STEP + 200)

    def test_fsx(self):
        self.expect_no_difference("fsx")

    def test_fsstress(self):
        self.expect_no_difference("fsstress")

    def test_fsstress_with_an_enforced_identity(self):
        self.directories[0] = os.path.join(self.enforcing.path, os.path.basename(self.a))
        self.expect_no_difference("fsstress", ["--enforced"], SECONDS_SHORT)

    def test_fsx_with_kills(self):
        self.expect_no_difference_with_kills("fsx")

    def test_fsstress_with_kills(self):
        self.expect_no_difference_with_kills("fsstress")

    def test_fsx_sees_a_wrong_byte(self):
        self.expect_difference("fsx", ["--blur", str(AT_STEP)])

    def test_fsx_sees_a_lost_operation(self):
        self.expect_difference("fsx", ["--skip", str(AT_STEP)])

    def test_fsstress_sees_a_wrong_byte(self):
        self.expect_difference("fsstress", ["--blur", str(AT_STEP)])

    def test_fsstress_sees_a_lost_operation(self):
        self.expect_difference("fsstress", ["--skip", str(AT_STEP)])


if __name__ == "__main__":
    unittest.main()
