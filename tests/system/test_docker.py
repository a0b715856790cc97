# SPDX-License-Identifier: Apache-2.0
"""docs/CONTAINERS.md, done: images built from this tree, the compose file, a mount made inside a container, and a host's
mount bound into an unprivileged one. Runs on an engine of its own, which is gone afterwards with all that it made."""
import os
import shutil
import signal
import socket
import subprocess
import time
import unittest
import urllib.request

import harness
from test_demo import SESSION

TIME_LIMIT_S = 200
DOCKER, DOCKERD = "/usr/bin/docker", "/usr/sbin/dockerd"
BASE = "debian:bookworm-slim"
SOURCES = ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list")


class Engine:
    """A dockerd in a directory of its own, without a default bridge or firewall rules."""

    def __init__(self):
        self.directory = harness.new_directory("e-")  # short: the paths of unix sockets have 108 bytes
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("DOCKER_")}
        self.environment["DOCKER_HOST"] = "unix://" + os.path.join(self.directory, "docker.sock")
        self.environment["DOCKER_CONFIG"] = os.path.join(self.directory, "config")
        self.environment["DOCKER_BUILDKIT"] = "0"
        self.log = open(os.path.join(self.directory, "log"), "wb")
        command = [DOCKERD, "-H", self.environment["DOCKER_HOST"], "--data-root", self.directory + "/data",
                   "--exec-root", self.directory + "/exec", "--pidfile", self.directory + "/docker.pid", "--bridge=none",
                   "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT,
                                        start_new_session=True)

    def wait_until_up(self):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            if self.docker("info", check=False).returncode == 0:
                return True
            time.sleep(0.1)
        return False

    def docker(self, *args, check=True, timeout=180, command=(DOCKER,)):
        result = subprocess.run([*command, *args], env=self.environment, cwd=harness.ROOT, stdin=subprocess.DEVNULL,
                                capture_output=True, text=True, timeout=timeout)
        if check and result.returncode != 0:
            raise AssertionError("%s: exit %d\n%s\n%s" % (" ".join(args), result.returncode, result.stdout[-4000:],
                                                          result.stderr[-4000:]))
        return result

    def stop(self):
        containers = self.docker("ps", "-aq", check=False).stdout.split()
        if containers:
            self.docker("rm", "-f", *containers, check=False)
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        subprocess.run(["umount", "-l", self.directory + "/exec/netns/default"], stderr=subprocess.DEVNULL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def said(self):
        with open(self.log.name, errors="replace") as f:
            return f.read()[-2000:]


def base_image(engine):
    """Debian from the machine's own apt sources, kept in build/ for the next time; else from a registry."""
    kept = os.path.join(harness.ROOT, "build", "debian-bookworm.tar")
    sources = [s for s in SOURCES if os.path.exists(s)]
    if not os.path.exists(kept) and shutil.which("mmdebstrap") and sources:
        made = kept + ".new.tar"
        result = subprocess.run(["mmdebstrap", "--quiet", "--variant=apt", "bookworm", made, sources[0]], capture_output=True,
                                text=True, timeout=150)
        if result.returncode == 0:
            os.rename(made, kept)
        elif os.path.exists(made):
            os.unlink(made)
    if os.path.exists(kept):
        engine.docker("import", kept, BASE)
        return
    result = engine.docker("pull", BASE, check=False)
    if result.returncode != 0:
        raise unittest.SkipTest("docker: no base image: mmdebstrap is missing or failed, and %s" % result.stderr.strip())


def setUpModule():
    harness.require_root()
    harness.require_fuse()
    for program in (DOCKER, DOCKERD):
        if not os.path.exists(program):
            raise unittest.SkipTest("docker: no %s (make deps-docker installs it)" % program)
    engine = Engine()
    unittest.addModuleCleanup(engine.stop)
    if not engine.wait_until_up():
        raise unittest.SkipTest("docker: an engine does not start here: %s" % engine.said())
    base_image(engine)
    for name in ("server", "function"):
        engine.docker("build", "--quiet", "--network=host", "-f", "docker/Dockerfile." + name, "-t", "berth-" + name, ".")
    Containers.engine = engine


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def ask(port, method="GET", body=None):
    request = urllib.request.Request("http://127.0.0.1:%d/default/MessageWall" % port, method=method,
                                     data=body.encode() if body else None, headers={"Content-Type": "text/plain"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=20) as answer:
        return answer.read().decode().strip()


def answers(port):
    try:
        return ask(port) is not None
    except OSError:
        return False


class Containers(unittest.TestCase):
    engine = None

    def docker(self, *args, **options):
        return self.engine.docker(*args, **options)

    def assert_session(self, port):
        for method, body, answer in SESSION:
            self.assertEqual(ask(port, method, body), answer, "%s %s" % (method, body))


class Compose(Containers):
    def compose(self, *args, **options):
        found = self.docker("compose", "version", check=False).returncode == 0
        command = (DOCKER, "compose") if found else ("/usr/bin/docker-compose",)
        if not found and not os.path.exists(command[0]):
            self.skipTest("docker: no docker compose (make deps-docker installs it)")
        return self.docker("-f", "docker/compose.yaml", "-p", "berthtest", *args, command=command, **options)

    def exit_codes(self):
        ids = self.compose("ps", "-q").stdout.split()
        self.assertEqual(len(ids), 2)
        return self.docker("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", *ids).stdout.split("\n")[:2]

    def test_session_clean_stop_and_kept_data(self):
        port = free_port()
        self.engine.environment["BERTH_PORT"] = str(port)
        self.addCleanup(self.compose, "down", "--volumes", "--timeout", "20")
        self.compose("up", "-d", "--no-build")
        harness.wait_for(lambda: answers(port), 40)
        self.assert_session(port)
        self.assertEqual(ask(port, "POST", "kept"), "kept")
        self.compose("stop", "--timeout", "20")
        self.assertEqual(self.exit_codes(), ["exited 0", "exited 0"], self.compose("logs").stdout)
        self.compose("up", "-d", "--no-build")
        harness.wait_for(lambda: answers(port), 40)
        self.assertEqual(ask(port), "kept")

    def test_no_keys_in_the_images(self):
        for name in ("berth-server", "berth-function"):
            found = self.docker("run", "--rm", "--network=none", "--user", "0", "--entrypoint", "find", name, "/", "-xdev",
                                "-name", "credentials", "-not", "-path", "/proc/*").stdout
            self.assertEqual(found, "", name)


class BothWays(Containers):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server()
        cls.addClassCleanup(cls.server.stop)
        cls.ap = cls.server.ap_create(cls.server.fs_create(), "--path", "/msg", "--uid", "1000", "--gid", "1000",
                                      "--owner", "1000:1000", "--perm", "0755")

    def run_function(self, *options):
        """Starts MessageWall in a container with these options; returns its id and port."""
        port = free_port()
        container = self.docker("run", "-d", "--network=host", "-e", "BERTH_SERVER=" + self.server.data_address,
                                "-e", "BERTH_ACCESS_POINT=" + self.ap, "-e", "BERTH_LISTEN=127.0.0.1:%d" % port, *options,
                                "berth-function").stdout.strip()
        self.addCleanup(self.docker, "rm", "-f", container)
        try:
            harness.wait_for(lambda: answers(port), 20)
        except AssertionError:
            logs = self.docker("logs", container)
            self.fail("no answer\n" + logs.stdout + logs.stderr)
        return container, port

    def stop(self, container):
        self.docker("stop", "--time", "20", container)
        self.assertEqual(self.docker("inspect", "-f", "{{.State.ExitCode}}", container).stdout.strip(), "0",
                         self.docker("logs", container).stderr)

    def test_mount_made_inside(self):
        container, port = self.run_function("--device", "/dev/fuse", "--cap-add", "SYS_ADMIN",
                                            "--security-opt", "apparmor=unconfined")
        self.assertTrue(self.is_fuse(container))
        self.assert_session(port)
        self.stop(container)

    def is_fuse(self, container):
        mounts = self.docker("exec", container, "cat", "/proc/self/mounts").stdout
        return any(line.split()[1] == "/mnt/msg" and line.split()[2].startswith("fuse") for line in mounts.splitlines())

    def test_mount_bound_into_an_unprivileged_container(self):
        mount = harness.Mount(self.server, self.ap)
        self.addCleanup(mount.unmount)
        container, port = self.run_function("--user", "1234:1234", "--cap-drop", "ALL", "--read-only", "--tmpfs", "/tmp",
                                            "-v", mount.path + ":/mnt/msg")
        self.assertTrue(self.is_fuse(container))
        self.assert_session(port)
        self.assertEqual(ask(port, "POST", "from inside"), "from inside")
        with open(mount.path + "/content") as f:
            self.assertEqual(f.read(), "from inside\n")
        self.assertEqual(os.stat(mount.path + "/content").st_uid, 1000)
        self.stop(container)
        os.unlink(mount.path + "/content")


if __name__ == "__main__":
    unittest.main()
