#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""one_mount.py MOUNTPOINT COMMAND...: becomes COMMAND in a mount namespace that has, of all FUSE mounts, this one alone.

For programs that open or sync every mount of the machine: they would hold the mounts of other tests busy. Needs root."""
import ctypes
import os
import re
import sys

CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
MNT_DETACH = 2

libc = ctypes.CDLL(None, use_errno=True)


def must(result, what):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def fuse_mounts():
    """Innermost first."""
    with open("/proc/self/mountinfo") as f:
        lines = [line.split() for line in f]
    return [re.sub(r"\\(\d{3})", lambda m: chr(int(m.group(1), 8)), words[4]) for words in reversed(lines)
            if words[words.index("-") + 1].startswith("fuse.")]


def main():
    own = os.path.realpath(sys.argv[1])
    must(libc.unshare(CLONE_NEWNS), "unshare")
    must(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "make private")
    for path in fuse_mounts():
        if path != own:
            must(libc.umount2(os.fsencode(path), MNT_DETACH), path)
    os.execvp(sys.argv[2], sys.argv[2:])


main()
