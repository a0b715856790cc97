# SPDX-License-Identifier: Apache-2.0
"""`berth bench`: its figures hold against what the server counted and what time there was, a stored run is compared with, and
nothing is left behind, also when it is interrupted."""
import http.client
import json
import os
import re
import signal
import subprocess
import time
import unittest

import harness
from mountcase import TwoMounts

SECONDS = 0.3
RUN_SECONDS = 120
BOTH = {"list_cold", "stat_cold", "open_read_4k_cold", "stream_read_cold", "lock_handover", "append_both", "lost_records",
        "see_write", "see_create", "stale_looks"}
ONE = {"create", "create_4k", "list_warm", "stat_warm", "open_read_4k_warm", "rename", "unlink", "stream_write",
       "stream_read_warm", "random_read_4k", "random_write_4k", "write_4k_fdatasync", "append_64b", "lock_unlock"}
COUNTS = {"lost_records", "stale_looks"}


def command(*words):
    return [harness.program("berth"), "bench", "--seconds", str(SECONDS), "--size", "4", *words]


def bench(*words, code=0):
    result = subprocess.run(command(*words), capture_output=True, text=True, timeout=RUN_SECONDS)
    if result.returncode != code:
        raise AssertionError("exit %d: %s" % (result.returncode, result.stderr))
    return result


def figures_of(*words):
    return {f["name"]: f for f in json.loads(bench("--json", *words).stdout)["figures"]}


class OnMounts(TwoMounts):
    @classmethod
    def mount(cls, access_point, **options):
        # Without leases the server is asked for every operation, and counts it.
        return super().mount(access_point, options="nolease", **options)

    def asked(self, op):
        connection = http.client.HTTPConnection(self.server.api_address, timeout=10)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        match = re.search(r'berth_requests_total\{op="%s"\} (\d+)' % op, text)
        return int(match.group(1)) if match else 0

    def test_every_figure(self):
        start = time.monotonic()
        figures = figures_of(self.a, self.b)
        elapsed = time.monotonic() - start
        self.assertEqual(set(figures), BOTH | ONE)
        for name, figure in figures.items():
            with self.subTest(name):
                self.assertEqual(figure["value"] > 0, name not in COUNTS)
                self.assertLessEqual(figure["p50_us"], figure["p99_us"])
                self.assertLessEqual(figure["p99_us"], elapsed * 1e6)
        self.assertEqual(figures["stale_looks"]["value"], 0)
        self.assertEqual(figures["lost_records"]["value"], 0)
        self.assertEqual(os.listdir(self.a), [])

    def test_counts_are_the_servers(self):
        for name, op, each in (("create", "create", 1), ("rename", "rename", 1), ("append_64b", "append", 1),
                               ("lock_unlock", "setlk", 2), ("append_both", "append", 1)):
            with self.subTest(name):
                before = self.asked(op)
                figure = figures_of("--only", name, self.a, self.b)[name]
                asked = self.asked(op) - before
                # Beside the timed ones: a file to rename, the rename back.
                self.assertAlmostEqual(asked, figure["count"] * each, delta=1)
                # As many a second as were done, in the second that was given and the last operation.
                self.assertLessEqual(figure["value"], figure["count"] / SECONDS)
                self.assertGreater(figure["value"], figure["count"] / (SECONDS + 5))

    def test_slow_is_told(self):
        """The server sleeps nearly all the time: what one operation takes shows it."""
        fast = figures_of("--only", "lock_handover", self.a, self.b)["lock_handover"]
        runner = subprocess.Popen(command("--json", "--only", "lock_handover", self.a, self.b), stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True)
        while runner.poll() is None:
            self.server.process.send_signal(signal.SIGSTOP)
            time.sleep(0.02)
            self.server.process.send_signal(signal.SIGCONT)
            time.sleep(0.0002 * harness.SLOWDOWN ** 2)
        slow = json.loads(runner.communicate()[0])["figures"][0]
        self.assertLess(slow["value"], fast["value"])
        self.assertGreater(slow["p99_us"], 10000)

    def test_interrupted(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            runner = subprocess.Popen(command("--json", self.a, self.b), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                      text=True)
            for line in runner.stderr:
                if "create_4k" in line:
                    break
            self.assertEqual(len(os.listdir(self.a)), 1)
            runner.send_signal(number)
            out, _ = runner.communicate(timeout=20)
            self.assertEqual((runner.returncode, out), (-number, ""))
            self.assertEqual(os.listdir(self.a), [])

    def test_the_second_is_another_directory(self):
        other = os.path.join(self.mount_b.path, "other")
        os.mkdir(other)
        self.addCleanup(os.rmdir, other)
        result = bench(self.a, other, code=1)
        self.assertIn("does not show", result.stderr)
        self.assertEqual((os.listdir(self.a), os.listdir(other)), ([], []))


class OnAnyDirectory(unittest.TestCase):
    """Any file system can be measured; these need no mount."""

    def setUp(self):
        self.directory = harness.new_directory("bench-")

    def store(self, text):
        path = os.path.join(harness.new_directory("runs-"), "run.json")
        with open(path, "w") as f:
            f.write(text)
        return path

    def test_one_directory(self):
        figures = figures_of(self.directory)
        self.assertEqual(set(figures), ONE)
        self.assertEqual(os.listdir(self.directory), [])

    def test_table_and_progress(self):
        result = bench("--only", "stat_warm,stat_cold", self.directory)
        heads, warm = None, None
        for line in result.stdout.splitlines():
            words = line.split()
            heads = words if words[0] == "WORKLOAD" else heads
            warm = words if words[0] == "stat_warm" else warm
        self.assertEqual(heads[:3], ["WORKLOAD", "VALUE", "UNIT"])
        self.assertGreater(float(warm[1]), 0)
        self.assertEqual(warm[2], "ops/s")
        self.assertIn("needs DIR2", result.stdout)
        self.assertIn("stat_warm", result.stderr)

    def test_comparison(self):
        stored = self.store(json.dumps({"figures": [{"name": "create", "value": 10.0}, {"name": "unlink", "value": 1e9},
                                                    {"name": "of another version", "value": 1}]}))
        figures = figures_of("--compare", stored, "--only", "create,unlink,rename", self.directory)
        for name, then in (("create", 10.0), ("unlink", 1e9)):
            self.assertEqual(figures[name]["stored_value"], then)
            self.assertAlmostEqual(figures[name]["better_percent"], (figures[name]["value"] / then - 1) * 100, delta=0.01)
        self.assertNotIn("stored_value", figures["rename"])
        table = bench("--compare", stored, "--only", "create,unlink,rename", self.directory).stdout
        rows = {line.split()[0]: line.split() for line in table.splitlines()}
        self.assertEqual(rows["WORKLOAD"][-2:], ["STORED", "BETTER"])
        self.assertEqual(rows["create"][-2], "10")
        self.assertRegex(rows["create"][-1], r"^\+\d+%$")
        self.assertRegex(rows["unlink"][-1], r"^-\d+%$")
        self.assertEqual(rows["rename"][-2:], ["-", "-"])

    def test_a_run_can_be_stored_and_compared_with(self):
        stored = self.store(bench("--json", "--only", "append_64b", self.directory).stdout)
        figure = figures_of("--compare", stored, "--only", "append_64b", self.directory)["append_64b"]
        with open(stored) as f:
            self.assertEqual(figure["stored_value"], json.load(f)["figures"][0]["value"])

    def test_refusals(self):
        nowhere = os.path.join(self.directory, "nowhere")
        for words, code in (((), 2), ((self.directory, self.directory, self.directory), 2),
                            (("--seconds", "0", self.directory), 2),
                            (("--size", "x", self.directory), 2), (("--only", "create,nothing", self.directory), 2),
                            ((nowhere,), 1), (("--compare", nowhere, self.directory), 1),
                            (("--compare", self.store("{}"), self.directory), 1),
                            (("--compare", self.store('{"figures": [{"name": 1, "value": "x"}]}'), self.directory), 1),
                            (("--compare", self.store("[[[["), self.directory), 1)):
            with self.subTest(words):
                result = bench(*words, code=code)
                self.assertEqual(result.stdout, "")
                if code == 1:
                    self.assertRegex(result.stderr, r"\Aberth: bench: .*\n\Z")
        self.assertEqual(os.listdir(self.directory), [])


class Scripts(unittest.TestCase):
    """What docs/PERFORMANCE.md was measured with goes on working."""

    def test_cost(self):
        script = os.path.join(harness.ROOT, "tests", "bench", "cost")
        out = subprocess.run([script, "--inodes", "60", "--clients", "1,3", "--operations", "30", "--json"], check=True,
                             capture_output=True, text=True, timeout=RUN_SECONDS).stdout
        runs = json.loads(out)
        self.assertEqual([run["clients"] for run in runs], [1, 3])
        for run in runs:
            for cpu_us, p50_us, p99_us in run["operations"].values():
                self.assertGreaterEqual(cpu_us, 0)
                self.assertGreater(p50_us, 0)
                self.assertLessEqual(p50_us, p99_us)


if __name__ == "__main__":
    unittest.main()
