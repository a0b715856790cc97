# SPDX-License-Identifier: Apache-2.0
"""What system tests share: a server of their own, mounts of it, and waiting with a bound.

Everything a test starts lives below scratch(), ends when the test ends, and is only ever ended by its own pid. A dead mount
is never looked at with stat: /proc/self/mountinfo tells what is mounted.
"""
import atexit
import glob
import os
import re
import select
import shutil
import subprocess
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("BERTH_BUILD", "build"))

SLOWDOWN = int(os.environ.get("BERTH_SLOWDOWN", "1"))  # of a build with sanitizers, by which limits are longer

START_SECONDS = 20
STOP_SECONDS = 20
MOUNT_SECONDS = 20

_scratch = None


def program(name):
    return os.path.join(BUILD, "bin", name)


def scratch():
    """This process's own directory, below TMPDIR; removed at exit, unless something is still mounted below it."""
    global _scratch
    if _scratch is None:
        _scratch = os.path.realpath(tempfile.mkdtemp(prefix="berth-test-"))
        os.chmod(_scratch, 0o711)  # some tests act as another user below it
        atexit.register(_remove_scratch, os.getpid())
    return _scratch


def _remove_scratch(owner):
    with open("/proc/self/mountinfo") as f:
        mounted = any(line.split()[4].startswith(_scratch + "/") for line in f)
    if os.getpid() == owner and not mounted:
        shutil.rmtree(_scratch, ignore_errors=True)


def new_directory(prefix):
    path = tempfile.mkdtemp(prefix=prefix, dir=scratch())
    os.chmod(path, 0o711)
    return path


def require_root():
    if os.geteuid() != 0:
        raise unittest.SkipTest("root: this test needs root")


def require_fuse():
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        raise unittest.SkipTest("fuse: /dev/fuse cannot be opened: %s" % error.strerror)


def wait_for(predicate, timeout):
    """Returns predicate()'s first true value; fails after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("not within %g s" % timeout)
        time.sleep(0.01)


def is_mounted(path):
    path = os.path.realpath(os.path.dirname(path)) + "/" + os.path.basename(path)
    with open("/proc/self/mountinfo") as f:
        return any(line.split()[4] == path for line in f)


class MountFailed(Exception):
    pass


class Server:
    """A berthd on ports of its own. `directory` None: a new one. The log goes to .log_path. prefix: words before the
    program's, which must become the program (exec)."""

    def __init__(self, args=(), directory=None, environment=None, prefix=(), address="127.0.0.1"):
        self.directory = directory or os.path.join(new_directory("server-"), "data")
        self.args = list(args)
        self.environment = dict(os.environ, **(environment or {}))
        self.log_path = os.path.join(new_directory("log-"), "berthd.log")
        self.prefix = list(prefix)
        self.data_address, self.api_address = address + ":0", "127.0.0.1:0"
        self.process = None
        self.start()

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, program("berthd"), "--data", self.directory, "--listen", self.data_address, "--api",
                 self.api_address, *self.args],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=self.environment)
        line = self._first_line()
        match = re.fullmatch(r"berthd ready data=(\S+) api=(\S+)\n", line)
        if not match:
            self.kill9()
            raise AssertionError("berthd did not start: %r\n%s" % (line, self.log()))
        self.data_address, self.api_address = match.groups()

    def _first_line(self):
        ready, _, _ = select.select([self.process.stdout], [], [], START_SECONDS)
        return self.process.stdout.readline().decode() if ready else ""

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def running(self):
        return self.process is not None and self.process.poll() is None

    def _ended(self):
        self.process.stdout.close()
        self.process = None

    def stop(self):
        """A clean stop; fails when the server does not end with 0."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill9()
            raise AssertionError("berthd did not stop within %d s\n%s" % (STOP_SECONDS, self.log()))
        self._ended()
        if status != 0:
            raise AssertionError("berthd ended with %d\n%s" % (status, self.log()))

    def kill9(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self._ended()

    def lose_power(self):
        """Ends as if its host had lost power; what was running is told so by the next start."""
        self.kill9()
        for marker in glob.glob(os.path.join(self.directory, "fs", "*", "running")):
            with open(marker, "r+") as f:
                if f.read(5) != "clean":
                    f.seek(0)
                    f.write("00000000-0000-0000-0000-000000000000")

    def restart(self):
        """Again on the same ports and data; a running server is stopped cleanly first."""
        self.stop()
        self.start()

    def credentials(self):
        return {"AWS_SHARED_CREDENTIALS_FILE": os.path.join(self.directory, "credentials")}

    def berth(self, *args, check=True):
        """Runs `berth ARGS` against this server's API over its unix socket."""
        environment = dict(os.environ, BERTH_ENDPOINT="unix:" + os.path.join(self.directory, "api.sock"))
        result = subprocess.run([program("berth"), *args], env=environment, capture_output=True, text=True,
                                timeout=START_SECONDS)
        if check and result.returncode != 0:
            raise AssertionError("berth %s: %s" % (" ".join(args), result.stderr))
        return result

    def fs_create(self, *args):
        return self.berth("fs", "create", *args).stdout.strip()

    def ap_create(self, fs, *args):
        return self.berth("ap", "create", "--fs", fs, *args).stdout.strip()


class Mount:
    """`berth mount` of an access point at a new directory. over: "unix" or "tcp"; credentials: prove the root key; prefix: as
    for Server; path: a directory that is there, instead."""

    def __init__(self, server, access_point, options=None, over="unix", credentials=False, prefix=(), path=None):
        self.path = path or new_directory("mount-")
        address = server.data_address if over == "tcp" else "unix:" + os.path.join(server.directory, "data.sock")
        command = [*prefix, program("berth"), "mount", *(["-o", options] if options else []), "%s@%s" % (access_point, address),
                   self.path]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        environment["HOME"] = scratch()
        if credentials:
            environment.update(server.credentials())
        result = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, text=True, timeout=MOUNT_SECONDS)
        if result.returncode != 0:
            if is_mounted(self.path):
                subprocess.run(["umount", "-l", self.path], timeout=STOP_SECONDS)
            os.rmdir(self.path)
            raise MountFailed(result.stderr.strip())

    @property
    def pid(self):
        """Of the daemon, found by its command line's mountpoint."""
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    with open("/proc/%s/cmdline" % entry, "rb") as f:
                        words = f.read().decode(errors="replace").split("\0")
                except OSError:
                    continue
                if self.path in words and os.path.basename(words[0]) == "berth":
                    return int(entry)
        raise AssertionError("no daemon for %s" % self.path)

    def unmount(self):
        if is_mounted(self.path):
            result = subprocess.run([program("berth"), "umount", self.path], stdin=subprocess.DEVNULL, capture_output=True,
                                    text=True, timeout=STOP_SECONDS)
            if result.returncode != 0:
                raise AssertionError("berth umount: " + result.stderr.strip())
        if os.path.isdir(self.path):
            os.rmdir(self.path)
