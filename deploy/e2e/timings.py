"""How long it takes when something goes down or starts again, from real processes. One line a figure,
with the load average beside it; a figure beyond its limit is marked, and with --strict the exit is 1.

`make timings`, or: timings.py --bin target/release [--only NAME …] [--users 100000] [--strict]"""
import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "demo")]
from chaos_cluster import damage  # noqa: E402
from corpus import text  # noqa: E402
from receiver import Receiver  # noqa: E402
from system import END_S, READY_S, Client, Failed, Four, Up, check, get, wait_for  # noqa: E402

SECRET = "whsec_" + "YmFsZWZpcmUgdGltaW5ncyBzZWNyZXQsIDMyIGJ5dGVz"
EVERY_S = 0.02          # between two events that escalate at once
STEADY_S = 3            # before and after something is done
BLOCKS = 10             # of a user: one more raises
BATCH_MIN = 32
DAMAGES = 120
START_S = 0.5           # of a process, beside reading the log
PASSES = 2              # as many users more, so that several checkpoints lie within the time measured
late = []


def figure(name, value, unit, limit=None, more=""):
    """`limit`: (at most, or at least where negative)."""
    beyond = limit is not None and (value > limit if limit >= 0 else value < -limit)
    if beyond:
        late.append(name)
    bound = "" if limit is None else f"  ({'at most' if limit >= 0 else 'at least'} {abs(limit):g})"
    print(f"{'BEYOND' if beyond else 'ok    '}  {name:<46} {value:10.3f} {unit}{bound}  load {os.getloadavg()[0]:.2f}  {more}", flush=True)


class Clocked(Receiver):
    """When each event id was told of first."""

    def __init__(self):
        self.arrived = {}
        super().__init__(SECRET, show=lambda _: None)

    def take(self, headers, body):
        now = time.monotonic()
        for event_id in json.loads(body)["data"]["event_ids"]:
            self.arrived.setdefault(event_id, now)
        return super().take(headers, body)


def line(event_id, user, category, t_ns, **more):
    event = {"event_type": "ai_security", "timestamp": text(t_ns), "event_id": event_id, "user_id": user, "category": category, **more}
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"


class Steady:
    """An event that escalates at once, every 20 ms, until it is ended."""

    def __init__(self, binary, addr, name):
        self.name, self.sent, self.over = name, {}, threading.Event()
        self.child = subprocess.Popen([binary, "send", "-", "--addr", f"http://{addr}"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                      stderr=subprocess.PIPE, bufsize=0)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        number = 0
        while not self.over.wait(EVERY_S):
            event_id = f"{self.name}-{number}"
            self.sent[event_id] = time.monotonic()
            self.child.stdin.write(line(event_id, f"user{number % 97}", "prompt_attack", time.time_ns()))
            number += 1

    def end(self):
        self.over.set()
        self.thread.join()
        self.child.stdin.close()
        check(self.child.wait(END_S) == 0, f"send: {self.child.stderr.read().decode()[-2000:]}")


def gap(arrived, sent, at):
    """The longest time without an escalation, from a second before `at` on, seconds."""
    came = sorted(when for event_id in sent if (when := arrived[event_id]) >= at - 1)
    return max(after - before for before, after in zip(came, came[1:]))


class Pair(Four):
    """The four services, and a second rule-engine."""

    def __init__(self, bin_dir, data, receiver, partitions=1):
        super().__init__(bin_dir, data, partitions, lateness="1h", webhook=receiver.url, secret=SECRET)
        self.twin("rule-engine")

    def engines(self):
        return tuple(part for part, service in zip(self.parts, self.services) if service == "rule-engine")

    def restart(self, process):
        """What has ended comes again, as an init system would have it."""
        self.parts[self.parts.index(process)] = process.again()


def owner(client, engines):
    """The one that runs partition 0 of EVENTS, and the other."""
    for one, other in (engines, engines[::-1]):
        states = [p["state"] for p in client.status("rule-engine", one.facts["grpc"])["partitions"] if p["partition"] == 0]
        if states and states[0] == "running":
            return one, other
    return None


def failover(arguments, folder):
    """kill -9, then SIGTERM, of the rule-engine that owns a partition, with a second one running."""
    receiver = Clocked()
    pair = Pair(arguments.bin, folder / "pair", receiver)
    client = Client(arguments.binary, pair.addr["ingest"])
    gone = []
    try:
        for name, end, limit in (("fail-over after kill -9", "kill", 5), ("hand-over after SIGTERM", "stop", 1)):
            if gone:
                pair.restart(gone.pop())
            both = lambda: all(client.status("rule-engine", one.facts["grpc"])["ready"] for one in pair.engines())  # noqa: E731
            wait_for(both, "both rule-engines", READY_S)
            steady = Steady(arguments.binary, pair.addr["ingest"], end)
            wait_for(lambda steady=steady: len(steady.sent) > STEADY_S / EVERY_S and set(list(steady.sent)[:50]) <= set(receiver.arrived), "escalations")
            found = wait_for(lambda: owner(client, pair.engines()), "an owner", READY_S)
            at = time.monotonic()
            if end == "kill":
                found[0].kill()
            else:
                found[0].child.terminate()
            # once it is gone, what is sent from then on is the other's
            found[0].child.wait(END_S)
            gone_at = time.monotonic()
            wait_for(lambda steady=steady, gone_at=gone_at: any(when >= gone_at and event_id in receiver.arrived
                                                                for event_id, when in list(steady.sent.items())), "an escalation afterwards")
            wait_for(lambda ended=time.monotonic(): time.monotonic() > ended + STEADY_S, "a while")
            steady.end()
            wait_for(lambda steady=steady: set(steady.sent) <= set(receiver.arrived), "all escalations")
            figure(name, gap(receiver.arrived, steady.sent, at), "s", limit, f"{len(steady.sent)} escalations, none missing")
            gone.append(found[0])
        came = [message_id for message_id, _ in receiver.deliveries]
        check(len(came) == len(set(came)), "somebody was told twice")
    finally:
        pair.stop()


def filled(folder, users):
    """A file that fills the window of every user: one more block raises."""
    file, now = folder / "fill.ndjson", time.time_ns()
    with open(file, "wb") as out:
        for number in range(BLOCKS):
            for user in range(users):
                out.write(line(f"f{number}-{user}", f"user{user}@example.com", "guardrail_block", now + number * 1000, severity="low"))
    return file, now


def keys_of(client, addr):
    """Keys in memory, of all partitions, once everything is consumed."""
    partitions = client.status("rule-engine", addr)["partitions"]
    return sum(p["state_len"] for p in partitions) if all(p["lag"] == 0 for p in partitions) else 0


def disk(folder):
    return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())


def first_after(four, client, receiver, service, name, users, t_ns, between=lambda: None, first=None):
    """Kills the service, sends what raises for five users from `first` on, starts it; seconds to the first escalation told, of all of them."""
    place = four.services.index(service)
    four.parts[place].kill()
    between()
    if first is None:
        first = int.from_bytes(name.encode()[-3:], "big") % 9973 * 31
    events = [line(f"{name}-{number}", f"user{(first + number * 7) % users}@example.com", "guardrail_block", t_ns + 2_000_000_000, severity="low") for number in range(5)]
    client.run("send", "-", data=b"".join(events))
    begun = time.monotonic()
    four.parts[place] = four.parts[place].again()
    ready = time.monotonic() - begun
    ids = [f"{name}-{number}" for number in range(5)]
    wait_for(lambda: any(event_id in receiver.arrived for event_id in ids), "the first escalation")
    first = min(receiver.arrived[event_id] for event_id in ids if event_id in receiver.arrived) - begun
    wait_for(lambda: all(event_id in receiver.arrived for event_id in ids), "the five escalations")
    return first, ready


def batches(arguments, four):
    """Events and batches of all partitions, as `balefire verify` reads them; it must find no difference."""
    conf = next(part.command for part in four.parts)
    url, credentials = conf[conf.index("--nats-url") + 1], conf[conf.index("--credentials") + 1]
    done = subprocess.run([arguments.binary, "verify", "--nats-url", url, "--credentials", credentials], capture_output=True, text=True)
    check(done.returncode == 0, f"verify: {done.stdout}{done.stderr}")
    lines = [told.split() for told in done.stdout.splitlines() if told.startswith("OK") and " rule-engine " in told]
    return sum(int(told[told.index("batches,") - 1]) for told in lines)


def restarts(arguments, folder):
    """A rule-engine of many users with full windows: killed and started on its data, and without it."""
    users = arguments.users
    receiver = Clocked()
    file, t_ns = filled(folder, users)
    four = Four(arguments.bin, folder / "four", 2, lateness="1h", webhook=receiver.url, secret=SECRET)
    client, engine = Client(arguments.binary, four.addr["ingest"]), four.addr["rule-engine"]
    state = four.data / "rule-engine" / "rule-engine"
    try:
        began = time.monotonic()
        client.run("send", str(file))
        wait_for(lambda: keys_of(client, engine) >= users, "every user's window", 600)
        figure("events taken in while the windows were filled", users * BLOCKS / (time.monotonic() - began), "/s")
        behind = lambda: all(p["checkpoint_step"] or not p["step"] for p in client.status("rule-engine", engine)["partitions"])  # noqa: E731
        wait_for(behind, "checkpoints")
        # one interval more, so that the newest one holds all of it
        settled = time.monotonic()
        wait_for(lambda: time.monotonic() > settled + 6, "the last checkpoint")
        figure("bytes a key on disk", disk(state) / keys_of(client, engine), "B", None, f"{BLOCKS} events a key, {disk(state) / 1e6:.1f} MB")
        figure("bytes an entry on disk", disk(state) / (users * BLOCKS), "B", 200, "a key with one event is one entry")
        for attempt in range(3):
            first, ready = first_after(four, client, receiver, "rule-engine", f"again{attempt}", users, t_ns)
            figure("restart on its data, to the first escalation", first, "s", 0.5, f"ready after {ready:.3f} s, {users:,} users with {BLOCKS} events each")
        first, ready = first_after(four, client, receiver, "rule-engine", "lost", users, t_ns, lambda: shutil.rmtree(state))
        count = batches(arguments, four)
        mean = users * BLOCKS / count
        million = first * 1e6 / (users * BLOCKS)
        figure("rebuild from the log, to the first escalation", first, "s", 5 * users * BLOCKS / 1e6, f"{users * BLOCKS:,} events; {million:.2f} s a million")
        figure("mean batch", mean, "events", -BATCH_MIN)
    finally:
        four.stop()


def damages(arguments, folder):
    """A rule-engine whose store is damaged while it is down, again and again: it must answer as if nothing had been, and as soon
    as it would from the log alone. Each time the store is laid back as it was, so that there is something to damage."""
    rng, users = random.Random(arguments.seed), DAMAGES * 40
    receiver = Clocked()
    file, t_ns = filled(folder, users)
    four = Four(arguments.bin, folder / "four", 2, lateness="1h", webhook=receiver.url, secret=SECRET)
    client, engine = Client(arguments.binary, four.addr["ingest"]), four.addr["rule-engine"]
    state, kept = four.data / "rule-engine" / "rule-engine", folder / "kept"
    took, how = [], {}
    try:
        client.run("send", str(file))
        wait_for(lambda: keys_of(client, engine) >= users, "every user's window", 600)
        wait_for(lambda: all(p["checkpoint_step"] for p in client.status("rule-engine", engine)["partitions"]), "checkpoints of both partitions")

        def break_it():
            shutil.copytree(state, kept) if not kept.exists() else (shutil.rmtree(state, ignore_errors=True), shutil.copytree(kept, state))
            what = damage(rng, state)
            how[what] = how.get(what, 0) + 1

        for number in range(DAMAGES):
            took.append(first_after(four, client, receiver, "rule-engine", f"d{number:03}", users, t_ns, break_it, number * 35)[0])
        batches(arguments, four)
    finally:
        four.stop()
    check(None not in how, "there was nothing to damage")
    told = ", ".join(f"{count} {what}" for what, count in sorted(how.items()))
    limit = START_S + 5 * users * BLOCKS / 1e6
    figure(f"worst of {DAMAGES} damages, to the first escalation", max(took), "s", limit,
           f"p50 {sorted(took)[len(took) // 2]:.3f}; {told}; all {5 * DAMAGES} escalations came, verify finds no difference")


def stalls(http):
    """How often the engine stood still for a checkpoint; p50 and the longest, ms."""
    told = {}
    for metric in get(f"http://{http}/metrics").splitlines():
        if metric.startswith("balefire_checkpoint_stall_seconds") and 'stage="rule-engine"' in metric:
            name = metric.split('quantile="')[1].split('"')[0] if "quantile=" in metric else metric.split("{")[0].rsplit("_", 1)[1]
            told[name] = float(metric.rsplit(" ", 1)[1])
    return int(told.get("count", 0)), told.get("0.5", 0) * 1e3, told.get("1", 0) * 1e3


def checkpoints(arguments, folder):
    """The same file through `up` with and without checkpoints, in turn."""
    users = max(1000, arguments.users * PASSES)
    file, _ = filled(folder, users)
    rates = {"disk": [], "none": []}
    for attempt in range(arguments.rounds):
        for store in ("disk", "none") if attempt % 2 else ("none", "disk"):
            up = Up(arguments.binary, folder / f"{store}{attempt}", "--store", store, "--allowed-lateness", "1h")
            try:
                seconds = json.loads(up.run("send", str(file), "--wait", "--timeout", "300s").stdout)["seconds"]
                rates[store].append(users * BLOCKS / seconds)
                if store == "disk":
                    count, middle, most = stalls(up.http)
                    check(count, f"no checkpoint in {seconds:.1f} s: give it more --users")
                    figure("engine standing still for a checkpoint, most", most, "ms", None,
                           f"{count} checkpoints in {seconds:.1f} s, p50 {middle:.2f} ms, each of some {users * BLOCKS // (count + 1):,} changed windows in all")
            finally:
                up.stop()
            shutil.rmtree(up.data)
    best = {store: max(values) for store, values in rates.items()}
    said = ", ".join(f"{store} {'/'.join(f'{rate:,.0f}' for rate in values)}" for store, values in rates.items())
    figure("throughput with checkpoints, of that without", best["disk"] / best["none"], "", -0.9, f"best of {arguments.rounds}, events/s: {said}")


SCENARIOS = [failover, restarts, damages, checkpoints]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, help="folder with the binaries")
    parser.add_argument("--users", type=int, default=100_000, help="with full windows")
    parser.add_argument("--rounds", type=int, default=3, help="of the comparison with and without checkpoints")
    parser.add_argument("--seed", type=int, default=1, help="of the damages")
    parser.add_argument("--only", nargs="*", default=[], choices=[one.__name__ for one in SCENARIOS])
    parser.add_argument("--strict", action="store_true", help="exit 1 where a figure is beyond its limit")
    parser.add_argument("--keep", help="folder for data and logs, kept")
    arguments = parser.parse_args()
    arguments.bin = Path(arguments.bin).resolve()
    arguments.binary = str(arguments.bin / "balefire")
    print(f"{os.cpu_count()} CPUs, load average {os.getloadavg()[0]:.2f}", flush=True)
    failed = False
    with tempfile.TemporaryDirectory(prefix="balefire-timings-") as temporary:
        for scenario in SCENARIOS:
            if arguments.only and scenario.__name__ not in arguments.only:
                continue
            folder = Path(arguments.keep or temporary) / scenario.__name__
            folder.mkdir(parents=True)
            try:
                scenario(arguments, folder)
            except Failed as error:
                failed = True
                print(f"FAILED  {scenario.__name__}: {error}", flush=True)
    print(f"{len(late)} figures beyond their limit{': ' + ', '.join(sorted(set(late))) if late else ''}")
    return 1 if failed or (late and arguments.strict) else 0


if __name__ == "__main__":
    sys.exit(main())
