# SPDX-License-Identifier: Apache-2.0
"""Acting as somebody else for a while, in this process: root's effective ids change, so a call costs no process."""
import os

ROOT, OWNER, OTHER = (0, 0), (1000, 1000), (3000, 3000)


class Identity:
    """The effective user, group and groups, until the block ends."""

    def __init__(self, who, groups=()):
        self.uid, self.gid = who
        self.groups = list(groups)

    def __enter__(self):
        self.own_groups = os.getgroups()
        os.setgroups(self.groups)
        os.setegid(self.gid)
        os.seteuid(self.uid)

    def __exit__(self, *_):
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(self.own_groups)
