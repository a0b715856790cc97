# SPDX-License-Identifier: Apache-2.0
"""`make demo`'s script, held to MessageWall's session; its clear words where it cannot run."""
import os
import re
import subprocess
import unittest

import harness

TIME_LIMIT_S = 120
SCRIPT = os.path.join(harness.ROOT, "tests/demo/demo.sh")

# (method, body or None, answer), as in the course of MessageWall.
SESSION = [
    ("GET", None, "No message yet."),
    ("POST", "Hello from EFS!", "Hello from EFS!"),
    ("POST", "Hello again :)", "Hello from EFS!\nHello again :)"),
    ("GET", None, "Hello from EFS!\nHello again :)"),
    ("DELETE", None, "Messages deleted."),
    ("GET", None, "No message yet."),
]


def commands_and_answers(text):
    """[(command, what it printed)] of lines `$ command` and what stands below them."""
    parts = re.split(r"^\$ (.*)\n", text, flags=re.MULTILINE)
    return [(command, re.split(r"^== ", answer, flags=re.MULTILINE)[0].strip())
            for command, answer in zip(parts[1::2], parts[2::2])]


def request_of(command):
    method = re.search(r"-X (\w+)", command)
    body = re.search(r"-d '([^']*)'", command)
    return method.group(1) if method else "GET", body.group(1) if body else None


# A private mount namespace with a /tmp and a /dev/fuse of its own that everybody may use, then an ordinary user (with a
# name: fusermount3 wants one).
AS_ORDINARY_USER = r"""
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=1777,dev tmpfs /tmp
mknod -m 0666 /tmp/fuse c 10 229
mount --bind /tmp/fuse /dev/fuse
exec setpriv --reuid nobody --regid nogroup --clear-groups "$@"
"""


class Demo(unittest.TestCase):
    def check_output(self, text):
        first, second = text.split("== Eight instances")
        said = [(*request_of(c), answer) for c, answer in commands_and_answers(first) if c.startswith("curl ")]
        self.assertEqual(said, SESSION)
        self.assertIn("8 instances over 2 mounts\n"
                      "1000 messages posted; on the wall: 1000 lines, 0 missing, 0 more than once, 0 torn or foreign\n", second)

    def test_prints_the_session_and_loses_no_message(self):
        harness.require_root()
        harness.require_fuse()
        result = subprocess.run([SCRIPT], capture_output=True, text=True, timeout=110)
        self.assertEqual((result.returncode, result.stderr), (0, ""), result.stdout + result.stderr)
        self.check_output(result.stdout)

    def test_works_as_an_ordinary_user(self):
        harness.require_root()
        harness.require_fuse()
        if not os.path.exists("/usr/bin/fusermount3"):
            self.skipTest("no fusermount3 (package fuse3)")
        environment = dict(os.environ, HOME="/tmp", TMPDIR="/tmp")
        as_user = ["unshare", "--mount", "sh", "-c", AS_ORDINARY_USER, "sh"]
        for command, why in ((["test", "-x", harness.program("berthd")], "%s is closed to other users" % harness.BUILD),
                             (["bwrap", "--ro-bind", "/", "/", "--unshare-all", "true"], "user namespaces are closed here")):
            if subprocess.run(as_user + command, env=environment, capture_output=True, timeout=10).returncode != 0:
                self.skipTest(why)
        result = subprocess.run([*as_user, SCRIPT], env=environment, capture_output=True, text=True, timeout=110)
        self.assertEqual((result.returncode, result.stderr), (0, ""), result.stdout + result.stderr)
        self.check_output(result.stdout)

    def test_says_what_is_missing_without_dev_fuse(self):
        harness.require_root()
        empty = harness.new_directory("dev-")
        script = 'mount --make-rprivate / && mount --bind "$0" /dev && exec "$@"'
        result = subprocess.run(["unshare", "--mount", "sh", "-c", script, empty, SCRIPT], input="",
                                capture_output=True, text=True, timeout=10)
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
        self.assertIn("/dev/fuse", result.stderr)


if __name__ == "__main__":
    unittest.main()
