# SPDX-License-Identifier: Apache-2.0
"""A network of its own for one server and its clients: each in a network namespace, joined by a bridge in the server's, so
that any of them can be cut off. Nothing leaves it; it is gone with the processes that hold the namespaces."""
import subprocess
import unittest

SERVER_ADDRESS = "10.77.0.1"


def run(*words):
    subprocess.run(words, check=True, capture_output=True, text=True, timeout=20)


class Namespace:
    """Lives as long as the sleeping process that holds it."""

    def __init__(self):
        self.holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"],
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        made = self.holder.stdout.readline()
        if not made:
            raise unittest.SkipTest("netns: no network namespace: " + self.holder.communicate()[1].decode().strip())
        self.prefix = ("nsenter", "--net=/proc/%d/ns/net" % self.holder.pid, "--")

    def ip(self, *words):
        run(*self.prefix, "ip", *words)

    def close(self):
        self.holder.kill()
        self.holder.communicate()


class Network:
    def __init__(self, n_clients):
        self.namespaces = []
        try:
            self._build(n_clients)
        except (OSError, subprocess.CalledProcessError) as error:
            self.close()
            raise unittest.SkipTest("netns: %s: %s" % (error, getattr(error, "stderr", "")))
        except unittest.SkipTest:
            self.close()
            raise

    def _build(self, n_clients):
        for _ in range(1 + n_clients):
            self.namespaces.append(Namespace())
        self.server, self.clients = self.namespaces[0], self.namespaces[1:]
        for words in (("link", "set", "lo", "up"), ("link", "add", "br0", "type", "bridge"), ("link", "set", "br0", "up"),
                      ("addr", "add", SERVER_ADDRESS + "/24", "dev", "br0")):
            self.server.ip(*words)
        for i, client in enumerate(self.clients):
            port = "port%d" % i
            client.ip("link", "add", "net", "type", "veth", "peer", "name", port, "netns", str(self.server.holder.pid))
            client.ip("addr", "add", "10.77.0.%d/24" % (10 + i), "dev", "net")
            client.ip("link", "set", "net", "up")
            self.server.ip("link", "set", port, "master", "br0")
            self.server.ip("link", "set", port, "up")

    def cut(self, i, near):
        """Client i hears nothing any more and is not heard. near: its own link is down, so that it is told on sending."""
        if near:
            self.clients[i].ip("link", "set", "net", "down")
        else:
            self.server.ip("link", "set", "port%d" % i, "nomaster")

    def join(self, i):
        self.clients[i].ip("link", "set", "net", "up")
        self.server.ip("link", "set", "port%d" % i, "master", "br0")

    def cut_all(self):
        self.server.ip("link", "set", "br0", "down")

    def join_all(self):
        self.server.ip("link", "set", "br0", "up")

    def close(self):
        for namespace in self.namespaces:
            namespace.close()
