# SPDX-License-Identifier: Apache-2.0
"""Test cases of coherence: one server, three mounts (clients), and the programs of tests/coherence/ that run in them.

The programs' processes act through the mounts' views of one fresh directory: see tests/coherence/rounds.c and contend.c.
"""
import os
import re
import subprocess

import harness
from mountcase import TwoMounts

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM_SECONDS = 55  # the programs tell by themselves, and earlier, who is stuck


def litmus_names(part=r"\w+"):
    """Of the litmuses in tests/coherence/litmus_PART.c."""
    folder = os.path.join(HERE, "../coherence")
    names = []
    for name in sorted(os.listdir(folder)):
        if re.fullmatch(r"litmus_%s\.c" % part, name):
            with open(os.path.join(folder, name)) as f:
                names += re.findall(r'\{\.name = "(\w+)"', f.read())
    return names


def run_program(name, *arguments):
    """(status, what it said) of a program of tests/coherence/."""
    process = subprocess.Popen([os.path.join(harness.BUILD, "coherence", name), *map(str, arguments)],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said, _ = process.communicate(timeout=PROGRAM_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
        said += "\n(killed after %d s)" % PROGRAM_SECONDS
    return process.returncode, said.strip()


class ThreeMounts(TwoMounts):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.mount_c = cls.mount(cls.ap)

    def setUp(self):
        super().setUp()
        self.c = os.path.join(self.mount_c.path, os.path.basename(self.a))
        self.directories = [self.a, self.b, self.c]

    def rounds(self, litmus, n, *directories, root=False):
        """(status, what was said): 0 when no round was stale, 1 when some were."""
        return run_program("rounds", *(["--root"] if root else []), litmus, n, *directories)

    def contend(self, kind, seconds, *directories):
        status, said = run_program("contend", kind, seconds, *directories)
        self.assertEqual(status, 0, said)
