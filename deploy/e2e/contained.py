"""A message over which the notifier panics stops nobody: it is in a dead letter, the rest is told once,
and so it is after a restart. Needs a `balefire` that was built with the feature `sabotage`.

`make contained`, or: contained.py --binary target/sabotage/debug/balefire"""
import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "demo")]
from corpus import text  # noqa: E402
from fakes import Fake  # noqa: E402
from system import Failed, Up, check, wait_for  # noqa: E402

RULES = "\n---\n".join(f"""title: {name}
id: 0b2f0f64-3b36-4b5c-9d0c-2a4b1f0e7a0{number}
name: {name}
detection: {{s: {{category: {category}}}, condition: s}}
level: high""" for number, (name, category) in enumerate([("plain", "prompt_attack"), ("sabotage", "guardrail_block")]))
# The panic is over the rule's name for who is told, over the event's id for the feed.
EVENTS = [("a", "prompt_attack"), ("b", "guardrail_block"), ("sabotage-c", "prompt_attack"), ("d", "prompt_attack")]
TOLD, FED = ["a", "d", "sabotage-c"], ["a", "b", "d"]


def told(fake):
    return sorted(name for body in fake.bodies() for name in body["data"]["event_ids"])


def fed(fake):
    return sorted(event["event_id"] for body in fake.bodies() for event in body["data"]["events"])


def letters(up):
    return [json.loads(line) for line in up.run("deadletters", "list", "--output", "ndjson").stdout.splitlines()]


def scenario(binary, folder):
    soc, feed = Fake(), Fake()
    (folder / "rules").mkdir()
    (folder / "rules/rules.yml").write_text(RULES)
    receivers = "".join(f'[[receiver]]\nname = "{name}"\nurl = "{fake.url}"\nallow_loopback = true\n{more}\n'
                        for name, fake, more in (("soc", soc, ""), ("feed", feed, "feed = true")))
    (folder / "receivers.toml").write_text(receivers)
    up = Up(binary, folder / "data", "--receivers", str(folder / "receivers.toml"), "--rules", str(folder / "rules"))
    try:
        wait_for(lambda: all(part["state"] == "running" for part in up.status("notifier")["partitions"]), "the notifier")
        time.sleep(1)      # a feed begins with what comes once it looked where the log ends
        lines = [json.dumps({"event_type": "ai_security", "timestamp": text(time.time_ns()), "event_id": name, "user_id": "u", "category": category})
                 for name, category in EVENTS]
        up.run("send", "-", "--wait", data="\n".join(lines).encode())
        for again in (False, True):
            wait_for(lambda: told(soc) == TOLD, f"{TOLD} told, not {told(soc)}", 30)
            wait_for(lambda: fed(feed) == FED, f"{FED} fed, not {fed(feed)}", 30)
            wait_for(up.settled, "the notifier to have told all")
            found = sorted((letter["reason"], letter["detail"]) for letter in wait_for(lambda: letters(up), "the dead letters"))
            check([reason for reason, _ in found] == ["feed_refused", "rule_panicked"], f"two letters: {found}")
            check(all("panicked over it: over sabotage" in detail for _, detail in found), f"say why: {found}")
            if not again:
                up.process.kill()
                up.again()
        return f"{len(TOLD)} of {len(EVENTS)} escalations told once, {len(FED)} events fed once, 2 dead letters, the same after a restart"
    finally:
        up.process.kill()


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--binary", required=True, type=lambda path: str(Path(path).resolve()))
    args = words.parse_args()
    os.environ["BALEFIRE_SABOTAGE"] = "panic"
    with tempfile.TemporaryDirectory(prefix="balefire-contained-") as folder:
        try:
            print(f"ok  {scenario(args.binary, Path(folder))}")
        except Failed as failed:
            sys.exit(f"FAILED  {failed}")


if __name__ == "__main__":
    main()
