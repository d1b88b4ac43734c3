"""Figures of telling: what bad neighbours, a backlog, the feed and poison cost, from real processes.

notify_figures.py --binary target/release/balefire [--only neighbours backlog feed poison] [--rate 50] [--seconds 20] [--low 50000]
    [--events 1000000] [--rounds 5] [--mended 100000]

Run it on a quiet machine: it prints the load average before. It fails where a promise is not kept:
a healthy receiver's p99 beside one that answers in 30 s and one that refuses at most 1.2 times that alone;
critical escalations behind many low ones at most twice as late at p99; the feed at 80 % of the
engine's speed or more; with 1 % poison the rest at 95 % or more, and after mending the same set.
Feed and poison are medians of the ratios of rounds, and fail where a run was too short to say anything."""
import argparse
import asyncio
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "demo")]
from corpus import Corpus, text  # noqa: E402
from fakes import Fake  # noqa: E402
from poison import poisoned, mended_again  # noqa: E402
from system import Failed, Up, wait_for  # noqa: E402

# A run is at least so long: what is shorter is mostly start-up.
RUN_MIN_S = 3

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


class Clocked:
    """When each event's escalation first came. One thread takes all calls: with one for each connection it is
    Python's lock that a call waits for, and no figure of Balefire's."""

    def __init__(self):
        self.at, loop = {}, asyncio.new_event_loop()
        server = loop.run_until_complete(asyncio.start_server(self.call, "127.0.0.1", 0, backlog=128))
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        threading.Thread(target=loop.run_forever, daemon=True).start()

    async def call(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
                body = await reader.readexactly(int(fields.get(b"content-length", 0)))
                now = time.monotonic()
                told = b"" if body else json.dumps(self.at).encode()
                for name in json.loads(body)["data"]["event_ids"] if body else []:
                    self.at.setdefault(name, now)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(told) + told)
                await writer.drain()
                if fields.get(b"connection") == b"close":
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


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

    def ask(self, what=""):
        """What it kept; times are of the clock that all processes share."""
        with urllib.request.urlopen(f"{self.url}/{what}", timeout=120) as answer:
            return json.load(answer)

    @property
    def at(self):
        """When each event's escalation first came."""
        return self.ask()

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
    """Five rounds, each on a log of its own: of 50 times the second highest is no more than one standstill of the machine."""
    quiet, behind, before, after = [], [], [], []
    for number in range(5):
        receiver = Apart("healthy")
        up = Up(arguments.binary, folder / f"data{number}", *receivers(folder, soc=receiver.url))
        left = lambda: sum(part["state_len"] for part in up.status("notifier")["partitions"])  # noqa: B023, E731
        try:
            quiet.append(latencies(receiver, paced(up, [f"q{n}" for n in range(50)], "prompt_attack", 20)))
            file = folder / "low.ndjson"
            file.write_bytes(b"".join(event(f"low{n}", "guardrail_block", time.time_ns()) for n in range(arguments.low)))
            up.run("send", str(file), "--wait", "--timeout", "300s")
            before.append(left())
            behind.append(latencies(receiver, paced(up, [f"c{n}" for n in range(50)], "prompt_attack", 20)))
            after.append(left())
        finally:
            up.process.kill()
            receiver.end()
    at = lambda rounds, share: median([p(one, share) for one in rounds])  # noqa: E731
    each = lambda rounds: " ".join(f"{p(one, .99):.1f}" for one in rounds)  # noqa: E731
    ratio = at(behind, .99) / at(quiet, .99)
    print(f"50 critical at 20/s, medians of {len(quiet)} rounds: undisturbed p50 {at(quiet, .5):.1f} p99 {at(quiet, .99):.1f} ms ({each(quiet)}); behind {min(before):,} and more "
          f"waiting low ones ({min(after):,} left at the end) p50 {at(behind, .5):.1f} p99 {at(behind, .99):.1f} ms ({each(behind)}): p99 × {ratio:.2f}")
    if min(after) == 0:
        print("  the backlog was gone before the last critical one came: give --low more")
    return ratio <= 2 and min(after) > 0


def median(values):
    return statistics.median(values)


class Hec(Fake):
    """Keeps each batch and when it came; reads them when it is asked, which is when nobody waits for it any more."""
    MARK, ID = b'"balefire":{"id":"', re.compile(rb'"balefire":\{"id":"([0-9a-f]{32}(?:-amended)?)"')

    def __init__(self):
        self.batches, self.counted, self.read = [], 0, 0
        super().__init__()

    def take(self, path, headers, body):
        if path.startswith("/services/"):
            self.batches.append((time.monotonic(), body))
            return 200, {}, b'{"text":"Success","code":0}'
        return 200, {}, json.dumps(getattr(self, path.strip("/"))()).encode()

    def forget(self):
        """What came so far is not looked at."""
        self.batches, self.counted, self.read = [], 0, 0

    def count(self):
        """How many events came so far."""
        while self.read < len(self.batches):
            self.counted += self.batches[self.read][1].count(self.MARK)
            self.read += 1
        return self.counted

    def told(self):
        """Events, different ones, batches, when the last came."""
        ids = [one for _, body in self.batches for one in self.ID.findall(body)]
        return len(ids), len(set(ids)), len(self.batches), self.batches[-1][0] if self.batches else 0


def begin(up, hec, number):
    """Sends to every partition and lane until all of a wave came to the feed: it begins with what comes behind its own start."""
    for wave in range(60):
        lines = [event(f"w{number}-{wave}-{category}-{user}", category, time.time_ns()) for category in ("prompt_attack", "anomaly", "telemetry") for user in range(64)]
        if hec:
            hec.ask("forget")
        up.run("send", "-", "--wait", data=b"".join(lines))
        try:
            if not hec or wait_for(lambda: hec.ask("count") >= len(lines), "the first events", 2):
                break
        except Failed:
            continue
    else:
        raise Failed("the feed does not begin")
    if hec:
        wait_for(lambda: lag(up) == 0, "the feed to come to its end")
        hec.ask("forget")


def lag(up):
    """Messages that the feed's receiver does not have yet."""
    (receiver,) = [json.loads(line) for line in up.run("receivers", "list", "--output", "ndjson").stdout.splitlines()]
    return receiver["feed_lag"]


def feed_run(arguments, place, file, fed):
    """Events/s evaluated; beside a feed also those it gave, and whether it gave each once."""
    place.mkdir()
    hec, flags = Apart("hec") if fed else None, []
    if hec:
        (place / "receivers.toml").write_text(f'[[receiver]]\nname = "hec"\nurl = "{hec.url}"\nallow_loopback = true\nfeed = true\nsecret_env = "FAKE_TOKEN"\n[receiver.target.splunk]\n')
        flags = ["--receivers", str(place / "receivers.toml")]
    up = Up(arguments.binary, place / "data", "--allowed-lateness", "3h", *flags)
    try:
        begin(up, hec, place.name)
        begun = time.monotonic()
        up.run("send", str(file), "--wait", "--timeout", "300s")
        evaluated = arguments.events / (time.monotonic() - begun)
        if not hec:
            return evaluated, None, True
        wait_for(lambda: hec.ask("count") >= arguments.events, f"the feed of {arguments.events:,} events", 300)
        # What came twice would come behind.
        wait_for(lambda: lag(up) == 0, "the feed to come to its end")
        events, distinct, batches, last = hec.ask("told")
        once = events == distinct == arguments.events
        print(f"  {place.name}: {events:,} events in {batches:,} batches, {distinct:,} different of {arguments.events:,}: each once: {once}", flush=True)
        return evaluated, arguments.events / (last - begun), once
    finally:
        up.stop()
        if hec:
            hec.end()
        shutil.rmtree(place)


def feed(arguments, folder):
    """Rounds of both, by turns and in either order, so that a slow minute of the machine hits both; each event is sent once, so that each must come once."""
    corpus = Corpus(arguments.events, max(50, arguments.events // 20), time.time_ns() - 60_000_000_000)
    file = folder / "events.ndjson"
    file.write_bytes(b"\n".join(dict.fromkeys(corpus.lines)) + b"\n")
    del corpus
    os.environ["FAKE_TOKEN"] = "token"
    alone, beside, given, good = [], [], [], True
    for number in range(arguments.rounds):
        for fed in (False, True) if number % 2 == 0 else (True, False):
            evaluated, gave, once = feed_run(arguments, folder / f"round-{number + 1}-{'feed' if fed else 'alone'}", file, fed)
            good &= once
            (beside if fed else alone).append(evaluated)
            if fed:
                given.append(gave)
    shares = [gave / engine for gave, engine in zip(given, alone)]
    print(f"{arguments.events:,} events, {arguments.rounds} rounds, medians: engine alone {median(alone):,.0f}/s, beside the feed {median(beside):,.0f}/s, feed {median(given):,.0f}/s; "
          f"feed {median(shares):.1%} of the engine alone ({', '.join(f'{share:.1%}' for share in shares)})")
    return long_enough([arguments.events / speed for speed in alone]) and median(shares) >= 0.8 and good


def long_enough(seconds):
    """A figure of runs that are mostly start-up says nothing."""
    if median(seconds) < RUN_MIN_S:
        print(f"  runs of {median(seconds):.1f} s are too short to say anything: give --events more")
        return False
    return True


def poison(arguments, folder):
    """The speed of the rest over many events; then, over fewer, mending one by one and the same set."""
    rounds = poisoned(arguments, folder / "speed")
    shares = [one.share for one in rounds]
    print(f"{rounds[0].records:,} events, {rounds[0].spoilt:,} of them poison, {len(rounds)} rounds, medians: {median([one.clean for one in rounds]):.1f} s clean, "
          f"{median([one.dirty for one in rounds]):.1f} s with poison, both without the {rounds[0].idle:.1f} s of an empty log; "
          f"the rest at {median(shares):.1%} of the clean speed ({', '.join(f'{share:.1%}' for share in shares)}); all in dead letters each time: {all(one.told for one in rounds)}", flush=True)
    same, said = mended_again(arguments, folder / "mended")
    print(f"  {said}")
    return long_enough([one.clean for one in rounds]) and median(shares) >= 0.95 and all(one.told for one in rounds) and same


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--rate", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--low", type=int, default=50_000)
    parser.add_argument("--events", type=int, default=1_000_000, help="a run of feed and poison")
    parser.add_argument("--rounds", type=int, default=5, help="of feed and poison")
    parser.add_argument("--mended", type=int, default=100_000, help="events of which one in a hundred is spoilt, mended and replayed")
    parser.add_argument("--fake", choices=[*KINDS, "hec"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.fake:
        own = {"healthy": Clocked, "hec": Hec}.get(arguments.fake)
        fake = own() if own else Fake(spoil=lambda *_: BAD[arguments.fake])
        print(fake.url, flush=True)
        threading.Event().wait()
    arguments.binary = str(Path(arguments.binary).resolve())
    threading.stack_size(256 * 1024)
    print(f"load average before: {os.getloadavg()[0]:.2f}, {os.cpu_count()} CPUs", flush=True)
    kept = True
    for figure in (neighbours, backlog, feed, poison):
        if arguments.only and figure.__name__ not in arguments.only:
            continue
        with tempfile.TemporaryDirectory(prefix="balefire-figures-", ignore_cleanup_errors=True) as folder:
            good = figure(arguments, Path(folder))
            print(f"  {figure.__name__}: {'kept' if good else 'NOT KEPT'}", flush=True)
            kept &= good
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
