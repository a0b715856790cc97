# SPDX-License-Identifier: Apache-2.0
"""Test cases of coherence: one server, three mounts (clients), and the programs of tests/coherence/ that run in them.

The programs' processes act through the mounts' views of one fresh directory: see tests/coherence/rounds.c and contend.c.
"""
import os
import re
import subprocess
import sys
import types

import harness
from mountcase import TwoMounts

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../coherence"))
import history  # noqa: E402, F401 (beside the programs, not the tests)
import wire_proxy  # noqa: E402

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


def start_program(name, *arguments):
    """One of tests/coherence/."""
    return subprocess.Popen([os.path.join(harness.BUILD, "coherence", name), *map(str, arguments)],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def end_of_program(process):
    """(status, what it said)"""
    try:
        said, _ = process.communicate(timeout=PROGRAM_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
        said += "\n(killed after %d s)" % PROGRAM_SECONDS
    return process.returncode, said.strip()


def run_program(name, *arguments):
    return end_of_program(start_program(name, *arguments))


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


class ThroughProxy(TwoMounts):
    """The second mount reaches the server through a proxy that understands frames, self.proxy."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.proxy = wire_proxy.Proxy(cls.server.data_address)
        cls.addClassCleanup(cls.proxy.close)
        cls.mount_b.unmount()
        cls.mount_b = cls.mount_through_proxy()

    @classmethod
    def mount_through_proxy(cls, **options):
        behind = types.SimpleNamespace(data_address=cls.proxy.data_address, credentials=cls.server.credentials)
        mount = harness.Mount(behind, cls.ap, over="tcp", credentials=True, **options)
        cls.addClassCleanup(mount.unmount)
        cls.addClassCleanup(cls.proxy.set, frozen=False, refuse=False, delay_ms=0)
        return mount
