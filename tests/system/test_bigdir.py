# SPDX-License-Identifier: Apache-2.0
"""A directory of 5,000 entries through two mounts, listed and walked while it changes: what `make exercise-bigdir` does with
a million."""
import os
import sys
import unittest

import harness
from mountcase import TwoMounts

sys.path.insert(0, os.path.join(harness.ROOT, "tests", "posix"))
import bigdir  # noqa: E402

ENTRIES, PROCESSES = 5000, 2


class BigDirectory(TwoMounts):
    def test_listing_while_it_changes(self):
        bigdir.exercise([self.a, self.b], ENTRIES, PROCESSES, lambda text: None, lambda: "")


if __name__ == "__main__":
    unittest.main()
