"""First figures of the whole way, from real processes: events/s with `balefire send`, latency from
the intended send time to the webhook at a fixed rate, and CPU per event and process.

`make figures`, or: figures.py --binary target/release/balefire [--events 200000] [--rate 1000] [--seconds 30]

It is no load test: it does not prove itself. Quote its figures with the machine and this command."""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "demo")]
from corpus import Corpus, text  # noqa: E402
from receiver import Receiver  # noqa: E402
from system import Client, Four, Up, wait_for  # noqa: E402

SECRET = "whsec_" + "YmFsZWZpcmUgZmlndXJlcyBzZWNyZXQsIDMyIGJ5dGVz"
TICKS = os.sysconf("SC_CLK_TCK")
ATTACK_EVERY = 20


def cpu_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mib(pid):
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def child_of(pid):
    """The nats-server that `up` started."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        children = (task / "children").read_text().split()
        if children:
            return int(children[0])
    raise SystemExit("up has no child")


def percentile(values, share):
    return values[min(len(values) - 1, int(len(values) * share))]


def throughput(binary, folder, count):
    corpus = Corpus(count, max(50, count // 20), time.time_ns() - 60_000_000_000)
    file = folder / "events.ndjson"
    file.write_bytes(b"\n".join(corpus.lines) + b"\n")
    up = Up(binary, folder / "throughput", "--allowed-lateness", "3h")
    try:
        pids = {"up (four services)": up.process.child.pid, "nats-server": child_of(up.process.child.pid)}
        before = {name: cpu_s(pid) for name, pid in pids.items()}
        done = up.run("send", str(file), "--wait", "--timeout", "300s")
        seconds = json.loads(done.stdout)["seconds"]
        print(f"send --wait, {len(corpus.lines):,} events of {file.stat().st_size / len(corpus.lines):.0f} bytes: "
              f"{len(corpus.lines) / seconds:,.0f} events/s, accepted, durable and evaluated")
        for name, pid in pids.items():
            print(f"  {name:<20} {(cpu_s(pid) - before[name]) / len(corpus.lines) * 1e6:6.1f} µs CPU an event, {rss_mib(pid):.0f} MiB")
    finally:
        up.stop()


def per_stage(binary, folder, count):
    corpus = Corpus(count, max(50, count // 20), time.time_ns() - 60_000_000_000)
    file = folder / "events.ndjson"
    file.write_bytes(b"\n".join(corpus.lines) + b"\n")
    receiver = Receiver(SECRET, show=lambda _: None)
    four = Four(Path(binary).parent, folder / "stages", 2, lateness="3h", webhook=receiver.url, secret=SECRET)
    try:
        pids = dict(zip(["rule-engine", "correlator", "ingest", "notifier"], [part.child.pid for part in four.parts]))
        pids["nats-server"] = four.nats.pid
        before = {name: cpu_s(pid) for name, pid in pids.items()}
        client = Client(binary, four.addr["ingest"])
        client.run("send", str(file))
        wanted = len(corpus.expected())
        wait_for(lambda: client.status("rule-engine", four.addr["rule-engine"])["counters"].get("escalation_ids", 0) >= wanted, "the escalations")
        wait_for(lambda: client.settled(four.addr["notifier"]), "the deliveries")
        print(f"four processes, the same file, {wanted:,} escalations delivered; µs CPU an event:")
        print("  " + ", ".join(f"{name} {(cpu_s(pid) - before[name]) / len(corpus.lines) * 1e6:.1f}" for name, pid in pids.items()))
    finally:
        four.stop()


def latency(binary, folder, rate, seconds):
    arrived = {}

    class Clocked(Receiver):
        def take(self, headers, body):
            now = time.monotonic_ns()
            for event_id in json.loads(body)["data"]["event_ids"]:
                arrived.setdefault(event_id, now)
            return super().take(headers, body)

    receiver = Clocked(SECRET, show=lambda _: None)
    up = Up(binary, folder / "latency", "--webhook", receiver.url, "--webhook-secret", SECRET)
    total = rate * seconds
    try:
        sender = subprocess.Popen([binary, "send", "-", "--addr", f"http://{up.addr}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        start = time.monotonic_ns() + 200_000_000
        wall = time.time_ns() - time.monotonic_ns()
        intended, lines = {}, []
        for number in range(total):
            at = start + number * 1_000_000_000 // rate
            event = {"event_type": "ai_security", "timestamp": text(at + wall), "event_id": f"e{number}", "user_id": f"u{number % 997}",
                     "category": "prompt_attack" if number % ATTACK_EVERY == 0 else "guardrail_block", "request_id": f"r{number}"}
            if number % ATTACK_EVERY == 0:
                intended[event["event_id"]] = at
            lines.append((at, json.dumps(event).encode() + b"\n"))
        late = []
        for at, line in lines:
            wait = at - time.monotonic_ns()
            if wait > 0:
                time.sleep(wait / 1e9)
            else:
                late.append(-wait)
            sender.stdin.write(line)
        sender.stdin.close()
        sender.wait()
        wait_for(lambda: all(event_id in arrived for event_id in intended), "the deliveries", 60)
    finally:
        up.stop()
    values = sorted((arrived[event_id] - at) / 1e6 for event_id, at in intended.items())
    late.sort()
    print(f"{rate:,} events/s for {seconds} s, {len(values):,} windowless escalations, intended send → webhook: "
          f"p50 {percentile(values, .5):.1f} ms, p90 {percentile(values, .9):.1f} ms, p99 {percentile(values, .99):.1f} ms, max {values[-1]:.1f} ms "
          f"(sender late p99 {percentile(late, .99) / 1e6 if late else 0:.1f} ms)")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=30)
    arguments = parser.parse_args()
    binary = str(Path(arguments.binary).resolve())
    threading.stack_size(256 * 1024)
    print(f"load average before: {os.getloadavg()[0]:.2f}, {os.cpu_count()} CPUs")
    with tempfile.TemporaryDirectory(prefix="balefire-figures-") as folder:
        throughput(binary, Path(folder), arguments.events)
        per_stage(binary, Path(folder), arguments.events // 2)
        latency(binary, Path(folder), arguments.rate, arguments.seconds)


if __name__ == "__main__":
    main()
