# SPDX-License-Identifier: Apache-2.0
"""dbench and stress-ng, which check what they get while they load two mounts at once: some seconds of them, or as long as
BERTH_EXERCISE_SECONDS says (`make exercise-programs`)."""
import os
import re
import shutil
import subprocess

from programcase import ProgramCase, require_program

EXERCISE_SECONDS = int(os.environ.get("BERTH_EXERCISE_SECONDS", 0))
DBENCH_SECONDS = EXERCISE_SECONDS or 6
STRESS_SECONDS = EXERCISE_SECONDS or 6
CLEANUP_SECONDS = 150  # what either program needs at most to end by itself once its time is up
TIME_LIMIT_S = 60 + EXERCISE_SECONDS + 2 * CLEANUP_SECONDS

# stress-ng's class `filesystem` but for bind-mount and binderfs (mount something else), eventfd, ioprio and procfs (use no file
# of ours), fiemap and verity (what they ask for only file systems on block devices have; stress-ng skips them), and fanotify
# (watches every mount of the machine: its queued events keep the mounts of other tests busy).
STRESSORS = ("access chattr chdir chmod chown copy-file dentry dir dirdeep dirmany dnotify dup fallocate fcntl "
             "file-ioctl filename flock fpunch fsize fstat getdent handle hdd inode-flags inotify io iomix lease locka lockf "
             "lockofd mknod open rename sync-file touch utime xattr").split()
# These remove 8,192 names one by one when their time is up.
LONG_STRESSORS = ["link", "symlink"]


class Load(ProgramCase):
    def together(self, commands, seconds):
        """Runs all at once; returns what each printed. Each ends by itself, or is ended and fails the test."""
        processes = [subprocess.Popen(command, cwd=top, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, text=True, errors="replace")
                     for top, command in commands]
        printed = []
        try:
            for process in processes:
                printed.append(process.communicate(timeout=seconds + CLEANUP_SECONDS)[0])
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
                    process.communicate()
        for process, text in zip(processes, printed):
            self.assertEqual(process.returncode, 0, text[-6000:])
        return printed

    def test_dbench(self):
        """Its script has an expected result for every operation; one that differs ends it with an error."""
        require_program("dbench")
        tops = [(top, os.path.join(top, "client %d" % i)) for i, top in enumerate((self.a, self.b))]
        for _, directory in tops:
            os.mkdir(directory)
        commands = [(directory, ["timeout", "-k", "5", str(DBENCH_SECONDS + CLEANUP_SECONDS), "dbench", "-D", ".", "-t",
                                 str(DBENCH_SECONDS), "2"]) for _, directory in tops]
        for text in self.together(commands, DBENCH_SECONDS):
            throughput = re.search(r"^Throughput ([\d.]+) MB/sec", text, re.M)
            self.assertTrue(throughput and float(throughput.group(1)) > 0, text[-3000:])
            self.assertNotRegex(text, r"(?i)failed|error|mismatch")
            for operation in ("NTCreateX", "WriteX", "ReadX", "Unlink", "Find"):
                self.assertRegex(text, r"(?m)^ %s +[1-9]" % operation)
        shutil.rmtree(self.a + "/client 1")
        shutil.rmtree(self.b + "/client 0")
        self.assertEqual(os.listdir(self.b), [])

    def test_stress_ng(self):
        require_program("stress-ng")
        known = set(subprocess.run(["stress-ng", "--class", "filesystem?"], capture_output=True,
                                   text=True).stdout.split(":", 1)[1].split())
        stressors = STRESSORS + (LONG_STRESSORS if EXERCISE_SECONDS else [])
        commands = []
        for i, top in enumerate((self.a, self.b)):
            half = stressors if EXERCISE_SECONDS else stressors[i::2]
            arguments = [word for name in half if name in known for word in ("--" + name, "1")]
            commands.append((top, ["timeout", "-k", "5", str(STRESS_SECONDS + CLEANUP_SECONDS), "stress-ng", *arguments,
                                   "--verify", "--oomable", "--temp-path", ".", "--timeout", str(STRESS_SECONDS)]))
        for text in self.together(commands, STRESS_SECONDS):
            self.assertNotRegex(text, r"stress-ng: (fail|error)|skipping|skipped")
            self.assertIn("successful run completed", text)
        self.assertEqual(os.listdir(self.a), [])
        self.assertEqual(os.listdir(self.b), [])
        self.assertTrue(self.server.running())
