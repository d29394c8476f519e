#!/usr/bin/env python3
"""Counts, in memory, how many packages depend on each name: what `count_dependencies` must find too.

    scripts/count-dependencies.py packages.jsonl > counts.tsv

Reads the JSON lines of package-list.py. Each package adds one to every distinct name in its Depends and
Pre-Depends fields: alternatives (`a | b`) each count; versions, architecture lists, `:any` and the like
are dropped. Writes `name<TAB>count`, in the order of the names' bytes. Shares no code with the example
program of that name, so that one checks the other.
"""

import base64
import collections
import json
import re
import sys

# A name ends where its version `(`, its architectures `[` or `<`, its `:arch` or a blank begins.
NAME = re.compile(r"[^\s:(\[<]+")


def fields(record):
    """The fields of a record, with their continuation lines."""
    joined = re.sub(r"\n[ \t]", " ", record)
    for line in joined.split("\n"):
        name, colon, value = line.partition(":")
        if colon:
            yield name.lower(), value


def dependencies(record):
    """The distinct names that a record depends on."""
    names = set()
    for field, value in fields(record):
        if field in ("depends", "pre-depends"):
            for alternative in re.split(r"[,|]", value):
                match = NAME.match(alternative.strip())
                if match:
                    names.add(match.group())
    return names


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    counts = collections.Counter()
    with open(sys.argv[1], encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if "value" in row:
                record = row["value"]
            else:
                record = base64.b64decode(row["value_base64"]).decode(errors="replace")
            counts.update(dependencies(record))
    for name in sorted(counts, key=str.encode):
        print(f"{name}\t{counts[name]}")


if __name__ == "__main__":
    main()
