"""What it takes to be there: how soon it is ready on an empty log, the memory of each service while so many
users are live, and what ingest accepts when nothing else runs. From real processes, one line a figure,
with the load average beside it.

`make footprint`, or: footprint.py --bin target/release [--users 100000 1000000] [--events 1000000]"""
import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "demo")]
from receiver import Receiver  # noqa: E402
from system import Client, Four, Up, check, wait_for  # noqa: E402
from timings import SECRET, figure, line  # noqa: E402

STARTS = 5
CATCH_UP_S = 600
# of a service with as many live users, MiB
RSS_MAX = {100_000: 256, 1_000_000: 600}
INGEST_MIN = 300_000


def memory_mib(pid, what):
    """`VmRSS` as it is, `VmHWM` at its most."""
    told = next(told for told in Path(f"/proc/{pid}/status").read_text().splitlines() if told.startswith(what))
    return int(told.split()[1]) / 1024


def events_of(folder, users, count, mark="m"):
    """A file of so many events, every user as often as another, none of which escalates: low, and too few of each user."""
    file, now = folder / f"{mark}{users}-{count}.ndjson", time.time_ns()
    with open(file, "wb") as out:
        for number in range(count):
            out.write(line(f"{mark}{number}", f"user{number % users}@example.com", "guardrail_block", now + number, severity="low", endpoint="/v1/chat",
                           model="gpt-4o", session_id=f"s{number % (users * 2)}", src_ip="203.0.113.7"))
    return file


def starts(arguments, folder):
    """`up`, on an empty folder: the nats-server, the streams and the four services."""
    took = []
    for attempt in range(STARTS):
        began = time.monotonic()
        up = Up(arguments.binary, folder / f"start{attempt}")
        took.append(time.monotonic() - began)
        up.stop()
    figure("up on an empty folder, to ready, median", statistics.median(took), "s", 1, " ".join(f"{one:.2f}" for one in took))


def four_of(arguments, folder):
    receiver = Receiver(SECRET, show=lambda _: None)
    return Four(arguments.bin, folder, 2, lateness="1h", webhook=receiver.url, secret=SECRET)


def consumed(client, four, users):
    """Whether every user has a window and nothing waits."""
    partitions = client.status("rule-engine", four.addr["rule-engine"])["partitions"]
    return all(p["lag"] == 0 for p in partitions) and sum(p["state_len"] for p in partitions) >= users


def memory(arguments, folder):
    for users in arguments.users:
        file = events_of(folder, users, max(arguments.events, users))
        four = four_of(arguments, folder / f"four{users}")
        client = Client(arguments.binary, four.addr["ingest"])
        try:
            began = time.monotonic()
            client.run("send", str(file))
            wait_for(lambda client=client, four=four, users=users: consumed(client, four, users), "every user's window", CATCH_UP_S)
            rate = max(arguments.events, users) / (time.monotonic() - began)
            for service, part in zip(four.services, four.parts):
                pid = part.child.pid
                figure(f"{service} with {users:,} live users, RSS", memory_mib(pid, "VmRSS"), "MiB", RSS_MAX.get(users),
                       f"at most {memory_mib(pid, 'VmHWM'):.0f} so far; {rate:,.0f} events/s went in")
            figure(f"nats-server with {users:,} live users, RSS", memory_mib(four.nats.pid, "VmRSS"), "MiB")
        finally:
            four.stop()
        file.unlink()


def ingest(arguments, folder):
    """The door alone: gRPC, admission, the log, synced; nobody reads the log."""
    files = [events_of(folder, 100_000, arguments.events, f"r{attempt}-") for attempt in range(3)]
    four = four_of(arguments, folder / "ingest")
    client = Client(arguments.binary, four.addr["ingest"])
    try:
        for service, part in zip(four.services, four.parts):
            if service != "ingest":
                part.stop()
        rates = []
        for file in files:
            began = time.monotonic()
            done = json.loads(client.run("send", str(file)).stdout)
            check(done["accepted"] == arguments.events, f"not all were accepted: {done}")
            rates.append(arguments.events / (time.monotonic() - began))
        figure("ingest alone, accepted and synced, median", statistics.median(rates), "/s", -INGEST_MIN, " ".join(f"{rate:,.0f}" for rate in rates))
        figure("RSS of ingest afterwards", memory_mib(four.parts[four.services.index("ingest")].child.pid, "VmRSS"), "MiB")
    finally:
        for service, part in zip(list(four.services), list(four.parts)):
            if service != "ingest":
                four.services.remove(service)
                four.parts.remove(part)
        four.stop()


SCENARIOS = [starts, ingest, memory]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, help="folder with the binaries")
    parser.add_argument("--users", type=int, nargs="+", default=list(RSS_MAX), help="live at once")
    parser.add_argument("--events", type=int, default=1_000_000, help="of each file")
    parser.add_argument("--only", nargs="*", default=[], choices=[one.__name__ for one in SCENARIOS])
    arguments = parser.parse_args()
    arguments.bin = Path(arguments.bin).resolve()
    arguments.binary = str(arguments.bin / "balefire")
    print(f"{os.cpu_count()} CPUs, load average {os.getloadavg()[0]:.2f}", flush=True)
    with tempfile.TemporaryDirectory(prefix="balefire-footprint-") as temporary:
        for scenario in SCENARIOS:
            if not arguments.only or scenario.__name__ in arguments.only:
                scenario(arguments, Path(temporary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
