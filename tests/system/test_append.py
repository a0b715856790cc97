# SPDX-License-Identifier: Apache-2.0
"""P5, appends never collide: records from any number of clients all arrive, once, and whole."""
import multiprocessing
import os
import unittest

from mountcase import TwoMounts, read_file

PROCESSES_PER_MOUNT = 4
RECORDS = 5000
RECORD_SIZE = 64
LARGEST_WHOLE = (1 << 20) - 4096


def record(writer, i):
    return (b"%02d %06d " % (writer, i)).ljust(RECORD_SIZE - 1, b".") + b"\n"


def append_records(path, writer, start):
    start.wait()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for i in range(RECORDS):
        if os.write(fd, record(writer, i)) != RECORD_SIZE:
            raise SystemExit("short append")
    os.close(fd)


def append_large(path, byte, count, start):
    start.wait()
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    block = bytes([byte]) * LARGEST_WHOLE
    for _ in range(count):
        if os.write(fd, block) != LARGEST_WHOLE:
            raise SystemExit("short append")
    os.close(fd)


class Append(TwoMounts):
    def run_all(self, target, argument_lists):
        start = multiprocessing.Event()
        workers = [multiprocessing.Process(target=target, args=(*arguments, start)) for arguments in argument_lists]
        for worker in workers:
            worker.start()
        start.set()
        for worker in workers:
            worker.join()
        self.assertEqual([worker.exitcode for worker in workers], [0] * len(workers))

    def test_none_lost_torn_or_doubled(self):
        writers = range(2 * PROCESSES_PER_MOUNT)
        self.run_all(append_records, [((self.a if w % 2 else self.b) + "/log", w) for w in writers])
        data = read_file(self.a + "/log")
        got = [data[i:i + RECORD_SIZE] for i in range(0, len(data), RECORD_SIZE)]
        expected = {record(w, i) for w in writers for i in range(RECORDS)}
        self.assertEqual(len(got), len(expected))
        self.assertEqual(set(got), expected)
        for w in writers:
            own = [line for line in got if line.startswith(b"%02d " % w)]
            self.assertEqual(own, sorted(own), "one writer's records keep their order")

    def test_large_records_stay_whole(self):
        path = os.path.join(self.a, "log")
        open(path, "wb").close()
        self.run_all(append_large, [((self.a if w % 2 else self.b) + "/log", w, 4) for w in range(4)])
        data = read_file(path)
        self.assertEqual(len(data), 16 * LARGEST_WHOLE)
        counts = {}
        for at in range(0, len(data), LARGEST_WHOLE):
            block = data[at:at + LARGEST_WHOLE]
            self.assertEqual(block, block[:1] * LARGEST_WHOLE, "a record is torn")
            counts[block[0]] = counts.get(block[0], 0) + 1
        self.assertEqual(counts, {w: 4 for w in range(4)})

    def test_append_flag_set_after_open(self):
        import fcntl
        path = os.path.join(self.a, "log")
        with open(path, "wb", buffering=0) as writer:
            writer.write(b"first ")
            with open(os.path.join(self.b, "log"), "ab", buffering=0) as other:
                other.write(b"second ")
            fcntl.fcntl(writer.fileno(), fcntl.F_SETFL, os.O_APPEND)
            writer.write(b"third")
        self.assertEqual(read_file(path), b"first second third")

    def test_pwrite_on_append_descriptor_appends_as_on_linux(self):
        path = os.path.join(self.a, "log")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(fd, b"abc")
        os.pwrite(fd, b"def", 0)
        os.close(fd)
        self.assertEqual(read_file(path), b"abcdef")


if __name__ == "__main__":
    unittest.main()
