# SPDX-License-Identifier: Apache-2.0
"""Compilers, interpreters and package managers on a mount, and what they made run from it."""
import base64
import csv
import hashlib
import io
import json
import os
import shutil
import tarfile
import zipfile

import harness
from programcase import ProgramCase, require_program, run, tree, write_text

TIME_LIMIT_S = 240
PYTHON = "/usr/bin/python3"


class Compiled(ProgramCase):
    def test_compile_and_run_on_the_mount(self):
        write_text(self.a + "/hello.c", '#include <stdio.h>\nint main(void) { puts("hello from the mount"); return 0; }\n')
        run("cc", "-o", self.a + "/hello", self.a + "/hello.c")
        self.assertEqual(run(self.b + "/hello"), "hello from the mount\n")
        run("strip", self.b + "/hello")
        self.assertEqual(run(self.a + "/hello"), "hello from the mount\n")

    def test_shell_script(self):
        write_text(self.a + "/script", '#!/bin/sh\necho "$0 $*"; . "$(dirname "$0")/part"\n')
        write_text(self.a + "/part", "echo part\n")
        os.chmod(self.a + "/script", 0o755)
        self.assertEqual(run(self.b + "/script", "x"), "%s/script x\npart\n" % self.b)
        os.chmod(self.b + "/script", 0o644)
        with self.assertRaises(PermissionError):
            run(self.a + "/script")

    def test_shared_library(self):
        write_text(self.a + "/answer.c", "static int base = 40;\nint answer(int n) { base += n; return base; }\n")
        run("cc", "-shared", "-fPIC", "-o", self.a + "/libanswer.so", self.a + "/answer.c")
        write_text(self.a + "/main.c", '#include <stdio.h>\nint answer(int);\nint main(void) { printf("%d\\n", answer(2)); }\n')
        run("cc", "-o", self.b + "/main", self.b + "/main.c", "-L" + self.b, "-lanswer", "-Wl,-rpath,$ORIGIN")
        self.assertEqual(run(self.a + "/main"), "42\n")
        out = run(PYTHON, "-c", "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).answer(2))", self.b + "/libanswer.so")
        self.assertEqual(out, "42\n")

    def test_archive_and_link(self):
        for i in range(40):
            write_text("%s/part%d.c" % (self.a, i), "int part%d(void) { return %d; }\n" % (i, i))
        write_text(self.a + "/main.c", "".join("int part%d(void);\n" % i for i in range(40)) + "int main(void) { return "
                   + " + ".join("part%d()" % i for i in range(40)) + " - 780; }\n")
        run("sh", "-c", "printf '%s\\n' part*.c | xargs -P 2 -n 10 cc -c && ar rcs libparts.a part*.o && ar d libparts.a part7.o"
            " && ar r libparts.a part7.o && cc -o main main.c libparts.a", cwd=self.a)
        run(self.b + "/main")


class Make(ProgramCase):
    def test_this_project(self):
        if not os.path.exists(harness.ROOT + "/.git"):
            self.skipTest("git: this is no checkout")
        os.mkdir(self.a + "/berth")
        archive = self.host + "/berth.tar"
        run("git", "-c", "safe.directory=*", "-C", harness.ROOT, "archive", "-o", archive, "HEAD")
        run("tar", "-C", self.a + "/berth", "-xf", archive)
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "BERTH"))}
        run("make", "-s", "-j2", "CFLAGS=-O0", "all", cwd=self.a + "/berth", env=environment)
        for name in ("berthd", "berth", "berth-fn"):
            self.assertIn("usage", run(self.b + "/berth/build/bin/" + name, "--help").lower())
        again = run("make", "-n", "CFLAGS=-O0", "all", cwd=self.b + "/berth", env=environment)
        self.assertEqual([line for line in again.splitlines() if " -c " in line or " -o " in line], [])

    def test_times_decide_what_is_made(self):
        """Each target depends on the one before; touched ones and what follows are made again, and nothing else."""
        count = 30
        write_text(self.a + "/Makefile", "all: step%d\n" % (count - 1) + "".join(
            "step%d: step%d\n\t@echo %d; echo %d >$@\n" % (i, i - 1, i, i) for i in range(1, count)))
        write_text(self.a + "/step0", "")
        numbers = [str(i) for i in range(1, count)]
        self.assertEqual(run("make", "-s", cwd=self.b).split(), numbers)
        self.assertEqual(run("make", "-s", cwd=self.a).split(), [])
        stamps = [os.stat("%s/step%d" % (self.b, i)).st_mtime_ns for i in range(count)]
        self.assertEqual(stamps, sorted(stamps))
        newest = stamps[-1]
        os.utime(self.a + "/step11", ns=(newest + 1, newest + 1))  # one nanosecond counts
        self.assertEqual(run("make", "-s", cwd=self.b).split(), numbers[11:])
        with open(self.a + "/step20", "a") as f:
            f.write("more\n")
        self.assertEqual(run("make", "-s", cwd=self.b).split(), numbers[20:])
        self.assertEqual(run("make", "-q", cwd=self.a), "")


class Python(ProgramCase):
    MODULES = 200

    def test_import(self):
        for i in range(self.MODULES):
            write_text("%s/package/part%d/module.py" % (self.a, i // 10), "")
            write_text("%s/package/part%d/module%d.py" % (self.a, i // 10, i), "from package.part0 import module\nN = %d\n" % i)
        names = [path[:-3].replace("/", ".") for path in tree(self.a) if path.endswith(".py")]
        program = "import importlib\nprint(sum(getattr(importlib.import_module(n), 'N', 0) for n in %r))" % names
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        for top in (self.a, self.b):
            self.assertEqual(run(PYTHON, "-c", program, cwd=top, env=environment), "%d\n" % sum(range(self.MODULES)))
            compiled = {p: e for p, e in tree(self.b + "/package").items() if p.endswith(".pyc")}
            self.assertEqual(len(compiled), len(names))
            if top == self.a:
                first = compiled
        self.assertEqual(compiled, first)  # the second import took the compiled files as they were

    def test_venv(self):
        run(PYTHON, "-m", "venv", "--without-pip", self.a + "/venv")
        out = run(self.b + "/venv/bin/python", "-c", "import sys, json; print(sys.prefix != sys.base_prefix)")
        self.assertEqual(out.strip(), "True")

    def wheel(self, path, files):
        """A wheel as pip would make one, with the list of hashes that an installer checks."""
        record = io.StringIO()
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in files.items():
                archive.writestr(name, text)
                digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
                csv.writer(record).writerow([name, "sha256=" + digest, len(text)])
            archive.writestr("berth_test-1.dist-info/RECORD", record.getvalue())

    def test_wheel_in_venv(self):
        """What pip does with a wheel, without pip: unpack, check every hash, compile all, import; then uninstall."""
        files = {"berth_test/__init__.py": "import berth_test.m0\nanswer = 42\n",
                 "berth_test-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: berth-test\nVersion: 1\n"}
        files.update(("berth_test/m%d.py" % i, "N = %d\n" % i + "# text\n" * (i * 7)) for i in range(300))
        self.wheel(self.a + "/berth_test-1-py3-none-any.whl", files)
        run(PYTHON, "-m", "venv", "--without-pip", self.b + "/venv")
        site = run(self.b + "/venv/bin/python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
        run(PYTHON, "-m", "zipfile", "-e", self.b + "/berth_test-1-py3-none-any.whl", site)
        with open(site + "/berth_test-1.dist-info/RECORD") as f:
            for name, digest, size in csv.reader(f):
                with open(os.path.join(site, name), "rb") as member:
                    data = member.read()
                found = "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
                self.assertEqual((found, str(len(data))), (digest, size))
        run(self.a + "/venv/bin/python", "-m", "compileall", "-q", "-j", "2", site.replace(self.b, self.a))
        self.assertEqual(len(os.listdir(site + "/berth_test/__pycache__")), 301)
        program = "import berth_test, importlib.metadata as m; print(berth_test.answer, m.version('berth-test'))"
        self.assertEqual(run(self.b + "/venv/bin/python", "-c", program), "42 1\n")
        shutil.rmtree(self.a + "/venv")
        self.assertEqual(os.listdir(self.b), ["berth_test-1-py3-none-any.whl"])


class Node(ProgramCase):
    FILES = 3000 if "BERTH_EXERCISE_SECONDS" in os.environ else 600

    def tarball(self, path, package, files):
        with tarfile.open(path, "w:gz", compresslevel=1) as archive:
            for name, text in [("package.json", json.dumps(package)), *files]:
                info = tarfile.TarInfo("package/" + name)
                info.size, info.mode, info.mtime = len(text), 0o644, 1_000_000_000
                archive.addfile(info, io.BytesIO(text.encode()))

    def test_npm_install_and_run(self):
        require_program("node", "npm")
        parts = [("lib/m%d.js" % i, "module.exports = %d;\n" % i) for i in range(self.FILES)]
        index = ("let total = require('berth-small').zero;\nfor (let i = 0; i < %d; i++)\n"
                 "  total += require(`./lib/m${i}.js`);\nmodule.exports = total;\n" % self.FILES)
        small, big = self.host + "/berth-small-1.0.0.tgz", self.host + "/berth-big-1.0.0.tgz"
        self.tarball(small, {"name": "berth-small", "version": "1.0.0", "main": "index.js", "bin": {"small": "run.js"}},
                     [("index.js", "exports.zero = 0;\n"), ("run.js", "#!/usr/bin/env node\nconsole.log('ran');\n")])
        self.tarball(big, {"name": "berth-big", "version": "1.0.0", "main": "index.js",
                           "dependencies": {"berth-small": "file:" + small}}, [("index.js", index), *parts])
        environment = {k: v for k, v in os.environ.items() if not k.lower().startswith("npm_")}
        environment.update(HOME=self.a + "/home", npm_config_cache=self.host + "/cache", npm_config_update_notifier="false",
                           npm_config_audit="false", npm_config_fund="false")
        os.mkdir(self.a + "/home")
        write_text(self.a + "/app/package.json", json.dumps({
            "name": "app", "version": "1.0.0", "dependencies": {"berth-big": "file:" + big, "berth-small": "file:" + small}}))
        run("npm", "install", "--offline", "--silent", cwd=self.a + "/app", env=environment)
        module = self.b + "/app/node_modules/berth-big"
        self.assertEqual(sum(len(files) for _, _, files in os.walk(module)), self.FILES + 2)
        out = run("node", "-e", "console.log(require('berth-big'))", cwd=self.b + "/app", env=environment)
        self.assertEqual(out, "%d\n" % sum(range(self.FILES)))
        self.assertEqual(run(self.b + "/app/node_modules/.bin/small", env=environment), "ran\n")
        run("npm", "uninstall", "--offline", "--silent", "berth-big", cwd=self.b + "/app", env=environment)
        self.assertFalse(os.path.exists(self.a + "/app/node_modules/berth-big"))
