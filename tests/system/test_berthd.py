# SPDX-License-Identifier: Apache-2.0
"""How berthd starts and stops: the ready line, its files' modes, what a wrong start is told, in one line and at once."""
import errno
import os
import re
import resource
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import unittest

import harness
import raw_client as raw
from raw_client import api_call

REFUSE_SECONDS = 5


def start(*arguments):
    """Runs berthd, which must end by itself; returns (exit status, stdout, stderr)."""
    result = subprocess.run([harness.program("berthd"), *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                            timeout=REFUSE_SECONDS, cwd=harness.scratch())
    return result.returncode, result.stdout, result.stderr


class Refused(unittest.TestCase):
    def setUp(self):
        self.directory = os.path.join(harness.new_directory("berthd-"), "data")

    def check(self, *arguments, says, status=1):
        got, out, err = start("--data", self.directory, "--listen", "127.0.0.1:0", "--api", "127.0.0.1:0", *arguments)
        self.assertEqual((got, out), (status, ""), err)
        self.assertRegex(err, says)
        if status == 1:
            self.assertRegex(err, r"\A(\d{4}-[^\n]+\n)*berthd: [^\n]+\n\Z")  # log lines, then the one
        return err

    def test_usage(self):
        for arguments in (["--listen", "x"], ["--durability", "never"], ["--lease", "x"], ["--nonsense"], ["word"],
                          ["--log-level", "x"], ["--listen"]):
            self.check(*arguments, says="berthd", status=2)
        self.assertFalse(os.path.exists(self.directory))

    def test_port_in_use(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = "127.0.0.1:%d" % taken.getsockname()[1]
            for option in ("--listen", "--api"):
                self.check(option, address, says="%s %s: the port is in use" % (option, re.escape(address)))
        self.assertFalse(os.path.exists(self.directory), "something was left behind")

    def test_address_that_is_not_ours(self):
        self.check("--listen", "192.0.2.1:0", "--insecure", says=r"--listen 192\.0\.2\.1:0: .*another --listen")

    def test_reachable_by_others(self):
        self.check("--listen", "0.0.0.0:0", says=r"0\.0\.0\.0:0 .*--insecure")
        self.check("--api", "[::]:0", says=r"\[::\]:0 .*--insecure")

    def test_not_built(self):
        self.check("--tls-cert", "c", "--tls-key", "k", says="TLS is not built yet")

    def test_data_directory_cannot_be(self):
        self.directory = os.path.join(self.directory, "deeper")
        self.check(says=re.escape(self.directory) + ".*make the directory above it")
        self.directory = os.path.dirname(self.directory)
        with open(self.directory, "w"):
            pass
        self.check(says=re.escape(self.directory) + ".*[Nn]ot a directory")

    def test_data_directory_of_another_user(self):
        harness.require_root()
        os.mkdir(self.directory)
        os.chown(self.directory, 1234, 1234)
        self.check(says="belongs to another user")

    def test_unreadable_data_directory(self):
        harness.require_root()
        os.mkdir(self.directory, 0o700)
        os.chmod(os.path.dirname(self.directory), 0o711)
        os.chmod(harness.scratch(), 0o711)
        program = shutil.copy(harness.program("berthd"), os.path.dirname(self.directory))
        result = subprocess.run([program, "--data", self.directory, "--listen", "127.0.0.1:0", "--api", "127.0.0.1:0"],
                                capture_output=True, text=True, timeout=REFUSE_SECONDS, user=1234, group=1234, cwd="/")
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, r"\Aberthd: data directory %s: [^\n]+\n\Z" % re.escape(self.directory))

    def test_second_server(self):
        server = harness.Server(directory=self.directory)
        self.addCleanup(server.stop)
        self.check(says=r"in use by another berthd \(pid %d\)" % server.process.pid)

    def test_newer_catalogue(self):
        harness.Server(directory=self.directory).stop()
        with sqlite3.connect(os.path.join(self.directory, "catalogue.db")) as db:
            db.execute("PRAGMA user_version = 99")
        db.close()
        self.check(says="written by a newer berthd")

    def test_damaged_catalogue(self):
        harness.Server(directory=self.directory).stop()
        with open(os.path.join(self.directory, "catalogue.db"), "r+b") as f:
            f.write(b"x" * 100)
        self.check(says="catalogue.db is damaged")

    def test_open_credentials(self):
        harness.Server(directory=self.directory).stop()
        os.chmod(os.path.join(self.directory, "credentials"), 0o644)
        self.check(says="credentials.*chmod 600")


class Running(unittest.TestCase):
    def server(self, *arguments, **options):
        server = harness.Server(arguments, **options)
        self.addCleanup(server.stop)
        return server

    def test_help_and_version(self):
        for option, says in (("--help", "--durability"), ("--version", "berthd")):
            status, out, err = start(option)
            self.assertEqual((status, err), (0, ""))
            self.assertIn(says, out)

    def test_modes(self):
        server = self.server()
        modes = {"": 0o700, "data.sock": 0o600, "api.sock": 0o600, "credentials": 0o600, "lock": 0o600}
        for name, mode in modes.items():
            self.assertEqual(stat.S_IMODE(os.stat(os.path.join(server.directory, name)).st_mode), mode, name)

    def test_either_signal_stops_cleanly_with_clients_attached(self):
        server = self.server()
        fs = api_call(server, "POST", "/2015-02-01/file-systems", {"CreationToken": "t"})["FileSystemId"]
        for number in (signal.SIGTERM, signal.SIGINT):
            ap = api_call(server, "POST", "/2015-02-01/access-points",
                          {"ClientToken": str(number), "FileSystemId": fs})["AccessPointId"]
            with raw.Client(server.data_address) as client, raw.Client(server.data_address) as silent:
                client.hello(ap)
                server.process.send_signal(number)
                self.assertTrue(client.closed())
                self.assertTrue(silent.closed())
                self.assertEqual(server.process.wait(10), 0)
            server._ended()
            server.start()

    def test_stale_sockets_are_replaced(self):
        server = self.server()
        server.kill9()
        server.start()
        with raw.Client("unix:" + os.path.join(server.directory, "data.sock")) as client:
            self.assertEqual(client.magic, raw.MAGIC)

    def test_several_addresses(self):
        with socket.socket(socket.AF_INET6) as probe:
            try:
                probe.bind(("::1", 0))
            except OSError:
                self.skipTest("IPv6: no ::1 here")
        server = self.server("--listen", "[::1]:0")
        port = re.search(r"(\d+)\Z", server.data_address).group(1)
        self.assertTrue(int(port) > 0)
        with raw.Client(server.data_address) as client:
            self.assertEqual(client.magic, raw.MAGIC)

    def test_long_data_directory(self):
        deep = os.path.join(harness.new_directory("long-"), "d" * 120, "e" * 60)
        os.makedirs(os.path.dirname(deep))
        self.server(directory=deep)

    def test_json_log(self):
        server = self.server("--log-json")
        harness.wait_for(lambda: '"event":"start"' in server.log().replace('": "', '":"'), 5)

    def test_out_of_file_descriptors(self):
        server = self.server()
        used = len(os.listdir("/proc/%d/fd" % server.process.pid))
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (used + 10, used + 10))
        crowd = [socket.create_connection(server.data_address.rsplit(":", 1), 10) for _ in range(40)]
        harness.wait_for(lambda: "no file descriptor is left" in server.log(), 10)
        for one in crowd:
            one.close()

        def answers():
            try:
                with raw.Client(server.data_address) as client:
                    return client.magic == raw.MAGIC
            except (raw.Closed, OSError):
                return False
        harness.wait_for(answers, 10)

    def test_removing_a_file_system_in_use(self):
        server = self.server("--lease", "1")
        fs = api_call(server, "POST", "/2015-02-01/file-systems", {"CreationToken": "t"})["FileSystemId"]
        ap = api_call(server, "POST", "/2015-02-01/access-points", {"ClientToken": "t", "FileSystemId": fs})["AccessPointId"]
        with raw.Client(server.data_address) as client:
            client.hello(ap)
            api_call(server, "DELETE", "/2015-02-01/access-points/" + ap)
            with self.assertRaisesRegex(AssertionError, "FileSystemInUse"):
                api_call(server, "DELETE", "/2015-02-01/file-systems/" + fs)
            client.getattr(client.root)
            api_call(server, "DELETE", "/2015-02-01/file-systems/" + fs + "?force=true")
            self.assertTrue(client.closed())
        harness.wait_for(lambda: not os.listdir(os.path.join(server.directory, "fs")), 10)

    def test_no_hello_in_time(self):
        server = self.server()
        with raw.Client(server.data_address) as client:
            client.socket.settimeout(15)
            self.assertTrue(client.closed())
        self.assertIn("no hello in time", server.log())

    def test_newer_file_system_is_refused_by_name(self):
        server = self.server()
        fs = api_call(server, "POST", "/2015-02-01/file-systems", {"CreationToken": "t"})["FileSystemId"]
        ap = api_call(server, "POST", "/2015-02-01/access-points", {"ClientToken": "t", "FileSystemId": fs})["AccessPointId"]
        server.stop()
        database = next(os.path.join(server.directory, "fs", fs, n) for n in os.listdir(os.path.join(server.directory, "fs", fs))
                        if n.endswith(".db"))
        with sqlite3.connect(database) as db:
            db.execute("PRAGMA user_version = 99")
        db.close()
        server.start()
        with raw.Client(server.data_address) as client:
            with self.assertRaises(raw.Refused) as caught:
                client.hello(ap)
        self.assertIn("newer berthd", caught.exception.reason)


class Restart(unittest.TestCase):
    """What a client claims after the server has come back."""

    def setUp(self):
        self.server = harness.Server(("--lease", "2"))
        self.addCleanup(self.server.stop)
        fs = api_call(self.server, "POST", "/2015-02-01/file-systems", {"CreationToken": "t"})["FileSystemId"]
        self.ap = api_call(self.server, "POST", "/2015-02-01/access-points",
                           {"ClientToken": "t", "FileSystemId": fs})["AccessPointId"]
        self.before = self.attach()
        self.file = self.before.create(self.before.root, "f", 1).handle
        self.before.write(1, 0, b"kept")
        self.before.unlink(self.before.root, "f")

    def attach(self, session=(0, 0), access_point=None):
        client = raw.Client("unix:" + os.path.join(self.server.directory, "data.sock"))
        self.addCleanup(client.close)
        client.hello(access_point or self.ap, session=session)
        return client

    def check_claims(self):
        client = self.attach(self.before.welcome.session)
        self.assertEqual((client.welcome.resumed, client.welcome.claims, client.welcome.log_continuous), (1, 1, 1))
        client.seqs = dict(self.before.seqs)
        self.assertNotEqual(client.welcome.incarnation, self.before.welcome.incarnation)
        self.assertEqual(client.root, self.before.root)
        client.call("reopen", raw.handle(self.file) + raw.u64(5) + raw.u32(raw.READ | raw.WRITE))
        client.call("reopen", raw.handle(self.file) + raw.u64(5) + raw.u32(raw.READ | raw.WRITE))
        whole = raw.lock(raw.FLOCK, raw.LOCK_WRITE, 0, raw.END, 1)
        client.setlk(5, whole, reclaim=1)
        client.setlk(5, whole, reclaim=1)
        client.call("reclaimed")
        self.assertEqual(client.read(5, 0, 10), b"kept")
        return client

    def gone(self, client):
        try:
            client.getattr(self.file)
            return False
        except raw.Refused as refused:
            self.assertEqual(refused.status, errno.ENOENT)
            return True

    def test_after_a_clean_stop(self):
        self.server.restart()
        self.check_claims()

    def test_after_a_kill(self):
        self.server.kill9()
        self.server.start()
        client = self.check_claims()
        client.release(5)
        harness.wait_for(lambda: self.gone(client), 5)
        self.assertIn("recovery", self.server.log())

    def test_what_its_holder_does_not_claim_goes(self):
        other = self.attach()
        self.server.kill9()
        self.server.start()
        client = self.attach(other.welcome.session)
        client.call("reclaimed")
        self.assertFalse(self.gone(client))
        before = self.attach(self.before.welcome.session)
        before.seqs = dict(self.before.seqs)
        self.assertFalse(self.gone(client))
        before.call("reclaimed")
        harness.wait_for(lambda: self.gone(client), 10)

    def lose_power(self):
        self.server.lose_power()
        self.server.start()

    def check_lost(self):
        welcome = self.attach(self.before.welcome.session).welcome
        self.assertEqual((welcome.resumed, welcome.claims, welcome.log_continuous), (0, 1, 0))

    def test_another_boot_is_told(self):
        self.lose_power()
        self.assertEqual(self.attach().welcome.log_continuous, 0)
        self.check_lost()

    def test_who_comes_back_late_is_told_too(self):
        for again in (self.server.kill9, self.server.stop):
            with self.subTest(again.__name__):
                self.lose_power()
                self.attach()
                again()
                self.server.start()
                self.assertEqual(self.attach().welcome.log_continuous, 1)
                self.check_lost()
                self.before = self.attach()

    def test_file_system_not_opened_after_the_power_loss(self):
        fs = self.server.fs_create()
        other = self.server.ap_create(fs)
        for again in (self.server.kill9, self.server.stop):
            with self.subTest(again.__name__):
                self.lose_power()
                self.attach(access_point=other)
                again()
                self.server.start()
                self.check_lost()
                self.before = self.attach()

    def test_file_system_closed_in_order_before_the_power_loss(self):
        other = self.server.ap_create(self.server.fs_create())
        self.server.restart()
        self.attach(access_point=other)
        self.lose_power()
        self.check_claims()


if __name__ == "__main__":
    unittest.main()
