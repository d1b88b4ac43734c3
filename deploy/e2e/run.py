"""The whole way as users run it: release binaries, real processes, a real nats-server, a webhook
receiver that checks signatures, and brute forces that share no code with Balefire.

`make e2e`, or: run.py --binary target/release/balefire [--only NAME …] [--count 100000]"""
import argparse
import json
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "demo")]
import bad_lines  # noqa: E402
from corpus import Corpus, identity, nanos, text  # noqa: E402
from receiver import Receiver  # noqa: E402
from system import Client, Failed, Four, Up, check, wait_for  # noqa: E402

SECRET = "whsec_" + "YmFsZWZpcmUgZW5kLXRvLWVuZCBzZWNyZXQgMzJi"
LATENESS = "3h"


def quiet(_):
    pass


def differ(name, got, want):
    missing, extra = want - got, got - want
    check(not missing and not extra, f"{name}: missing {len(missing)} {sorted(missing)[:3]}, unexpected {len(extra)} {sorted(extra)[:3]}")


def delivered_all(receiver, want):
    wait_for(lambda: len({message_id for message_id, _ in list(receiver.deliveries)}) >= len(want), "the deliveries")


class World:
    def __init__(self, binary, folder, count):
        self.binary, self.folder, self.count = binary, Path(folder), count
        self.folder.mkdir(parents=True, exist_ok=True)
        self.end_ns = time.time_ns() // 1_000_000_000 * 1_000_000_000 - 60_000_000_000
        self.corpus = Corpus(count, max(50, count // 20), self.end_ns)
        self.want = self.corpus.expected()
        self.file = self.folder / "events.ndjson"
        self.file.write_bytes(b"\n".join(self.corpus.lines) + b"\n")
        self.ids = {}             # where they were seen -> set of escalation ids

    def evaluated(self, name, client, addr=None):
        """The escalations are those of the brute force, each once, and the same ids as anywhere else."""
        lines = client.escalations(addr)
        differ(name, {identity(line) for line in lines}, self.want)
        ids = [line["escalation_id"] for line in lines]
        check(len(ids) == len(set(ids)), f"{name}: an escalation id stands twice")
        for other, seen in self.ids.items():
            check(seen == set(ids), f"{name}: other escalation ids than {other}")
        self.ids[name] = set(ids)

    def send(self, client, *flags, addr=None):
        summary = json.loads(client.run("send", str(self.file), "--wait", *flags, addr=addr).stdout)
        check(summary["rejected"] == 0, f"rejected lines: {summary}")
        check(summary["accepted"] + summary["duplicate"] == len(self.corpus.lines), f"lines are not accounted for: {summary}")
        return summary


def tried_out(world, up):
    """The rules in force, tried out on the log that they decided on, make no difference; an escalation is explained by its events."""
    baseline = str(HERE.parent / "rules/baseline")
    lines = [json.loads(line) for line in up.run("rules", "whatif", baseline, "--since", "7d", "--output", "ndjson").stdout.splitlines()]
    told = lines[-1]["summary"]
    counts = (told["added"], told["removed"], told["unchanged"])
    check(counts == (0, 0, len(world.want)), f"whatif of the rules in force: {counts}, not (0, 0, {len(world.want)}); {lines[:2]}")
    line = max(up.escalations(), key=lambda line: line["event_count"])
    why = json.loads(up.run("escalations", "explain", line["escalation_id"], "--output", "ndjson").stdout)
    check(sorted(event["event_id"] for event in why["events"]) == sorted(line["event_ids"]), f"explained by other events: {why['events'][:2]}")
    check(why["events_missing"] == 0 and why["event_count"] > why["threshold"] and f"gt: {why['threshold']}" in why["rule"]["yaml"], f"explained: {why}")
    return told["events"] / told["seconds"]


def partitions(world):
    """100,000 events with duplicates and disorder: brute force = live with 1, 4, 8 partitions = replay."""
    told = []
    for count in (1, 4, 8):
        up = Up(world.binary, world.folder / f"partitions{count}", "--partitions", str(count), "--allowed-lateness", LATENESS)
        try:
            summary = world.send(up)
            world.evaluated(f"{count} partitions", up)
            told.append(f"{count}: {len(world.corpus.lines) / summary['seconds']:,.0f} events/s, tried out at {tried_out(world, up):,.0f}")
        finally:
            up.stop()
    done = subprocess.run([world.binary, "replay", str(world.file), "--output", "ndjson"], capture_output=True)
    check(done.returncode == 0, f"replay: exit {done.returncode}\n{done.stderr.decode()[-2000:]}")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    differ("replay", {identity(line) for line in lines}, world.want)
    check({line["escalation_id"] for line in lines} == next(iter(world.ids.values())), "replay: other escalation ids than live")
    return f"{len(world.want)} escalations; " + ", ".join(told)


def killed(world):
    """kill -9 of everything in the middle of a send, start again, re-send: the same set, hardly a repeat."""
    receiver = Receiver(SECRET, show=quiet)
    up = Up(world.binary, world.folder / "killed", "--allowed-lateness", LATENESS, "--webhook", receiver.url, "--webhook-secret", SECRET)
    try:
        sender = subprocess.Popen([world.binary, "send", str(world.file), "--addr", f"http://{up.addr}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: up.accepted() > world.count // 4, "a quarter of the events")
        up.process.kill()
        sender.kill()
        sender.wait()
        up.start()
        world.send(up)
        world.evaluated("after kill -9", up)
        delivered_all(receiver, world.want)
        wait_for(up.settled, "the notifier to finish")
    finally:
        up.stop()
    came = [message_id for message_id, _ in receiver.deliveries]
    delivered = {identity(payload["data"]) for _, payload in receiver.deliveries}
    differ("deliveries", delivered, world.want)
    again = len(came) - len(set(came))
    check(again <= 1, f"{again} deliveries came twice after one kill")
    check(not receiver.refused, "a signature was wrong")
    return f"{len(set(came))} delivered, {again} of them again"


def separate(world):
    """The four services as four processes against one nats-server give the same."""
    receiver = Receiver(SECRET, show=quiet)
    four = Four(Path(world.binary).parent, world.folder / "separate", 4, lateness=LATENESS, webhook=receiver.url, secret=SECRET)
    client = Client(world.binary, four.addr["ingest"])
    try:
        client.run("send", str(world.file))
        wanted = len(world.want)
        wait_for(lambda: len(client.escalations(four.addr["rule-engine"])) >= wanted, "the escalations")
        world.evaluated("four processes", client, four.addr["rule-engine"])
        delivered_all(receiver, world.want)
        wait_for(lambda: client.settled(four.addr["notifier"]), "the notifier to finish")
    finally:
        four.stop()
    differ("deliveries", {identity(payload["data"]) for _, payload in receiver.deliveries}, world.want)
    check(len(receiver.deliveries) == wanted, "a delivery came twice without any fault")
    return f"{wanted} escalations delivered"


def edges(world):
    """10 blocks raise nothing, the 11th raises; 3 + 3 flags over the hour raise; singles raise at once; signed."""
    from standardwebhooks.webhooks import Webhook
    raw = []

    class Checked(Receiver):
        def take(self, headers, body):
            raw.append(({key.lower(): value for key, value in headers.items()}, body))
            return super().take(headers, body)

    receiver = Checked(SECRET, show=quiet)
    up = Up(world.binary, world.folder / "edges", "--allowed-lateness", "26h", "--webhook", receiver.url, "--webhook-secret", SECRET)

    def send(*events):
        lines = [json.dumps({"event_type": "ai_security", **event}).encode() for event in events]
        return json.loads(up.run("send", "-", "--wait", data=b"\n".join(lines) + b"\n").stdout)

    now = time.time_ns() // 1_000_000_000 * 1_000_000_000
    second = 1_000_000_000
    block = lambda i, t: {"event_id": f"b{i}", "timestamp": text(t), "category": "guardrail_block", "severity": "low", "user_id": "u"}  # noqa: E731
    flag = lambda i, t: {"event_id": f"f{i}", "timestamp": text(t), "category": "judge_flag", "severity": "high", "user_id": "v"}  # noqa: E731
    start = now - 400 * second
    try:
        send(*[block(i, start + i * second) for i in range(10)])
        check(up.escalations() == [], "10 blocks raised something")
        send(*[block(i, start + i * second) for i in range(10)])
        check(up.escalations() == [], "10 blocks, sent twice, raised something")
        # exactly W after the first: the window is closed at both ends
        send(block(10, start + 300 * second))
        check([e["rule"] for e in up.escalations()] == ["guardrail_block_burst"], "the 11th block, exactly 5 minutes after the first, did not raise")
        hour = (now // (3600 * second) - 2) * 3600 * second
        send(*[flag(i, hour - (i + 1) * 60 * second) for i in range(3)])
        check(len(up.escalations()) == 1, "3 flags raised something")
        send(*[flag(i + 3, hour + (i + 1) * 60 * second) for i in range(3)])
        check({e["rule"] for e in up.escalations()} == {"guardrail_block_burst", "judge_flag_burst"}, "3 + 3 flags over the hour did not raise")
        send({"event_id": "p", "timestamp": text(now), "category": "prompt_attack", "user_id": "w"},
             {"event_id": "t", "timestamp": text(now), "category": "agent_boundary_violation", "tool": "rm", "tool_allowed": False, "agent_id": "a", "user_id": "w"},
             {"event_id": "ok", "timestamp": text(now), "category": "agent_boundary_violation", "tool": "ls", "tool_allowed": True, "agent_id": "a", "user_id": "w"})
        check(len(up.escalations()) == 4, "an injection and a forbidden tool did not both raise")
        receiver.wait(4, 30)
        wait_for(up.settled, "the notifier to finish")
    finally:
        up.stop()
    check(len(receiver.deliveries) == 4 and not receiver.refused, f"{len(receiver.deliveries)} deliveries, {len(receiver.refused)} refused, expected 4 and 0")
    for headers, body in raw:
        Webhook(SECRET).verify(body, headers)
    return "4 escalations, 4 signed deliveries, verified by standardwebhooks"


def bad(world):
    """Every kind of bad line: good ones accepted, each bad one named with line, field and reason, exit 1."""
    up = Up(world.binary, world.folder / "bad")
    try:
        return bad_lines.run(up)
    finally:
        up.stop()


def clients(world):
    """curl and the Python example send an event as the README says."""
    up = Up(world.binary, world.folder / "clients")
    try:
        body = json.dumps({"event_type": "ai_security", "timestamp": datetime.now(timezone.utc).isoformat(), "category": "anomaly", "user_id": "u"})
        done = subprocess.run(["curl", "-sS", "--fail-with-body", f"http://{up.http}/v1/events", "-H", "content-type: application/json", "-d", body], capture_output=True)
        check(done.returncode == 0 and b'"accepted":1' in done.stdout, f"curl: {done.stdout} {done.stderr}")
        example = HERE.parent.parent / "docs/examples/python/run.sh"
        done = subprocess.run([str(example)], capture_output=True, env={**__import__("os").environ, "BALEFIRE_ADDR": up.addr})
        check(done.returncode == 0, f"Python example: {done.stdout.decode()} {done.stderr.decode()[-2000:]}")
    finally:
        up.stop()
    return "curl and Python"


SCENARIOS = [edges, bad, clients, partitions, killed, separate]


def tried(scenario, world):
    """Runs one; whether it passed."""
    begun = time.monotonic()
    try:
        told, passed = scenario(world), True
    except Failed as error:
        told, passed = error, False
    except Exception:
        # a scenario that cannot go on has failed; the others still count
        told, passed = traceback.format_exc(), False
    print(f"{'ok    ' if passed else 'FAILED'}  {scenario.__name__:<15} {time.monotonic() - begun:6.1f} s  {told}", flush=True)
    if not passed:
        for log in sorted(world.folder.rglob("*.log")):
            words = log.read_text(errors="replace").strip()
            if words and "nats" not in log.name:
                print(f"--- {log.name}\n{words[-1500:]}", flush=True)
    return passed


def main(scenarios, description, count, flags=()):
    """`scenarios`: one after the other; those of a tuple at once, because they mostly wait. `flags`: more of them, (name, help)."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--count", type=int, default=count)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--keep", help="folder for data and logs, kept")
    for flag, words in flags:
        parser.add_argument(flag, help=words)
    arguments = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory(prefix="balefire-e2e-") as folder:
        world = World(str(Path(arguments.binary).resolve()), arguments.keep or folder, arguments.count)
        world.flags = arguments
        for group in scenarios:
            group = [one for one in (group if isinstance(group, tuple) else (group,)) if not arguments.only or one.__name__ in arguments.only]
            if group:
                with ThreadPoolExecutor(len(group)) as pool:
                    results += pool.map(lambda scenario: tried(scenario, world), group)
    print(f"{sum(results)} passed, {results.count(False)} failed")
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main(SCENARIOS, __doc__, 100_000))
