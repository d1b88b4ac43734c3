"""Who is told, and who is not: thousands of escalations under failing receivers and kills, storms,
acknowledgements, heartbeats, and receivers of other kinds judged by software of others.

`make told`, or: told.py --binary target/release/balefire [--only NAME …] [--count 1500]"""
import hashlib
import hmac
import json
import os
import re
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from datetime import datetime, timedelta, timezone
from pathlib import Path

import run
from fakes import Fake, Script, certificate, tls
from system import Four, Up, check, wait_for

ACK_SECRET = "sixteen letters and some more"


def event(number, category="prompt_attack", user=None, at=None, **more):
    at = at or datetime.now(timezone.utc)
    return json.dumps({"event_type": "ai_security", "timestamp": at.isoformat(), "event_id": f"e{number}", "category": category,
                       "user_id": user or f"u{number}", "request_id": f"r{number}", **more}).encode()


def receivers_file(folder, text):
    path = Path(folder) / "receivers.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def deliveries(client, *flags, addr=None):
    return [json.loads(line) for line in client.run("deliveries", "--output", "ndjson", *flags, addr=addr).stdout.splitlines()]


def faulty(world):
    """Receivers over TLS that fail by chance, a notifier that is killed: each escalation is delivered or a dead letter, and repeats have the same id and bytes."""
    folder = world.folder / "faulty"
    folder.mkdir(parents=True, exist_ok=True)
    context, kills, places = tls(folder), 6, 4
    by_webhook = lambda headers, body: headers["webhook-id"]  # noqa: E731
    by_splunk = lambda headers, body: json.loads(body)["event"]["escalation_id"]  # noqa: E731
    by_pager = lambda headers, body: json.loads(body)["dedup_key"]  # noqa: E731
    scripts = {"hook": Script(1, 0.3, 0.01, by_webhook), "splunk": Script(2, 0.3, 0.01, by_splunk), "pager": Script(3, 0.3, 0.01, by_pager)}
    fakes = {name: Fake(context, script) for name, script in scripts.items()}
    fakes["splunk"].answer = lambda *_: (200, {}, b'{"text":"Success","code":0}')
    cert, _ = certificate(folder)
    tables = "".join(f"""
[[receiver]]
name = "{name}"
url = "{fakes[name].url}"
ca_file = "{cert}"
allow_loopback = true
concurrency = {places}
updates = false
storm_pages = 10000
{more}
""" for name, more in [("hook", ""), ("splunk", 'secret_env = "FAKE_TOKEN"\n[receiver.target.splunk]'),
                       ("pager", 'secret_env = "FAKE_TOKEN"\n[receiver.target.pagerduty]')])
    os.environ["FAKE_TOKEN"] = "token"
    four = Four(Path(world.binary).parent, folder / "four", 2, lateness="1h", webhook="", secret="",
                notifier=["--receivers", receivers_file(folder, tables), "--delivery-attempts", "12"])
    try:
        count = world.count
        lines = b"\n".join(event(number) for number in range(count)) + b"\n"
        client = run.Client(world.binary, four.addr["ingest"])
        client.run("send", "-", data=lines)
        for number in range(kills):
            want = (number + 1) * count // (kills + 2)
            wait_for(lambda: len(fakes["hook"].calls) >= want, f"{want} calls")
            four.kill_and_restart("notifier")
        engine, notifier = four.addr["rule-engine"], four.addr["notifier"]
        wait_for(lambda: len(client.escalations(engine)) >= count, "the escalations")
        wait_for(lambda: client.settled(notifier), "the deliveries", 300)
        ids = {line["escalation_id"] for line in client.escalations(engine)}
        check(len(ids) == count, f"{len(ids)} escalations, not {count}")
        repeats = unexplained = dead = 0
        for name, fake in fakes.items():
            script = scripts[name]
            bodies = {}
            for _, headers, body in fake.calls:
                key = script.name(headers, body)
                known = bodies.setdefault(key, (body, []))
                check(known[0] == body, f"{name}: two bodies of {key}")
                known[1].append(1)
            given_up = {letter["escalation_id"] for letter in client_letters(client, notifier) if letter["receiver"] == name}
            check(set(bodies) | given_up == ids, f"{name}: {len(ids - set(bodies) - given_up)} neither delivered nor a dead letter, {len((set(bodies) | given_up) - ids)} unknown")
            dead += len(given_up)
            for key, (_, takes) in bodies.items():
                extra = len(takes) - 1
                repeats += max(0, extra)
                unexplained += max(0, extra - script.ambiguous.get(key, 0))
        check(unexplained <= kills * places * len(fakes), f"{unexplained} repeats without a fault; a kill explains at most {places} a receiver")
        for script in scripts.values():
            script.healed = True
        while client_letters(client, notifier):
            client.run("deadletters", "replay", "--all", "--reason", "mended", addr=notifier)
            wait_for(lambda: client.settled(notifier), "the replayed deliveries")
        for name, fake in fakes.items():
            came = {scripts[name].name(headers, body) for _, headers, body in fake.calls}
            check(came == ids, f"{name}: {len(ids - came)} missing after the replay")
    finally:
        four.stop()
    return f"{count} escalations to {len(fakes)} receivers, {kills} kills: none missing, {dead} dead letters, {repeats} repeats, {unexplained} of them by kills, all with the same id and bytes"


def client_letters(client, addr):
    return [json.loads(line) for line in client.run("deadletters", "list", "--output", "ndjson", addr=addr).stdout.splitlines()]


def faultless(world):
    """Without a fault nobody is told twice."""
    fake = Fake()
    file = receivers_file(world.folder / "faultless", f'[[receiver]]\nname = "hook"\nurl = "{fake.url}"\nallow_loopback = true\nconcurrency = 8\n')
    up = Up(world.binary, world.folder / "faultless/data", "--receivers", file)
    try:
        up.run("send", "-", "--wait", data=b"\n".join(event(number) for number in range(world.count)) + b"\n")
        wait_for(up.settled, "the deliveries")
        came = [headers["webhook-id"] for _, headers, _ in fake.calls]
        check(len(came) == len(set(came)) == world.count, f"{len(came)} calls, {len(set(came))} ids, {world.count} escalations")
    finally:
        up.stop()
    return f"{len(came)} deliveries, each once"


def storm(world):
    """Forty pages at once to a pager that takes five: five, one summary, and the rest held and listed."""
    fake = Fake()
    os.environ["FAKE_TOKEN"] = "token"
    file = receivers_file(world.folder / "storm", f"""
[[receiver]]
name = "pager"
url = "{fake.url}"
allow_loopback = true
secret_env = "FAKE_TOKEN"
storm_pages = 5
[receiver.target.pagerduty]
""")
    up = Up(world.binary, world.folder / "storm/data", "--receivers", file)
    try:
        up.run("send", "-", "--wait", data=b"\n".join(event(number) for number in range(40)) + b"\n")
        wait_for(up.settled, "the deliveries")
        ids = {line["escalation_id"] for line in up.escalations()}
        bodies = fake.bodies()
        summaries = [body for body in bodies if body["dedup_key"] not in ids]
        check((len(bodies), len(summaries)) == (6, 1), f"{len(bodies)} pages, {len(summaries)} of them summaries")
        check(summaries[0]["payload"]["summary"].split()[1] == "Storm:", summaries[0]["payload"]["summary"])
        held = deliveries(up, "--receiver", "pager", "--withheld", "storm")
        told = {body["dedup_key"] for body in bodies} & ids
        check({line["escalation_id"] for line in held} == ids - told, f"{len(held)} held, {len(ids - told)} not told")
        check({line["withheld_by"] for line in held} == {summaries[0]["dedup_key"]}, "held by another storm than was told of")
        up.process.kill()
        up.again()
        wait_for(up.settled, "the notifier after a kill")
        up.run("send", "-", "--wait", data=event(99) + b"\n")
        wait_for(lambda: len(deliveries(up, "--receiver", "pager", "--withheld", "storm")) == len(held) + 1, "the storm to hold after a restart")
        check(len(fake.calls) == 6, "somebody was paged again")
    finally:
        up.stop()
    return f"{len(held)} pages held, one summary"


def signed(url, body, secret=ACK_SECRET):
    mac = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    request = urllib.request.Request(url, body, {"x-pagerduty-signature": f"v1={mac}", "content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def said(kind, key, at):
    return json.dumps({"event": {"id": f"ev-{kind}-{at.timestamp()}", "event_type": kind, "resource_type": "incident", "occurred_at": at.isoformat().replace("+00:00", "Z"),
                                 "agent": {"id": "P1", "summary": "Ann", "type": "user_reference"}, "data": {"incident_key": key}}}).encode()


def acknowledged(world):
    """PagerDuty says who is on it, signed: what continues it does not page again, and the command shows who."""
    fake = Fake()
    os.environ.update(FAKE_TOKEN="token", FAKE_ACK=ACK_SECRET)
    file = receivers_file(world.folder / "acknowledged", f"""
[[receiver]]
name = "pager"
url = "{fake.url}"
allow_loopback = true
secret_env = "FAKE_TOKEN"
[receiver.target.pagerduty]
ack_secret_env = "FAKE_ACK"
""")
    up = Up(world.binary, world.folder / "acknowledged/data", "--receivers", file)
    try:
        now = datetime.now(timezone.utc)
        slot = int(now.timestamp()) // 300 * 300
        burst = lambda back: b"\n".join(event(f"{back}-{n}", "guardrail_block", "eve", datetime.fromtimestamp(slot - 300 * back + 10 + n, timezone.utc)) for n in range(11)) + b"\n"  # noqa: E731
        up.run("send", "-", "--wait", data=burst(4))
        check(fake.wait(lambda calls: len(calls) == 1), "no page")
        key = fake.bodies()[0]["dedup_key"]
        door = f"http://{up.http}/v1/acknowledgements/pager"
        check(signed(door, said("incident.acknowledged", key, now), "another secret") == 401, "an unsigned acknowledgement was taken")
        check(signed(door, said("incident.acknowledged", key, now - timedelta(days=2))) == 401, "an old acknowledgement was taken")
        check(signed(f"http://{up.http}/v1/acknowledgements/nobody", b"{}") == 404, "a receiver that is none took an acknowledgement")
        check(not any("acknowledged" in line for line in up.escalations()), "acknowledged by nobody")
        body = said("incident.acknowledged", key, now)
        check([signed(door, body) for _ in range(2)] == [200, 200], "a signed acknowledgement was refused")
        wait_for(lambda: any(line.get("acknowledged", {}).get("by") == "Ann (P1)" for line in up.escalations()), "the acknowledgement to show")
        up.run("send", "-", "--wait", data=burst(3))
        wait_for(lambda: len(deliveries(up, "--withheld", "acknowledged")) == 1, "the continuation to be withheld")
        check(len(fake.calls) == 1, "what somebody is on paged again")
        up.process.kill()
        up.again()
        wait_for(up.settled, "the notifier after a kill")
        check(any("acknowledged" in line for line in up.escalations()), "a restart forgot who is on it")
        up.run("ack", key, "--undo")
        wait_for(lambda: not any("acknowledged" in line for line in up.escalations()), "the acknowledgement to be taken back")
        up.run("send", "-", "--wait", data=burst(2))
        check(fake.wait(lambda calls: len(calls) == 2), "no page after the acknowledgement was taken back")
        up.run("ack", "00" * 16, codes=(1,))
    finally:
        up.stop()
    return "taken once, kept over a kill, taken back"


def tenant_ages(up):
    """Seconds since a heartbeat last came out, by tenant."""
    with urllib.request.urlopen(f"http://{up.http}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = (re.match(r'balefire_tenant_heartbeat_age_seconds\{.*tenant="([^"]*)".*\} (\S+)', line) for line in lines)
    return {one[1]: float(one[2]) for one in found if one}


def heartbeat(world):
    """Heartbeats come out and keep a dead man's switch quiet; a log that stands still ends that, and people are told without it."""
    dead_man, notices = Fake(), Fake()
    feed, people = Fake(), Fake()
    named = "".join(f'[[receiver]]\nname = "{name}"\nurl = "{fake.url}"\nallow_loopback = true\nfeed = {feeds}\n'
                    for name, fake, feeds in (("feed", feed, "true"), ("people", people, "false")))
    file = receivers_file(world.folder / "heartbeat", named)
    up = Up(world.binary, world.folder / "heartbeat/data", "--receivers", file, "--heartbeat-seconds", "1",
            "--dead-man-url", dead_man.url, "--self-alert-url", notices.url)
    try:
        check(dead_man.wait(lambda calls: len(calls) >= 3, 30), "no heartbeat came out")
        counters = up.status("notifier")["counters"]
        check(counters.get("heartbeat_took_ms", 1e9) < 5000, f"{counters}")
        check(up.accepted() == 0 and up.escalations() == [] and not feed.calls + people.calls, "a heartbeat was taken for an event")
        check(not notices.calls, f"told of nothing: {notices.bodies()}")
        wait_for(lambda: (ages := tenant_ages(up)) and max(ages.values()) < 5, "the heartbeat of each tenant")
        os.kill(up.nats_pid(), signal.SIGSTOP)
        try:
            silent = lambda calls: any(json.loads(body)["reason"] == "heartbeat_silent" for _, _, body in calls)  # noqa: E731
            check(notices.wait(silent, 60), "nobody was told that the log stands still")
            before = len(dead_man.calls)
            wait_for(lambda: min(tenant_ages(up).values()) > 3, "the heartbeat of each tenant to be missed")
        finally:
            os.kill(up.nats_pid(), signal.SIGCONT)
        check(dead_man.wait(lambda calls: len(calls) > before + 1, 60), "no heartbeat after the log went on")
        notice = next(body for body in notices.bodies() if body["reason"] == "heartbeat_silent")
        check(notice["severity"] == "critical" and notice["service"] == "notifier", notice)
    finally:
        up.stop()
    return f"{len(dead_man.calls)} pings, told: {sorted({body['reason'] for body in notices.bodies()})}"


def log_away(world):
    """The nats-server is gone: each of the four services tells people by itself."""
    notices = Fake()
    four = Four(Path(world.binary).parent, world.folder / "log_away", 2, lateness="1h", webhook="http://127.0.0.1:9/", secret=run.SECRET,
                every=["--self-alert-url", notices.url, "--heartbeat-seconds", "2"])
    try:
        four.nats.kill()
        four.nats.wait(30)
        told = lambda calls: {json.loads(body)["service"] for _, _, body in calls if json.loads(body)["reason"] == "log_unavailable"}  # noqa: E731
        want = {"ingest", "correlator", "rule-engine", "notifier"}
        check(notices.wait(lambda calls: told(calls) >= want, 60), f"only {sorted(told(notices.calls))} told that the log is away")
        reasons = {(body["service"], body["reason"]) for body in notices.bodies()}
        check({("ingest", "heartbeat_not_placed"), ("notifier", "heartbeat_silent")} <= reasons, f"told: {sorted(reasons)}")
    finally:
        for part in four.parts:
            part.kill()
    return f"{len(reasons)} notices, each once"


class Lines:
    """Syslog over TLS: keeps counted messages."""

    def __init__(self, context):
        self.messages, self.lock = [], threading.Condition()
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]

        def serve():
            while True:
                stream, _ = listener.accept()
                threading.Thread(target=self.read, args=(context, stream), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()

    def read(self, context, stream):
        try:
            with context.wrap_socket(stream, server_side=True) as secure:
                held = b""
                while chunk := secure.recv(65536):
                    held += chunk
                while held:
                    size, _, rest = held.partition(b" ")
                    with self.lock:
                        self.messages.append(rest[:int(size)])
                        self.lock.notify_all()
                    held = rest[int(size):]
        except OSError:
            pass


def kinds(world):
    """Syslog over TLS, OCSF to a file, Splunk with indexer acknowledgement: each gets its escalation once."""
    folder = world.folder / "kinds"
    folder.mkdir(parents=True, exist_ok=True)
    cert, _ = certificate(folder)
    lines, splunk, out = Lines(tls(folder)), Fake(tls(folder)), folder / "findings.ndjson"
    asked = []

    def answer(path, headers, body):
        if path.endswith("/ack"):
            asked.append(headers.get("x-splunk-request-channel"))
            return 200, {}, json.dumps({"acks": {str(json.loads(body)["acks"][0]): len(asked) > 1}}).encode()
        return 200, {}, b'{"text":"Success","code":0,"ackId":7}'

    splunk.answer = answer
    os.environ["FAKE_TOKEN"] = "token"
    file = receivers_file(folder, f"""
[[receiver]]
name = "lines"
url = "tls://127.0.0.1:{lines.port}"
allow_loopback = true
ca_file = "{cert}"
[receiver.target.syslog]

[[receiver]]
name = "findings"
url = "file://{out}"
[receiver.target.ocsf]

[[receiver]]
name = "splunk"
url = "{splunk.url}"
allow_loopback = true
ca_file = "{cert}"
secret_env = "FAKE_TOKEN"
[receiver.target.splunk]
ack = true
""")
    up = Up(world.binary, folder / "data", "--receivers", file)
    try:
        up.run("send", "-", "--wait", data=event(1) + b"\n")
        wait_for(up.settled, "the deliveries")
        states = {line["receiver"]: line["state"] for line in deliveries(up)}
        check(set(states.values()) == {"delivered"} and len(states) == 3, f"{states}")
        escalation = up.escalations()[0]["escalation_id"]
        check(len(lines.messages) == 1 and escalation.encode() in lines.messages[0], f"{lines.messages}")
        findings = [json.loads(line) for line in out.read_text().splitlines()]
        check([one["class_uid"] for one in findings] == [2004], f"{findings}")
        check(len(asked) == 2 and len(set(asked)) == 1 and asked[0], f"asked whether it is indexed: {asked}")
        posts = [path for path, _, _ in splunk.calls if path.endswith("/event")]
        check(len(posts) == 1, "sent again though it was acknowledged")
    finally:
        up.stop()
    return "each told once"


SCENARIOS = [faulty, faultless, (storm, acknowledged), (heartbeat, kinds, log_away)]

if __name__ == "__main__":
    sys.exit(run.main(SCENARIOS, __doc__, 1500))
