"""How long it takes through JetStream: Balefire and the daemon of rsigma, one after the other, each with a
nats-server of its own that does not sync, at the same rate, from when an event should be sent to when its
alert comes out of the stream. Nobody waits for anybody: times are those of the plan.

As a program it is who listens: peers_daemon.py PORT SUBJECT FILE writes `id nanoseconds` as alerts come."""
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import peers_alerts
from system import END_S, READY_S, Failed, Up, check, wait_for

EVENTS = "peers.events"
ALERTS = "peers.alerts"
HOT_EVERY = 20          # one in so many escalates by itself
TICK_NS = 1_000_000
USERS = 997
HOT = re.compile(rb"hot-\d{9}")
TICKS = os.sysconf("SC_CLK_TCK")


class Wire:
    """As much of the broker's protocol as is needed: a client library would be measured, too."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""
        self.line()
        self.socket.sendall(b'CONNECT {"verbose":false,"pedantic":false}\r\nPING\r\n')
        while self.line() != b"PONG":
            pass

    def line(self):
        while b"\r\n" not in self.rest:
            more = self.socket.recv(1 << 18)
            if not more:
                raise EOFError
            self.rest += more
        line, self.rest = self.rest.split(b"\r\n", 1)
        return line

    def messages(self, subject):
        """Payloads, as they come."""
        self.socket.sendall(b"SUB %s 1\r\nPING\r\n" % subject.encode())
        while True:
            word, *facts = self.line().split()
            if word == b"PING":
                self.socket.sendall(b"PONG\r\n")
            elif word == b"PONG":
                yield None
            elif word in (b"MSG", b"HMSG"):
                length = int(facts[-1]) + 2
                while len(self.rest) < length:
                    self.rest += self.socket.recv(1 << 18)
                payload, self.rest = self.rest[: length - 2], self.rest[length:]
                yield payload

    def write(self, lines):
        self.socket.sendall(b"".join(b"PUB %s %d\r\n%s\r\n" % (EVENTS.encode(), len(line), line) for line in lines))

    def close(self):
        self.socket.close()


def listen(port, subject, file):
    with open(file, "w", buffering=1) as told:
        for payload in Wire(int(port)).messages(subject):
            now = time.monotonic_ns()
            for found in dict.fromkeys(HOT.findall(payload or b"hot-999999999")):
                told.write(f"{found.decode()} {now}\n")


def record(number, at_ns):
    at = datetime.fromtimestamp(at_ns / 1e9, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    hot = number % HOT_EVERY == 0
    return json.dumps({
        "event_type": "ai_security", "event_id": f"{'hot' if hot else 'low'}-{number:09}", "timestamp": at, "severity": "high" if hot else "low",
        "category": "prompt_attack" if hot else "guardrail_block", "request_id": f"req-{number:07}", "user_id": f"user{number % USERS}@example.com",
        "model": "claude-sonnet-4-5", "policy_violated": "personal_data", "guardrail_result": "blocked", "tokens_in": number % 900,
        "tokens_out": number % 2000, "endpoint": "/api/v1/chat", "risk_tier": 2}, separators=(",", ":")).encode()


class Nats:
    """A nats-server as it is by default: it syncs every two minutes."""

    def __init__(self, folder):
        folder.mkdir()
        conf = folder / "nats.conf"
        conf.write_text(f'listen: "127.0.0.1:-1"\nports_file_dir: "{folder}"\nlog_file: "{folder}/nats.log"\njetstream {{ store_dir: "{folder}/store" }}\n')
        self.child = subprocess.Popen(["nats-server", "-c", str(conf)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        file = folder / f"nats-server_{self.child.pid}.ports"
        wait_for(lambda: file.exists() and file.read_text().strip().endswith("}"), "the nats-server's ports file", READY_S)
        self.port = int(json.loads(file.read_text())["nats"][0].rsplit(":", 1)[1])

    def stop(self):
        end(self.child)


def end(child):
    child.terminate()
    child.wait(END_S)


class Rsigma:
    name, alerts = "rsigma daemon", ALERTS

    def __init__(self, args, program, folder, nats):
        rules = peers_alerts.rules_for_rsigma(folder / "rules", suppress=True)
        url = f"nats://127.0.0.1:{nats.port}"
        self.log = open(folder / "rsigma.log", "wb")
        self.child = subprocess.Popen(
            [program, "engine", "daemon", "--rules", rules, "--input", f"{url}/{EVENTS}", "--output", f"{url}/{ALERTS}", "--api-addr", "127.0.0.1:0",
             "--no-detections", "--include-event", "--input-format", "json", "--max-state-entries", peers_alerts.KEYS_MAX],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.log)
        check(wait_for(lambda: b"Sink started" in (folder / "rsigma.log").read_bytes() or self.child.poll() is not None, "rsigma's daemon", READY_S)
              and self.child.poll() is None, f"rsigma's daemon ended: {(folder / 'rsigma.log').read_text()[-2000:]}")
        self.pid, self.wire = self.child.pid, Wire(nats.port)
        self.write = self.wire.write

    def stop(self):
        self.wire.close()
        end(self.child)
        self.log.close()


class Balefire:
    name, alerts = "balefire up", "escalations.>"

    def __init__(self, args, program, folder, nats):
        binary = str(Path(args.binary).resolve())
        self.up = Up(binary, folder / "up", "--nats-url", f"nats://127.0.0.1:{nats.port}", "--allow-lossy")
        self.pid = self.up.process.child.pid
        self.send = subprocess.Popen([binary, "send", "-", "--addr", f"http://{self.up.addr}"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL, bufsize=0)

    def write(self, lines):
        self.send.stdin.write(b"\n".join(lines) + b"\n")

    def stop(self):
        self.send.stdin.close()
        self.send.wait(END_S)
        self.up.stop()


def came(file):
    return {line.split()[0]: int(line.split()[1]) for line in reversed(file.read_text().splitlines(keepends=True)) if line.endswith("\n")}


def sent(peer, args):
    """Sends by the plan; the time at which each that escalates should have been, and how late ticks were."""
    count = args.rate * args.seconds
    # As long as it takes to write them down, and more.
    start = time.monotonic_ns() + 500 * TICK_NS + count * 30_000
    wall = time.time_ns() - time.monotonic_ns()
    at = [start + number * 1_000 // args.rate * TICK_NS for number in range(count)]
    lines = [record(number, when + wall) for number, when in enumerate(at)]
    intended = {f"hot-{number:09}": at[number] for number in range(0, count, HOT_EVERY)}
    late, number = [], 0
    while number < count:
        wait = at[number] - time.monotonic_ns()
        if wait > 0:
            time.sleep(wait / 1e9)
        now = time.monotonic_ns()
        due = number
        while due < count and at[due] <= now:
            due += 1
        late.append(now - at[number])
        peer.write(lines[number:due])
        number = due
    return intended, late


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def cpu_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_mib(pid):
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def measured(kind, args, program, folder):
    """Milliseconds of each alert, and what it took."""
    folder.mkdir()
    nats = Nats(folder / "nats")
    parts = [nats.stop]
    try:
        peer = kind(args, program, folder, nats)
        parts.append(peer.stop)
        file = folder / "came"
        listener = subprocess.Popen([sys.executable, __file__, str(nats.port), kind.alerts, str(file)])
        parts.append(lambda: end(listener))
        wait_for(lambda: file.exists() and file.read_text(), "the listener", READY_S)
        # The first event finds out whether all is there; it is none of those that are measured.
        peer.write([record(HOT_EVERY * 49_999_999, time.time_ns())])
        wait_for(lambda: f"hot-{HOT_EVERY * 49_999_999:09}" in came(file), f"a first alert of {kind.name}", READY_S)
        before = cpu_s(peer.pid), cpu_s(nats.child.pid)
        intended, late = sent(peer, args)
        wait_for(lambda: intended.keys() <= came(file).keys(), f"the alerts of {kind.name}", READY_S)
        at = came(file)
        events = args.rate * args.seconds
        return {"ms": [(at[event] - when) / 1e6 for event, when in intended.items()], "late_ms": percentile(late, 0.99) / 1e6, "rss": peak_mib(peer.pid),
                "us": (cpu_s(peer.pid) - before[0]) / events * 1e6, "nats_us": (cpu_s(nats.child.pid) - before[1]) / events * 1e6}
    finally:
        for stop in reversed(parts):
            stop()


def table(args, program, folder):
    rounds = {Balefire: [], Rsigma: []} if program else {Balefire: []}
    for turn in range(args.rounds):
        for kind in list(rounds)[:: 1 if turn % 2 == 0 else -1]:
            try:
                rounds[kind].append(measured(kind, args, program, folder / f"{kind.__name__}-{turn}"))
            except Failed as failed:
                print(f"{kind.name}, round {turn + 1}: left out: {failed}", flush=True)
    rows = ["| what | alerts a round | p50, ms | p99, ms | all rounds, p50 / p99 | µs CPU an event; its nats-server | RSS, MiB | sender late, p99 ms |",
            "|---|---|---|---|---|---|---|---|"]
    for kind, runs in [(kind, runs) for kind, runs in rounds.items() if runs]:
        pairs = [(percentile(run["ms"], 0.5), percentile(run["ms"], 0.99)) for run in runs]
        p50, p99 = (statistics.median(pair[place] for pair in pairs) for place in (0, 1))
        median = {name: statistics.median(run[name] for run in runs) for name in ("us", "nats_us", "late_ms")}
        every = " · ".join(f"{p50:.2f} / {p99:.2f}" for p50, p99 in pairs)
        rows.append(f"| {kind.name} | {len(runs[0]['ms']):,} | {p50:.2f} | {p99:.2f} | {every} | {median['us']:.0f}; {median['nats_us']:.0f} | "
                    f"{max(run['rss'] for run in runs):.0f} | {median['late_ms']:.2f} |")
    return "\n".join(rows)


if __name__ == "__main__":
    try:
        listen(*sys.argv[1:])
    except (EOFError, KeyboardInterrupt, ConnectionResetError):
        pass
