# SPDX-License-Identifier: Apache-2.0
"""git on a mount: a repository's whole life, in step with the same commands on the host."""
import os

from programcase import ProgramCase, make_tree, run, tree, write_text

TIME_LIMIT_S = 240


class Git(ProgramCase):
    def setUp(self):
        super().setUp()
        self.environment = dict(os.environ, HOME=self.host, GIT_CONFIG_NOSYSTEM="1", GIT_EDITOR="true", LC_ALL="C.UTF-8")
        for who in ("AUTHOR", "COMMITTER"):
            self.environment["GIT_%s_NAME" % who] = "Berth"
            self.environment["GIT_%s_EMAIL" % who] = "berth@localhost"
            self.environment["GIT_%s_DATE" % who] = "1700000000 +0000"  # the same commits get the same names

    def git(self, *arguments, cwd):
        return run("git", "-c", "safe.directory=*", "-c", "init.defaultBranch=trunk", *arguments, cwd=cwd,
                   env=self.environment)

    def commit_file(self, cwd, name, text):
        write_text(os.path.join(cwd, name), text)
        self.git("add", "-A", cwd=cwd)
        self.git("commit", "-qm", "write " + name, cwd=cwd)

    def state(self, cwd):
        """What git and the file system say of a repository that the same commands must make the same."""
        return (self.git("show-ref", "--head", cwd=cwd), self.git("log", "--all", "--graph", "--format=%H %s", cwd=cwd),
                self.git("status", "--porcelain", cwd=cwd), self.git("stash", "list", "--format=%s", cwd=cwd),
                {path: entry for path, entry in tree(cwd, times=False).items() if path.split("/")[0] != ".git"})

    def whole_life(self, repository, commit_from):
        """Every step from one directory but the last commits, which come through `commit_from`."""
        git = self.git
        os.makedirs(repository)
        git("init", "-q", ".", cwd=repository)
        for i in range(12):
            self.commit_file(repository, "dir%d/file%d" % (i % 3, i), "".join("line %d of %d\n" % (n, i) for n in range(50)))
        git("tag", "v1", cwd=repository)
        git("tag", "-a", "-m", "annotated", "v2", cwd=repository)
        git("checkout", "-qb", "topic", "HEAD~4", cwd=repository)
        self.commit_file(repository, "topic/one", "one\n")
        self.commit_file(repository, "topic/two", "two\n")
        git("checkout", "-q", "trunk", cwd=repository)
        self.commit_file(repository, "trunk", "trunk\n")
        git("checkout", "-qb", "side", "v1~6", cwd=repository)
        self.commit_file(repository, "side", "side\n")
        git("rebase", "-q", "trunk", "topic", cwd=repository)
        git("checkout", "-q", "trunk", cwd=repository)
        git("merge", "-q", "--no-ff", "-m", "merge", "topic", cwd=repository)
        git("merge", "-q", "-m", "merge side", "side", cwd=repository)
        git("mv", "dir0", "moved", cwd=repository)
        git("commit", "-qm", "move", cwd=repository)
        write_text(commit_from + "/stashed", "stashed\n")
        git("add", "stashed", cwd=commit_from)
        git("stash", "-q", cwd=commit_from)
        self.commit_file(commit_from, "between", "between\n")
        git("stash", "pop", "-q", cwd=repository)
        git("stash", "-q", cwd=repository)
        git("gc", "-q", "--aggressive", "--prune=now", cwd=repository)
        self.commit_file(commit_from, "after gc", "after\n")
        git("fsck", "--full", "--strict", cwd=commit_from)
        git("fsck", "--full", "--strict", cwd=repository)

    def test_whole_life(self):
        self.whole_life(self.a + "/repository", self.b + "/repository")
        self.whole_life(self.host + "/repository", self.host + "/repository")
        self.assertEqual(self.state(self.b + "/repository"), self.state(self.host + "/repository"))

    def test_clones(self):
        make_tree(self.host + "/origin")
        self.git("init", "-q", ".", cwd=self.host + "/origin")
        for i in range(5):
            self.commit_file(self.host + "/origin", "changing", "%d\n" % i)
        expected = self.state(self.host + "/origin")[4]
        expected.pop("fifo")  # git keeps none
        for directory, arguments in (("far", ["--no-local", self.host + "/origin"]), ("linked", [self.a + "/far"]),
                                     ("copied", ["--no-hardlinks", self.a + "/far"]), ("bare", ["--mirror", self.a + "/far"])):
            self.git("clone", "-q", *arguments, self.a + "/" + directory, cwd=self.host)
            self.git("fsck", "--full", "--strict", cwd=self.b + "/" + directory)
        for directory in ("far", "linked", "copied"):
            self.assertEqual(self.git("status", "--porcelain", cwd=self.b + "/" + directory), "")
            found = tree(self.b + "/" + directory, times=False)
            for path, entry in expected.items():
                self.assertEqual(found[path][-2:], entry[-2:], path)  # git keeps contents, not links and modes
        # A clone of a path links its packs: far's are shared with linked and bare.
        packs = [os.stat(os.path.join(self.b, d, ".git/objects/pack", name)).st_nlink for d in ("linked", "copied")
                 for name in sorted(os.listdir(os.path.join(self.b, d, ".git/objects/pack"))) if name.endswith(".pack")]
        self.assertEqual(packs, [3, 1])
        self.commit_file(self.b + "/linked", "changing", "pushed\n")
        self.git("push", "-q", self.b + "/bare", "HEAD", cwd=self.b + "/linked")
        self.git("pull", "-q", self.a + "/bare", "HEAD", cwd=self.a + "/far")
        self.assertEqual(self.git("rev-parse", "HEAD", cwd=self.b + "/far"),
                         self.git("rev-parse", "HEAD", cwd=self.a + "/linked"))

    def test_worktrees(self):
        for top in (self.a, self.host):
            self.git("init", "-q", top + "/repository", cwd=top)
            self.commit_file(top + "/repository", "file", "first\n")
            self.git("worktree", "add", "-q", "-b", "other", top + "/other", cwd=top + "/repository")
            self.commit_file(top + "/other", "file", "second\n")
            self.git("merge", "-q", "other", cwd=top + "/repository")
            self.git("worktree", "add", "-q", "--detach", top + "/gone", cwd=top + "/repository")
            self.git("worktree", "remove", top + "/gone", cwd=top + "/repository")
            self.assertEqual(sorted(os.listdir(top)), ["other", "repository"])
            self.git("fsck", "--full", "--strict", cwd=top + "/other")
        self.assertEqual(self.state(self.b + "/repository"), self.state(self.host + "/repository"))
        self.assertEqual(self.git("worktree", "list", cwd=self.a + "/repository").replace(self.a, ""),
                         self.git("worktree", "list", cwd=self.host + "/repository").replace(self.host, ""))
