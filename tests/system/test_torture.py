# SPDX-License-Identifier: Apache-2.0
"""A minute of the torture with a fixed seed, and that its judges see what they are there to see. `make torture` runs it for
long."""
import os
import re
import subprocess
import sys
import unittest

import harness

sys.path.insert(0, os.path.join(harness.ROOT, "tests", "torture"))
import network  # noqa: E402
import torture  # noqa: E402
import work  # noqa: E402

SEED, SECONDS = 7, 60
TIME_LIMIT_S = SECONDS + 3 * torture.END_LIMIT_S


class Torture(unittest.TestCase):
    def test_a_minute(self):
        harness.require_root()
        harness.require_fuse()
        network.Network(1).close()  # skips here where it cannot be
        result = subprocess.run([sys.executable, torture.__file__, "--minutes", str(SECONDS / 60), "--seed", str(SEED)],
                                stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertRegex(result.stdout, r"faults: [1-9]\d+ ")
        self.assertRegex(result.stdout, r"operations: [1-9]\d{3,} ")
        self.assertRegex(result.stdout, r"seed %d: no promise broken" % SEED)


class Judges(unittest.TestCase):
    def log(self, *numbers, name="appender-0-0"):
        return b"".join(work.record(name, n) for n in numbers)

    def judge_log(self, data, acknowledged, unknown=()):
        return torture.verify_log(data, [{"name": "appender-0-0", "acknowledged": acknowledged, "unknown": list(unknown)}])

    def test_log(self):
        self.assertEqual(self.judge_log(self.log(1, 2, 4), [1, 2], [3, 4]), [])
        for data, acknowledged, unknown in ((self.log(1), [1, 2], []), (self.log(2, 1), [1, 2], []),
                                            (self.log(1, 1), [1], []), (self.log(1, 2, 2), [1], [2]),
                                            (self.log(1)[:-1], [1], []), (self.log(1) + b"x" * work.RECORD_SIZE, [1], []),
                                            (self.log(1) + self.log(1, name="appender-9-9"), [1], [])):
            self.assertNotEqual(self.judge_log(data, acknowledged, unknown), [])

    def judge_counter(self, final, *reports):
        return torture.verify_counter("flock", final, [{"acknowledged": a, "unknown": u} for a, u in reports])

    def test_counter(self):
        self.assertEqual(self.judge_counter(4, ([0, 2], []), ([1], [3])), [])
        self.assertEqual(self.judge_counter(3, ([0, 2], []), ([1], [3])), [])
        for final, *reports in ((2, ([0, 1], []), ([1], [])), (1, ([0, 1], [])), (3, ([0, 1], [])), (2, ([0, 2], []))):
            self.assertNotEqual(self.judge_counter(final, *reports), [])

    def test_names(self):
        before = {"a": ("f", 1), "b": ("f", 1), "c": ("d", 2)}
        self.assertEqual(work.Namer.shown(before), {"a": ["f", 2], "b": ["f", 2], "c": ["d", 0]})


if __name__ == "__main__":
    unittest.main()
