# SPDX-License-Identifier: Apache-2.0
"""Mounting as an ordinary user through fusermount3, in a private mount namespace with its own /dev/fuse of mode 0666."""
import os
import subprocess
import unittest

import harness

SCRIPT = r"""
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=0755,dev tmpfs /mnt
mknod -m 0666 /mnt/fuse c 10 229
mount --bind /mnt/fuse /dev/fuse
mkdir -p "$MOUNTS/m"
chown -R 65534:65534 "$MOUNTS"
exec setpriv --reuid 65534 --regid 65534 --clear-groups sh -eu -c '
    export HOME="$MOUNTS"
    "$BERTH" mount "$AP@$ADDRESS" "$MOUNTS/m"
    trap "\"$BERTH\" umount \"$MOUNTS/m\"" EXIT
    echo hello >"$MOUNTS/m/f"
    cat "$MOUNTS/m/f"
    stat -c "%u:%g" "$MOUNTS/m/f"
'
"""


class OrdinaryUser(unittest.TestCase):
    def test_mount_write_read_unmount(self):
        harness.require_root()
        harness.require_fuse()
        if not os.path.exists("/usr/bin/fusermount3"):
            self.skipTest("no fusermount3 (package fuse3)")
        server = harness.Server()
        self.addCleanup(server.stop)
        ap = server.ap_create(server.fs_create(), "--path", "/u", "--uid", "1000", "--gid", "1000", "--owner", "1000:1000",
                              "--perm", "0755")
        environment = dict(os.environ, AP=ap, ADDRESS=server.data_address, MOUNTS="/mnt/user",
                           BERTH=harness.program("berth"))
        result = subprocess.run(["unshare", "--mount", "sh", "-c", SCRIPT], env=environment, timeout=30,
                                capture_output=True, text=True)
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "hello\n1000:1000\n", ""))


if __name__ == "__main__":
    unittest.main()
