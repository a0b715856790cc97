# SPDX-License-Identifier: Apache-2.0
"""What users meet on the command line: --help, exit codes, and for everything that is wrong one line on standard error that
names the thing, exit code 1, within two seconds, nothing left half-made."""
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import unittest

import harness

SECONDS = 2.0
SLOW = 5.0 if "san-" in harness.BUILD else 1.0  # sanitizers slow start-up
PROGRAMS = {"berthd": "berthd.8", "berth": "berth.1", "berth-fn": "berth-fn.8"}
NOWHERE = "fsap-00000000000000000"


def run(*command, environment=None, timeout=20, **options):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "BERTH_ENDPOINT"))}
    clean["HOME"] = harness.scratch()
    clean.update(environment or {})
    return subprocess.run(command, env=clean, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
                          **options)


def mount_command(source, directory, *options):
    return [harness.program("berth"), "mount", *options, source, directory]


def find_one(directory, word):
    """The one database below the directory with this word in its path."""
    (found,) = [os.path.join(where, name) for where, _, names in os.walk(directory) for name in names
                if name.endswith(".db") and word in os.path.join(where, name)[len(directory):]]
    return found


def say_newer(database):
    """Says in the database's own way that a later version of Berth wrote it."""
    connection = sqlite3.connect(database)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    assert version > 0, "%s carries no version" % database
    connection.execute("PRAGMA user_version = %d" % (version + 1000))
    connection.commit()
    connection.close()


class Failures(unittest.TestCase):
    """assert_refused: the contract of every error."""

    def assert_refused(self, command, *words, code=1, **options):
        before = time.monotonic()
        result = run(*command, **options)
        seconds = time.monotonic() - before
        self.assertEqual(result.returncode, code, result.stderr)
        self.assertEqual(result.stdout, "")
        lines = result.stderr.splitlines()
        self.assertEqual(len(lines), 1, result.stderr)
        for word in words:
            self.assertRegex(lines[0], "(?i)" + word)
        self.assertLess(seconds, SECONDS * SLOW)
        return lines[0]


class Help(unittest.TestCase):
    def test_help_goes_to_stdout_and_names_itself(self):
        for name in PROGRAMS:
            with self.subTest(name):
                result = run(harness.program(name), "--help")
                self.assertEqual((result.returncode, result.stderr), (0, ""))
                self.assertRegex(result.stdout, r"(?i)usage: *(\S*/)?%s" % name)
                self.assertGreater(len(result.stdout.splitlines()), 5)

    def test_long_options_of_help_are_in_the_manual_page_and_the_reverse(self):
        commands = {"berthd": [[]], "berth-fn": [[], ["serve"]],
                    "berth": [[], ["mount"], ["umount"], ["status"],
                              *([noun, verb] for noun in ("fs", "ap") for verb in ("create", "list", "delete")),
                              ["clients"], ["locks"], ["evict"], ["bench"]]}
        for name, page in PROGRAMS.items():
            with self.subTest(name):
                text = "".join(run(harness.program(name), *words, "--help").stdout for words in commands[name])
                said = set(re.findall(r"(?<![\w-])--([a-z][a-z-]+)", text)) - {"help", "usage", "version"}
                with open(os.path.join(harness.ROOT, "docs/man", page)) as f:
                    written = set(re.findall(r"(?<![\w-])--([a-z][a-z-]+)", f.read().replace("\\-", "-")))
                self.assertEqual(said, written)

    def test_wrong_usage_is_exit_code_2(self):
        wrong = [("berthd", "--no-such-option"), ("berthd", "word"), ("berthd", "--durability", "maybe"),
                 ("berthd", "--lease", "soon"), ("berthd", "--listen", "nowhere"),
                 ("berth",), ("berth", "no-such-command"), ("berth", "mount"), ("berth", "mount", "one-word"),
                 ("berth", "mount", "no-access-point", "/mnt"),
                 ("berth", "mount", "-o", "no-such-option", NOWHERE + "@x:1", "/mnt"),
                 ("berth", "umount"), ("berth", "status"), ("berth", "fs"), ("berth", "fs", "no-such-command"),
                 ("berth", "ap", "create"), ("berth", "ap", "create", "--fs", "fs-0", "--uid", "x", "--gid", "1"),
                 ("berth", "evict"), ("berth", "bench"), ("berth", "clients", "word"), ("berth", "locks", "word"),
                 ("berth-fn",), ("berth-fn", "serve"), ("berth-fn", "serve", "--sandbox", "sand")]
        for name, *words in wrong:
            with self.subTest(" ".join([name, *words])):
                result = run(harness.program(name), *words, cwd=harness.scratch())
                self.assertEqual((result.returncode, result.stdout), (2, ""), result.stderr)
                self.assertNotEqual(result.stderr, "")
        self.assertFalse(os.path.exists(os.path.join(harness.scratch(), "berth-data")))


class Server(Failures):
    def start(self, directory, *args):
        return [harness.program("berthd"), "--data", directory, *(args or ("--listen", "127.0.0.1:0", "--api", "127.0.0.1:0"))]

    def test_port_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            directory = harness.new_directory("data-")
            for option, other in (("--listen", "--api"), ("--api", "--listen")):
                self.assert_refused(self.start(directory, option, "127.0.0.1:" + port, other, "127.0.0.1:0"), port, "in use")

    def test_other_addresses_need_insecure(self):
        self.assert_refused(self.start(harness.new_directory("data-"), "--listen", "0.0.0.0:0", "--api", "127.0.0.1:0"),
                            "--insecure")

    def test_second_server_on_the_same_data(self):
        server = harness.Server()
        self.addCleanup(server.stop)
        self.assert_refused(self.start(server.directory), re.escape(server.directory), "another|in use|running|locked")
        self.assertTrue(server.running())
        server.fs_create()

    def test_data_directory_is_a_file(self):
        path = os.path.join(harness.new_directory("data-"), "file")
        with open(path, "w"):
            pass
        self.assert_refused(self.start(path), re.escape(path), "not a directory")

    def test_parent_of_the_data_directory_is_missing(self):
        path = os.path.join(harness.new_directory("data-"), "missing", "data")
        self.assert_refused(self.start(path), re.escape(path), "no such file")
        self.assertFalse(os.path.exists(os.path.dirname(path)))

    def test_unreadable_data_directory(self):
        harness.require_root()
        path = harness.new_directory("data-")
        as_nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        for private in (harness.scratch(), os.path.dirname(harness.scratch())):
            if os.stat(private).st_mode & 0o777 == 0o700:
                os.chmod(private, 0o711)
        os.chmod(path, 0)
        self.assert_refused(as_nobody + self.start(path), re.escape(path), "permission denied")

    def test_catalogue_of_a_newer_version(self):
        server = harness.Server()
        self.addCleanup(server.stop)
        server.fs_create()
        server.stop()
        say_newer(find_one(server.directory, "catalogue"))
        self.assert_refused(self.start(server.directory), re.escape(server.directory), "newer")

    def test_tls_is_refused_while_it_is_not_built(self):
        self.assert_refused(self.start(harness.new_directory("data-"), "--tls-cert", "c", "--tls-key", "k"), "tls")

    def test_sigterm_and_sigint_are_clean_stops(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(number.name):
                server = harness.Server()
                self.addCleanup(server.kill9)
                server.process.send_signal(number)
                self.assertEqual(server.process.wait(10), 0)

    def test_what_the_first_start_makes_is_private(self):
        server = harness.Server()
        self.addCleanup(server.stop)
        self.assertEqual(os.stat(server.directory).st_mode & 0o777, 0o700)
        for name in ("data.sock", "api.sock", "credentials"):
            self.assertEqual(os.stat(os.path.join(server.directory, name)).st_mode & 0o777, 0o600, name)


class Mounting(Failures):
    @classmethod
    def setUpClass(cls):
        harness.require_root()
        harness.require_fuse()
        cls.server = harness.Server()
        cls.addClassCleanup(cls.server.stop)
        cls.fs = cls.server.fs_create()

    def setUp(self):
        self.directory = harness.new_directory("mount-")

    def tearDown(self):
        self.assertFalse(harness.is_mounted(self.directory))

    def refused(self, source, *words, directory=None):
        return self.assert_refused(mount_command(source, directory or self.directory), *words)

    def addresses(self):
        return (self.server.data_address, "unix:" + os.path.join(self.server.directory, "data.sock"))

    def test_unknown_access_point(self):
        for address in self.addresses():
            self.refused("%s@%s" % (NOWHERE, address), NOWHERE, "not exist|no such|unknown")

    def test_deleted_access_point(self):
        ap = self.server.ap_create(self.fs)
        self.server.berth("ap", "delete", ap)
        for address in self.addresses():
            self.refused("%s@%s" % (ap, address), ap, "not exist|no such|unknown|deleted")

    def test_missing_root_without_creation_info(self):
        ap = self.server.ap_create(self.fs, "--path", "/nowhere")
        for address in self.addresses():
            self.refused("%s@%s" % (ap, address), "/nowhere", "does not exist", "owner|creation info")

    def test_file_system_of_a_newer_version(self):
        """It alone is refused; the others are served."""
        server = harness.Server()
        self.addCleanup(server.stop)
        fs = server.fs_create()
        newer, ours = server.ap_create(fs), server.ap_create(server.fs_create())
        harness.Mount(server, newer).unmount()
        server.stop()
        say_newer(find_one(server.directory, fs))
        server.start()
        self.refused("%s@%s" % (newer, server.data_address), fs, "newer")
        harness.Mount(server, ours).unmount()

    def test_missing_mountpoint(self):
        ap = self.server.ap_create(self.fs)
        missing = os.path.join(self.directory, "missing")
        self.refused("%s@%s" % (ap, self.server.data_address), re.escape(missing), "no such", "mkdir", directory=missing)
        self.assertFalse(os.path.exists(missing))

    def test_mountpoint_is_a_file(self):
        ap = self.server.ap_create(self.fs)
        path = os.path.join(self.directory, "file")
        with open(path, "w"):
            pass
        self.refused("%s@%s" % (ap, self.server.data_address), re.escape(path), "not a directory", directory=path)

    def test_busy_mountpoint(self):
        ap = self.server.ap_create(self.fs)
        mount = harness.Mount(self.server, ap)
        self.addCleanup(mount.unmount)
        self.refused("%s@%s" % (ap, self.server.data_address), re.escape(mount.path), "busy", "berth umount",
                     directory=mount.path)
        self.assertEqual(os.listdir(mount.path), [])

    def test_no_server_there(self):
        with socket.create_server(("127.0.0.1", 0)) as found:
            address = "127.0.0.1:%d" % found.getsockname()[1]
        self.refused("%s@%s" % (NOWHERE, address), address, "refused|no server")
        path = os.path.join(self.directory, "no.sock")
        self.refused("%s@unix:%s" % (NOWHERE, path), re.escape(path), "no such file|no server")

    def test_something_else_answers_there(self):
        self.refused("%s@%s" % (NOWHERE, self.server.api_address), re.escape(self.server.api_address))

    def test_no_dev_fuse(self):
        """In a mount namespace whose /dev has no fuse."""
        ap = self.server.ap_create(self.fs)
        empty = harness.new_directory("dev-")
        script = 'mount --make-rprivate / && mount --bind "$0" /dev && exec "$@"'
        self.assert_refused(["unshare", "--mount", "sh", "-c", script, empty,
                             *mount_command("%s@%s" % (ap, self.server.data_address), self.directory)],
                            "/dev/fuse", "module|device")

    def test_mount_helper_name(self):
        """Called as mount.berth, in mount(8)'s order of words."""
        ap = self.server.ap_create(self.fs)
        helper = os.path.join(harness.new_directory("sbin-"), "mount.berth")
        os.symlink(harness.program("berth"), helper)
        result = run(helper, "%s@%s" % (ap, self.server.data_address), self.directory, "-o", "rw,noatime")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertTrue(harness.is_mounted(self.directory))
        self.assertEqual(run(harness.program("berth"), "umount", self.directory).returncode, 0)

    def test_options_of_the_kernel(self):
        ap = self.server.ap_create(self.fs)
        for given, expected in ((None, {"rw", "nosuid", "nodev"}), ("suid,dev", {"rw"}), ("noexec", {"nosuid", "noexec"}),
                                ("hard,nolease,ro", {"ro"}), ("suid,nodev", {"nodev"}), ("soft,timeo=86400", {"rw"})):
            mount = harness.Mount(self.server, ap, options=given)
            with open("/proc/self/mounts") as mounts:
                got = next(set(line.split()[3].split(",")) for line in mounts if line.split()[1] == mount.path)
            mount.unmount()
            self.assertTrue(expected <= got, (given, got))
            for word in {"suid", "dev"} & set((given or "").split(",")):
                self.assertNotIn("no" + word, got)

    def test_unknown_options(self):
        for option, said in (("nope", "nope"), ("timeo=0", "timeo"), ("timeo=86401", "timeo"), ("timeo=1x", "timeo")):
            result = run(harness.program("berth"), "mount", "-o", option,
                         "%s@%s" % (NOWHERE, self.server.data_address), self.directory)
            self.assertEqual(result.returncode, 2)
            self.assertIn(said, result.stderr)

    def test_umount_of_what_is_not_mounted(self):
        self.assert_refused([harness.program("berth"), "umount", self.directory], re.escape(self.directory),
                            "not mounted|no.*mount", "findmnt")
        self.assert_refused([harness.program("berth"), "status", self.directory], re.escape(self.directory), "findmnt")
        missing = os.path.join(self.directory, "missing")
        self.assert_refused([harness.program("berth"), "status", missing], re.escape(missing), "findmnt")

    def test_a_crashed_mount_does_not_stop_the_server(self):
        ap = self.server.ap_create(self.fs)
        mount = harness.Mount(self.server, ap)
        pid = mount.pid
        with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
            os.kill(int(f.read()), signal.SIGKILL)  # its watcher, which would take the mount away
        os.kill(pid, signal.SIGKILL)
        for command in ([harness.program("berth"), "status", mount.path],
                        mount_command("%s@%s" % (ap, self.server.data_address), mount.path)):
            self.assert_refused(command, re.escape(mount.path), "gone", "berth umount -f")
        result = run(harness.program("berth"), "umount", "-f", mount.path)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertFalse(harness.is_mounted(mount.path))
        os.rmdir(mount.path)
        self.server.fs_create()


class Api(Failures):
    def test_no_server_there(self):
        missing = os.path.join(harness.scratch(), "api.sock")
        self.assert_refused([harness.program("berth"), "fs", "list", "--endpoint", "unix:" + missing], re.escape(missing))

    def test_errors_of_the_api_name_the_thing(self):
        server = harness.Server()
        self.addCleanup(server.stop)
        endpoint = ["--endpoint", "unix:" + os.path.join(server.directory, "api.sock")]
        berth = harness.program("berth")
        unknown = "fs-00000000000000000"
        self.assert_refused([berth, "fs", "delete", *endpoint, unknown], unknown)
        self.assert_refused([berth, "ap", "create", *endpoint, "--fs", unknown], unknown)
        self.assert_refused([berth, "ap", "delete", *endpoint, NOWHERE], NOWHERE)

    def test_tcp_without_credentials(self):
        server = harness.Server()
        self.addCleanup(server.stop)
        self.assert_refused([harness.program("berth"), "fs", "list", "--endpoint", "http://" + server.api_address],
                            "credentials|access key|AWS_")

    def test_tcp_with_credentials(self):
        server = harness.Server()
        self.addCleanup(server.stop)
        result = run(harness.program("berth"), "fs", "create", "--endpoint", "http://" + server.api_address,
                     environment=server.credentials())
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertRegex(result.stdout, r"\Afs-[0-9a-f]{17}\n\Z")


class Functions(Failures):
    def serve(self, config, *args):
        return [harness.program("berth-fn"), "serve", "--config", config, "--server", "127.0.0.1:1", "--listen",
                "127.0.0.1:0", *args]

    def test_bad_configuration(self):
        directory = harness.new_directory("functions-")
        missing = os.path.join(directory, "missing.json")
        self.assert_refused(self.serve(missing), re.escape(missing), "no such file")
        broken = os.path.join(directory, "broken.json")
        for text in ("", "{", "{}", '[{"FunctionName": 7}]', '[{"FunctionName": "f"}]'):
            with self.subTest(text):
                with open(broken, "w") as f:
                    f.write(text)
                self.assert_refused(self.serve(broken), re.escape(broken))

    def test_port_in_use(self):
        config = os.path.join(harness.new_directory("functions-"), "none.json")
        with open(config, "w") as f:
            f.write("[]")
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = "127.0.0.1:%d" % taken.getsockname()[1]
            command = [harness.program("berth-fn"), "serve", "--config", config, "--server", "127.0.0.1:1", "--listen", address]
            self.assert_refused(command, address, "in use")


class Install(unittest.TestCase):
    def test_make_install(self):
        """Everything lands below DESTDIR, and what lands there works from its place."""
        root = harness.new_directory("install-")
        build = os.environ.get("BERTH_BUILD", "build")
        san = re.search(r"san-([a-z-]+)", build)
        result = run("make", "-C", harness.ROOT, "install", "DESTDIR=" + root, "PREFIX=/usr",
                     *(["SAN=" + san.group(1).replace("-", ",")] if san else []), timeout=50)
        self.assertEqual(result.returncode, 0, result.stderr)
        for path in ("usr/bin/berthd", "usr/bin/berth", "usr/bin/berth-fn", "usr/libexec/berth/berth-api",
                     "usr/libexec/berth/bootstrap.py", "usr/share/man/man1/berth.1", "usr/share/man/man8/berthd.8",
                     "usr/share/man/man8/mount.berth.8", "usr/lib/systemd/system/berthd.service"):
            self.assertTrue(os.path.isfile(os.path.join(root, path)), path)
        self.assertEqual(os.readlink(os.path.join(root, "sbin/mount.berth")), "/usr/bin/berth")
        with open(os.path.join(root, "usr/lib/systemd/system/berthd.service")) as f:
            self.assertIn("\nExecStart=/usr/bin/berthd ", f.read())
        result = run(os.path.join(root, "usr/bin/berth"), "fs", "list", "--endpoint", "unix:/nowhere/api.sock")
        self.assertEqual(result.returncode, 1)
        self.assertIn("/nowhere/api.sock", result.stderr)  # berth-api was found in libexec


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
