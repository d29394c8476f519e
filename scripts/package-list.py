#!/usr/bin/env python3
"""Turns a Debian package list into JSON lines for `horolog import`.

    apt-cache dumpavail | scripts/package-list.py > packages.jsonl
    apt-cache dumpavail | scripts/package-list.py --excerpt 400 apt git > excerpt.jsonl
    horolog import packages.jsonl --connect 127.0.0.1:4001

One record becomes one line {"key": "package/<name>", "value": "<the record>"}. The value is the record
byte for byte, from its first field to the line end of its last one; the blank line between two records
belongs to neither. A record that is not UTF-8 goes into "value_base64". If a name comes up more than
once (several versions or architectures), the first record is kept and the others are counted on
standard error.

--excerpt N NAME…: only the N records that are reached first from these names by following Depends and
Pre-Depends breadth first, in the order of the list.
"""

import argparse
import base64
import collections
import importlib.util
import json
import pathlib
import sys


def records(stream):
    """The records of a list, each as bytes without the blank line after it."""
    record = []
    for line in stream:
        if line.strip():
            record.append(line)
        elif record:
            yield b"".join(record)
            record = []
    if record:
        yield b"".join(record)


def name_of(record):
    """The package's name; None if the record has none."""
    for line in record.split(b"\n"):
        if line.startswith(b"Package:"):
            return line.removeprefix(b"Package:").strip().decode()
    return None


def json_line(name, record):
    """The line that `horolog import` reads."""
    try:
        value = {"value": record.decode()}
    except UnicodeDecodeError:
        value = {"value_base64": base64.b64encode(record).decode()}
    return json.dumps({"key": f"package/{name}"} | value, ensure_ascii=False)


def dependency_parser():
    """`dependencies` of count-dependencies.py, which stands beside this file."""
    path = pathlib.Path(__file__).with_name("count-dependencies.py")
    spec = importlib.util.spec_from_file_location("count_dependencies", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.dependencies


def excerpt(by_name, limit, start):
    """The names reached first from `start`, at most `limit`."""
    dependencies = dependency_parser()
    reached, queue = set(), collections.deque(start)
    while queue and len(reached) < limit:
        name = queue.popleft()
        if name in by_name and name not in reached:
            reached.add(name)
            queue.extend(sorted(dependencies(by_name[name].decode(errors="replace"))))
    return reached


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--excerpt", type=int, metavar="N", help="keep only so many records")
    parser.add_argument("start", nargs="*", metavar="NAME", help="where the excerpt starts")
    arguments = parser.parse_args()
    if bool(arguments.excerpt) != bool(arguments.start):
        parser.error("--excerpt N needs at least one NAME, and a NAME needs --excerpt")

    by_name, repeated, nameless = {}, 0, 0
    for record in records(sys.stdin.buffer):
        name = name_of(record)
        if name is None:
            nameless += 1
        elif name in by_name:
            repeated += 1
        else:
            by_name[name] = record
    kept = by_name.keys()
    if arguments.excerpt:
        kept = excerpt(by_name, arguments.excerpt, arguments.start)
    written = 0
    for name, record in by_name.items():
        if name in kept:
            sys.stdout.buffer.write(json_line(name, record).encode() + b"\n")
            written += 1
    print(
        f"{written} records written; left out: {repeated} further records of a name, {nameless} without a name",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
