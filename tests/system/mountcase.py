# SPDX-License-Identifier: Apache-2.0
"""Test cases that share one server and two mounts (two clients) of one access point.

The server and mounts live for the class, each test gets a fresh directory of its own, seen as self.a and self.b.
"""
import errno
import os
import unittest

import harness


class TwoMounts(unittest.TestCase):
    AP_ARGS = ()  # for `berth ap create`; none: no enforced identity
    SERVER_ARGS = ()

    @classmethod
    def setUpClass(cls):
        harness.require_root()
        harness.require_fuse()
        cls.server = harness.Server(args=cls.SERVER_ARGS)
        cls.addClassCleanup(cls.server.stop)
        cls.fs = cls.server.fs_create()
        cls.ap = cls.server.ap_create(cls.fs, *cls.AP_ARGS)
        cls.mount_a = cls.mount(cls.ap)
        cls.mount_b = cls.mount(cls.ap)

    @classmethod
    def mount(cls, access_point, **options):
        mount = harness.Mount(cls.server, access_point, **options)
        cls.addClassCleanup(mount.unmount)
        return mount

    def setUp(self):
        name = self.id().rsplit(".", 1)[-1]
        self.a = os.path.join(self.mount_a.path, name)
        self.b = os.path.join(self.mount_b.path, name)
        os.mkdir(self.a)


def write_file(path, data, flags=0):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o644)
    try:
        while data:
            data = data[os.write(fd, data):]
    finally:
        os.close(fd)


def read_file(path):
    with open(path, "rb", buffering=0) as f:
        return f.read()


def outcome(function, *arguments, **options):
    try:
        return function(*arguments, **options)
    except OSError as error:
        return errno.errorcode[error.errno]


def as_user(uid, function, gid=None, groups=()):
    """What `function` returns in a child process that is this user."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups(list(groups))
            os.setresgid(*[uid if gid is None else gid] * 3)
            os.setresuid(uid, uid, uid)
            os.write(write_end, repr(outcome(function)).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        text = pipe.read().decode()
    os.waitpid(child, 0)
    return text
