"""Programs that die, state that is lost, disks that fill up: the escalation set stays exact."""
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from corpus import identity
from receiver import Receiver
from run import LATENESS, SECRET, delivered_all, differ, quiet
from system import Client, Four, Up, check, wait_for

STOP_MAX_S = 15
DISK = 48 << 20
FILL_STEP = 1 << 20
GROWN = 6000


class Feed:
    """`balefire send -` whose input comes in pieces, so that a fault falls in the middle."""

    def __init__(self, world, addr):
        self.lines, self.at = world.corpus.lines, 0
        self.child = subprocess.Popen([world.binary, "send", "-", "--addr", f"http://{addr}"], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def give(self, share):
        end = int(len(self.lines) * share)
        self.child.stdin.write(b"".join(line + b"\n" for line in self.lines[self.at:end]))
        self.child.stdin.flush()
        self.at = end

    def finish(self):
        """Gives the rest and waits; every line must be accounted for, none refused."""
        check(self.child.poll() is None, "the send ended before the last fault")
        self.give(1)
        out, errors = self.child.communicate(timeout=120)
        check(self.child.returncode == 0, f"send: exit {self.child.returncode}\n{errors.decode()[-2000:]}")
        summary = json.loads(out)
        check(summary["accepted"] + summary["duplicate"] == len(self.lines), f"lines are not accounted for: {summary}")


def barrier(client):
    """Waits until everything accepted before is evaluated."""
    client.run("send", "-", "--wait", data=b"")


def delivered_exactly(world, receiver, repeats=0):
    came = [message_id for message_id, _ in list(receiver.deliveries)]
    differ("deliveries", {identity(payload["data"]) for _, payload in list(receiver.deliveries)}, world.want)
    again = len(came) - len(set(came))
    check(again <= repeats, f"{again} deliveries came twice, at most {repeats} may")
    check(not receiver.refused, "a signature was wrong")
    return again


def with_webhook(world, name, receiver):
    return Up(world.binary, world.folder / name, "--allowed-lateness", LATENESS, "--webhook", receiver.url, "--webhook-secret", SECRET)


def nats_killed(world):
    """kill -9 of the nats-server, three times in the middle of a send: it finishes by itself, nothing twice."""
    receiver = Receiver(SECRET, show=quiet)
    up = with_webhook(world, "nats_killed", receiver)
    try:
        feed = Feed(world, up.addr)
        for share in (0.25, 0.5, 0.75):
            feed.give(share)
            wait_for(lambda: up.accepted() > world.count * (share - 0.2), "events to be accepted")
            pid = up.nats_pid()
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: up.nats_pid() not in (None, pid), "another nats-server")
        feed.finish()
        barrier(up)
        world.evaluated("nats-server killed", up)
        delivered_all(receiver, world.want)
        wait_for(up.settled, "the notifier to finish")
    finally:
        up.stop()
    delivered_exactly(world, receiver)
    return f"3 kills, {len(world.want)} delivered, none twice"


def services_killed(world):
    """Each of the four services killed in the middle of a send and started again: the same set."""
    receiver = Receiver(SECRET, show=quiet)
    four = Four(Path(world.binary).parent, world.folder / "services_killed", 2, lateness=LATENESS, webhook=receiver.url, secret=SECRET)
    client, engine = Client(world.binary, four.addr["ingest"]), four.addr["rule-engine"]
    try:
        feed = Feed(world, four.addr["ingest"])
        for number, service in enumerate(["rule-engine", "correlator", "ingest", "notifier"]):
            feed.give((number + 1) / 6)
            wait_for(lambda: len(client.escalations(engine)) >= len(world.want) * number / 6, "the engine")
            four.kill_and_restart(service)
        feed.finish()
        wait_for(lambda: len(client.escalations(engine)) >= len(world.want), "the escalations")
        world.evaluated("services killed", client, engine)
        delivered_all(receiver, world.want)
        wait_for(lambda: client.settled(four.addr["notifier"]), "the notifier to finish")
    finally:
        four.stop()
    again = delivered_exactly(world, receiver, repeats=1)
    return f"4 kills, {len(world.want)} delivered, {again} of them again"


def without_store(world):
    """`--store none`: both stages killed in the middle of a send begin from the log, and give the same set."""
    receiver = Receiver(SECRET, show=quiet)
    four = Four(Path(world.binary).parent, world.folder / "without_store", 2, lateness=LATENESS, webhook=receiver.url, secret=SECRET,
                every=("--store", "none"))
    client, engine = Client(world.binary, four.addr["ingest"]), four.addr["rule-engine"]
    try:
        feed = Feed(world, four.addr["ingest"])
        for number, service in enumerate(["rule-engine", "correlator", "rule-engine"]):
            feed.give((number + 1) / 5)
            wait_for(lambda: len(client.escalations(engine)) >= len(world.want) * number / 6, "the engine")
            four.kill_and_restart(service)
        feed.finish()
        wait_for(lambda: len(client.escalations(engine)) >= len(world.want), "the escalations")
        world.evaluated("without a store", client, engine)
        delivered_all(receiver, world.want)
        wait_for(lambda: client.settled(four.addr["notifier"]), "the notifier to finish")
        kept = [folder for service in ("rule-engine", "correlator") if (folder := four.data / service / service).exists()]
        check(not kept, f"checkpoints were kept: {kept}")
    finally:
        four.stop()
    delivered_exactly(world, receiver)
    return f"3 kills, {len(world.want)} delivered, none twice"


def spoil(folder, how, seed):
    """Breaks the local state of every service that keeps one."""
    rng, spoiled = random.Random(seed), 0
    for state in (folder / "rule-engine", folder / "correlator"):
        if how == "deleted":
            shutil.rmtree(state)
            spoiled += 1
            continue
        for file in sorted(state.rglob("*")):
            size = file.stat().st_size
            if not file.is_file() or size == 0:
                continue
            data = bytearray(file.read_bytes())
            if how == "truncated":
                data = data[: size // 2]
            else:
                for _ in range(64):
                    data[rng.randrange(size)] ^= 1 << rng.randrange(8)
            file.write_bytes(data)
            spoiled += 1
    check(spoiled, f"no state below {folder} to be {how}")


def lost_state(world):
    """Local state deleted, truncated, bit-flipped between runs: the same set, nobody is told again."""
    receiver = Receiver(SECRET, show=quiet)
    up = with_webhook(world, "lost_state", receiver)
    shares = [0.4, 0.6, 0.8, 1]
    try:
        for number, (share, how) in enumerate(zip(shares, ["deleted", "truncated", "flipped", ""])):
            begin = int(len(world.corpus.lines) * (shares[number - 1] if number else 0))
            piece = b"\n".join(world.corpus.lines[begin:int(len(world.corpus.lines) * share)]) + b"\n"
            up.run("send", "-", "--wait", data=piece)
            if how:
                wait_for(up.settled, "the notifier to finish")
                up.stop()
                spoil(up.data, how, number)
                up.again()
        world.evaluated("state lost", up)
        delivered_all(receiver, world.want)
        wait_for(up.settled, "the notifier to finish")
    finally:
        up.stop()
    delivered_exactly(world, receiver)
    return "deleted, truncated and bit-flipped"


class Told:
    """A receiver of notices about Balefire itself. It fails the first one."""

    def __init__(self):
        self.bodies, self.calls = [], 0
        told = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                told.calls += 1
                if told.calls > 1:
                    told.bodies.append(body)
                self.send_response(204 if told.calls > 1 else 503)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/told"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def log_regression(world):
    """An older backup of the log in place of the newer one: people are told at once, and what the page says makes it whole."""
    told = Told()
    up = Up(world.binary, world.folder / "log_regression", "--allowed-lateness", LATENESS, "--self-alert-url", told.url)
    middle = len(world.corpus.lines) // 2
    parts = [b"\n".join(part) + b"\n" for part in (world.corpus.lines[:middle], world.corpus.lines[middle:])]
    backup = world.folder / "log_regression.backup"
    try:
        up.run("send", "-", "--wait", data=parts[0])
        up.stop()
        shutil.copytree(up.data / "nats", backup)
        up.again()
        up.run("send", "-", "--wait", data=parts[1])
        up.stop()
        shutil.rmtree(up.data / "nats")
        backup.rename(up.data / "nats")
        # it serves its status, and never says that it is ready
        up.again(ready=False)
        # of both partitions of the engine: one notice each
        wait_for(lambda: {body["partition"] for body in told.bodies if body["service"] == "rule-engine"} == {0, 1}, "notices of both partitions")
        for body in told.bodies:
            check(body["severity"] == "critical" and body["reason"] == "log_regression" and "log regression" in body["detail"], f"a notice says {body}")
        again = len(told.bodies) - len({body["id"] for body in told.bodies})
        check(again == 0, f"{again} notices came twice")
        said = up.run("status", codes=(1,)).stdout.decode()
        check("stopped:log regression on" in said and "docs/runbooks/log_regression.md" in said, f"status says {said}")
        # as the page says: the old log is all there is; producers send again what they kept
        up.stop()
        for state in ("rule-engine", "correlator"):
            shutil.rmtree(up.data / state)
        up.again()
        for part in parts:
            up.run("send", "-", "--wait", data=part)
        world.evaluated("log regression", up)
    finally:
        up.stop()
    return f"{len(told.bodies)} notices, the first one at the second attempt"


def terminated(world):
    """SIGTERM in the middle of a send: it drains, exits 0, and the next start goes on where it was."""
    receiver = Receiver(SECRET, show=quiet)
    up = with_webhook(world, "terminated", receiver)
    took = []
    try:
        feed = Feed(world, up.addr)
        for share in (0.3, 0.6):
            feed.give(share)
            wait_for(lambda: up.accepted() > 0, "events to be accepted")
            begun = time.monotonic()
            code = up.process.stop(STOP_MAX_S)
            took.append(time.monotonic() - begun)
            check(code == 0, f"exit {code} after SIGTERM")
            up.again()
        feed.finish()
        barrier(up)
        world.evaluated("terminated", up)
        delivered_all(receiver, world.want)
        wait_for(up.settled, "the notifier to finish")
    finally:
        up.stop()
    delivered_exactly(world, receiver)
    return f"drained within {max(took):.1f} s"


class Disk:
    """A small file system of its own."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.mounted = self.mount(f"size={DISK}", "tmpfs")

    def mount(self, options, *source):
        done = subprocess.run(["mount", *(["-t", "tmpfs"] if source else []), "-o", options, *source, str(self.folder)], capture_output=True)
        self.reason = done.stderr.decode().strip()
        return done.returncode == 0

    def fill(self):
        """Takes what is left."""
        with open(self.folder / "filler", "ab", buffering=0) as file:
            try:
                while file.write(b"x" * FILL_STEP) == FILL_STEP:
                    pass
            except OSError:
                pass

    def close(self):
        if self.mounted:
            # what is on the disk goes with it
            log = self.folder / "nats/nats.log"
            if log.exists():
                shutil.copy(log, f"{self.folder}-nats.log")
            subprocess.run(["umount", "-l", str(self.folder)], check=True)


def refused(up):
    """One event, once: the code of the refusal, or None where it was accepted."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    event = {"event_type": "ai_security", "timestamp": stamp, "category": "anomaly", "user_id": "probe"}
    body = json.dumps(event)
    done = subprocess.run(["curl", "-sS", "-m", "20", "-o", "/dev/null", "-w", "%{http_code} %header{retry-after}", f"http://{up.http}/v1/events",
                           "-H", "content-type: application/json", "-d", body], capture_output=True, text=True)
    code, _, retry = done.stdout.partition(" ")
    check(code in ("200", "429", "503"), f"a full disk answers {done.stdout!r} {done.stderr}")
    check(code == "200" or retry, f"{code} without Retry-After")
    return None if code == "200" else code


def grown(count):
    """Lines of 10 KB that raise nothing."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    for number in range(count):
        yield json.dumps({"event_type": "ai_security", "timestamp": stamp, "category": "anomaly", "event_id": f"grown{number}",
                          "user_id": "probe", "note": "x" * 10_000}).encode()


def disk_full(world):
    """The disk fills up, by others and by the log itself: refusals, nothing lost, and it resumes by itself."""
    disk = Disk(world.folder / "disk")
    if not disk.mounted:
        return f"SKIPPED: no tmpfs can be mounted here: {disk.reason}"
    receiver = Receiver(SECRET, show=quiet)
    up = None
    try:
        up = Up(world.binary, disk.folder, "--allowed-lateness", LATENESS, "--webhook", receiver.url, "--webhook-secret", SECRET)
        up_log = up.process.log.name
        feed = Feed(world, up.addr)
        feed.give(0.3)
        wait_for(lambda: up.accepted() > world.count * 0.1, "events to be accepted")
        # more than once: what is set aside and removed makes room
        codes = {wait_for(lambda: disk.fill() or refused(up), "a refusal")}
        feed.give(0.6)
        (disk.folder / "filler").unlink()
        wait_for(lambda: refused(up) is None, "it to accept again after space was made", 60)
        feed.finish()
        barrier(up)
        world.evaluated("disk full", up)
        check("panicked" not in Path(up_log).read_text(), "something panicked")
        delivered_all(receiver, world.want)
        wait_for(up.settled, "the notifier to finish")
        # now the log itself
        block = b"".join(line + b"\n" for line in grown(GROWN))
        sender = subprocess.Popen([world.binary, "send", "-", "--addr", f"http://{up.addr}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        sender.stdin.write(block)
        codes.add(wait_for(lambda: refused(up), "a refusal of a full log"))
        check(disk.mount(f"remount,size={8 * DISK}"), disk.reason)
        out, errors = sender.communicate(timeout=120)
        check(sender.returncode == 0 and json.loads(out)["accepted"] == GROWN, f"the send did not resume: {out} {errors[-2000:]}")
        barrier(up)
    finally:
        if up:
            up.stop()
        disk.close()
    delivered_exactly(world, receiver)
    return f"refused with {' and '.join(sorted(codes))}, resumed by itself"
