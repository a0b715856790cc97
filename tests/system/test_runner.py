# SPDX-License-Identifier: Apache-2.0
"""The runner itself: a failure, a hang, a crash and what a test leaves behind are told and counted, and the rest still runs."""
import json
import os
import shutil
import subprocess
import unittest

import harness

FAKE = '''
import os, subprocess, tempfile, time, unittest
TIME_LIMIT_S = 1
class A(unittest.TestCase):
    def test_a_passes(self): pass
    def test_b_fails(self): self.fail("boo")
    def test_c_hangs(self): time.sleep(100)
    def test_d_is_skipped(self): self.skipTest("fuse: none")
    def test_e_dies(self): os.kill(os.getpid(), 9)
    def test_f_after_the_crash(self): pass
class B(unittest.TestCase):
    @classmethod
    def setUpClass(cls): raise unittest.SkipTest("engine: none")
    def test_x(self): pass
    def test_y(self): pass
'''
LEAVES = '''
import subprocess, tempfile, unittest
class Leaves(unittest.TestCase):
    def test_process(self): subprocess.Popen(["sh", "-c", "setsid sleep 98765 & exit 0"]).wait()
    def test_file(self): tempfile.mkstemp()
'''


class Runner(unittest.TestCase):
    def run_fake(self, files, **environment):
        root = harness.new_directory("runner-")
        os.makedirs(root + "/tests/system")
        shutil.copy(os.path.join(harness.ROOT, "tests/run"), root + "/tests/run")
        for name, text in files.items():
            with open(os.path.join(root, "tests/system", name), "w") as f:
                f.write(text)
        clean = {k: v for k, v in os.environ.items() if not k.startswith("BERTH_")}
        result = subprocess.run([root + "/tests/run", "--json", root + "/out.json"], env=dict(clean, **environment), cwd=root,
                                capture_output=True, text=True, timeout=50)
        self.assertEqual(result.stderr, "")
        with open(root + "/out.json") as f:
            cases = {r["case"]: r for r in json.load(f)}
        return result, cases

    def test_counts_and_goes_on_after_a_hang_and_a_crash(self):
        result, cases = self.run_fake({"test_fake.py": FAKE})
        self.assertEqual(result.returncode, 1)
        self.assertEqual(result.stdout.splitlines()[-1], "2 passed, 3 failed, 3 skipped")
        outcomes = {name: r["outcome"] for name, r in cases.items()}
        self.assertEqual(outcomes, {"A.test_a_passes": "ok", "A.test_b_fails": "fail", "A.test_c_hangs": "fail",
                                    "A.test_d_is_skipped": "skip", "A.test_e_dies": "fail", "A.test_f_after_the_crash": "ok",
                                    "B.test_x": "skip", "B.test_y": "skip"})
        self.assertIn("boo", cases["A.test_b_fails"]["detail"])
        self.assertIn("in test_c_hangs", cases["A.test_c_hangs"]["detail"])  # the stack
        self.assertIn("SIGKILL", cases["A.test_e_dies"]["detail"])

    def test_a_required_skip_fails(self):
        result, cases = self.run_fake({"test_fake.py": FAKE}, BERTH_REQUIRE="fuse")
        self.assertEqual(cases["A.test_d_is_skipped"]["outcome"], "fail")
        self.assertEqual(cases["B.test_x"]["outcome"], "skip")

    def test_what_is_left_behind_fails_and_is_removed(self):
        result, cases = self.run_fake({"test_leaves.py": LEAVES})
        self.assertEqual(result.stdout.splitlines()[-1], "2 passed, 1 failed, 0 skipped")
        detail = cases["(leaves nothing behind)"]["detail"]
        self.assertIn("sleep 98765", detail)
        self.assertIn("file: ", detail)
        listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
        self.assertNotIn("sleep 98765", listed)

    def test_nothing_to_run_is_a_failure(self):
        result, _ = self.run_fake({})
        self.assertEqual((result.returncode, result.stdout.splitlines()[-1]), (1, "0 passed, 0 failed, 0 skipped"))


if __name__ == "__main__":
    unittest.main()
