"""A new version goes in while events come: every process restarted one after the other, and two
builds side by side on different partitions. The escalation set stays exact, nobody is told twice.

`make upgrades`, or: upgrades.py --binary target/release/balefire [--old-bin FOLDER] [--only NAME …]"""
import subprocess
import sys
from pathlib import Path

import run
from outages import STOP_MAX_S, Feed, delivered_exactly
from receiver import Receiver
from run import LATENESS, SECRET, delivered_all, quiet
from system import Client, Four, check, wait_for

PARTITIONS = 4
TWINS = ["rule-engine", "correlator", "notifier"]


def running(client, process, service):
    """Partitions that this one runs; None while one of them is neither run nor another's."""
    states = [p["state"] for p in client.status(service, process.facts["grpc"])["partitions"]]
    told = all(state.split(":")[0] in ("running", "standby") for state in states)
    return sum(state == "running" for state in states) if states and told else None


def replace(four, place, bin_dir=None):
    """SIGTERM, then the same again, or another build of it on the same data dir."""
    process = four.parts[place]
    code = process.stop(STOP_MAX_S)
    check(code == 0, f"{four.services[place]}: exit {code} after SIGTERM")
    if bin_dir:
        process.command = [str(Path(bin_dir) / Path(process.command[0]).name), *process.command[1:]]
    four.parts[place] = process.again()


def ended(world, name, four, receiver, client, engine):
    wait_for(lambda: len(client.escalations(engine)) >= len(world.want), "the escalations")
    world.evaluated(name, client, engine)
    delivered_all(receiver, world.want)
    notifiers = [part for part, service in zip(four.parts, four.services) if service == "notifier"]

    def settled():
        # whoever stands by knows nothing of what another tells
        told = [p for part in notifiers for p in client.status("notifier", part.facts["grpc"])["partitions"] if p["state"] == "running"]
        return len(told) == PARTITIONS and all(p["lag"] == 0 and p["state_len"] == 0 for p in told)

    wait_for(settled, "the notifiers to finish")


def rolling(world):
    """Two of each stage, every process ended by SIGTERM and started again in the middle of a send."""
    receiver = Receiver(SECRET, show=quiet)
    four = Four(Path(world.binary).parent, world.folder / "rolling", PARTITIONS, lateness=LATENESS, webhook=receiver.url, secret=SECRET)
    client, engine = Client(world.binary, four.addr["ingest"]), four.addr["rule-engine"]
    try:
        for service in TWINS:
            four.twin(service)
        feed = Feed(world, four.addr["ingest"])
        for place in range(len(four.parts)):
            feed.give((place + 1) / (len(four.parts) + 2))
            replace(four, place)
        feed.finish()
        ended(world, "rolling restart", four, receiver, client, engine)
    finally:
        four.stop()
    delivered_exactly(world, receiver)
    return f"{len(four.parts)} restarts, {len(world.want)} delivered, none twice"


def side_by_side(world):
    """An older and this build own partitions of one log at the same time; then the older ones are replaced on their data."""
    old, new = Path(world.flags.old_bin or Path(world.binary).parent), Path(world.binary).parent
    receiver = Receiver(SECRET, show=quiet)
    four = Four(old, world.folder / "side_by_side", PARTITIONS, lateness=LATENESS, webhook=receiver.url, secret=SECRET)
    client, engine = Client(world.binary, four.addr["ingest"]), four.addr["rule-engine"]
    try:
        feed = Feed(world, four.addr["ingest"])
        feed.give(0.2)
        for service in TWINS:
            four.twin(service, new)
        pairs = {service: [part for part, name in zip(four.parts, four.services) if name == service] for service in TWINS}
        for service, (older, newer) in pairs.items():
            wait_for(lambda: all(running(client, one, service) for one in (older, newer)), f"both builds of {service} to run partitions", 30)
        feed.give(0.6)
        wait_for(lambda: len(client.escalations(engine)) >= len(world.want) * 0.4, "the engines")
        for place, service in enumerate(four.services[:4]):
            replace(four, place, new)
            feed.give(0.6 + 0.08 * (place + 1))
        feed.finish()
        ended(world, "two builds", four, receiver, client, engine)
        broker = four.parts[0].command
        flags = [broker[broker.index(flag) + place] for flag in ("--nats-url", "--credentials") for place in (0, 1)]
        done = subprocess.run([world.binary, "verify", *flags, "--rule-engine", f"http://{engine}"], capture_output=True, text=True)
        check(done.returncode == 0 and "state in memory" in done.stdout, f"verify: {done.stdout}{done.stderr}")
    finally:
        four.stop()
    delivered_exactly(world, receiver)
    which = f"older build {old}" if old != new else "the same build twice: no --old-bin"
    return f"{which}; {len(world.want)} delivered, none twice; verify OK"


if __name__ == "__main__":
    flags = [("--old-bin", "folder with the binaries of an older build, for side_by_side")]
    sys.exit(run.main([rolling, side_by_side], __doc__, 12_000, flags))
