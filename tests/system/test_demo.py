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


class Demo(unittest.TestCase):
    def test_prints_the_session_and_loses_no_message(self):
        harness.require_root()
        harness.require_fuse()
        result = subprocess.run([SCRIPT], capture_output=True, text=True, timeout=110)
        self.assertEqual((result.returncode, result.stderr), (0, ""), result.stdout + result.stderr)
        first, second = result.stdout.split("== Eight instances")
        said = [(*request_of(c), answer) for c, answer in commands_and_answers(first) if c.startswith("curl ")]
        self.assertEqual(said, SESSION)
        self.assertIn("1000 messages posted; on the wall: 1000 lines, 0 missing, 0 more than once, 0 torn or foreign\n", second)

    def test_says_what_is_missing_without_dev_fuse(self):
        harness.require_root()
        empty = harness.new_directory("dev-")
        script = 'mount --make-rprivate / && mount --bind "$0" /dev && exec "$@"'
        result = subprocess.run(["unshare", "--mount", "sh", "-c", script, empty, SCRIPT], stdin=subprocess.PIPE, input="",
                                capture_output=True, text=True, timeout=10)
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
        self.assertIn("/dev/fuse", result.stderr)


if __name__ == "__main__":
    unittest.main()
