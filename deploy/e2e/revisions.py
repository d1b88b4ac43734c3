"""A threshold changed twice under load while two ingests are on different revisions.

Two instances of each service share one nats-server. Between the second ingest and the server
stands a proxy that can keep what CONTROL delivers to it (and nothing else) waiting: so it goes on
accepting and stamping events under the revision before, as an ingest does whose network is slow.
Each change is applied while it waits, and while both doors take events.

In the end: the listed escalations are those of a brute force over the stamps that the log holds
(SEMANTICS §6: all records count, only an entry stamped within a generation may breach), each id
once; `balefire verify` derives the same from the log; `balefire rules whatif` with the rules in
force reports no difference behind the last change, and with another threshold it does.

`make revisions`, or: revisions.py --bin target/release [--seed n]"""
import argparse
import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_left, bisect_right
from pathlib import Path

from chaos import SECRET, Accountant, connected
from chaos_cluster import Cluster
from chaos_world import RULES, Books, Feed, Sender, Sink
from corpus import SECOND, nanos, text

WINDOW_S = 4
WINDOW = WINDOW_S * SECOND
# user_burst and model_burst. The second one is counted in REKEYED, and its windows must live through the
# changes of the other; with --models they must live through its own, too: a new rule warms up beside the old.
THRESHOLDS = [(6, 25), (9, 25), (4, 25)]
MODELS_TOO = [(6, 25), (9, 45), (4, 35)]
OTHER = (3, 30)
BEHIND_S = 3              # below the 10 s after which an ingest is not ready
BEFORE_S, AFTER_S = 5, 5 * WINDOW_S
SETTLE_S = 60
PACE, USERS, MODELS, PARTITIONS = 150, 60, 8, 2
OWNER = "rules-dir"       # of what --rules put in force
FILE = "bursts"
OF_CONTROL = b"$JS.ACK.CONTROL."


def rules(thresholds):
    of_user, of_model = thresholds
    made = RULES.replace("10s", f"{WINDOW_S}s").replace("{gt: 6}", f"{{gt: {of_user}}}").replace("{gt: 25}", f"{{gt: {of_model}}}")
    assert made.count(f"{WINDOW_S}s") == 2 and f"{{gt: {of_user}}}" in made and f"{{gt: {of_model}}}" in made
    return made


class Proxy:
    """Passes bytes on; messages of CONTROL wait while it is held."""

    def __init__(self, url):
        host, port = url.removeprefix("nats://").split(":")
        self.target, self.free = (host, int(port)), threading.Event()
        self.free.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"nats://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.target)
            for side in (client, server):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.up, args=(client, server), daemon=True).start()
            threading.Thread(target=self.down, args=(server, client), daemon=True).start()

    @staticmethod
    def up(client, server):
        try:
            while data := client.recv(1 << 16):
                server.sendall(data)
        except OSError:
            pass
        server.close()

    def down(self, server, client):
        """From the server: protocol message by message, so that some can wait."""
        lock, waiting, stream = threading.Lock(), [], server.makefile("rb")

        def pass_on(last=b""):
            client.sendall(b"".join(waiting) + last)
            waiting.clear()

        def freed():
            self.free.wait()
            with lock:
                pass_on()

        try:
            while whole := stream.readline():
                word, *words = whole.split()
                if word in (b"MSG", b"HMSG"):
                    whole += stream.read(int(words[-1]) + 2)
                with lock:
                    if not (words[2:] and words[2].startswith(OF_CONTROL)):
                        client.sendall(whole)
                    elif self.free.is_set():
                        pass_on(whole)
                    else:
                        if not waiting:
                            threading.Thread(target=freed, daemon=True).start()
                        waiting.append(whole)
        except (OSError, ValueError):
            pass
        client.close()


class Behind(Cluster):
    """The second ingest reaches the server through a proxy."""

    def instance(self, service, flags, number):
        program = super().instance(service, flags, number)
        if program.name == "ingest-1":
            self.proxy = Proxy(self.url)
            program.command[program.command.index(self.url)] = self.proxy.url
        return program


def fields(data):
    """(number, value) of a protobuf message: varints as numbers, fixed64 as signed, the rest as bytes."""
    place = 0

    def varint():
        nonlocal place
        number = shift = 0
        while True:
            byte = data[place]
            place += 1
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number

    while place < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            value = varint()
        else:
            size = {1: 8, 2: None, 5: 4}[kind]
            size = varint() if size is None else size
            value = data[place:place + size]
            place += size
            value = int.from_bytes(value, "little", signed=True) if kind == 1 else value
        yield key >> 3, value


def events_of(batch):
    """(event id, arrival in ns, control revision) of the events of a message of the log."""
    for number, record in fields(batch):
        for kind, event in fields(record) if number == 3 else ():
            if kind == 1:
                told = {n: v for n, v in fields(event) if n in (2, 5, 8)}
                yield told[2].decode(), told[5], told.get(8, 0)


async def stamped(cluster):
    """Every stamp that the log holds: (event id, arrival, revision)."""
    client, found = await connected(cluster, "operator"), []
    try:
        for stream in [f"{log}_g1_{lane}_{p}" for log in ("INTAKE", "EVENTS") for lane in ("urgent", "normal", "bulk") for p in range(PARTITIONS)]:
            info = json.loads((await client.request(f"$JS.API.STREAM.INFO.{stream}", b"", timeout=10)).data)
            last, first, inbox = info["state"]["last_seq"], 1, client.new_inbox()
            answers = await client.subscribe(inbox)
            while first <= last:
                await client.publish(f"$JS.API.DIRECT.GET.{stream}", json.dumps({"seq": first, "batch": 512, "max_bytes": 4 << 20}).encode(), reply=inbox)
                while (answer := await answers.next_msg(timeout=10)).headers and "Nats-Sequence" in answer.headers:
                    first = int(answer.headers["Nats-Sequence"]) + 1
                    found += events_of(answer.data)
            await answers.unsubscribe()
    finally:
        await client.close()
    return found


def counter(binary, addr, service, name):
    """A counter of a running instance; 0 where it does not answer."""
    done = subprocess.run([binary, "status", "--output", "json", "--addr", f"http://{addr}"], capture_output=True, timeout=60)
    services = json.loads(done.stdout)["services"] if done.stdout else []
    return next((s["counters"].get(name, 0) for s in services if s["service"] == service), 0)


def expected(events, revisions, generations):
    """(rule, who or which, slot start in ns) by brute force: of all records, whatever their stamps, an
    entry may breach under the thresholds of the generations that it was stamped in."""
    names = {event["request_id"]: event["user_id"] for event in events.values() if "user_id" in event}
    want, series = set(), {}
    for event in events.values():
        t = nanos(event["timestamp"])
        if event["category"] == "prompt_attack":
            want.add(("attack", event["event_id"], t))
        if event["category"] == "guardrail_block":
            user = event.get("user_id") or names.get(event["request_id"])
            seen = revisions[event["event_id"]]
            if user:
                series.setdefault((0, "user_burst", user), []).append((t, seen))
            series.setdefault((1, "model_burst", event["model"]), []).append((t, seen))
    for (place, rule, who), entries in series.items():
        times = sorted(t for t, _ in entries)
        for t, seen in entries:
            count = bisect_right(times, t) - bisect_left(times, t - WINDOW)
            if any(count > more_than[place] for begin, end, more_than in generations if any(begin <= one < end for one in seen)):
                want.add((rule, who, t // WINDOW * WINDOW))
    return want


def identity(line):
    shown = {"user_burst": "user_id", "model_burst": "model"}.get(line["rule"])
    return line["rule"], line["key"].get(shown) if shown else line["event_ids"][0], nanos(line["slot_start"])


class Trial:
    def __init__(self, arguments, folder):
        self.folder, self.faults = folder, []
        self.thresholds = MODELS_TOO if arguments.models else THRESHOLDS
        self.sink, self.books = Sink(SECRET, arguments.seed), Books()
        self.sink.healed = True
        own = folder / "rules"
        own.mkdir(parents=True)
        (own / f"{FILE}.yml").write_text(rules(self.thresholds[0]))
        self.cluster = Behind(arguments.bin, folder, partitions=PARTITIONS, instances=2, rules=own, webhook=self.sink.url, secret=SECRET, lateness="3m")
        self.accountant = Accountant(self.cluster, self.books, self.sink)
        self.engine = self.cluster.grpc["rule-engine-0"]
        doors = [self.cluster.http[program.name] for program in self.cluster.services["ingest"]]
        self.sender = Sender(Feed(arguments.seed, USERS, MODELS), self.books, doors, PACE, 10**9, 30)

    def check(self, holds, what):
        if not holds:
            self.faults.append(what)

    def balefire(self, *command):
        return subprocess.run([self.accountant.binary, *command, "--addr", f"http://{self.engine}"], capture_output=True, text=True, timeout=120)

    def files(self, name, thresholds):
        place = self.folder / name / "rule"
        place.mkdir(parents=True)
        (place / f"{FILE}.yml").write_text(rules(thresholds))
        return str(place.parent)

    def change(self, name, thresholds):
        """Applied while the second ingest does not hear of it; the revision, and since when everybody has it."""
        proxy = self.cluster.proxy
        proxy.free.clear()
        done = self.balefire("apply", self.files(name, thresholds), "--managed-by", OWNER, "--reason", f"now {thresholds}")
        if done.returncode != 0:
            raise RuntimeError(f"apply: {done.stderr}")
        changed, at = counter(self.accountant.binary, self.engine, "rule-engine", "control_revision"), time.time_ns()
        time.sleep(BEHIND_S)      # load goes on: that is what is tried
        proxy.free.set()
        if not self.accountant.until(lambda: min(map(self.seen, self.cluster.services["ingest"])) >= changed, 20):
            raise RuntimeError("an ingest never heard of the change")
        return changed, at, time.time_ns()

    def seen(self, ingest):
        return counter(self.accountant.binary, self.cluster.grpc[ingest.name], "ingest", "balefire_ingest_control_revision")

    def whatif(self, folder, seconds):
        done = self.balefire("rules", "whatif", folder, "--since", f"{seconds}s", "--output", "ndjson")
        if done.returncode != 0:
            raise RuntimeError(f"whatif: {done.stderr}")
        return json.loads(done.stdout.splitlines()[-1])["summary"]

    def load(self):
        """The two changes under load; (revision, when it was applied, when everybody had it) of each."""
        self.sender.start()
        if not self.accountant.until(lambda: self.books.acked > PACE or self.sender.failed, 60):
            raise RuntimeError(f"nothing was accepted: {self.sender.refusals}")
        changes = []
        for number, thresholds in enumerate(self.thresholds[1:], 1):
            time.sleep(BEFORE_S)
            changes.append(self.change(f"change-{number}", thresholds))
        time.sleep(AFTER_S)
        self.sender.stop.set()
        self.sender.join(40)
        self.check(self.sender.failed is None, f"the producer: {self.sender.failed}")
        return changes

    def judge(self, changes):
        stamps = asyncio.run(stamped(self.cluster))
        revisions = {}
        for event_id, _, seen in stamps:
            revisions.setdefault(event_id, set()).add(seen)
        lost = set(self.books.events) - set(revisions)
        self.check(not lost, f"{len(lost)} acknowledged events are not in the log, such as {sorted(lost)[:2]}")
        old = [sum(1 for _, at, seen in stamps if at > applied and seen < changed) for changed, applied, _ in changes]
        new = [sum(1 for _, at, seen in stamps if applied < at <= all_have and seen >= changed) for changed, applied, all_have in changes]
        self.check(all(old) and all(new), f"the ingests were not on different revisions: {old} events stamped under the old, {new} under the new")
        bounds = [0, *(changed for changed, _, _ in changes), 1 << 62]
        generations = [(begin, end, more_than) for begin, end, more_than in zip(bounds[:-1], bounds[1:], self.thresholds, strict=True)]
        want = expected(self.books.events, revisions, generations)
        self.accountant.until(lambda: want <= {identity(line) for line in self.accountant.listed()}, SETTLE_S)
        lines = self.accountant.listed()
        got = {identity(line) for line in lines}
        self.check(got == want, f"{len(want - got)} missing {sorted(want - got)[:3]}, {len(got - want)} unexpected {sorted(got - want)[:3]}")
        self.check(len({line["escalation_id"] for line in lines}) == len(lines), "an id stands twice")
        # what the set would be if the moment of arrival counted, not the stamp
        moments = {}
        for event_id, at, _ in stamps:
            moments.setdefault(event_id, set()).add(max([changed for changed, applied, _ in changes if applied <= at], default=0))
        return want, old, len(want ^ expected(self.books.events, moments, generations))

    def compare(self, changes):
        """The rules in force against the log behind the last change, and another threshold."""
        since = int((time.time_ns() - changes[-1][2]) / SECOND)
        same = self.whatif(str(self.folder / "change-2/rule"), since)
        self.check(same["added"] == same["removed"] == 0 and same["unchanged"] > 0, f"what-if of the rules in force: {same}")
        other = self.whatif(self.files("other", OTHER) + "/rule", since)
        self.check(other["added"] > 0, f"what-if of another threshold: {other}")
        return same, other


def run(arguments, folder):
    begun = time.monotonic()
    trial = Trial(arguments, folder)
    try:
        changes = trial.load()
        want, old, moved = trial.judge(changes)
        same, other = trial.compare(changes)
        trial.check(trial.accountant.until(lambda: want <= trial.sink.summary()[0], SETTLE_S), f"nobody was told of {len(want - trial.sink.summary()[0])}")
        trial.faults += trial.cluster.stop()
        done = trial.accountant.verify()
        trial.check(done.returncode == 0, f"verify: {done.stdout}{done.stderr}")
    finally:
        trial.cluster.close()
        trial.sink.close()
    print(f"{trial.books.acked} events; thresholds {trial.thresholds}; under the old revision after a change: {old}; {len(want)} escalations, "
          f"{moved} of them otherwise if the moment counted; what-if in force: {same['added']} added, {same['removed']} removed, "
          f"{same['unchanged']} unchanged; of {OTHER}: {other['added']} added; {time.monotonic() - begun:.1f} s")
    for fault in trial.faults + trial.books.wrong[:5]:
        print(f"  {fault}")
    failed = bool(trial.faults or trial.books.wrong)
    print("FAILED" if failed else "ok    revisions", flush=True)
    return 1 if failed else 0


def prove():
    """The brute force tells the generations apart, and the reader of bytes reads."""
    t = 1_770_820_200 * SECOND
    events = {f"c{n}": {"event_id": f"c{n}", "request_id": f"r{n}", "timestamp": text(t + n), "category": "guardrail_block", "model": "m",
                        "user_id": "u"} for n in range(8)}
    generations = [(0, 5, (6, 25)), (5, 9, (9, 45))]
    want = lambda seen: expected(events, {name: {seen} for name in events}, generations)  # noqa: E731
    assert want(4) == {("user_burst", "u", t)} and want(5) == set(), "the brute force is blind"
    # the seventh entry decides; the others count whatever their stamps
    assert expected(events, {name: {4 if name == "c6" else 5} for name in events}, generations) == want(4), "records of another generation do not count"
    inner = b"\x12\x02c7\x29" + (5).to_bytes(8, "little") + b"\x40\xac\x02"
    record = b"\x0a" + bytes([len(inner)]) + inner
    assert list(events_of(b"\x1a" + bytes([len(record)]) + record)) == [("c7", 5, 300)], "the bytes of the log are not read"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, help="folder with the binaries")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--models", action="store_true", help="change the rule that is counted in REKEYED, too")
    parser.add_argument("--keep", help="folder for data and logs, kept")
    arguments = parser.parse_args()
    prove()
    print(f"seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="balefire-revisions-") as folder:
        return run(arguments, Path(arguments.keep or folder).resolve())


if __name__ == "__main__":
    sys.exit(main())
