"""The main job on a fresh machine: `make demo` (stays up) or `make demo ONCE=1` (ends by itself,
exit 0 only if exactly the expected escalations were delivered, each once)."""
import argparse
import base64
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime, timezone
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from receiver import Receiver  # noqa: E402
from traffic import BAD, Day  # noqa: E402

WAIT_S = 120


def say(text=""):
    print(text, flush=True)


def nanos(text):
    whole, _, fraction = text.rstrip("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole).replace(tzinfo=timezone.utc).timestamp())
    return seconds * 1_000_000_000 + int((fraction or "0").ljust(9, "0")[:9])


class Up:
    """`balefire up` on a data folder of its own."""

    def __init__(self, binary, nats, data, receiver, secret):
        command = [binary, "up", "--data-dir", str(data), "--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0",
                   "--allowed-lateness", "30h", "--webhook", receiver.url, "--webhook-secret", secret, "--log", "warn"]
        environment = dict(os.environ, PATH=f"{Path(nats).parent}{os.pathsep}{os.environ['PATH']}")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
        self.binary, self.grpc, self.http = binary, None, None
        for line in self.process.stdout:
            if line.startswith("ready "):
                facts = dict(fact.split("=", 1) for fact in line.split()[1:])
                self.grpc, self.http = facts["grpc"], facts["http"]
                break
        if not self.grpc:
            raise SystemExit("balefire up did not become ready; its last words are above")
        threading.Thread(target=lambda: [None for _ in self.process.stdout], daemon=True).start()

    def run(self, *arguments, data=None, check=True):
        done = subprocess.run([self.binary, *arguments, "--addr", f"http://{self.grpc}"], input=data, capture_output=True)
        if check and done.returncode != 0:
            raise SystemExit(f"balefire {' '.join(arguments)} failed ({done.returncode}):\n{done.stderr.decode()}")
        return done

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


def identity(data):
    """What the brute force calls an escalation: rule, user or event, slot start."""
    key = data["key"].get("user_id") if data["rule"].endswith("burst") else data["event_ids"][0]
    return data["rule"], key, nanos(data["slot_start"])


def send(up, day):
    lines = day.lines()
    say(f"sending {len(lines)} records of a day in a small company (duplicates and disorder included) ...")
    summary = json.loads(up.run("send", "-", "--wait", data=b"\n".join(lines) + b"\n").stdout)
    say(f"  {summary}")
    say("sending lines that no system should accept ...")
    bad = up.run("send", "-", data=b"\n".join(line for line, _ in BAD) + b"\n", check=False)
    for (_, what), told in zip(BAD, bad.stderr.decode().splitlines()):
        say(f"  {what:<24} {told}")
    rejected = json.loads(bad.stdout)["rejected"]
    return summary, bad.returncode == 1 and rejected == len(BAD)


def settle(up, receiver, want):
    """Waits until every expected escalation came and the notifier has nothing left to do."""
    receiver.wait(len(want), WAIT_S)
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        services = json.loads(up.run("status", "--output", "json").stdout)["services"]
        notifier = next(s for s in services if s["service"] == "notifier")
        if all(p["lag"] == 0 and p["state_len"] == 0 for p in notifier["partitions"]):
            return True
        threading.Event().wait(0.1)
    return False


def verdict(up, receiver, want):
    listed = [json.loads(line) for line in up.run("escalations", "--output", "ndjson").stdout.splitlines()]
    in_log = sorted(identity(entry) for entry in listed)
    told = sorted(identity(payload["data"]) for _, payload in receiver.deliveries)
    ok = True
    for name, got in (("in the log", in_log), ("delivered", told)):
        missing, extra = set(want) - set(got), set(got) - set(want)
        twice = sorted({one for one in got if got.count(one) > 1})
        say(f"  {name:<10}: {len(got)} of {len(want)} expected; missing {len(missing)}, unexpected {len(extra)}, more than once {len(twice)}")
        for label, rows in (("missing", missing), ("unexpected", extra), ("more than once", twice)):
            for row in sorted(rows)[:5]:
                say(f"    {label}: {row}")
        ok = ok and not (missing or extra or twice)
    if receiver.refused:
        say(f"  {len(receiver.refused)} deliveries had a wrong signature")
    return ok and not receiver.refused


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--nats-server", required=True)
    parser.add_argument("--once", action="store_true")
    arguments = parser.parse_args()
    secret = "whsec_" + base64.b64encode(b"the demo's own secret, 32 bytes.").decode()
    day = Day(datetime.now(timezone.utc).replace(microsecond=0))
    with tempfile.TemporaryDirectory(prefix="balefire-demo-") as data:
        receiver = Receiver(secret, show=say)
        up = Up(arguments.binary, arguments.nats_server, Path(data) / "data", receiver, secret)
        try:
            say(f"balefire is up: gRPC {up.grpc}, HTTP {up.http}, data {data}/data; webhook receiver {receiver.url}")
            summary, bad_ok = send(up, day)
            want = sorted(day.expected())
            settled = settle(up, receiver, want)
            say("what was expected (brute force over the records) against what came:")
            ok = verdict(up, receiver, want) and bad_ok and settled and summary["rejected"] == 0
            say("exactly the expected escalations, each once" if ok else "NOT as expected")
            if not arguments.once:
                say(f"\nstill up. Try, in another terminal:\n  export BALEFIRE_ADDR=http://{up.grpc}\n"
                    f"  {arguments.binary} escalations\n  {arguments.binary} status\nCtrl-C stops it.")
                try:
                    up.process.wait()
                except KeyboardInterrupt:
                    say("stopping")
        finally:
            up.stop()
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
