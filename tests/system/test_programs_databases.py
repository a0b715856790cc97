# SPDX-License-Identifier: Apache-2.0
"""Databases on a mount: every journal of SQLite under concurrent writers, and those that map their files into memory."""
import dbm.dumb
import multiprocessing
import os
import sqlite3
import unittest

from programcase import PROGRAM_SECONDS, ProgramCase, require_program, run

TIME_LIMIT_S = 240
ROWS = 40
WORKERS = 4


def insert_rows(path, worker):
    database = sqlite3.connect(path, timeout=60, isolation_level=None)
    for i in range(ROWS):
        database.execute("BEGIN IMMEDIATE")
        database.execute("INSERT INTO record VALUES (?, ?, ?)", (worker, i, "x" * 200))
        database.execute("UPDATE total SET n = n + 1")
        database.execute("COMMIT")
    database.close()


class Sqlite(ProgramCase):
    def writers(self, journal, tops):
        path = tops[0] + "/data.db"
        database = sqlite3.connect(path)
        self.assertEqual(database.execute("PRAGMA journal_mode=" + journal).fetchone(), (journal.lower(),))
        database.executescript("CREATE TABLE record (worker, i, text); CREATE TABLE total (n); INSERT INTO total VALUES (0)")
        database.close()
        workers = [multiprocessing.Process(target=insert_rows, args=(tops[w % len(tops)] + "/data.db", w))
                   for w in range(WORKERS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(PROGRAM_SECONDS)
        self.assertEqual([worker.exitcode for worker in workers], [0] * WORKERS)
        self.check(self.b + "/data.db")

    def check(self, path):
        database = sqlite3.connect(path)
        self.assertEqual(database.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
        self.assertEqual(database.execute("SELECT n FROM total").fetchone(), (WORKERS * ROWS,))
        self.assertEqual(database.execute("SELECT count(*), count(DISTINCT worker * 1000 + i) FROM record").fetchone(),
                         (WORKERS * ROWS, WORKERS * ROWS))
        database.close()

    def test_delete_journal_on_two_mounts(self):
        self.writers("DELETE", [self.a, self.b])

    def test_truncate_journal_on_two_mounts(self):
        self.writers("TRUNCATE", [self.a, self.b])

    def test_persistent_journal_on_two_mounts(self):
        self.writers("PERSIST", [self.a, self.b])

    def test_write_ahead_log_on_one_mount(self):
        """The index of the log is shared memory (-shm), so all who have the database open must use one mount."""
        self.writers("WAL", [self.a])

    def test_backup(self):
        self.writers("DELETE", [self.a])
        source, target = sqlite3.connect(self.b + "/data.db"), sqlite3.connect(self.a + "/copy.db")
        source.backup(target, pages=3)
        target.close()
        source.execute("VACUUM INTO ?", (self.a + "/vacuumed.db",))
        source.close()
        self.check(self.b + "/copy.db")
        self.check(self.b + "/vacuumed.db")


class Dbm(ProgramCase):
    def fill_and_read(self, module):
        expected = {b"key %d" % i: b"value %d" % i * (i % 50) for i in range(300)}
        with module.open(self.a + "/data", "c") as database:
            for key, value in expected.items():
                database[key] = value
        with module.open(self.b + "/data", "w") as database:
            for i in range(0, 300, 3):
                del database[b"key %d" % i]
                del expected[b"key %d" % i]
            database[b"key 1"] = expected[b"key 1"] = b"from the other client"
        with module.open(self.a + "/data", "r") as database:
            self.assertEqual({key: database[key] for key in database.keys()}, expected)

    def test_dumb(self):
        self.fill_and_read(dbm.dumb)

    def test_gnu(self):
        try:
            import dbm.gnu
        except ImportError:
            raise unittest.SkipTest("python3-gdbm: not installed")
        self.fill_and_read(dbm.gnu)

    def test_berkeley(self):
        try:
            import dbm.ndbm
        except ImportError:
            raise unittest.SkipTest("dbm.ndbm: this Python has none")
        self.fill_and_read(dbm.ndbm)


class Lmdb(ProgramCase):
    """LMDB reads through a shared mapping and keeps its readers' table in a second one."""

    def load(self, top):
        dump = "VERSION=3\nformat=print\ntype=btree\nmapsize=16777216\nHEADER=END\n"
        dump += "".join(" key%05d\n %s\n" % (i, "value%d" % i * (i % 40 + 1)) for i in range(3000)) + "DATA=END\n"
        with open(self.host + "/dump", "w") as f:
            f.write(dump)
        os.mkdir(top + "/lmdb")
        run("mdb_load", "-f", self.host + "/dump", top + "/lmdb")

    def test_load_dump_copy(self):
        require_program("mdb_load", "mdb_dump", "mdb_copy", "mdb_stat")
        self.load(self.a)
        self.load(self.host)
        expected = run("mdb_dump", "-p", self.host + "/lmdb")
        self.assertEqual(run("mdb_dump", "-p", self.a + "/lmdb"), expected)
        self.assertEqual(run("mdb_dump", "-p", self.b + "/lmdb"), expected)
        os.mkdir(self.b + "/copy")
        run("mdb_copy", "-c", self.a + "/lmdb", self.b + "/copy")
        self.assertEqual(run("mdb_dump", "-p", self.a + "/copy"), expected)
        self.assertEqual(run("mdb_stat", "-ef", self.b + "/lmdb"), run("mdb_stat", "-ef", self.host + "/lmdb"))
