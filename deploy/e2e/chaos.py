"""Real processes under everything that kills, stops, damages, fills and lies, and an accountant
outside who knows what was acknowledged, counts what must come of it by brute force and what came.

Two or more instances of each service share the partitions of one nats-server. A producer sends; at
random moments (--seed) instances and the nats-server are killed (-9), alone and together, owners
are stopped and go on, local stores are damaged, the disk is full, clocks step, garbage is put on
the log. 1 % of the lines are poison, the receiver fails in every way. In the end, one line:

  acked=… lost=… duplicate_effects=… missing=… wrong=… late=… kills=…

acked: events acknowledged. lost: those that the log does not hold. missing: escalations that must be
and are not listed, or that nobody was told of. wrong: escalations listed that must not be, poison
accepted, wrong signatures. duplicate_effects: acts of the receiver on one escalation beyond the
first. late: events that came in time and were stamped late, and escalations that were not there
--settle seconds after the last fault. Anything but 0, a service that does not end on SIGTERM, a
panic, or `balefire verify` that finds a difference: exit 1.

`make chaos`, `make chaos-quick`, or: chaos.py --bin target/release [--seconds 900] [--kills 200]"""
import argparse
import asyncio
import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import nats
from chaos_cluster import STATEFUL, Cluster, damage
from chaos_world import RULES, Books, Feed, Sender, Sink, identity
from corpus import SECOND, text

SECRET = "whsec_" + "YmFsZWZpcmUgY2hhb3Mgc2VjcmV0IDMyIGJ5dGVzLi4u"
LATENESS = "3m"
GONE_MAX_S = 100          # nothing is away for longer: what waits at the producer is not late then
EVENT_ID = re.compile(rb"c\d{9}")
TOGETHER = 3


class Chaos:
    """Faults, one after the other, until there were enough kills."""

    def __init__(self, cluster, seed, log):
        self.cluster, self.rng, self.log = cluster, random.Random(seed), log
        self.kills, self.faults, self.poison = 0, Counter(), []

    def one(self):
        rng, cluster = self.rng, self.cluster
        faults = {self.kill_one: 30, self.kill_several: 14, self.kill_nats: 12, self.kill_all: 3, self.stand_still: 14, self.damaged: 14,
                  self.garbage: 6, self.clock_step: 6 if cluster.clocks else 0, self.disk_full: 2 if cluster.disk.mounted else 0}
        fault = rng.choices(list(faults), list(faults.values()))[0]
        self.faults[fault.__name__] += 1
        fault()

    def note(self, what):
        print(f"{time.monotonic():.2f} {what}", file=self.log, flush=True)

    def kill(self, programs):
        self.note("kill " + " ".join(program.name for program in programs))
        self.kills += sum(program.kill() for program in programs)

    def back(self, programs):
        self.rng.shuffle(programs)
        for program in programs:
            program.start()

    def pause(self, most):
        time.sleep(self.rng.uniform(0, most))

    def kill_one(self):
        one = self.rng.choice(self.cluster.programs())
        self.kill([one])
        self.pause(1.5)
        self.back([one])

    def kill_several(self):
        some = self.rng.sample(self.cluster.programs(), TOGETHER)
        self.kill(some)
        self.pause(2)
        self.back(some)

    def kill_nats(self):
        with_it = self.rng.sample(self.cluster.programs(), self.rng.choice([0, 0, 1]))
        self.kill([self.cluster.nats, *with_it])
        self.pause(1.5)
        self.back([self.cluster.nats, *with_it])

    def kill_all(self):
        every = [self.cluster.nats, *self.cluster.programs()]
        self.rng.shuffle(every)
        self.kill(every)
        self.pause(1)
        self.back(every)

    def stand_still(self):
        """Longer than a lease lives, as a rule: another takes over, and then it goes on."""
        one = self.rng.choice([p for service in (*STATEFUL, "notifier") for p in self.cluster.services[service]])
        self.note(f"stop {one.name}")
        one.stand(True)
        self.pause(6)
        one.stand(False)

    def damaged(self):
        service = self.rng.choice(STATEFUL)
        one = self.rng.choice(self.cluster.services[service])
        self.kill([one])
        how = damage(self.rng, one.data / service)
        self.faults[f"store {how}" if how else "no store yet"] += 1
        self.note(f"{one.name} {how}")
        self.back([one])

    def garbage(self):
        payload = self.rng.choice([b"\xff\xfe garbage", b"", b"\x0a\x03abc" * 9, self.rng.randbytes(500)])
        lane, stream = self.rng.choice(["urgent", "normal", "bulk"]), self.rng.choice(["events", "intake"])
        try:
            place = asyncio.run(publish(self.cluster, f"{stream}.g1.{lane}.0.door", payload))
        except Exception as error:
            self.note(f"garbage was not taken: {error!r}")
            return
        self.poison.append(place)
        self.note(f"garbage at {place}")

    def clock_step(self):
        name = self.rng.choice(sorted(self.cluster.clocks))
        step = self.rng.choice([-3600, -30, -2, 2, 30, 3600])
        self.note(f"clock of {name} {step:+d} s")
        self.cluster.clocks[name].write_text(f"{step:+d}\n")
        self.pause(4)
        self.cluster.clocks[name].write_text("+0\n")

    def disk_full(self):
        self.note("disk full")
        self.cluster.disk.fill()
        self.pause(4)
        self.cluster.disk.make_room()
        self.note("room again")


async def unheard(_):
    """The server is often away."""


async def connected(cluster, role):
    """A client of the broker with a role's credential; not one of ours."""
    return await nats.connect(cluster.url, nkeys_seed=str(cluster.credentials / f"{role}.nk"), inbox_prefix=f"_INBOX_{role}".encode(),
                              allow_reconnect=False, connect_timeout=5, error_cb=unheard)


async def publish(cluster, subject, payload):
    client = await connected(cluster, "ingest")
    try:
        answer = json.loads((await client.request(subject, payload, timeout=5)).data)
        return answer["stream"], answer["seq"]
    finally:
        await client.close()


async def held(cluster, partitions):
    """Ids of the events that INTAKE and EVENTS hold, read byte by byte."""
    client = await connected(cluster, "operator")
    found = set()
    try:
        for log, lane in [(log, lane) for log in ("INTAKE", "EVENTS") for lane in ("urgent", "normal", "bulk")]:
            for partition in range(partitions):
                stream = f"{log}_g1_{lane}_{partition}"
                info = json.loads((await client.request(f"$JS.API.STREAM.INFO.{stream}", b"", timeout=10)).data)
                last, next_one = info["state"]["last_seq"], 1
                while next_one <= last:
                    next_one = await some(client, stream, next_one, found)
    finally:
        await client.close()
    return {one.decode() for one in found}


async def some(client, stream, first, found):
    """Reads a few hundred messages on; the sequence behind the last one."""
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox)
    request = json.dumps({"seq": first, "batch": 512, "max_bytes": 4 << 20}).encode()
    await client.publish(f"$JS.API.DIRECT.GET.{stream}", request, reply=inbox)
    next_one = first
    while True:
        answer = await answers.next_msg(timeout=10)
        headers = answer.headers or {}
        if "Nats-Sequence" not in headers:
            break
        next_one = int(headers["Nats-Sequence"]) + 1
        found.update(EVENT_ID.findall(answer.data))
    await answers.unsubscribe()
    if next_one == first:
        raise RuntimeError(f"{stream} at {first}: {headers}")
    return next_one


class Accountant:
    def __init__(self, cluster, books, sink):
        self.cluster, self.books, self.sink = cluster, books, sink
        self.binary = str(cluster.bin / "balefire")

    def ask(self, service, *arguments):
        """Lines of JSON of the first instance that answers."""
        for program in self.cluster.services[service]:
            addr = self.cluster.grpc[program.name]
            done = subprocess.run([self.binary, *arguments, "--addr", f"http://{addr}"], capture_output=True, timeout=120)
            if done.returncode == 0:
                return [json.loads(line) for line in done.stdout.splitlines()]
        return None

    def listed(self):
        return self.ask("rule-engine", "escalations", "--output", "ndjson") or []

    def until(self, condition, seconds):
        """Whether it came in time; the interval only paces the asking."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.5)
        return True

    def replay_deliveries(self):
        """Garbage stays a dead letter: replayed it comes back as another."""
        waiting = self.ask("notifier", "deadletters", "list", "--output", "ndjson") or []
        ids = [letter["id"] for letter in waiting if letter["stage"] == "notifier"]
        if ids:
            self.ask("notifier", "deadletters", "replay", *ids, "--reason", "the receiver is well again")

    def letters(self):
        lines = self.ask("notifier", "deadletters", "list", "--all", "--output", "ndjson") or []
        return {(letter["stream"], letter["sequence"]) for letter in lines}

    def settle(self, want, seconds, slack):
        """Waits for what must come; what was not there in time, then what never came."""
        lacks = lambda: want - {identity(line) for line in self.listed()}  # noqa: E731
        self.until(lambda: not lacks(), seconds)
        late = lacks()
        if late:
            self.until(lambda: not lacks(), slack)
        self.sink.healed = True

        def told():
            if want <= self.sink.summary()[0]:
                return True
            self.replay_deliveries()
            return False

        self.until(told, slack)
        return late

    def verify(self):
        dirs = [part for program in self.cluster.services["rule-engine"] for part in ("--data-dir", str(program.data))]
        return subprocess.run([self.binary, "verify", "--nats-url", self.cluster.url, "--credentials", str(self.cluster.credentials), *dirs],
                              capture_output=True, text=True, timeout=900)


def tally(books, lines, told, want, *, held, late, kills, garbage, letters):
    """(the line's figures, what is behind them). `told`: what the receiver acted on, how many acts
    were one too many, what was wrong with a call. Asks nobody."""
    acted, doubles, odd = told
    got = {identity(line) for line in lines}
    lost = {event_id for event_id in books.events if event_id[0] == "c"} - held
    wrong = sorted(map(str, got - want)) + sorted(map(str, acted - want)) + books.wrong + odd
    wrong += [f"{one} stands twice" for one, count in Counter(line["escalation_id"] for line in lines).items() if count > 1]
    wrong += [f"garbage at {place} is no dead letter" for place in sorted(set(garbage) - letters)]
    missing = [f"{one} is not listed" for one in sorted(want - got)] + [f"nobody was told of {one}" for one in sorted(want - acted)]
    figures = {"acked": books.acked, "lost": len(lost), "duplicate_effects": doubles, "missing": len(missing), "wrong": len(wrong),
               "late": books.late + len(late), "kills": kills}
    details = [f"lost: {one}" for one in sorted(lost)[:5]] + missing[:5] + wrong[:5] + [f"late: {one}" for one in sorted(late)[:5]]
    return figures, details


def prove():
    """Each figure moves when it must: on made-up books, before anything is believed."""
    books, t = Books(), 1_770_820_200 * SECOND
    for number in range(8):
        event = {"event_id": f"c{number:09d}", "request_id": f"r{number}", "timestamp": text(t + number), "category": "guardrail_block", "model": "m",
                 "user_id": "u"}
        books.result(event, {"status": "ACCEPTED", "timing": "on_time"})
    want = books.expected()
    line = {"rule": "user_burst", "key": {"user_id": "u"}, "slot_start": text(t), "escalation_id": "1", "event_ids": []}
    assert want == {identity(line)}, want
    right = {"lines": [line], "told": (want, 0, []), "held": set(books.events), "late": set(), "garbage": [("s", 1)], "letters": {("s", 1)}}
    other = {("user_burst", "v", t)}
    for moved, change in [((), {}), (("lost",), {"held": set(books.events) - {"c000000003"}}), (("duplicate_effects",), {"told": (want, 1, [])}),
                          (("missing",), {"lines": []}), (("missing",), {"told": (set(), 0, [])}), (("wrong",), {"told": (want | other, 0, [])}),
                          (("wrong",), {"lines": [line, line | {"key": {"user_id": "v"}, "escalation_id": "2"}]}), (("wrong",), {"lines": [line, line]}),
                          (("wrong",), {"told": (want, 0, ["signed wrongly"])}), (("wrong",), {"letters": set()}), (("late",), {"late": other})]:
        case = right | change
        figures, _ = tally(books, case.pop("lines"), case.pop("told"), want, kills=0, **case)
        off = tuple(name for name in ("lost", "duplicate_effects", "missing", "wrong", "late") if figures[name])
        assert off == moved, f"the accountant is blind: {change} moved {off}, not {moved}"
    books.result(None, {"status": "ACCEPTED", "timing": "on_time"})
    assert books.wrong, "the accountant does not see poison"
    sink = Sink(SECRET, 1)
    for message_id in ("a", "b", "b"):
        sink.took(message_id, line | {"kind": "RAISED"}, b"body")
    assert (sink.summary(), sink.repeats) == ((want, 1), 1), "the accountant does not see an act too many"
    sink.took("b", line | {"kind": "RAISED"}, b"another body")
    assert sink.wrong, "the accountant does not see another body"
    sink.close()


def judge(accountant, chaos, want, late, arguments):
    books, sink, cluster = accountant.books, accountant.sink, accountant.cluster
    acted, doubles = sink.summary()
    return tally(books, accountant.listed(), (acted, doubles, sink.wrong), want, held=asyncio.run(held(cluster, arguments.partitions)), late=late,
                 kills=chaos.kills, garbage=chaos.poison, letters=accountant.letters())


def endings(accountant, cluster):
    """Verifies, stops everything; what did not end well."""
    faults = cluster.stop()
    done = accountant.verify()
    print(done.stdout, end="")
    if done.returncode != 0:
        faults.append(f"verify: exit {done.returncode}: {done.stderr.strip()[-800:]}")
    for log in sorted(cluster.folder.glob("*.log")):
        lines = log.read_text(errors="replace").splitlines() if "nats" not in log.name else []
        for number, line in enumerate(lines):
            if "panicked at" in line and not of_a_damaged_store(line, lines[number:]):
                faults.append(f"{log.name}: something panicked:\n    " + "\n    ".join(lines[number:number + 12]))
                break
    return faults


def of_a_damaged_store(line, rest):
    """The database panics over some damages; its own thread catches that, and what it held is set aside and built from the log."""
    return "thread 'checkpoints'" in line and "/sled-" in line and any("checkpoint store set aside" in later for later in rest)


def rage(chaos, sender, arguments):
    """Faults until there were enough of them and everything was sent."""
    begun = time.monotonic()
    limit = begun + 2 * arguments.seconds + 60
    while time.monotonic() < limit and (chaos.kills < arguments.kills or sender.is_alive() and sender.failed is None):
        chaos.one()
        done = (time.monotonic() - begun) / arguments.seconds
        # faster where kills lag behind the clock
        chaos.pause(1.6 if chaos.kills >= arguments.kills * done else 0.4)
        if sys.stderr.isatty() or chaos.kills % 20 == 0:
            print(f"\r{chaos.kills} kills, {sender.books.acked} acknowledged", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return time.monotonic() < limit


def run(arguments, folder):
    sink, books = Sink(SECRET, arguments.seed), Books()
    rules = folder / "rules"
    rules.mkdir(parents=True)
    (rules / "chaos.yml").write_text(RULES)
    cluster = Cluster(arguments.bin, folder, partitions=arguments.partitions, instances=arguments.instances, rules=rules, webhook=sink.url,
                      secret=SECRET, lateness=LATENESS)
    accountant = Accountant(cluster, books, sink)
    log = open(folder / "chaos.txt", "w")
    try:
        doors = [cluster.http[program.name] for program in cluster.services["ingest"]]
        sender = Sender(Feed(arguments.seed, arguments.users, 8), books, doors, arguments.count / arguments.seconds, arguments.count, GONE_MAX_S)
        sender.start()
        if not accountant.until(lambda: books.acked > 0 or sender.failed, 60):
            raise RuntimeError(f"nothing was accepted: {sender.refusals}")
        chaos = Chaos(cluster, arguments.seed, log)
        in_time = rage(chaos, sender, arguments)
        cluster.everything_up()
        sender.join(GONE_MAX_S + 20)
        want = books.expected()
        late = accountant.settle(want, arguments.settle, 120)
        figures, details = judge(accountant, chaos, want, late, arguments)
        faults = endings(accountant, cluster)
        faults += [] if in_time else ["the time was up before everything was done"]
        faults += [f"the producer: {sender.failed}"] if sender.failed else []
        faults += [] if figures["acked"] >= arguments.count * 0.95 else ["fewer events than asked for"]
    finally:
        cluster.close()
    told = ", ".join(f"{count} × {name}" for name, count in sorted(chaos.faults.items()))
    ended = sum(len(program.ended_itself) for program in cluster.programs())
    print(f"{len(want)} escalations wanted; {told}; receiver: {dict(sink.moods)}, {sink.repeats} deliveries repeated; "
          f"{len(chaos.poison)} × garbage on the log; {ended} starts by the init system")
    for line in [*details, *faults]:
        print(f"  {line}")
    print(" ".join(f"{name}={value}" for name, value in figures.items()), flush=True)
    bad = faults or any(figures[name] for name in ("lost", "duplicate_effects", "missing", "wrong", "late"))
    return 1 if bad else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, help="folder with the binaries")
    parser.add_argument("--seconds", type=float, default=900, help="how long the producer sends")
    parser.add_argument("--kills", type=int, default=200, help="at least so many")
    parser.add_argument("--count", type=int, default=210_000, help="events to send")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--instances", type=int, default=2, help="of each service")
    parser.add_argument("--users", type=int, default=400)
    parser.add_argument("--settle", type=float, default=30, help="seconds after the last fault within which everything must be there")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--keep", help="folder for data and logs, kept")
    arguments = parser.parse_args()
    prove()
    print(f"seed {arguments.seed}", flush=True)
    threading.excepthook = lambda told: print(f"thread: {told.exc_value!r}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="balefire-chaos-") as folder:
        return run(arguments, Path(arguments.keep or folder).resolve())


if __name__ == "__main__":
    sys.exit(main())
