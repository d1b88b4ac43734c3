"""One of each kind of personal data and secret, in every text of every source's samples, through the
doors of a running Balefire: afterwards none of them is in any stream but EVIDENCE, in the logs, the
metrics, dead letters, checkpoints, answers, or in what receivers were told.

Texts that say whose an event is (user, actors, ids, address) stay as they are. Which those are is
found out first, by a mark in each place and a look at where it lands in the log.

`make canaries`, or: canaries.py --binary target/debug/balefire"""
import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import nats

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "deploy/demo"))
from receiver import Receiver  # noqa: E402
from revisions import fields  # noqa: E402
from system import Failed, Up, check, get, wait_for  # noqa: E402

SAMPLES = ROOT / "services/ingest/core/tests/sources"
# The last two are addresses: names of things keep them, being names of hosts.
CANARIES = ["canary@example.net", "5555 5555 5555 4444", "378282246310005", "457-55-5462", "GB82WEST12345698765432", "+1 415 555 0134",
            "AKIAIOSFODNN7EXAMPLE", "ghp_0123456789abcdefghijklmnopqrstuvwxyz", "sk-proj-canary0123456789canary", "203.0.113.77", "2001:db8::77"]
NOT_ADDRESSES = 9
TOGETHER = 6              # a name may have 256 bytes
# Fields of balefire.event.v1.Event: who it belongs to, and names of things.
OWN = {2, 12, 13, 14, 29}
NAMES = {15, 16, 18, 19, 20, 23, 25, 27}
MARK = "zqmark{:05d}x"
PARTITIONS = 2
NO_SAMPLE = {"native", "otlp"}


class Loud(Up):
    """Writes everything it has to say into its log."""

    def start(self):
        if "warn" in self.command:
            self.command[self.command.index("warn")] = "debug"
        super().start()


def places(value, at=()):
    """Where texts stand in a record."""
    if isinstance(value, str):
        yield at
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*at, key))


def with_text(record, at, text):
    """The record with more text at a place."""
    record = json.loads(json.dumps(record))
    inner = record
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] += text
    return record


def samples():
    return [(file.name, json.loads(file.read_text())) for file in sorted(SAMPLES.glob("*.in.json"))]


def post(http, path, body, kind="application/json"):
    """The answer's text, whatever its code."""
    call = urllib.request.Request(f"http://{http}{path}", body if isinstance(body, bytes) else json.dumps(body).encode(), {"content-type": kind})
    while True:
        try:
            with urllib.request.urlopen(call, timeout=30) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            if error.code not in (429, 503):
                return error.read().decode()
            time.sleep(float(error.headers.get("retry-after", 1)))


async def messages(up, streams):
    """Every message of streams, as stored."""
    client = await nats.connect(up.process.facts["nats"], nkeys_seed=str(up.data / "credentials/operator.nk"), inbox_prefix=b"_INBOX_operator")
    found = []
    try:
        for stream in streams:
            info = json.loads((await client.request(f"$JS.API.STREAM.INFO.{stream}", b"", timeout=10)).data)
            last, first, inbox = info["state"]["last_seq"], 1, client.new_inbox()
            answers = await client.subscribe(inbox)
            while first <= last:
                await client.publish(f"$JS.API.DIRECT.GET.{stream}", json.dumps({"seq": first, "batch": 512, "max_bytes": 4 << 20}).encode(), reply=inbox)
                while (answer := await answers.next_msg(timeout=10)).headers and "Nats-Sequence" in answer.headers:
                    first = int(answer.headers["Nats-Sequence"]) + 1
                    found.append(answer.data)
            await answers.unsubscribe()
    finally:
        await client.close()
    return found


def laned():
    return [f"{log}_g1_{lane}_{p}" for log in ("INTAKE", "EVENTS") for lane in ("urgent", "normal", "bulk") for p in range(PARTITIONS)]


def landed(up):
    """By mark: the fields of events that hold it. And the sources seen."""
    found, sources = {}, set()
    for message in asyncio.run(messages(up, laned())):
        for number, record in fields(message):
            for kind, event in fields(record) if number == 3 else ():
                for field, value in fields(event) if kind == 1 else ():
                    if not isinstance(value, bytes):
                        continue
                    if field == 3:
                        sources.add(value.decode())
                    text = value.decode("utf-8", "replace")
                    begin = text.find("zqmark")
                    while begin >= 0:
                        found.setdefault(text[begin:begin + len(MARK.format(0))], set()).add(field)
                        begin = text.find("zqmark", begin + 1)
    return found, sources


def marked(binary, folder):
    """The places whose text says whose an event is, and those that are names of things."""
    up, marks = Up(binary, folder / "marks", "--partitions", str(PARTITIONS)), {}
    try:
        for name, sample in samples():
            for at in places(sample):
                mark = MARK.format(len(marks))
                marks[mark] = (name, at)
                post(up.http, "/v1/sources/auto", with_text(sample, at, f" {mark}"))
        found, sources = landed(up)
        listed = subprocess.run([binary, "sources", "list"], capture_output=True, check=True, text=True).stdout.splitlines()
        known = {line.split()[0] for line in listed[1:] if line.strip()}
    finally:
        up.stop()
    check(known - NO_SAMPLE <= sources, f"no sample went through {sorted(known - NO_SAMPLE - sources)}")
    own = {marks[mark] for mark, where in found.items() if where & OWN}
    names = {marks[mark] for mark, where in found.items() if where & NAMES}
    check(own and names and len(own) < len(marks) / 2, f"{len(own)} places of {len(marks)} are identities")
    return own, names, len(marks)


def without_addresses(text):
    return " ; ".join(one for one in text.split(" ; ") if one not in CANARIES[NOT_ADDRESSES:])


def native(text):
    """Records of our own shape with the text wherever it may stand."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    event = {"event_type": "ai_security", "timestamp": now, "category": "prompt_attack", "severity": "high", "user_id": "ada@example.com"}
    return [event | {"event_id": f"{field}-{len(text)}", field: value} for field, value in [
        ("reason", f"said {text}"), ("labels", {"note": text}), ("unknown", {"deep": [text]}), ("request", text), ("response", {"said": text}),
        ("judge_verdict", without_addresses(text)), ("attack_type", without_addresses(text))]]


def bad(text):
    """What is refused, with the text in it."""
    return [f'{{"event_type": "ai_security", "reason": "{text}"'.encode(), json.dumps({"event_type": "ai_security", "category": text}).encode(),
            json.dumps({"event_type": text}).encode(), json.dumps({"event_type": "ai_security", "timestamp": text, "category": "anomaly"}).encode(),
            json.dumps([text]).encode(), text.encode(), json.dumps({text: 1}).encode(), json.dumps({"event_type": "ai_security", "severity": text}).encode()]


def send_all(up, own, names):
    """Every canary through every door; the answers."""
    answers, sent = [], 0
    for name, sample in samples():
        for at in places(sample):
            if (name, at) in own:
                continue
            allowed = CANARIES[:NOT_ADDRESSES] if (name, at) in names else CANARIES
            for begin in range(0, len(allowed), TOGETHER):
                record = with_text(sample, at, " " + " ; ".join(allowed[begin:begin + TOGETHER]))
                answers.append(post(up.http, "/v1/sources/auto", record))
                sent += 1
    for begin in range(0, len(CANARIES), TOGETHER):
        text = " ; ".join(CANARIES[begin:begin + TOGETHER])
        lines = [json.dumps(event).encode() for event in native(text)] + bad(text)
        answers.append(post(up.http, "/v1/events", b"\n".join(lines) + b"\n", "application/x-ndjson"))
        for line in lines:
            answers.append(post(up.http, "/v1/sources/auto", line))
            answers.append(post(up.http, "/v1/sources/opa", line))
        event = {"specversion": "1.0", "id": f"ce-{begin}", "source": "/x", "type": "y", "datacontenttype": "application/json"}
        answers += [post(up.http, "/v1/cloudevents", event | {"data": data}, "application/cloudevents+json") for data in (*native(text), {"odd": text})]
        body = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": text}, "attributes": [
            {"key": "gen_ai.prompt", "value": {"stringValue": text}}, {"key": "event.name", "value": {"stringValue": "gen_ai.evaluation.result"}}]}]}]}]}
        answers += [post(up.http, path, body) for path in ("/v1/logs", "/v1/traces")]
        told = up.run("send", "-", data=b"\n".join(lines) + b"\n", codes=(0, 1))
        answers += [told.stdout.decode(), told.stderr.decode()]
        sent += len(lines) * 4
    return answers, sent


def read(data):
    """(what, bytes) of every file of the log and of local state; a stream's by its name."""
    for file in sorted(Path(data).rglob("*")):
        if file.is_file():
            parts = file.parts
            stream = parts[parts.index("streams") + 1] if "streams" in parts else "state"
            yield stream, file.read_bytes()


def search(where, text, found):
    text = text if isinstance(text, bytes) else text.encode()
    found.update((where, canary) for canary in CANARIES if canary.encode() in text)


def run(binary, folder):
    begun = time.monotonic()
    own, names, count = marked(binary, folder)
    hook, found, evidence = Receiver(show=lambda _: None), Counter(), Counter()
    up = Loud(binary, folder / "canaries", "--partitions", str(PARTITIONS), "--webhook", hook.url)
    try:
        answers, sent = send_all(up, own, names)
        wait_for(up.settled, "the escalations to be told", 120)
        for answer in answers:
            search("answers", answer, found)
        search("metrics", get(f"http://{up.http}/metrics"), found)
        for command in (["status", "--output", "json"], ["escalations", "--output", "ndjson"], ["deliveries", "--output", "ndjson"],
                        ["deadletters", "list", "--all", "--output", "ndjson"]):
            search(command[0], up.run(*command, codes=(0, 1)).stdout, found)
        letters = len(up.run("deadletters", "list", "--all", "--output", "ndjson").stdout.splitlines())
        escalations = len(up.escalations())
        search("webhook", json.dumps([payload for _, payload in hook.deliveries]), found)
        told = len(hook.deliveries)
    finally:
        up.stop()
        hook.server.shutdown()
        hook.server.server_close()
    log = Path(f"{up.data}.log").read_bytes()
    search("log", log, found)
    streams = set()
    for stream, data in read(up.data):
        streams.add(stream)
        search(stream, data, evidence if stream == "EVIDENCE" else found)
    check({"EVIDENCE", "CONTROL", "DEADLETTERS", *laned()} <= streams, f"streams read: {sorted(streams)}")
    sealed = {canary for _, canary in evidence}
    check(sealed == set(CANARIES), f"EVIDENCE lacks {set(CANARIES) - sealed}: is it searched at all?")
    check(letters > 20 and escalations > 5 and told > 5 and len(log) > 10_000, f"{letters} letters, {escalations} escalations, {told} told, log {len(log)} B")
    for (where, canary), times in sorted(found.items()):
        print(f"  {where}: {canary} ({times})")
    print(f"{sent} records with canaries ({count} places, {len(own)} of them say whose it is); {letters} dead letters, {escalations} escalations, "
          f"{told} told, {len(log)} bytes of log, {len(streams)} streams; found outside EVIDENCE: {sum(found.values())}; {time.monotonic() - begun:.1f} s")
    return 1 if found else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, help="balefire")
    parser.add_argument("--keep", help="folder for data and logs, kept")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="balefire-canaries-") as folder:
        try:
            code = run(str(Path(arguments.binary).resolve()), Path(arguments.keep or folder).resolve())
        except Failed as error:
            print(f"  {error}")
            code = 1
    print("FAILED" if code else "ok    canaries", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
