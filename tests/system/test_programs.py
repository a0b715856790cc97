# SPDX-License-Identifier: Apache-2.0
"""Real programs on a mount."""
import os
import shutil
import sqlite3
import subprocess
import multiprocessing
import unittest

import harness
from mountcase import TwoMounts

PROGRAM_SECONDS = 120


def run(*command, **options):
    result = subprocess.run(command, capture_output=True, text=True, timeout=PROGRAM_SECONDS, **options)
    if result.returncode != 0:
        raise AssertionError("%s: exit %d\n%s%s" % (" ".join(command), result.returncode, result.stdout, result.stderr))
    return result.stdout


def insert_rows(path, worker, rows):
    database = sqlite3.connect(path, timeout=60, isolation_level=None)
    for i in range(rows):
        database.execute("BEGIN IMMEDIATE")
        database.execute("INSERT INTO record VALUES (?, ?, ?)", (worker, i, "x" * 200))
        database.execute("UPDATE total SET n = n + 1")
        database.execute("COMMIT")
    database.close()


class Programs(TwoMounts):
    def host_directory(self):
        path = os.path.join(harness.scratch(), self.id().rsplit(".", 1)[-1])
        os.makedirs(path)
        self.addCleanup(shutil.rmtree, path)
        return path

    def make_tree(self, top):
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

    def test_tar_and_diff(self):
        host = self.host_directory()
        self.make_tree(host + "/tree")
        run("tar", "-C", host, "--format=posix", "-cf", host + "/tree.tar", "tree")
        run("tar", "-C", self.a, "-xpf", host + "/tree.tar")
        run("diff", "-r", "--no-dereference", "--exclude=fifo", host + "/tree", self.b + "/tree")
        listing = ["find", ".", "-printf", "%P %y %m %U:%G %n %T@ %l\n"]
        expected = sorted(run(*listing, cwd=host + "/tree").splitlines())
        self.assertEqual(sorted(run(*listing, cwd=self.b + "/tree").splitlines()), expected)
        run("rm", "-r", self.a + "/tree")
        self.assertEqual(os.listdir(self.b), [])

    def test_git(self):
        host = self.host_directory()
        environment = dict(os.environ, HOME=host, GIT_CONFIG_NOSYSTEM="1")
        for who in ("AUTHOR", "COMMITTER"):
            environment["GIT_%s_NAME" % who] = "Berth"
            environment["GIT_%s_EMAIL" % who] = "berth@localhost"

        def git(*arguments, cwd):
            return run("git", "-c", "safe.directory=*", *arguments, cwd=cwd, env=environment)
        self.make_tree(host + "/repository")
        git("init", "-q", ".", cwd=host + "/repository")
        for i in range(5):
            with open(host + "/repository/changing", "w") as f:
                f.write("%d\n" % i)
            git("add", "-A", cwd=host + "/repository")
            git("commit", "-qm", "change %d" % i, cwd=host + "/repository")
        git("clone", "-q", "--no-local", host + "/repository", self.a + "/clone", cwd=host)
        git("fsck", "--full", "--strict", cwd=self.b + "/clone")
        self.assertEqual(git("status", "--porcelain", cwd=self.b + "/clone"), "")
        with open(self.b + "/clone/changing", "a") as f:
            f.write("more\n")
        git("commit", "-qam", "from the other client", cwd=self.b + "/clone")
        git("gc", "-q", cwd=self.a + "/clone")
        git("fsck", "--full", "--strict", cwd=self.a + "/clone")
        self.assertEqual(len(git("log", "--format=%H", cwd=self.a + "/clone").split()), 6)

    def test_sqlite_under_concurrent_writers(self):
        path = self.a + "/data.db"
        database = sqlite3.connect(path)
        database.executescript("CREATE TABLE record (worker, i, text); CREATE TABLE total (n); INSERT INTO total VALUES (0)")
        database.close()
        rows = 40
        workers = [multiprocessing.Process(target=insert_rows, args=((self.a, self.b)[w % 2] + "/data.db", w, rows))
                   for w in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(PROGRAM_SECONDS)
        self.assertEqual([worker.exitcode for worker in workers], [0] * 4)
        database = sqlite3.connect(self.b + "/data.db")
        self.assertEqual(database.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
        self.assertEqual(database.execute("SELECT n FROM total").fetchone(), (4 * rows,))
        self.assertEqual(database.execute("SELECT count(*), count(DISTINCT worker * 1000 + i) FROM record").fetchone(),
                         (4 * rows, 4 * rows))
        database.close()

    def test_python_venv(self):
        python = "/usr/bin/python3"
        if subprocess.run([python, "-c", "import venv, ensurepip"], capture_output=True).returncode != 0:
            run(python, "-m", "venv", "--without-pip", self.a + "/venv")
        else:
            run(python, "-m", "venv", self.a + "/venv")
        out = run(self.b + "/venv/bin/python", "-c", "import sys, json; print(sys.prefix != sys.base_prefix)")
        self.assertEqual(out.strip(), "True")

    def test_compile_and_run_on_the_mount(self):
        with open(self.a + "/hello.c", "w") as f:
            f.write('#include <stdio.h>\nint main(void) { puts("hello from the mount"); return 0; }\n')
        run("cc", "-o", self.a + "/hello", self.a + "/hello.c")
        self.assertEqual(run(self.b + "/hello"), "hello from the mount\n")


if __name__ == "__main__":
    unittest.main()
