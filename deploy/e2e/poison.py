"""Messages of the log of which one event in a hundred is spoilt: what they cost the others, and what
comes of them when they are mended. Part of notify_figures.py."""
import asyncio
import json
import os
import shutil
import statistics
import time
from dataclasses import dataclass

from corpus import Corpus, identity
from hostile import OpenNats, Wire, letters
from system import Up, wait_for

LANES = ("urgent", "normal", "bulk")
ONE_IN = 100
WAITS = ("send", "-", "--wait", "--timeout", "600s")


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


def flags(nats):
    return ["--nats-url", nats.url, "--nats-sync-confirmed", "--partitions", "1", "--allowed-lateness", "3h"]


class Spoiled:
    """What the door makes of a file, lane by lane, as it was and spoilt, and the escalations of it."""

    def __init__(self, binary, folder, count):
        folder.mkdir(parents=True)
        corpus = Corpus(count, max(50, count // 20), time.time_ns() - 60_000_000_000)
        file = folder / "events.ndjson"
        file.write_bytes(b"\n".join(corpus.lines) + b"\n")
        del corpus
        nats = OpenNats(folder / "source")
        up = Up(binary, folder / "source-data", *flags(nats))
        try:
            up.run("send", str(file), "--wait", "--timeout", "600s")
            self.want = {identity(line) for line in up.escalations()}
            put = asyncio.run(messages(nats.url, [f"EVENTS_g1_{lane}_0" for lane in LANES]))
        finally:
            up.process.kill()
            nats.stop()
        self.clean = [one for one in put if one[0].endswith(".door")]
        self.spoilt, self.originals, self.records = [], [], 0
        for subject, payload in self.clean:
            self.spoilt.append((subject, self.spoil(payload)))
        for name in ("source", "source-data"):
            shutil.rmtree(folder / name)
        file.unlink()

    def spoil(self, payload):
        """Each hundredth event made unreadable, in a record of the same length."""
        out = bytearray(payload)
        header = next(payload[start:end] for number, start, end, _ in fields(payload) if number == 1)
        for number, start, end, record in fields(payload):
            if number != 3 or record[:1] != b"\x0a":      # an event
                continue
            self.records += 1
            if self.records % ONE_IN == 0:
                out[end - len(record) + 3:end] = b"\xff" * (len(record) - 3)
                self.originals.append(header + payload[start:end])
        return bytes(out)


def prepare(binary, place, put):
    """A stopped system with these messages on its streams, to be copied."""
    place.mkdir(parents=True)
    nats = OpenNats(place / "nats")
    try:
        Up(binary, place / "data", *flags(nats)).stop()
        wire = Wire(nats.url)
        for subject, payload in put:
            wire.publish(subject, payload)
    finally:
        nats.stop()


def started(binary, prepared, place):
    """A copy of it, started: the system, its log, the seconds until everything is evaluated."""
    shutil.copytree(prepared, place, ignore=shutil.ignore_patterns("*.ports", "*.log", "*.conf"))
    # What was copied is no longer on its way to the disk: the log's own syncs would wait behind it.
    os.sync()
    nats = OpenNats(place / "nats")
    begun = time.monotonic()
    up = Up(binary, place / "data", *flags(nats))
    # Behind all of them: status says how far it is once a second only.
    up.run(*WAITS, data=b"")
    return up, nats, time.monotonic() - begun


@dataclass
class Round:
    records: int
    spoilt: int
    idle: float
    clean: float
    dirty: float
    told: bool

    @property
    def share(self):
        """Speed of what is not spoilt, of what it is where nothing is."""
        return self.clean / self.dirty * (self.records - self.spoilt) / self.records


def run(binary, prepared, place, spoilt):
    """Seconds, and whether there are so many dead letters."""
    up, nats, took = started(binary, prepared, place)
    try:
        wait_for(lambda: len(letters(up)) >= spoilt, "the dead letters", 120)
        return took, len(letters(up)) == spoilt
    finally:
        up.process.kill()
        nats.stop()
        shutil.rmtree(place)


def poisoned(arguments, folder):
    """Rounds of an empty log, a clean and a spoilt one, by turns and in either order; what an empty one takes is taken off."""
    # Evaluating alone is faster than the whole way.
    source = Spoiled(arguments.binary, folder, 2 * arguments.events)
    for name, put in (("idle", []), ("clean", source.clean), ("spoilt", source.spoilt)):
        prepare(arguments.binary, folder / name, put)
    took, told = {name: [] for name in ("idle", "clean", "spoilt")}, []
    for number in range(arguments.rounds):
        order = ("idle", "clean", "spoilt")
        for name in order if number % 2 == 0 else order[::-1]:
            seconds, all_there = run(arguments.binary, folder / name, folder / f"{name}-{number}", len(source.originals) if name == "spoilt" else 0)
            took[name].append(seconds)
            told += [all_there] if name == "spoilt" else []
    idle = statistics.median(took["idle"])
    return [Round(source.records, len(source.originals), idle, clean - idle, dirty - idle, there)
            for clean, dirty, there in zip(took["clean"], took["spoilt"], told)]


def place_of(letter):
    """Streams are read lane by lane, as they were put."""
    return LANES.index(letter["stream"].split("_")[2]), letter["sequence"], letter["index"]


def mended_again(arguments, folder):
    """Every letter mended and replayed, twice: whether the escalations are those of a clean run, and in words."""
    source = Spoiled(arguments.binary, folder, arguments.mended)
    prepare(arguments.binary, folder / "spoilt", source.spoilt)
    up, nats, _ = started(arguments.binary, folder / "spoilt", folder / "run")
    try:
        found = wait_for(lambda: len(waiting := letters(up)) >= len(source.originals) and waiting, "the dead letters", 120)
        before = {identity(line) for line in up.escalations()}
        mended = folder / "mended"
        for letter, original in zip(sorted(found, key=place_of), source.originals):
            mended.write_bytes(original)
            up.run("deadletters", "edit", letter["id"], "--payload", str(mended), "--reason", "mended")

        def replay(why):
            replayed = json.loads(up.run("deadletters", "replay", "--all", "--reason", why).stdout)["replayed"]
            up.run(*WAITS, data=b"")
            return len(replayed)
        once = replay("mended")
        wait_for(lambda: {identity(line) for line in up.escalations()} == source.want, "the same escalations as without poison", 120)
        again = replay("again")
        lines = up.escalations()
        same = {identity(line) for line in lines} == source.want and len(lines) == len(source.want)
    finally:
        up.process.kill()
        nats.stop()
    good = same and not again and once == len(found) == len(source.originals) and before != source.want
    return good, (f"{source.records:,} events, {len(source.originals):,} of them poison: {len(found):,} dead letters and {len(before):,} of {len(source.want):,} escalations; "
                  f"{once:,} mended and replayed, then {again} more: the escalations are those without poison, each once: {same}"
                  + ("; but nothing was missing before: give --mended more" if before == source.want else ""))
