# SPDX-License-Identifier: Apache-2.0
"""Test cases that run real programs on two mounts of one access point and hold what they leave against the same run on the
host's file system, or against the program's own check."""
import hashlib
import os
import shutil
import stat
import subprocess
import unittest

import harness
from mountcase import TwoMounts

PROGRAM_SECONDS = 200
OUTPUT_CHARACTERS = 8000  # of a failed program that are shown


def run(*command, **options):
    """What the program prints; a program that fails or hangs fails the test, with its output."""
    options.setdefault("stdin", subprocess.DEVNULL)
    try:
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="surrogateescape",
                                timeout=PROGRAM_SECONDS, **options)
    except subprocess.TimeoutExpired as late:
        raise AssertionError("%s: no end within %d s\n%s%s" % (" ".join(command), PROGRAM_SECONDS, late.stdout, late.stderr))
    if result.returncode != 0:
        said = (result.stdout or "") + (result.stderr or "")
        raise AssertionError("%s: exit %d\n%s" % (" ".join(command), result.returncode, said[-OUTPUT_CHARACTERS:]))
    return result.stdout


def require_program(*names):
    for name in names:
        if not shutil.which(name):
            raise unittest.SkipTest("%s: the program is not installed" % name)


def write_text(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)


def tree(top, times=True):
    """What lies below `top`, path by path: type, mode, owner, links, contents, target and (not of directories) mtime. Hard
    links show as the first path of their file."""
    found, first = {}, {}
    for directory, names, files in sorted(os.walk(top)):
        for name in names + sorted(files):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            entry = [stat.filemode(status.st_mode), status.st_uid, status.st_gid]
            if not stat.S_ISDIR(status.st_mode):
                entry += [status.st_nlink, first.setdefault(status.st_ino, os.path.relpath(path, top))]
                entry += [status.st_mtime_ns] if times else []
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb", buffering=0) as f:
                    entry += [status.st_size, hashlib.sha256(f.read()).hexdigest()]
            elif stat.S_ISLNK(status.st_mode):
                entry += [os.readlink(path)]
            found[os.path.relpath(path, top)] = entry
    return found


def listing(top):
    """The same tree as find(1) sees it."""
    return sorted(run("find", ".", "-mindepth", "1", "-printf", "%P %y %m %U:%G %n %T@ %l\n", cwd=top).splitlines())


def make_tree(top):
    """A tree of odd names, modes, sizes, links and times."""
    for d in range(5):
        for s in range(4):
            directory = os.path.join(top, "dir %d" % d, "süb%d" % s)
            os.makedirs(directory)
            for i, size in enumerate([0, 1, 4095, 16384, 16385, 100_003]):
                path = os.path.join(directory, "file %d" % i)
                with open(path, "wb") as f:
                    f.write(os.urandom(size))
                os.chmod(path, 0o400 + 0o111 * (i % 2) + 0o044 * (i % 3))
                os.utime(path, ns=(10**9 * i, 10**18 + d * 10**9 + i))
            os.link(os.path.join(directory, "file 1"), os.path.join(directory, "hard"))
            os.symlink("file 2", os.path.join(directory, "sym"))
    os.mkfifo(os.path.join(top, "fifo"))


class ProgramCase(TwoMounts):
    maxDiff = 2000

    def setUp(self):
        super().setUp()
        self.host = os.path.join(harness.scratch(), "host-" + self.id().rsplit(".", 1)[-1])
        os.makedirs(self.host)
        self.addCleanup(shutil.rmtree, self.host)

    def assert_same_tree(self, got, expected, times=True):
        got, expected = tree(got, times), tree(expected, times)
        for path in sorted(set(got) | set(expected)):
            self.assertEqual(got.get(path), expected.get(path), path)
