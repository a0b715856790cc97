#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""House rules that no other tool holds: the SPDX line, a header comment, functions of at most 70 lines, no asserts
commented out, no notes to ourselves. Prints each breach; exit 1 when there is one.
"""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FUNCTION_LINES = 70
LINE_COLUMNS = 130
FOLDERS = ("fs", "server", "client", "shim", "docker", "tests", ".ci")
NOTES = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b")


def files():
    yield "Makefile"
    for top in FOLDERS:
        for folder, _, names in os.walk(os.path.join(ROOT, top)):
            if "__pycache__" not in folder:
                for name in sorted(names):
                    yield os.path.relpath(os.path.join(folder, name), ROOT)


def is_code(path, lines):
    return path.endswith((".c", ".h", ".def", ".py", ".sh")) or (lines and lines[0].startswith("#!"))


def check_opening(path, lines):
    """Line 1 (or 2, after #!) carries the licence; a comment or docstring follows."""
    first = 1 if lines and lines[0].startswith("#!") else 0
    if len(lines) <= first or "SPDX-License-Identifier: Apache-2.0" not in lines[first]:
        yield first + 1, "no SPDX line"
        return
    rest = [line.strip() for line in lines[first + 1:] if line.strip()]
    if not rest or not rest[0].startswith(("//", "/*", "#", '"""', 'r"""')) or rest[0].startswith(("#include", "#pragma")):
        yield first + 2, "no header comment: what the file owns, its invariant, who calls it"


def check_c_functions(lines):
    """With this project's layout a function's body opens with `{` in column 0 and ends with `}` there."""
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line == "}" and start is not None:
            if number - start + 1 > FUNCTION_LINES:
                yield start, "function of %d lines (at most %d)" % (number - start + 1, FUNCTION_LINES)
            start = None


def check_py_functions(lines):
    start, indent, last = None, 0, 0
    for number, line in enumerate(lines + ["def end"], 1):
        if not line.strip():
            continue
        depth = len(line) - len(line.lstrip())
        if start is not None and depth <= indent and not line.lstrip().startswith((")", '"""')):
            if last - start + 1 > FUNCTION_LINES:
                yield start, "function of %d lines (at most %d)" % (last - start + 1, FUNCTION_LINES)
            start = None
        if start is None and re.match(r"\s*def ", line):
            start, indent = number, depth
        last = number


def check_lines(path, lines):
    for number, line in enumerate(lines, 1):
        if NOTES.search(line):
            yield number, "a note to ourselves: do it or leave it out"
        if re.search(r"(//|/\*|#)\s*(fs_)?assert(_\w+)?\s*\(.*\);", line):
            yield number, "an assert commented out"
        if re.search(r"[ \t]+$", line):
            yield number, "blanks at the end of the line"
        if len(line) > LINE_COLUMNS:
            yield number, "%d columns (at most %d)" % (len(line), LINE_COLUMNS)
        if path.endswith((".c", ".h", ".def")) and "\t" in line:
            yield number, "a tab"


def breaches(path, lines):
    if is_code(path, lines):
        yield from check_opening(path, lines)
        yield from check_lines(path, lines)
    if path.endswith((".c", ".h")):
        yield from check_c_functions(lines)
    elif path.endswith(".py"):
        yield from check_py_functions(lines)


def main():
    found = 0
    for path in files():
        try:
            with open(os.path.join(ROOT, path), encoding="utf-8") as f:
                lines = f.read().split("\n")
        except UnicodeDecodeError:
            continue
        for number, why in breaches(path, lines):
            print("%s:%d: %s" % (path, number, why))
            found = 1
    return found


if __name__ == "__main__":
    sys.exit(main())
