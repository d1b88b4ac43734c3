"""What chaos sends, what must come of it, and who receives it. Shares no code with Balefire."""
import base64
import hashlib
import hmac
import http.client
import json
import random
import socket
import struct
import threading
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from corpus import SECOND, nanos, text

WINDOW = 10 * SECOND
USER_MORE_THAN, MODEL_MORE_THAN = 6, 25
RULES = """title: block
id: 00000000-0000-4000-8000-00000000c001
name: block
level: low
logsource: {product: ai_security}
detection: {selection: {category: guardrail_block}, condition: selection}
---
title: burst of a user
id: 00000000-0000-4000-8000-00000000c002
name: user_burst
level: high
correlation: {type: event_count, rules: [block], group-by: [user_id], timespan: 10s, condition: {gt: 6}}
---
title: burst on a model
id: 00000000-0000-4000-8000-00000000c003
name: model_burst
level: medium
correlation: {type: event_count, rules: [block], group-by: [model], timespan: 10s, condition: {gt: 25}}
---
title: attack
id: 00000000-0000-4000-8000-00000000c004
name: attack
level: critical
logsource: {product: ai_security}
detection: {selection: {category: prompt_attack}, condition: selection}
"""
POISON = [b"{", b"[1,2]", b"\xff\xfe", b'{"event_type":"ai_security"}', b'{"event_type":"ai_security","timestamp":"yesterday","category":"anomaly"}',
          b'{"event_type":"ai_security","timestamp":"2026-01-01T00:00:00Z","category":"nonsense"}', b'"text"', b"null"]


class Feed:
    """Events of now, some of them by somebody who only a second record names, some twice, some poison."""

    def __init__(self, seed, users, models, clock=time.time_ns):
        self.rng, self.number, self.clock = random.Random(seed), 0, clock
        self.users, self.models = users, models
        self.copies = []

    def batch(self, size):
        """(lines, events by line; None where a line must be refused)."""
        rng, lines, meant = self.rng, [], []

        def add(event):
            lines.append(json.dumps(event, separators=(",", ":")).encode())
            meant.append(event)

        while len(lines) < size:
            draw = rng.random()
            if draw < 0.01:
                lines.append(rng.choice(POISON))
                meant.append(None)
            elif draw < 0.03 and self.copies:
                add(rng.choice(self.copies))
            else:
                for event in self.new():
                    add(event)
                    if rng.random() < 0.05:
                        self.copies = (self.copies + [event])[-200:]
        together = list(zip(lines, meant))
        rng.shuffle(together)
        return [line for line, _ in together], [event for _, event in together]

    def new(self):
        rng = self.rng
        self.number += 1
        t = self.clock() - int(rng.expovariate(0.4) * SECOND) % (20 * SECOND)
        t = t // SECOND * SECOND if rng.random() < 0.1 else t
        user = f"user{min(int(rng.expovariate(6 / self.users)), self.users - 1)}@example.com"
        event = {"event_type": "ai_security", "timestamp": text(t), "event_id": f"c{self.number:09d}", "request_id": f"r{self.number:09d}"}
        draw = rng.random()
        if draw < 0.003:
            return [event | {"category": "prompt_attack", "severity": "high", "user_id": user}]
        if draw < 0.45:
            return [event | {"category": "telemetry", "user_id": user}]
        block = event | {"category": "guardrail_block", "severity": "low", "model": f"model{rng.randrange(self.models)}", "guardrail_result": "blocked"}
        if draw < 0.85:
            return [block | {"user_id": user}]
        # the block knows only its request; another record knows whose that is
        named = {"event_type": "ai_security", "timestamp": text(t), "event_id": f"h{self.number:09d}", "request_id": event["request_id"],
                 "category": "telemetry", "user_id": user}
        return [block, named]


class Books:
    """What was acknowledged, and what must come of it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.events = {}          # event id -> event
        self.acked, self.late, self.wrong = 0, 0, []
        self.last = time.monotonic()

    def result(self, event, item):
        """What the door said of one line."""
        with self.lock:
            if event is None:
                if item["status"] != "REJECTED":
                    self.wrong.append(f"poison was answered {item}")
                return
            if item["status"] == "REJECTED":
                self.wrong.append(f"{event['event_id']} was refused: {item}")
                return
            self.acked += 1
            self.last = time.monotonic()
            self.events[event["event_id"]] = event
            self.late += item["timing"] not in ("on_time", "ON_TIME")

    def expected(self):
        """(rule, who or which, slot start in ns)."""
        with self.lock:
            events = list(self.events.values())
        names = {event["request_id"]: event["user_id"] for event in events if "user_id" in event}
        want, series = set(), {}
        for event in events:
            t = nanos(event["timestamp"])
            if event["category"] == "prompt_attack":
                want.add(("attack", event["event_id"], t))
            if event["category"] == "guardrail_block":
                user = event.get("user_id") or names.get(event["request_id"])
                if user:
                    series.setdefault(("user_burst", user, USER_MORE_THAN), []).append(t)
                series.setdefault(("model_burst", event["model"], MODEL_MORE_THAN), []).append(t)
        for (rule, who, more_than), times in series.items():
            times.sort()
            want |= {(rule, who, t // WINDOW * WINDOW) for t in times if bisect_right(times, t) - bisect_left(times, t - WINDOW) > more_than}
        return want


def identity(line):
    """What the books call an escalation."""
    shown = {"user_burst": "user_id", "model_burst": "model"}.get(line["rule"])
    return line["rule"], line["key"].get(shown) if shown else line["event_ids"][0], nanos(line["slot_start"])


class Sender(threading.Thread):
    """A producer that keeps what is not acknowledged and sends it again, to whichever door answers."""

    def __init__(self, feed, books, doors, pace, count, wait_max):
        super().__init__(daemon=True)
        self.feed, self.books, self.doors = feed, books, doors
        self.pace, self.count, self.wait_max = pace, count, wait_max
        self.stop, self.failed, self.refusals = threading.Event(), None, Counter()

    def run(self):
        begun, sent = time.monotonic(), 0
        try:
            while sent < self.count and not self.stop.is_set():
                lines, meant = self.feed.batch(min(200, max(20, int(self.pace / 10))))
                self.deliver(lines, meant)
                sent += len(lines)
                ahead = sent / self.pace - (time.monotonic() - begun)
                if ahead > 0:
                    self.stop.wait(ahead)
        except Exception as error:
            self.failed = error

    def deliver(self, lines, meant):
        give_up = time.monotonic() + self.wait_max
        door = self.feed.rng.randrange(len(self.doors))
        while lines:
            if time.monotonic() > give_up:
                raise RuntimeError(f"{len(lines)} events were not taken for {self.wait_max} s: {self.refusals}")
            answer = self.post(self.doors[door % len(self.doors)], b"\n".join(lines) + b"\n")
            if answer is None:
                door += 1
                time.sleep(0.1)
                continue
            for event, item in zip(meant, answer["results"], strict=True):
                self.books.result(event, item)
            return

    def post(self, address, body):
        connection = http.client.HTTPConnection(address, timeout=10)
        try:
            connection.request("POST", "/v1/events", body, {"content-type": "application/x-ndjson"})
            answer = connection.getresponse()
            data = answer.read()
            # 422: every line was refused, and each is told of
            if answer.status in (200, 207, 400, 422) and b'"results"' in data:
                return json.loads(data)
            self.refusals[answer.status] += 1
        except (OSError, http.client.HTTPException) as error:
            self.refusals[type(error).__name__] += 1
        finally:
            connection.close()
        return None


class Sink:
    """A receiver that fails in every way, and counts what it took. It acts once a webhook-id, as
    Standard Webhooks asks of receivers."""

    def __init__(self, secret, seed):
        self.key = base64.b64decode(secret.removeprefix("whsec_"))
        self.rng, self.lock, self.healed = random.Random(seed), threading.Lock(), False
        self.effects = {}         # webhook-id -> (escalation id, identity, digest of the body)
        self.repeats, self.moods, self.wrong = 0, Counter(), []
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                sink.take(self, body)

            def log_message(self, *_):
                pass

            def handle(self):
                try:
                    super().handle()
                except (OSError, ValueError):
                    pass          # whoever called is gone

        class Server(ThreadingHTTPServer):
            daemon_threads, request_queue_size = True, 256

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, call, body):
        with self.lock:
            moods = [("ok", 70), (500, 6), (503, 5), (429, 4), (404, 1), (302, 1), ("reset", 5), ("hang", 1), ("slow", 2), ("ok, unsaid", 4), ("garbled", 1)]
            mood = "ok" if self.healed else self.rng.choices([m for m, _ in moods], [w for _, w in moods])[0]
            self.moods[mood] += 1
        if mood in ("ok", "slow", "ok, unsaid"):
            if not self.act(call.headers, body):
                return self.answer(call, 401)
            if mood == "slow":
                time.sleep(1.5)
            if mood != "ok, unsaid":
                return self.answer(call, 204)
            mood = "reset"
        if mood == "hang":
            time.sleep(11)
            mood = "reset"
        if mood == "reset":
            call.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            call.connection.close()
            call.close_connection = True
            return None
        if mood == "garbled":
            call.wfile.write(b"HTP/9 what?\r\n\r\n")
            call.close_connection = True
            return None
        return self.answer(call, mood)

    @staticmethod
    def answer(call, code):
        call.send_response(code)
        if code in (429, 503):
            call.send_header("retry-after", "1")
        if code == 302:
            call.send_header("location", "http://127.0.0.1:9/elsewhere")
        call.send_header("content-length", "0")
        call.end_headers()

    def act(self, headers, body):
        message_id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        want = base64.b64encode(hmac.new(self.key, f"{message_id}.{stamp}.".encode() + body, hashlib.sha256).digest()).decode()
        if f"v1,{want}" not in headers.get("webhook-signature", "").split(" "):
            with self.lock:
                self.wrong.append(f"{message_id} was signed wrongly")
            return False
        self.took(message_id, json.loads(body)["data"], body)
        return True

    def took(self, message_id, data, body):
        effect = (data["escalation_id"], data.get("kind"), identity(data), hashlib.sha256(body).hexdigest())
        with self.lock:
            before = self.effects.setdefault(message_id, effect)
            self.repeats += before is not effect
            if before != effect:
                self.wrong.append(f"{message_id} came with another body")

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def summary(self):
        """Escalation ids acted on, and how many acts were one too many."""
        with self.lock:
            told = Counter(effect[:2] for effect in self.effects.values())
            return {effect[2] for effect in self.effects.values()}, sum(count - 1 for count in told.values())
