"""Figures of telling: what bad neighbours, a backlog, the feed and poison cost, from real processes.

notify_figures.py --binary target/release/balefire [--only neighbours backlog feed poison] [--rate 50] [--seconds 20] [--low 50000] [--events 100000]

Run it on a quiet machine: it prints the load average before. It fails where a promise is not kept:
a healthy receiver's p99 beside one that answers in 30 s and one that refuses at most 1.2 times that alone;
critical escalations behind many low ones at most twice as late at p99; the feed at 80 % of the
engine's speed or more; with 1 % poison the rest at 95 % or more, and after mending the same set."""
import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "demo")]
from corpus import Corpus, identity, text  # noqa: E402
from fakes import Fake  # noqa: E402
from hostile import OpenNats, Wire, letters  # noqa: E402
from system import Up, wait_for  # noqa: E402

RULES = """title: Low
id: 0b2f0f64-3b36-4b5c-9d0c-2a4b1f0e7a01
name: low
detection: {s: {category: guardrail_block}, condition: s}
level: low
---
title: Critical
id: 0b2f0f64-3b36-4b5c-9d0c-2a4b1f0e7a02
name: critical
detection: {s: {category: prompt_attack}, condition: s}
level: critical
"""


def p(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


def receivers(folder, **urls):
    text_ = "".join(f'[[receiver]]\nname = "{name}"\nurl = "{url}"\nallow_loopback = true\nconcurrency = 8\n' for name, url in urls.items())
    (folder / "receivers.toml").write_text(text_)
    (folder / "rules").mkdir(exist_ok=True)
    (folder / "rules/rules.yml").write_text(RULES)
    return ["--receivers", str(folder / "receivers.toml"), "--rules", str(folder / "rules")]


def event(name, category, at_ns):
    return json.dumps({"event_type": "ai_security", "timestamp": text(at_ns), "event_id": name, "user_id": f"u-{name}", "category": category}).encode() + b"\n"


class Clocked(Fake):
    """When each event's escalation first came."""

    def __init__(self, *arguments, **more):
        self.at = {}
        super().__init__(*arguments, **more)

    def take(self, path, headers, body):
        now = time.monotonic()
        if not body:
            return 200, {}, json.dumps(self.at).encode()
        for name in json.loads(body)["data"]["event_ids"]:
            self.at.setdefault(name, now)
        return 204, {}, b""


def paced(up, names, category, rate):
    """Sends one event after the other at a rate; when each was meant to go."""
    sender = subprocess.Popen([up.binary, "send", "-", "--addr", f"http://{up.addr}"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, bufsize=0)
    start, meant = time.monotonic() + 0.2, {}
    for number, name in enumerate(names):
        meant[name] = at = start + number / rate
        time.sleep(max(0, at - time.monotonic()))
        sender.stdin.write(event(name, category, time.time_ns()))
    sender.stdin.close()
    sender.wait()
    return meant


def latencies(receiver, meant):
    came = wait_for(lambda: meant.keys() <= (at := receiver.at).keys() and at, "the deliveries", 120)
    return [(came[name] - at) * 1000 for name, at in meant.items()]


BAD = {"slow": ("delay", 30), "refusing": ("status", 400)}
KINDS = ["healthy", *BAD]


class Apart:
    """A receiver in a process of its own: what it costs this one is no figure of Balefire's."""

    def __init__(self, kind):
        self.child = subprocess.Popen([sys.executable, __file__, "--binary", "", "--fake", kind], stdout=subprocess.PIPE, text=True)
        self.url = self.child.stdout.readline().strip()

    @property
    def at(self):
        """When each event's escalation first came, on the clock that all processes share."""
        with urllib.request.urlopen(self.url, timeout=30) as answer:
            return json.load(answer)

    def end(self):
        self.child.kill()
        self.child.wait()


def neighbours(arguments, folder):
    """Three rounds of both, one after the other, so that a slow minute of the machine hits both."""
    alone, beside = [], []
    for number in range(3):
        for bad, taken in ((False, alone), (True, beside)):
            place = folder / f"neighbours-{number}-{bad}"
            place.mkdir()
            fakes = {kind: Apart(kind) for kind in (KINDS if bad else KINDS[:1])}
            urls = {kind: fake.url for kind, fake in fakes.items()}
            up = Up(arguments.binary, place / "data", *receivers(place, **urls))
            try:
                meant = paced(up, [f"{number}-{bad}-{n}" for n in range(arguments.rate * arguments.seconds)], "prompt_attack", arguments.rate)
                taken += latencies(fakes["healthy"], meant)
            finally:
                up.process.kill()
                for fake in fakes.values():
                    fake.end()
    ratio = p(beside, .99) / p(alone, .99)
    print(f"healthy receiver, {arguments.rate}/s, {len(alone):,} escalations each: alone p50 {p(alone, .5):.1f} p99 {p(alone, .99):.1f} ms; "
          f"beside one that answers in 30 s and one that refuses p50 {p(beside, .5):.1f} p99 {p(beside, .99):.1f} ms: p99 × {ratio:.2f}")
    return ratio <= 1.2


def backlog(arguments, folder):
    quiet, behind = [], []
    receiver = Apart("healthy")
    up = Up(arguments.binary, folder / "data", *receivers(folder, soc=receiver.url))
    try:
        quiet += latencies(receiver, paced(up, [f"q{n}" for n in range(50)], "prompt_attack", 20))
        file = folder / "low.ndjson"
        file.write_bytes(b"".join(event(f"low{n}", "guardrail_block", time.time_ns()) for n in range(arguments.low)))
        up.run("send", str(file), "--wait", "--timeout", "300s")
        left = lambda: sum(part["state_len"] for part in up.status("notifier")["partitions"])  # noqa: E731
        before = left()
        behind += latencies(receiver, paced(up, [f"c{n}" for n in range(50)], "prompt_attack", 20))
        after = left()
    finally:
        up.process.kill()
        receiver.end()
    ratio = p(behind, .99) / p(quiet, .99)
    print(f"50 critical at 20/s: undisturbed p50 {p(quiet, .5):.1f} p99 {p(quiet, .99):.1f} ms; behind {before:,} waiting low ones ({after:,} left at the end) "
          f"p50 {p(behind, .5):.1f} p99 {p(behind, .99):.1f} ms: p99 × {ratio:.2f}")
    if after == 0:
        print("  the backlog was gone before the last critical one came: give --low more")
    return ratio <= 2 and after > 0


class Hec(Fake):
    """Keeps each batch and when it came; reads them when nobody waits for it any more."""
    ID = re.compile(rb'"balefire":\{"id":"([0-9a-f]{32}(?:-amended)?)"')

    def __init__(self):
        self.batches, self.ids, self.read = [], [], 0
        super().__init__()

    def take(self, path, headers, body):
        self.batches.append((time.monotonic(), body))
        return 200, {}, b'{"text":"Success","code":0}'

    def events(self):
        """How many events came so far."""
        while self.read < len(self.batches):
            self.ids += self.ID.findall(self.batches[self.read][1])
            self.read += 1
        return len(self.ids)


def feed(arguments, folder):
    """Three rounds of both, one after the other, so that a slow minute of the machine hits both."""
    corpus = Corpus(arguments.events, max(50, arguments.events // 20), time.time_ns() - 60_000_000_000)
    file = folder / "events.ndjson"
    file.write_bytes(b"\n".join(corpus.lines) + b"\n")
    os.environ["FAKE_TOKEN"] = "token"
    events, seconds, seen, good = {}, {}, {}, True
    for number in range(3):
        for name in ("engine alone", "feed"):
            place = folder / f"{number}-{name}".replace(" ", "-")
            place.mkdir()
            hec, flags = Hec(), []
            if name == "feed":
                (place / "receivers.toml").write_text(f'[[receiver]]\nname = "hec"\nurl = "{hec.url}"\nallow_loopback = true\nfeed = true\nsecret_env = "FAKE_TOKEN"\n[receiver.target.splunk]\n')
                flags = ["--receivers", str(place / "receivers.toml")]
            up = Up(arguments.binary, place / "data", "--allowed-lateness", "3h", *flags)
            try:
                begun = time.monotonic()
                up.run("send", str(file), "--wait", "--timeout", "300s")
                took = {name: time.monotonic() - begun}
                # Repeats that ingest knows again never reach the log.
                taken = up.accepted()
                if name == "feed":
                    took = {"engine beside the feed": took["feed"]}
                    wait_for(lambda: hec.events() >= taken, f"the feed: {taken} events", 300)
                    took["feed"] = hec.batches[-1][0] - begun
                    # A copy that ingest did not know is in the log twice, and in the feed.
                    distinct = len(set(hec.ids))
                    once = len(hec.ids) == taken and distinct == seen.setdefault("distinct", distinct)
                    good &= once
                    print(f"  round {number + 1}: {len(hec.ids):,} records of {distinct:,} events in {len(hec.batches):,} batches, each record once: {once}", flush=True)
            finally:
                up.process.kill()
                hec.server.shutdown()
            for what, time_ in took.items():
                events[what] = events.get(what, 0) + taken
                seconds[what] = seconds.get(what, 0) + time_
    speeds = {what: count / seconds[what] for what, count in events.items()}
    share = speeds["feed"] / speeds["engine alone"]
    print(f"{taken:,} events, three times: " + ", ".join(f"{name} {speed:,.0f}/s" for name, speed in speeds.items()) + f"; feed {share:.0%} of the engine alone")
    return share >= 0.8 and good


def fields(message):
    """Top-level fields of a protobuf message: (number, start, end, bytes)."""
    at = 0
    while at < len(message):
        start = at
        tag, at = varint(message, at)
        size, at = varint(message, at)
        yield tag >> 3, start, at + size, message[at:at + size]
        at += size


def varint(message, at):
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


async def messages(url, streams):
    import nats
    client = await nats.connect(url)
    stream = client.jetstream()
    found = []
    for name in streams:
        info = await stream.stream_info(name)
        for sequence in range(1, info.state.last_seq + 1):
            message = await stream.get_msg(name, sequence)
            found.append((message.subject, message.data))
    await client.close()
    return found


def evaluated(arguments, folder, name, put):
    """Puts messages on the streams of a stopped system, starts it: seconds until everything is evaluated, the system, its log."""
    place = folder / name
    place.mkdir()
    nats = OpenNats(place / "nats")
    flags = ["--nats-url", nats.url, "--nats-sync-confirmed", "--partitions", "1", "--allowed-lateness", "3h"]
    up = Up(arguments.binary, place / "data", *flags)
    up.stop()
    wire = Wire(nats.url)
    for subject, payload in put:
        wire.publish(subject, payload)
    begun = time.monotonic()
    up = Up(arguments.binary, place / "data", *flags)
    # Behind all of them: status says how far it is once a second only.
    up.run("send", "-", "--wait", "--timeout", "300s", data=b"")
    return time.monotonic() - begun, up, nats


def poison(arguments, folder):
    corpus = Corpus(arguments.events, max(50, arguments.events // 20), time.time_ns() - 60_000_000_000)
    file = folder / "events.ndjson"
    file.write_bytes(b"\n".join(corpus.lines) + b"\n")
    nats = OpenNats(folder / "source")
    up = Up(arguments.binary, folder / "source-data", "--nats-url", nats.url, "--nats-sync-confirmed", "--partitions", "1", "--allowed-lateness", "3h")
    up.run("send", str(file), "--wait", "--timeout", "300s")
    want = {identity(line) for line in up.escalations()}
    put = [one for one in asyncio.run(messages(nats.url, [f"EVENTS_g1_{lane}_0" for lane in ("urgent", "normal", "bulk")])) if one[0].endswith(".door")]
    up.process.kill()
    nats.stop()
    spoilt, originals, records = [], [], 0
    for subject, payload in put:
        out = bytearray(payload)
        header = next(payload[start:end] for number, start, end, _ in fields(payload) if number == 1)
        for number, start, end, record in fields(payload):
            if number != 3 or record[:1] != b"\x0a":      # an event
                continue
            records += 1
            if records % 100 == 0:
                out[end - len(record) + 3:end] = b"\xff" * (len(record) - 3)
                originals.append(header + payload[start:end])
        spoilt.append((subject, bytes(out)))
    clean, up, nats = evaluated(arguments, folder, "clean", put)
    up.process.kill()
    nats.stop()
    dirty, up, nats = evaluated(arguments, folder, "spoilt", spoilt)
    try:
        found = wait_for(lambda: len(waiting := letters(up)) >= len(originals) and waiting, "the dead letters", 120)
        share = clean / dirty * (records - len(originals)) / records
        mended = folder / "mended"
        by_place = sorted(found, key=lambda letter: (put_index(put, letter), letter["index"]))
        for letter, original in zip(by_place, originals):
            mended.write_bytes(original)
            up.run("deadletters", "edit", letter["id"], "--payload", str(mended), "--reason", "mended")
        once = json.loads(up.run("deadletters", "replay", "--all", "--reason", "mended").stdout)
        up.run("send", "-", "--wait", data=b"")
        wait_for(lambda: {identity(line) for line in up.escalations()} == want, "the same escalations as without poison", 120)
        again = json.loads(up.run("deadletters", "replay", "--all", "--reason", "again").stdout)
        up.run("send", "-", "--wait", data=b"")
        lines = up.escalations()
        same = {identity(line) for line in lines} == want and len(lines) == len(want) and not again["replayed"]
    finally:
        up.process.kill()
        nats.stop()
    print(f"{records:,} events, {len(originals):,} of them poison: {len(found):,} dead letters, the rest at {share:.0%} of the clean speed ({clean:.1f} s, {dirty:.1f} s); "
          f"{len(once['replayed']):,} replayed, then {len(want):,} escalations as without poison: {same}")
    return share >= 0.95 and same and len(found) == len(originals)


def put_index(put, letter):
    """Streams are read lane by lane, as they were put."""
    order = ["urgent", "normal", "bulk"]
    lane = letter["stream"].split("_")[2]
    return order.index(lane), letter["sequence"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--rate", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--low", type=int, default=50_000)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--fake", choices=KINDS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.fake:
        fake = Clocked() if arguments.fake == "healthy" else Fake(spoil=lambda *_: BAD[arguments.fake])
        print(fake.url, flush=True)
        threading.Event().wait()
    arguments.binary = str(Path(arguments.binary).resolve())
    threading.stack_size(256 * 1024)
    print(f"load average before: {os.getloadavg()[0]:.2f}, {os.cpu_count()} CPUs", flush=True)
    kept = True
    for figure in (neighbours, backlog, feed, poison):
        if arguments.only and figure.__name__ not in arguments.only:
            continue
        with tempfile.TemporaryDirectory(prefix="balefire-figures-") as folder:
            good = figure(arguments, Path(folder))
            print(f"  {figure.__name__}: {'kept' if good else 'NOT KEPT'}", flush=True)
            kept &= good
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
