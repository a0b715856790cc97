#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Holds every #include to the table of docs/ARCHITECTURE.md, and outside libraries to the folders that may know them.

The table's last column names folders ("base, types", "fs/*") or single headers; "everything" allows all. A file may always
include its own folder. Prints each include that breaks the rule; exit 1 when there is one.
"""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WORDS = {"base": "fs/base/", "types": "fs/types.h", "wire": "fs/wire/", "core": "fs/core/", "store": "fs/store/", "fs/*": "fs/"}

# Who may know a library or an operating system interface: folders, longest match of the header's beginning first.
OUTSIDE = {
    "sqlite3.h": ("fs/store/", "server/catalogue_db.", "tests/"),
    "uv.h": ("server/", "client/", "shim/", "tests/"),
    "fuse": ("client/", "tests/"),
    "microhttpd.h": ("server/", "shim/", "tests/"),
    "jansson.h": ("server/", "client/cli/", "shim/", "tests/"),
    "curl/": ("client/cli/", "tests/"),
    "openssl/": ("server/", "client/", "tests/"),
    "sys/socket.h": ("server/", "client/", "shim/", "tests/"),
    "netinet/": ("server/", "client/", "shim/", "tests/"),
    "cmocka.h": ("tests/",),
}


def allowed_by(cell):
    """A table cell's words as path beginnings; None for everything."""
    allowed = []
    for word in cell.replace("`", "").split(","):
        word = word.strip()
        if word == "everything":
            return None
        if word not in ("–", "-", ""):
            allowed.append(WORDS.get(word, word))
    return allowed


def read_table():
    """[(folder, allowed)] from the rows `| folder | what | may include |`."""
    rows = []
    with open(os.path.join(ROOT, "docs/ARCHITECTURE.md")) as f:
        for line in f:
            cells = [c.strip() for c in line.strip().strip("|").split("|")]
            match = re.match(r"`([\w/.]+)`$", cells[0])
            if match and len(cells) == 3:
                rows.append((match.group(1), allowed_by(cells[2])))
    return rows


def sources():
    for top in ("fs", "server", "client", "shim", "tests"):
        for folder, _, names in os.walk(os.path.join(ROOT, top)):
            for name in sorted(names):
                if name.endswith((".c", ".h", ".def")):
                    yield os.path.relpath(os.path.join(folder, name), ROOT)


def owner(path, rows):
    """The row whose folder holds the file, the longest first."""
    matching = [r for r in rows if path.startswith(r[0]) or path == r[0].replace(".h", ".c")]
    return max(matching, key=lambda r: len(r[0]), default=None)


def broken_rule(path, header, quoted, rows):
    if not quoted:
        for beginning, folders in OUTSIDE.items():
            if header.startswith(beginning) and not path.startswith(folders):
                return "only %s may" % ", ".join(folders)
        return None
    row = owner(path, rows)
    if row is None:
        return None if path.startswith("tests/") else "no row of the table holds this file"
    folder, allowed = row
    if allowed is None or header.startswith(folder) or any(header.startswith(a) for a in allowed):
        return None
    return "%s may include %s" % (folder, ", ".join(allowed) or "nothing else")


def main():
    rows = read_table()
    if len(rows) < 5:
        print("docs/ARCHITECTURE.md: its table of folders was not found")
        return 1
    found = 0
    for path in sources():
        with open(os.path.join(ROOT, path)) as f:
            for number, line in enumerate(f, 1):
                match = re.match(r'\s*#\s*include\s*(["<])([^">]+)[">]', line)
                if not match:
                    continue
                quoted, header = match.group(1) == '"', match.group(2)
                if quoted and not os.path.exists(os.path.join(ROOT, header)):
                    why = "quoted includes are written from the top of the tree"
                else:
                    why = broken_rule(path, header, quoted, rows)
                if why:
                    print("%s:%d: includes %s: %s" % (path, number, header, why))
                    found = 1
    return found


if __name__ == "__main__":
    sys.exit(main())
