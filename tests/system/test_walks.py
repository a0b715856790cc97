# SPDX-License-Identifier: Apache-2.0
"""Paths that are walked while another client takes away, again and again, what they lead to: no call says ESTALE, as none does
on a local disk, and where a name is always there none says ENOENT."""
import collections
import errno
import multiprocessing
import os
import time

from mountcase import TwoMounts, write_file

SECONDS = 1
LOOKS = {
    "lstat": os.lstat,
    "open": lambda path: os.close(os.open(path, os.O_RDONLY)),
    "open for writing": lambda path: os.close(os.open(path, os.O_WRONLY)),
    "chmod": lambda path: os.chmod(path, 0o644),
    "truncate": lambda path: os.truncate(path, 3),
    "getxattr": lambda path: os.getxattr(path, "user.none"),
}


class Walks(TwoMounts):
    def changing(self, change, *arguments):
        """A process that does so until the test is over."""
        def run():
            while True:
                change(*arguments)
        child = multiprocessing.Process(target=run, daemon=True)
        child.start()
        self.addCleanup(child.join)
        self.addCleanup(child.kill)

    def outcomes(self, look, path):
        """How often it ended how, from several processes."""
        def run(pipe):
            seen, end = collections.Counter(), time.monotonic() + SECONDS
            while time.monotonic() < end:
                try:
                    look(path)
                    seen["ok"] += 1
                except OSError as error:
                    seen[errno.errorcode[error.errno]] += 1
            pipe.send(seen)
        pipes = [multiprocessing.Pipe(duplex=False) for _ in range(2)]
        children = [multiprocessing.Process(target=run, args=(theirs,), daemon=True) for _, theirs in pipes]
        for child in children:
            child.start()
        try:
            return sum((ours.recv() for ours, _ in pipes), collections.Counter())
        finally:
            for child in children:
                child.join()

    def all_looks(self, path, allowed):
        for name, look in LOOKS.items():
            with self.subTest(look=name):
                seen = self.outcomes(look, path)
                self.assertGreater(sum(seen.values()), 0)
                self.assertLessEqual(set(seen), {"ok", *allowed, *(["ENODATA"] if name == "getxattr" else [])}, seen)

    def test_replaced_file(self):
        def replace():
            write_file(self.b + "/new", b"new")
            os.rename(self.b + "/new", self.b + "/f")
        replace()
        self.changing(replace)
        self.all_looks(self.a + "/f", ())

    def test_removed_and_made_again(self):
        def change():
            write_file(self.b + "/f", b"new")
            os.unlink(self.b + "/f")
        self.changing(change)
        self.all_looks(self.a + "/f", {"ENOENT"})

    def test_below_a_directory_that_comes_and_goes(self):
        def change():
            os.mkdir(self.b + "/d")
            write_file(self.b + "/d/f", b"new")
            os.unlink(self.b + "/d/f")
            os.rmdir(self.b + "/d")
        self.changing(change)
        self.all_looks(self.a + "/d/f", {"ENOENT"})
