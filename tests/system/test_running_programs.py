# SPDX-License-Identifier: Apache-2.0
"""A program that runs from a mount: who may write to its file, how it is replaced, as whom it runs. And what
inotify, epoll and syncfs do."""
import ctypes
import errno
import os
import re
import select
import shutil
import stat
import subprocess
import unittest
import urllib.request

import harness
from mountcase import TwoMounts, read_file

LIBC = ctypes.CDLL(None, use_errno=True)


class Running(TwoMounts):
    def start(self, top):
        """A program that runs until its input ends."""
        path = os.path.join(top, "program")
        shutil.copy("/bin/cat", path)
        process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(self.end, process)
        process.stdin.write(b"x")
        process.stdin.flush()
        self.assertEqual(process.stdout.read(1), b"x")
        return path, process

    @staticmethod
    def end(process):
        process.stdin.close()
        process.stdout.close()
        process.wait(harness.STOP_SECONDS)

    @staticmethod
    def outcome(function, *arguments):
        try:
            result = function(*arguments)
        except OSError as error:
            return errno.errorcode[error.errno]
        if isinstance(result, int):
            os.close(result)
        return "ok"

    def attempts(self, path):
        return [self.outcome(os.open, path, flags) for flags in
                (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC)] + [self.outcome(os.truncate, path, 0)]

    def test_on_its_own_client_its_file_is_busy(self):
        host = harness.new_directory("host-")
        self.addCleanup(shutil.rmtree, host)
        expected = self.attempts(self.start(host)[0])
        path, process = self.start(self.a)
        before = read_file(path)
        self.assertEqual(self.attempts(path), expected)
        self.assertEqual(expected[1], "ETXTBSY")
        self.assertEqual(read_file(os.path.join(self.b, "program")), before)
        self.end(process)
        self.assertEqual(self.outcome(os.open, path, os.O_WRONLY), "ok")

    def test_a_file_open_for_writing_does_not_run(self):
        path, process = self.start(self.a)
        self.end(process)
        fd = os.open(path, os.O_WRONLY)
        self.assertEqual(self.outcome(subprocess.run, [path]), "ETXTBSY")
        os.close(fd)
        self.assertEqual(subprocess.run([path], stdin=subprocess.DEVNULL, timeout=20).returncode, 0)

    def test_another_client_does_not_know(self):
        self.start(self.a)
        self.assertEqual(self.outcome(os.open, os.path.join(self.b, "program"), os.O_WRONLY), "ok")

    def test_it_is_replaced_by_rename(self):
        path, process = self.start(self.a)
        shutil.copy("/bin/true", os.path.join(self.b, "new"))
        os.rename(os.path.join(self.b, "new"), os.path.join(self.b, "program"))
        process.stdin.write(b"still here")
        process.stdin.flush()
        self.assertEqual(process.stdout.read(10), b"still here")
        self.assertEqual(subprocess.run([path], timeout=20).returncode, 0)
        self.assertEqual(read_file(path), read_file("/bin/true"))


class Privileged(TwoMounts):
    """Set-id programs and device files."""
    OWNER, USER = 4321, 1234

    def seen(self, top):
        """As whom a program of OWNER's with its set-user-id bit runs, and whether a device file opens."""
        os.chmod(top, 0o755)
        shutil.copy("/usr/bin/id", top + "/id")
        os.chown(top + "/id", self.OWNER, -1)
        os.chmod(top + "/id", 0o4755)
        os.mknod(top + "/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        ran = subprocess.run([top + "/id", "-u"], user=self.USER, group=self.USER, extra_groups=(), cwd="/", timeout=20,
                             capture_output=True, text=True)
        return ran.stdout, Running.outcome(os.open, top + "/null", os.O_WRONLY)

    def test_as_on_a_local_disk_when_the_mount_says_so(self):
        mount = self.mount(self.ap, options="suid,dev")
        self.assertEqual(self.seen(os.path.join(mount.path, os.path.basename(self.a))), ("%d\n" % self.OWNER, "ok"))

    def test_without_effect_otherwise(self):
        self.assertEqual(self.seen(self.a), ("%d\n" % self.USER, "EACCES"))


class Polled(TwoMounts):
    def test_files_are_always_ready_and_never_read_without_waiting(self):
        with open(os.path.join(self.a, "f"), "w+b", buffering=0) as f:
            f.write(b"text")
            with select.epoll() as poll:
                poll.register(f, select.EPOLLIN)
                self.assertEqual(poll.poll(20), [(f.fileno(), select.EPOLLIN)])
            with self.assertRaises(OSError) as refused:
                os.preadv(f.fileno(), [bytearray(4)], 0, os.RWF_NOWAIT)
            self.assertEqual(refused.exception.errno, errno.EOPNOTSUPP)


class Watched(TwoMounts):
    def test_inotify_tells_of_its_own_client_alone(self):
        watch = LIBC.inotify_init1(os.O_CLOEXEC)
        self.addCleanup(os.close, watch)
        in_create = 0x100
        self.assertGreater(LIBC.inotify_add_watch(watch, os.fsencode(self.a), in_create), 0)
        os.mkdir(os.path.join(self.b, "theirs"))
        os.mkdir(os.path.join(self.a, "ours"))
        told = os.read(watch, 4096)
        self.assertEqual((told.count(b"theirs"), told.count(b"ours")), (0, 1))


class Synced(TwoMounts):
    def fsyncs(self):
        with urllib.request.urlopen("http://%s/metrics" % self.server.api_address, timeout=20) as reply:
            found = re.search(r'berth_requests_total\{op="fsync"\} (\d+)', reply.read().decode())
        return int(found.group(1)) if found else 0

    def test_fsync_is_asked_of_the_server_and_syncfs_is_not(self):
        with open(os.path.join(self.a, "f"), "wb") as f:
            f.write(b"x")
            f.flush()
            before = self.fsyncs()
            self.assertEqual(LIBC.syncfs(f.fileno()), 0)
            self.assertEqual(self.fsyncs(), before)
            os.fsync(f.fileno())
            self.assertEqual(self.fsyncs(), before + 1)


if __name__ == "__main__":
    unittest.main()
