"""Counts the instructions that the three hottest functions take for an event, and holds them against
what is kept in instructions.toml: a regression shows however busy the machine is.

`make instructions`, or: instructions.py [--write]. Needs valgrind (Debian: `valgrind`) and cargo."""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib

import benches

KEPT = pathlib.Path(__file__).with_name("instructions.toml")
PARTS = {"admit": "a JSON record is admitted, masked and encoded", "read": "a batch is parsed, its events decoded",
         "count": "the same, and counted by the baseline rules"}
EVENTS = 4_096
# What the project explains. Two runs of one build differ by one instruction in ten thousand, a needless copy of each event is
# 2.6 % of `admit`; but the folder that is built in, another compiler, or a CPU without AVX2 changes what is inlined where.
MORE_MAX = 0.05


def counted(program, part):
    """Instructions an event."""
    with tempfile.TemporaryDirectory(prefix="balefire-instructions-") as folder:
        done = subprocess.run(["valgrind", "--tool=callgrind", f"--toggle-collect=hot::measured_{part}", f"--callgrind-out-file={folder}/out",
                               program, part, str(EVENTS)], capture_output=True, text=True, timeout=600)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not found or int(found[1]) < EVENTS:
        sys.exit(f"{part} was not counted: {done.stdout[-300:]}{done.stderr[-800:]}")
    return round(int(found[1]) / EVENTS)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="keep these")
    arguments = parser.parse_args()
    if not shutil.which("valgrind"):
        sys.exit("no valgrind on PATH: apt-get install valgrind")
    program = benches.program("hot")
    kept = tomllib.loads(KEPT.read_text()) if KEPT.exists() else {}
    found, worse = {}, []
    for part, what in PARTS.items():
        found[part] = counted(program, part)
        before = kept.get(part)
        more = f" ({found[part] / before - 1:+.1%} of {before:,})" if before else ""
        print(f"{part:6} {found[part]:>7,} instructions an event{more}: {what}", flush=True)
        if not arguments.write and before and found[part] < before * (1 - MORE_MAX):
            print(f"{part:6} is less than what is kept: `make instructions BASELINE=1`, so that it stays so")
        if not arguments.write and (not before or found[part] > before * (1 + MORE_MAX)):
            worse.append(part)
    if arguments.write:
        lines = [f"{part} = {count}   # {PARTS[part]}\n" for part, count in found.items()]
        KEPT.write_text("# Instructions an event, by callgrind: `make instructions BASELINE=1` keeps others.\n" + "".join(lines))
    if worse:
        sys.exit(f"{', '.join(worse)}: more than {MORE_MAX:.0%} above what is kept. Find out why; if it is worth it, "
                 "`make instructions BASELINE=1` and say so in the commit")


if __name__ == "__main__":
    main()
