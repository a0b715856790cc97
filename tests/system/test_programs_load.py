# SPDX-License-Identifier: Apache-2.0
"""dbench and stress-ng, which check what they get while they load two mounts at once: some seconds of them, or as long as
BERTH_EXERCISE_SECONDS says (`make exercise-programs`)."""
import os
import re
import shutil
import subprocess
import sys

import harness
from programcase import ProgramCase, require_program

EXERCISE_SECONDS = int(os.environ.get("BERTH_EXERCISE_SECONDS", 0))
DBENCH_SECONDS = EXERCISE_SECONDS or 6
STRESS_SECONDS = EXERCISE_SECONDS or 6
CLEANUP_SECONDS = 150  # what either program needs at most to end by itself once its time is up
TIME_LIMIT_S = 60 + 2 * (EXERCISE_SECONDS + CLEANUP_SECONDS)

# stress-ng's class `filesystem` but for bind-mount and binderfs (mount something else), eventfd, ioprio and procfs (use no file
# of ours), fiemap and verity (what they ask for only file systems on block devices have; stress-ng skips them).
STRESSORS = ("access chattr chdir chmod chown copy-file dentry dir dirdeep dirmany dnotify dup fallocate fanotify fcntl "
             "file-ioctl filename flock fpunch fsize fstat getdent handle hdd inode-flags inotify io iomix lease locka lockf "
             "lockofd mknod open rename sync-file touch utime xattr").split()
# These remove 8,192 names one by one when their time is up.
LONG_STRESSORS = ["link", "symlink"]
# Takes an event that has not come after some seconds for a failure: beside all others it fails on ext4 too.
IMPATIENT_STRESSORS = ["inotify"]


def with_one_mount(mount, *command):
    """Some stressors open and sync every mount that they see."""
    return [sys.executable, os.path.join(harness.ROOT, "tests/system/one_mount.py"), mount.path, *command]


def with_a_semaphore(*command):
    """dbench takes number 0 for a failure, which the first semaphore of a machine gets: one is made before it, in a namespace."""
    return ["unshare", "--ipc", "sh", "-c", 'ipcmk -S 1 >/dev/null && exec "$@"', "sh", *command]


class Load(ProgramCase):
    def test_one_mount(self):
        for mount in (self.mount_a, self.mount_b):
            seen = subprocess.run(with_one_mount(mount, "findmnt", "-rn", "-t", "fuse.berth", "-o", "TARGET"),
                                  capture_output=True, text=True)
            self.assertEqual((seen.stdout, seen.stderr, seen.returncode), (mount.path + "\n", "", 0))

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
        commands = [(directory, with_a_semaphore("timeout", "-k", "5", str(DBENCH_SECONDS + CLEANUP_SECONDS), "dbench", "-D",
                                                 ".", "-t", str(DBENCH_SECONDS), "2")) for _, directory in tops]
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
        if EXERCISE_SECONDS:
            patient = [name for name in STRESSORS + LONG_STRESSORS if name not in IMPATIENT_STRESSORS]
            self.stress(patient, patient)
            self.stress(IMPATIENT_STRESSORS, IMPATIENT_STRESSORS)
        else:
            self.stress(STRESSORS[0::2], STRESSORS[1::2])

    def stress(self, *each):
        """The stressors of each mount, on both at once."""
        known = set(subprocess.run(["stress-ng", "--class", "filesystem?"], capture_output=True,
                                   text=True).stdout.split(":", 1)[1].split())
        commands = []
        for stressors, top, mount in zip(each, (self.a, self.b), (self.mount_a, self.mount_b)):
            arguments = [word for name in stressors if name in known for word in ("--" + name, "1")]
            commands.append((top, with_one_mount(
                mount, "timeout", "-k", "5", str(STRESS_SECONDS + CLEANUP_SECONDS), "stress-ng", *arguments, "--verify",
                "--oomable", "--temp-path", ".", "--timeout", str(STRESS_SECONDS))))
        for text in self.together(commands, STRESS_SECONDS):
            self.assertEqual(re.findall(r".*(?:stress-ng: (?:fail|error)|skipping|skipped).*", text), [])
            self.assertIn("successful run completed", text)
        self.assertEqual(os.listdir(self.a), [])
        self.assertEqual(os.listdir(self.b), [])
        self.assertTrue(self.server.running())
