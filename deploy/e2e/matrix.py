"""The same file through every count of partitions and of instances of each service, as real
processes: the sorted escalation ids are the same everywhere and those of a brute force, and
`balefire verify` finds no difference. With --kills, instances and the nats-server are killed while
the file goes in.

`make matrix`, or: matrix.py --bin target/release [--partitions 1 2 4 8] [--instances 1 2 3]"""
import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from chaos import SECRET, Accountant, Chaos
from chaos_cluster import Cluster
from chaos_world import RULES, Books, Feed, Sink, identity
from corpus import SECOND

SPAN = 600 * SECOND
SETTLE_S = 120


def corpus(count, seed):
    """(lines, books) of the last ten minutes."""
    begin = time.time_ns() - SPAN - 60 * SECOND
    feed = Feed(seed, max(20, count // 60), 8)
    feed.clock = lambda: begin + SPAN * feed.number // count
    lines, books = [], Books()
    while len(lines) < count:
        for line, event in zip(*feed.batch(100), strict=True):
            if event is not None:
                lines.append(line)
                books.events[event["event_id"]] = event
    return lines, books


def once(arguments, folder, file, want, partitions, instances):
    """Sends the file through one shape; the sorted ids, and what is wrong."""
    sink = Sink(SECRET, 1)
    sink.healed = True
    rules = folder / "rules"
    rules.mkdir(parents=True)
    (rules / "rules.yml").write_text(RULES)
    cluster = Cluster(arguments.bin, folder, partitions=partitions, instances=instances, rules=rules, webhook=sink.url, secret=SECRET, lateness="2h")
    accountant, faults = Accountant(cluster, Books(), sink), []
    try:
        door = cluster.grpc[cluster.services["ingest"][0].name]
        send = [accountant.binary, "send", str(file), "--addr", f"http://{door}"]
        begun = time.monotonic()
        if not accountant.until(lambda: accountant.ask("ingest", "status", "--output", "json") is not None, 60):
            raise RuntimeError("the door did not become ready")
        with open(folder / "kills.txt", "w") as log:
            chaos = Chaos(cluster, partitions * 10 + instances, log)
            sender = subprocess.Popen(send, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            while chaos.kills < arguments.kills:
                random.choice([chaos.kill_one, chaos.kill_several, chaos.kill_nats])()
                if sender.poll() is not None:
                    # the door that it spoke to was killed: what it sent already is a copy
                    sender = subprocess.Popen(send, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            cluster.everything_up()
            while sender.wait() != 0:
                told = sender.stderr.read().decode()
                if time.monotonic() - begun > 300:
                    raise RuntimeError(f"send: {told}")
                sender = subprocess.Popen(send, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        accountant.until(lambda: want <= {identity(line) for line in accountant.listed()}, SETTLE_S)
        took = time.monotonic() - begun
        lines = accountant.listed()
        got, ids = {identity(line) for line in lines}, sorted(line["escalation_id"] for line in lines)
        if got != want:
            faults.append(f"{len(want - got)} missing {sorted(want - got)[:2]}, {len(got - want)} unexpected {sorted(got - want)[:2]}")
        if len(ids) != len(set(ids)):
            faults.append("an id stands twice")
        faults += cluster.stop()
        done = accountant.verify()
        if done.returncode != 0:
            faults.append(f"verify: {done.stdout}{done.stderr}")
    finally:
        cluster.close()
    print(f"{'FAILED' if faults else 'ok    '}  {partitions} partitions × {instances} instances  {len(ids)} ids, {chaos.kills} kills, {took:.1f} s", flush=True)
    for fault in faults:
        print(f"        {fault}", flush=True)
    return ids, faults


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, help="folder with the binaries")
    parser.add_argument("--partitions", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--instances", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--count", type=int, default=20_000, help="events in the file")
    parser.add_argument("--kills", type=int, default=0, help="of each shape")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--keep", help="folder for data and logs, kept")
    arguments = parser.parse_args()
    failed, seen = False, None
    with tempfile.TemporaryDirectory(prefix="balefire-matrix-") as temporary:
        folder = Path(arguments.keep or temporary).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        lines, books = corpus(arguments.count, arguments.seed)
        file, want = folder / "events.ndjson", books.expected()
        file.write_bytes(b"\n".join(lines) + b"\n")
        for partitions in arguments.partitions:
            for instances in arguments.instances:
                ids, faults = once(arguments, folder / f"{partitions}x{instances}", file, want, partitions, instances)
                failed |= bool(faults)
                if seen not in (None, ids):
                    failed = True
                    print("        other ids than before", flush=True)
                seen = seen or ids
    print(f"{len(want)} escalations wanted, {'NOT the same' if failed else 'the same'} everywhere", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
