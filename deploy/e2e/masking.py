"""What masking costs ingest: the same records through the door by gRPC, validated, masked or not, into the log, synced.

`make masking`, or: masking.py --bin target/release --unmasked target/unmasked/release [--events 300000] [--rounds 5]

One build of ingest, in which masking can be switched off, masks in one turn and not in the next; nobody
reads the log. Shown are events/s and CPU of ingest an event, by turns, and the medians of what a pair says."""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import benches
from footprint import events_of, four_of
from system import Client, check

COST_MAX = 15
SWITCH = "BALEFIRE_UNMASKED"


def cpu_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def turn(arguments, folder, file, masks):
    """(events/s, CPU of ingest an event in microseconds)"""
    os.environ.pop(SWITCH, None)
    if not masks:
        os.environ[SWITCH] = "1"
    four = four_of(arguments, folder)
    os.environ.pop(SWITCH, None)
    client = Client(arguments.binary, four.addr["ingest"])
    try:
        for service, part in zip(list(four.services), list(four.parts)):
            if service != "ingest":
                part.stop()
                four.services.remove(service)
                four.parts.remove(part)
        pid = four.parts[0].child.pid
        before, began = cpu_s(pid), time.monotonic()
        done = json.loads(client.run("send", str(file)).stdout)
        seconds, after = time.monotonic() - began, cpu_s(pid)
        check(done["accepted"] == arguments.events, f"not all were accepted: {done}")
        return arguments.events / seconds, (after - before) / arguments.events * 1e6
    finally:
        four.stop()


def compare(arguments, folder, told, file):
    """Per cent of events/s that masking costs, by the median of pairs."""
    costs, cpus = [], []
    for number in range(arguments.rounds):
        order = (True, False) if number % 2 == 0 else (False, True)
        found = {masks: turn(arguments, folder / f"{file.stem}-{number}-{masks}", file, masks) for masks in order}
        (rate, cpu), (bare_rate, bare_cpu) = found[True], found[False]
        costs.append(100 * (1 - rate / bare_rate))
        cpus.append(100 * (1 - bare_cpu / cpu))
        print(f"  {told}: masked {rate:,.0f}/s, {cpu:.2f} us of CPU an event; not masked {bare_rate:,.0f}/s, {bare_cpu:.2f} us", flush=True)
    cost = statistics.median(costs)
    verdict = "kept" if cost <= COST_MAX else "NOT KEPT"
    print(f"{told}: masking costs {cost:.1f} % of ingest's events/s ({', '.join(f'{one:.1f}' for one in costs)}), "
          f"{statistics.median(cpus):.1f} % of its CPU ({', '.join(f'{one:.1f}' for one in cpus)}), at most {COST_MAX} %: {verdict}", flush=True)
    return cost


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, help="folder with the binaries")
    parser.add_argument("--unmasked", required=True, help="folder with balefire-ingest of the feature `unmasked`")
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    arguments.binary = str(Path(arguments.bin).resolve() / "balefire")
    bench = benches.program("redaction", ("-p", "balefire-ingest-core", "--features", "unmasked"))
    with tempfile.TemporaryDirectory(prefix="balefire-masking-") as temporary:
        folder = Path(temporary)
        programs = folder / "bin"
        programs.mkdir()
        for program in Path(arguments.bin).resolve().glob("balefire*"):
            if program.is_file() and os.access(program, os.X_OK):
                (programs / program.name).symlink_to(program)
        (programs / "balefire-ingest").unlink(missing_ok=True)
        (programs / "balefire-ingest").symlink_to(Path(arguments.unmasked).resolve() / "balefire-ingest")
        arguments.bin = programs
        adapted = folder / "adapted.ndjson"
        subprocess.run([bench, "write", str(adapted), str(arguments.events)], check=True)
        costs = [
            compare(arguments, folder, "the documents' record", events_of(folder, 100_000, arguments.events)),
            compare(arguments, folder, "what the adapters of every source make", adapted),
        ]
    return 0 if all(cost <= COST_MAX for cost in costs) else 1


if __name__ == "__main__":
    sys.exit(main())
