# SPDX-License-Identifier: Apache-2.0
"""Looking for events before sleeping for them ends where nothing comes: an idle server and an idle mount use no processor."""
import os
import time

import harness
from mountcase import TwoMounts, write_file

IDLE_SECONDS = 1
IDLE_CPU_MAX = 0.1  # of the time; looking all the time takes all of it
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


class Idle(TwoMounts):
    def work(self):
        for i in range(200):
            write_file(os.path.join(self.a, "f%d" % i), b"x")
            os.stat(os.path.join(self.b, "f%d" % i))

    def idles(self, what, pid):
        before = cpu_seconds(pid)
        time.sleep(IDLE_SECONDS)
        used = cpu_seconds(pid) - before
        self.assertLess(used, IDLE_CPU_MAX * IDLE_SECONDS, "%s used %.2f s in %g s of idling" % (what, used, IDLE_SECONDS))

    def test_after_work(self):
        self.work()
        self.idles("berthd", self.server.process.pid)
        self.idles("the mount's daemon", self.mount_a.pid)


class SwitchedOff(Idle):
    SERVER_ARGS = ("--busy-poll", "0")
