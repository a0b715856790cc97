# SPDX-License-Identifier: Apache-2.0
"""Small programs that change files in place, follow them, lock them, or replace them, with a second client looking on."""
import errno
import fcntl
import os
import shutil
import signal
import socket
import stat
import subprocess
import threading

import harness
from mountcase import read_file, write_file
from programcase import ProgramCase, require_program, run, write_text

TIME_LIMIT_S = 120


class Editing(ProgramCase):
    def both(self, *command):
        """Runs the command on the mount and on the host, and compares output and the trees it left, seen by the other client."""
        output = [run(*command, cwd=top) for top in (self.a, self.host)]
        self.assertEqual(*output, command)
        self.assert_same_tree(self.b, self.host, times=False)

    def text_files(self):
        for top in (self.a, self.host):
            for i in range(20):
                write_text("%s/dir%d/text%d" % (top, i % 2, i), "".join("line %d of %d\n" % (n, i) for n in range(i * 60)))

    def test_sed_patch_diff(self):
        self.text_files()
        shutil.copytree(self.host, self.host + "-changed")
        self.addCleanup(shutil.rmtree, self.host + "-changed")
        run("sed", "-i", "s/line \\(.*5\\) of/LINE \\1 in/", *["dir%d/text%d" % (i % 2, i) for i in range(20)],
            cwd=self.host + "-changed")
        difference = subprocess.run(["diff", "-ru", ".", self.host + "-changed"], cwd=self.host, capture_output=True)
        self.assertEqual(difference.returncode, 1)
        for top in (self.a, self.host):
            subprocess.run(["patch", "-s", "-b", "-p0"], input=difference.stdout, cwd=top, check=True, timeout=60)
        self.assert_same_tree(self.b, self.host, times=False)
        self.both("sh", "-c", "sed -i.orig -e 's/LINE/line/' -e '3d' dir*/text*")
        self.both("sh", "-c", "find . -name '*.orig' -exec rm {} +; find . -type f | sort | xargs cat | cksum")

    def test_shell_tools(self):
        self.text_files()
        self.both("sh", "-c", "for f in dir*/text*; do sort -r $f -o $f; done")
        self.both("sh", "-c", "split -b 1000 dir1/text19 part. && cat part.* | cmp - dir1/text19 && ls")
        self.both("sh", "-c", "dd if=dir1/text19 of=dd bs=512 seek=3 conv=notrunc status=none; dd if=dir0/text8 of=dd bs=7 "
                              "skip=2 oflag=append conv=notrunc status=none; truncate -s +5000 dd; truncate -s %4096 dd")
        self.both("sh", "-c", "install -D -m 0750 dir1/text3 deep/er/than/this; ln -s er/than deep/link; cp -rL deep flat")
        self.both("sh", "-c", "gzip -k dir0/text18 && gunzip -c dir0/text18.gz | cmp - dir0/text18; rm dir0/text18.gz")
        self.both("sh", "-c", "tee one two three <dir0/text4 >/dev/null; cp --backup=numbered one two; mv -b three two; "
                              "shred -u -n 1 one; mkdir -p p/q/r; rmdir -p p/q/r; cat <<X >here\n$(ls)\nX\n")
        self.both("sh", "-c", "set -C; echo x >new && ! echo y 2>/dev/null >new; cat new")
        self.both("sh", "-c", "mkfifo pipe; echo through >pipe & cat pipe; wait; test -p pipe && rm pipe")

    def test_parallel_touch_and_remove(self):
        run("sh", "-c", "seq 600 | xargs -P 8 -n 20 touch & cd '%s' && seq 601 1200 | xargs -P 8 -n 20 touch; wait" % self.b,
            cwd=self.a)
        self.assertEqual(sorted(map(int, os.listdir(self.b))), list(range(1, 1201)))
        run("sh", "-c", "ls | xargs -P 4 -n 30 rm & cd '%s' && ls | xargs -P 4 -n 30 rm -f; wait" % self.b, cwd=self.a)
        self.assertEqual(os.listdir(self.a) + os.listdir(self.b), [])

    def test_save_as_editors_do(self):
        """Written to a new file, forced, renamed over the old one: the other client reads one of the two, whole, always."""
        texts = [b"%d" % i * (20_000 + i) for i in range(10)]
        write_file(self.a + "/text", texts[0])
        done, seen = threading.Event(), []

        def read_on():
            while not done.is_set():
                seen.append(read_file(self.b + "/text"))
        reader = threading.Thread(target=read_on)
        reader.start()
        try:
            for i in range(200):
                fd = os.open(self.a + "/.text.new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
                os.write(fd, texts[i % 10])
                os.fsync(fd)
                os.close(fd)
                os.rename(self.a + "/.text.new", self.a + "/text")
                self.assertEqual(read_file(self.b + "/text"), texts[i % 10])
        finally:
            done.set()
            reader.join()
        self.assertTrue(seen)
        self.assertEqual([s[:4] for s in seen if s not in texts], [])

    def test_mktemp(self):
        names = run("sh", "-c", "for i in 1 2 3 4 5; do mktemp -p . ; mktemp -d -p '%s'; done" % self.b, cwd=self.a).split()
        self.assertEqual(len(set(os.path.basename(n) for n in names)), 10)
        self.assertEqual(len(os.listdir(self.a)), 10)


class Meeting(ProgramCase):
    """Pipes and sockets are met through their inode, and each mount has its own: processes on one mount meet, others do not."""

    def test_named_pipe(self):
        os.mkfifo(self.a + "/pipe")
        reader = os.open(self.a + "/pipe", os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        run("sh", "-c", "echo through >pipe", cwd=self.a)
        self.assertEqual(os.read(reader, 100), b"through\n")
        with self.assertRaises(OSError) as caught:
            os.close(os.open(self.b + "/pipe", os.O_WRONLY | os.O_NONBLOCK))
        self.assertEqual(caught.exception.errno, errno.ENXIO)  # nobody reads it there

    def test_unix_socket(self):
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
            listener.bind(self.a + "/socket")
            listener.listen()
            with self.assertRaises(ConnectionRefusedError):
                client.connect(self.b + "/socket")
            run("/usr/bin/python3", "-c", "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "
                "s.send(b'through')", self.a + "/socket")
            with listener.accept()[0] as connection:
                self.assertEqual(connection.recv(100), b"through")
        self.assertTrue(stat.S_ISSOCK(os.stat(self.b + "/socket").st_mode))
        os.unlink(self.b + "/socket")
        self.assertEqual(os.listdir(self.a), [])


class Logs(ProgramCase):
    def follow(self, *options):
        tail = subprocess.Popen(["tail", *options, "--sleep-interval=0.05", self.b + "/log"], stdout=subprocess.PIPE,
                                stderr=subprocess.DEVNULL, text=True)
        self.addCleanup(tail.stdout.close)
        self.addCleanup(tail.wait)
        self.addCleanup(tail.kill)
        return tail

    def test_tail_follows_the_other_client(self):
        """inotify tells a mount nothing of what other clients do: tail must look by itself."""
        write_file(self.a + "/log", b"first\n")
        tail = self.follow("-n", "+1", "-f", "---disable-inotify")
        self.assertEqual(tail.stdout.readline(), "first\n")
        for i in range(50):
            write_file(self.a + "/log", b"line %d\n" % i, os.O_APPEND)
            if i % 10 == 9:
                for n in range(i - 9, i + 1):
                    self.assertEqual(tail.stdout.readline(), "line %d\n" % n)

    def test_tail_follows_a_rotated_name(self):
        write_file(self.a + "/log", b"first\n")
        tail = self.follow("-n", "+1", "-F", "---disable-inotify")
        self.assertEqual(tail.stdout.readline(), "first\n")
        os.rename(self.a + "/log", self.a + "/log.1")
        write_file(self.a + "/log", b"second\n")
        self.assertEqual(tail.stdout.readline(), "second\n")

    def test_copy_and_truncate(self):
        """As logrotate's copytruncate: an appender on the other client goes on at the new end, without a hole."""
        fd = os.open(self.b + "/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.addCleanup(os.close, fd)
        kept = b""
        for turn in range(20):
            for i in range(30):
                os.write(fd, b"turn %d line %d\n" % (turn, i))
            shutil.copyfile(self.a + "/log", self.a + "/log.1")
            os.truncate(self.a + "/log", 0)
            kept += read_file(self.b + "/log.1")
        self.assertEqual(kept, b"".join(b"turn %d line %d\n" % (t, i) for t in range(20) for i in range(30)))
        self.assertEqual(os.stat(self.b + "/log").st_size, 0)

    def test_flock_program(self):
        """flock(1) from both clients guards a read-modify-write of a shell script."""
        require_program("flock")
        write_file(self.a + "/count", b"0\n")
        script = "cd \"$1\"; i=0; while [ $i -lt 40 ]; do flock lock sh -c 'n=$(cat count); echo $((n + 1)) >count'; " \
                 "i=$((i + 1)); done"
        workers = [subprocess.Popen(["sh", "-c", script, "sh", top]) for top in (self.a, self.b, self.a, self.b)]
        self.assertEqual([worker.wait(100) for worker in workers], [0] * 4)
        self.assertEqual(read_file(self.b + "/count"), b"160\n")
        with open(self.a + "/lock") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            self.assertEqual(subprocess.run(["flock", "-n", "-E", "9", self.b + "/lock", "true"]).returncode, 9)
        run("flock", "-n", self.b + "/lock", "true")

    def test_a_killed_writer_leaves_what_it_wrote(self):
        writer = subprocess.Popen(["sh", "-c", "i=0; while :; do echo line $i; i=$((i + 1)); done >log"], cwd=self.a)
        try:
            harness.wait_for(lambda: os.path.exists(self.b + "/log") and os.stat(self.b + "/log").st_size > 2000, 30)
        finally:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
        lines = read_file(self.b + "/log").decode().splitlines()
        self.assertEqual(lines, ["line %d" % i for i in range(len(lines))])
