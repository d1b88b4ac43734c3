"""Records the golden log of a release: a fixed corpus through a real `balefire up`, with a restart
and undeliverable escalations on the way, and everything that is on the log then.

record.py --binary target/release/balefire --recorder target/release/balefire-golden --version 0.2.0

A release is recorded once, into a folder of its own; see docs/decisions/0006."""
import argparse
import gzip
import json
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from datetime import datetime, timezone
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE.parent / "e2e"), str(HERE.parent / "demo")]
sys.path.insert(0, str(HERE))      # two modules are called corpus
import corpus as golden  # noqa: E402
from receiver import Receiver  # noqa: E402
from system import Up, check, wait_for  # noqa: E402

PARTITIONS = "2"
STAGES = ["rule-engine", "correlator"]
BYTES_MAX = 300 * 1024


def quiet(_):
    pass


class Flaky(Receiver):
    """Takes each message the second time it comes."""

    def take(self, headers, body):
        message_id = headers.get("webhook-id", "")
        known = message_id in {one for one, _ in self.deliveries} | set(self.refused)
        if known:
            return super().take(headers, body)
        with self.lock:
            self.refused.append(message_id)
        return 503


class Picky(Receiver):
    """Wants no prompt attacks, until it is told to be kind."""
    kind = False

    def take(self, headers, body):
        if not self.kind and json.loads(body)["data"]["rule"] == "prompt_attack":
            return 400
        return super().take(headers, body)


def receivers_file(path, flaky, picky):
    path.write_text("".join(f'[[receiver]]\nname = "{name}"\nurl = "{one.url}"\nallow_loopback = true\n{more}'
                            for name, one, more in (("flaky", flaky, 'severity_min = "high"\n'), ("picky", picky, ""))))
    return path


def dead(up):
    return [json.loads(line) for line in up.run("deadletters", "list", "--output", "ndjson").stdout.splitlines()]


def send(up, records, *flags, codes=(0,)):
    data = records if isinstance(records, bytes) else golden.lines(records)
    return json.loads(up.run("send", "-", *flags, data=data, codes=codes).stdout)


def fixed_ids(up, binary, folder):
    """The fixed records, what HTTP answers to each of them, and what comes of them offline."""
    records = golden.fixed()
    (folder / "events.ndjson").write_bytes(golden.lines(records))
    ask = urllib.request.Request(f"http://{up.http}/v1/events", golden.lines(records), {"content-type": "application/x-ndjson"})
    with urllib.request.urlopen(ask) as answer:
        results = json.load(answer)["results"]
    check([r["status"] for r in results] == ["ACCEPTED"] * len(records), f"{results}")
    ids = [{"dedup_id": r["dedup_id"], "stream": r["stream"]} for r in results]
    (folder / "ids.ndjson").write_text("".join(json.dumps(line) + "\n" for line in ids))
    done = subprocess.run([binary, "replay", str(folder / "events.ndjson"), "--output", "ndjson"], capture_output=True, check=True)
    kept = ["escalation_id", "episode_id", "kind", "rule_id", "slot_start"]
    raised = [{name: line[name] for name in kept} for line in map(json.loads, done.stdout.splitlines())]
    (folder / "escalations.ndjson").write_text("".join(json.dumps(line) + "\n" for line in raised))
    return len(ids), len(raised)


def keep_checkpoints(data, folder):
    for stage in STAGES:
        for file in sorted((data / stage).rglob("*")):
            if file.is_file():
                kept = folder / "checkpoints" / stage / file.relative_to(data / stage)
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.with_name(kept.name + ".gz").write_bytes(gzip.compress(file.read_bytes(), mtime=0))


def record(binary, recorder, folder, data):
    plain, flaky, picky = Receiver(show=quiet), Flaky(show=quiet), Picky(show=quiet)
    up = Up(binary, data, "--partitions", PARTITIONS, "--webhook", plain.url, "--delivery-attempts", "4",
            "--receivers", str(receivers_file(folder.with_suffix(".toml"), flaky, picky)))
    tool = lambda what, *more: subprocess.run([recorder, what, up.process.facts["nats"], str(data / "credentials"), PARTITIONS, *more], check=True)  # noqa: E731
    try:
        corpus = golden.Corpus(datetime.now(timezone.utc))
        first = corpus.first()
        send(up, first, "--wait")
        history = data.with_name("history.ndjson")
        history.write_bytes(golden.lines(corpus.history()))
        up.run("send", str(history), "--wait", "--backfill")
        send(up, golden.Corpus.bad(corpus.now), codes=(1,))
        tool("spoil")
        wait_for(lambda: len(dead(up)) >= 9, "the dead letters")
        wait_for(up.settled, "the notifier to finish")
        up.stop()
        keep_checkpoints(data, folder)
        up.start()
        picky.kind = True
        letters = [letter for letter in dead(up) if "delivery" in json.dumps(letter)]
        check(len(letters) >= 3, f"{letters}")
        ids = [letter["id"] for letter in letters]
        up.run("deadletters", "replay", ids[0], ids[1])
        up.run("deadletters", "discard", ids[2], "--reason", "golden")
        send(up, corpus.second(first), "--wait")
        ids, raised = fixed_ids(up, binary, folder)
        wait_for(up.settled, "the notifier to finish")
        tool("record", str(folder / "log.gz"))
        shown = up.escalations()
    finally:
        up.stop()
    return f"{len(first)} records and more, {len(shown)} escalations, {len(rules(shown))} rules; {ids} fixed ids, {raised} escalations of them"


def rules(escalations):
    return {line["rule"] for line in escalations}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--recorder", required=True)
    parser.add_argument("--version", required=True)
    arguments = parser.parse_args()
    target = ROOT / "shared/golden/releases" / arguments.version
    if target.exists():
        sys.exit(f"{target} is there: a release is recorded once")
    with tempfile.TemporaryDirectory(prefix="balefire-golden-") as scratch:
        folder = Path(scratch) / "release"
        folder.mkdir()
        told = record(str(Path(arguments.binary).resolve()), str(Path(arguments.recorder).resolve()), folder, Path(scratch) / "data")
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        check(size <= BYTES_MAX, f"{size} bytes, {BYTES_MAX} at most")
        target.parent.mkdir(exist_ok=True)
        shutil.copytree(folder, target)
    print(f"{target.relative_to(ROOT)}: {size} bytes; {told}")


if __name__ == "__main__":
    main()
