"""Too much, garbage on the log, and receivers that fail."""
import concurrent.futures
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import threading
import time
from pathlib import Path

from corpus import text
from receiver import Receiver
from run import SECRET, quiet
from system import READY_S, Client, Four, Up, check, wait_for

REFUSED_MEDIAN_S = 0.05
RSS_MAX_MIB = 256
IN_FLIGHT = 8 << 20
BODY = 512 << 10
SENDERS = 64
PROBES = 30
PROBES_MAX = 100
PROBE = 160 << 10
ADMITTED_S = 0.2


def event(number, user="u", **more):
    return json.dumps({"event_type": "ai_security", "timestamp": text(time.time_ns()), "category": "anomaly",
                       "event_id": f"h{number}", "user_id": user} | more).encode()


def rss_mib(pid):
    line = next(line for line in open(f"/proc/{pid}/status") if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def post(address, body):
    """(status, Retry-After, seconds) of one request."""
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.connect()
    begun = time.monotonic()
    connection.request("POST", "/v1/events", body, {"content-type": "application/x-ndjson"})
    answer = connection.getresponse()
    answer.read()
    took = time.monotonic() - begun
    connection.close()
    return answer.status, answer.getheader("retry-after"), took


def flood(pool, address, bodies, pid):
    """Sends the bodies while the log stands still: their futures, the quick answers to probes, peak memory."""
    sent = [pool.submit(post, address, body) for body in bodies]
    wait_for(lambda: sum(one.done() for one in sent) >= SENDERS // 4, "the first refusals", 20)
    probe = bodies[0][:PROBE].rpartition(b"\n")[0]
    tried, quick, peak = [], [], 0
    while len(quick) < PROBES and len(tried) < PROBES_MAX:
        tried.append(pool.submit(post, address, probe))
        # one that fits into what room is left waits for the log: the next will not
        if concurrent.futures.wait(tried[-1:], ADMITTED_S).done:
            quick.append(tried[-1].result())
        peak = max(peak, rss_mib(pid))
    return sent, tried, quick, peak


def overload(world):
    """More than it can take while the log stands still: 429 at once, bounded memory; what is accepted is evaluated."""
    four = Four(Path(world.binary).parent, world.folder / "overload", 2, lateness="1h", webhook="http://127.0.0.1:9/", secret=SECRET,
                ingest=["--in-flight-bytes", str(IN_FLIGHT)])
    client, ingest = Client(world.binary, four.addr["ingest"]), four.parts[four.services.index("ingest")]
    try:
        # each request has one event that raises, so that what was accepted can be counted
        bodies = [b"\n".join([event(f"{n}-attack", f"user{n}", category="prompt_attack")]
                             + [event(f"{n}-{i}", f"user{n}", note="x" * 40_000) for i in range(BODY // 40_000)]) for n in range(SENDERS)]
        before, address = rss_mib(ingest.child.pid), ingest.facts["http"]
        with concurrent.futures.ThreadPoolExecutor(SENDERS + PROBES_MAX) as pool:
            os.kill(four.nats.pid, signal.SIGSTOP)
            try:
                sent, tried, quick, peak = flood(pool, address, bodies, ingest.child.pid)
            finally:
                os.kill(four.nats.pid, signal.SIGCONT)
            answers = [one.result() for one in sent]
            told = [(code, retry) for code, retry, _ in answers + [one.result() for one in tried]]
        check({code for code, _ in told} <= {200, 429, 503}, f"answers {sorted({code for code, _ in told})}")
        check(all(retry for code, retry in told if code != 200), "a refusal without Retry-After")
        refused = [took for code, _, took in quick if code == 429]
        check(len(refused) >= PROBES // 2, f"{len(refused)} of {len(quick)} probes were refused with 429")
        median = statistics.median(refused)
        check(median <= REFUSED_MEDIAN_S, f"the median refusal took {median * 1000:.0f} ms")
        check(peak < RSS_MAX_MIB, f"{peak:.0f} MiB of memory, {before:.0f} before")
        # senders come again; what raises is enough
        for n, (code, _, _) in enumerate(answers):
            if code != 200:
                wait_for(lambda n=n: post(address, bodies[n].partition(b"\n")[0])[0] == 200, "a request to be accepted later", 30)
        raised = lambda: {e["event_ids"][0] for e in client.escalations(four.addr["rule-engine"])}  # noqa: E731
        wait_for(lambda: len(raised()) >= SENDERS, "the escalations", 30)
        check(raised() == {f"h{n}-attack" for n in range(SENDERS)}, "other escalations than what was accepted")
    finally:
        four.stop()
    return f"{len(refused)} × 429 in {median * 1000:.1f} ms (median), {before:.0f} → {peak:.0f} MiB"


class Wire:
    """Just enough of the NATS protocol to put bytes on a stream."""

    def __init__(self, url):
        host, port = url.removeprefix("nats://").split(":")
        self.socket = socket.create_connection((host, int(port)), 10)
        self.answers = self.socket.makefile("rb")
        self.answers.readline()
        self.socket.sendall(b'CONNECT {"verbose":false,"lang":"python","version":"0"}\r\nSUB _INBOX.faults 1\r\n')

    def publish(self, subject, payload):
        """The stream and sequence that acknowledged it."""
        self.socket.sendall(f"PUB {subject} _INBOX.faults {len(payload)}\r\n".encode() + payload + b"\r\n")
        while True:
            line = self.answers.readline().split()
            if line[0] == b"MSG":
                answer = json.loads(self.answers.read(int(line[-1]) + 2))
                check("stream" in answer, f"{subject}: {answer}")
                return answer["stream"], answer["seq"]
            if line[0] == b"PING":
                self.socket.sendall(b"PONG\r\n")


class OpenNats:
    """A nats-server that asks nobody for a credential, as in a laboratory."""

    def __init__(self, folder):
        folder.mkdir(exist_ok=True)
        conf = folder / "nats.conf"
        conf.write_text(f'listen: "127.0.0.1:-1"\nports_file_dir: "{folder}"\nmax_payload: 1MB\n'
                        f'jetstream {{ store_dir: "{folder}/store", sync_interval: always }}\n')
        self.log = open(folder / "nats.log", "ab")
        self.child = subprocess.Popen(["nats-server", "-c", str(conf)], stdout=self.log, stderr=self.log)
        file = folder / f"nats-server_{self.child.pid}.ports"
        wait_for(lambda: file.exists() and file.read_text().strip().endswith("}"), "the ports file", READY_S)
        self.url = json.loads(file.read_text())["nats"][0]

    def stop(self):
        self.child.terminate()
        self.child.wait(30)
        self.log.close()


def letters(up, *flags):
    return [json.loads(line) for line in up.run("deadletters", "list", "--output", "ndjson", *flags).stdout.splitlines()]


def malformed(world):
    """Garbage on EVENTS and INTAKE streams: dead letters with everything in them, and the partitions go on."""
    nats = OpenNats(world.folder / "malformed-nats")
    up = None
    try:
        up = Up(world.binary, world.folder / "malformed", "--nats-url", nats.url, "--nats-sync-confirmed", "--partitions", "1")
        wire, garbage = Wire(nats.url), [b"\xff\xfe garbage", b"", b"\x0a\x03abc" * 9, os.urandom(2000)]
        put = {wire.publish(subject, payload): payload for payload in garbage
               for subject in ("events.g1.urgent.0.door", "events.g1.bulk.0.door", "intake.g1.normal.0.door")}
        wait_for(lambda: len(letters(up)) >= len(put), "the dead letters")
        seen = {(letter["stream"], letter["sequence"]): letter for letter in letters(up)}
        check(set(seen) == set(put), f"dead letters of {sorted(seen)}, expected {sorted(put)}")
        for place, payload in put.items():
            shown = json.loads(up.run("deadletters", "show", seen[place]["id"]).stdout)
            check(shown["reason"] and shown["stage"], f"a dead letter without reason or stage: {shown}")
            check(shown["payload"] == {"hex": payload.hex()} or not payload or shown["payload"] == payload.decode(), f"payload of {place}: {shown['payload']}")
        done = up.run("send", "-", "--wait", data=event("after", category="prompt_attack") + b"\n")
        check(json.loads(done.stdout)["accepted"] == 1 and len(up.escalations()) == 1, "the partition does not go on after garbage")
        check(up.run("deadletters", "discard", seen[next(iter(put))]["id"], codes=(2,)).stderr.count(b"--reason") > 0, "discard without a reason")
        first, second, *others = [letter["id"] for letter in seen.values()]
        up.run("deadletters", "discard", first, "--reason", "garbage of a test")
        up.run("deadletters", "discard", first, "--reason", "again", codes=(0, 1))
        replay = lambda: json.loads(up.run("deadletters", "replay", second, "--reason", "trying").stdout)  # noqa: E731
        once, twice = replay(), replay()
        check((once["replayed"], twice["replayed"], twice["unchanged"]) == ([second], [], [second]), f"replayed twice: {once} {twice}")
        # what is still garbage comes back as a letter of its own, once
        waiting = lambda: {letter["id"] for letter in letters(up)} - {first, second} - set(others)  # noqa: E731
        wait_for(lambda: len(waiting()) == 1, "the replayed garbage to come back")
        up.run("send", "-", "--wait", data=b"")
        check(len(waiting()) == 1, "garbage replayed twice came back twice")
        check(up.process.child.poll() is None, "up ended")
    finally:
        if up:
            up.stop()
        nats.stop()
    return f"{len(put)} dead letters, each with its payload"


class Moody(Receiver):
    """Fails by the name of the user an escalation is about, until it is healed."""
    healed = False

    def __init__(self, *arguments, **more):
        self.tries, self.released = {}, threading.Event()
        super().__init__(*arguments, **more)

    def take(self, headers, body):
        user = json.loads(body)["data"]["key"].get("user_id", "")
        self.tries[user] = self.tries.get(user, 0) + 1
        if self.healed or user == "fine":
            return super().take(headers, body)
        if user == "hang":
            self.released.wait(60)
            raise ConnectionResetError
        if user == "reset":
            raise ConnectionResetError
        return int(user)


def receivers(world):
    """A receiver answers 500, 503, 400, hangs, resets: retries, dead letters, and replayed later each arrives once."""
    receiver = Moody(SECRET, show=quiet)
    up = Up(world.binary, world.folder / "receivers", "--webhook", receiver.url, "--webhook-secret", SECRET, "--delivery-attempts", "2")
    users = ["500", "503", "400", "410", "hang", "reset", "fine"]
    try:
        up.run("send", "-", "--wait", data=b"\n".join(event(user, user, category="prompt_attack") for user in users) + b"\n")
        wait_for(lambda: len(letters(up)) >= len(users) - 1, "the dead letters", 60)
        wait_for(up.settled, "the notifier to finish", 30)
        found = letters(up)
        by_id = {e["escalation_id"]: e["key"]["user_id"] for e in up.escalations()}
        reasons = {by_id[letter["escalation_id"]]: (letter["reason"], letter["attempts"]) for letter in found}
        exhausted, refused = ("delivery_exhausted", 2), ("delivery_refused", 1)
        want = {"500": exhausted, "503": exhausted, "hang": exhausted, "reset": exhausted, "400": refused, "410": refused}
        check(reasons == want, f"dead letters {reasons}")
        check([payload["data"]["key"]["user_id"] for _, payload in receiver.deliveries] == ["fine"], "deliveries before the receiver was healed")
        for letter in found:
            shown = json.loads(up.run("deadletters", "show", letter["id"]).stdout)
            check(shown["last_error"] and shown["receiver"] == "webhook" and shown["payload"], f"a dead letter that says too little: {shown}")
        receiver.healed = True
        receiver.released.set()
        replay = lambda: json.loads(up.run("deadletters", "replay", "--all", "--reason", "receiver mended").stdout)  # noqa: E731
        check(len(replay()["replayed"]) == len(want), "not everything was replayed")
        check(receiver.wait(len(users), 30), "what was replayed did not arrive")
        wait_for(up.settled, "the notifier to finish")
        check(replay()["replayed"] == [] and letters(up) == [], "something was replayed again")
        for letter in found:
            again = json.loads(up.run("deadletters", "replay", letter["id"]).stdout)
            check(again["replayed"] == [], f"a replayed letter was replayed again: {again}")
        wait_for(up.settled, "the notifier to finish")
        came = sorted(payload["data"]["key"]["user_id"] for _, payload in receiver.deliveries)
        check(came == sorted(users), f"delivered: {came}")
        check(len({message_id for message_id, _ in receiver.deliveries}) == len(users), "a webhook-id stands twice")
    finally:
        receiver.released.set()
        up.stop()
    return f"{len(want)} dead letters, each delivered once after replay"
