"""Balefire beside what people would use instead, on the same file, on one machine, in one run.

`make peers`, or: peers.py --binary target/release/balefire [--events 1000000] [--rounds 3] [--seconds 0]

The file is the reference workload as `balefire-bound write` makes it. Each round runs every peer once, each time
another one first; what is shown are medians, and every value. A peer that cannot be had is named and left
out. What a SQL window query says of the file is what is due: an alert is one (rule, user, slot), or one
event of a rule without a window."""
import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import benches
import peers_alerts
import peers_daemon

RSIGMA = "0.23.0"
INSTALL_S = 1_800
RUN_S = 600
# Anything more in memory here would show as memory of who is started: `ru_maxrss` begins with it.
MIB = 1024


class Broken(Exception):
    """It ran and failed: it is left out, and why is said."""


class Ran:
    """One run of one program: its own seconds where it tells them, else None."""

    def __init__(self, command, out):
        with open(out, "wb") as told, tempfile.TemporaryFile() as said:
            begun = time.perf_counter()
            child = subprocess.Popen([str(word) for word in command], stdout=told, stderr=said)
            _, status, usage = os.wait4(child.pid, 0)
            self.seconds = time.perf_counter() - begun
            child.returncode = os.waitstatus_to_exitcode(status)
            said.seek(0)
            self.said = said.read().decode(errors="replace")
        if child.returncode != 0:
            raise Broken(f"{' '.join(map(str, command))}: exit {child.returncode}\n{self.said[-2000:]}{Path(out).read_text(errors='replace')[-500:]}")
        self.cpu_s, self.rss_mib = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / MIB


class Peer:
    def __init__(self, name, command, out, own=False):
        """`command(out)`; `own`: it prints name=value with the seconds of its own clock."""
        self.name, self.command, self.out, self.own, self.ran, self.broken = name, command, out, own, [], False

    def run(self):
        ran = Ran(self.command(self.out), self.out)
        if self.own:
            facts = dict(fact.split("=", 1) for fact in self.out.read_text().split())
            ran.seconds, ran.alerts, ran.state_mib = float(facts["seconds"]), int(facts["alerts"]), int(facts["state_bytes"]) / MIB / MIB
        self.ran.append(ran)
        return ran

    def rates(self, events):
        return [events / ran.seconds for ran in self.ran]


def rsigma(cache):
    """(program, features) from crates.io, installed once; None and why not."""
    program = cache / "rsigma" / "bin" / "rsigma"
    why = ""
    for features in (["--features", "daemon-nats"], ["--no-default-features"]):
        if not program.exists():
            print(f"installs rsigma {RSIGMA} {' '.join(features)} in {cache}", file=sys.stderr, flush=True)
            done = subprocess.run(["cargo", "install", "rsigma", "--version", RSIGMA, "--locked", "--root", str(cache / "rsigma"), *features],
                                  capture_output=True, text=True, timeout=INSTALL_S)
            why = f"cargo could not install it: {done.stderr.strip()[-600:]}"
        if program.exists():
            said = subprocess.run([str(program), "--features"], capture_output=True, text=True).stdout.split()
            return program, said, None
    return None, [], why


def peers(args, file, folder, program):
    """Everybody who takes part."""
    balefire, bound = Path(args.binary).resolve(), Path(args.bound).resolve()
    here = Path(__file__).resolve()
    found = [
        Peer("bound, 1 thread", lambda _: [bound, "run", file, 1], folder / "bound1", own=True),
        Peer("bound, 2 threads", lambda _: [bound, "run", file, 2], folder / "bound2", own=True),
        Peer("balefire replay", lambda _: [balefire, "replay", file, "--output", "ndjson"], folder / "balefire"),
        Peer(f"DuckDB {peers_alerts.version()}, one query, 2 threads", lambda out: [sys.executable, here.with_name("peers_alerts.py"), file, f"{out}.csv"], folder / "duckdb"),
    ]
    if program:
        rules = peers_alerts.rules_for_rsigma(folder / "rules", suppress=True)
        found.append(Peer(f"rsigma {RSIGMA} eval", lambda _: peers_alerts.rsigma_command(program, rules, file), folder / "rsigma"))
    return found


def attempt(peer):
    """Others may fail without ending the rest; neither the bound, nor SQL, nor we."""
    try:
        if not peer.broken:
            peer.run()
    except Broken as broken:
        if not peer.name.startswith("rsigma"):
            raise SystemExit(str(broken)) from None
        peer.broken = True
        print(f"{peer.name}: left out: {broken}", flush=True)


def shown(values, digits=0):
    return " · ".join(f"{value:,.{digits}f}" for value in values)


def table(found, events, verdicts):
    ours = statistics.median(next(peer for peer in found if peer.name == "balefire replay").rates(events))
    rows = ["| what | events/s, median | all rounds | ours is | CPU s | RSS, MiB | alerts | of those due |", "|---|---|---|---|---|---|---|---|"]
    for peer in found:
        rate, last = statistics.median(peer.rates(events)), peer.ran[-1]
        rss = f"{last.state_mib:.0f} of state" if peer.own else f"{max(ran.rss_mib for ran in peer.ran):.0f}"
        alerts, exact = verdicts.get(peer.name, (getattr(last, "alerts", "?"), "not claimed"))
        rows.append(f"| {peer.name} | {rate:,.0f} | {shown(peer.rates(events))} | {ours / rate:.2f} × | "
                    f"{statistics.median(ran.cpu_s for ran in peer.ran):.2f} | {rss} | {alerts:,} | {exact} |")
    return "\n".join(rows)


def verdicts(found, file, folder, program):
    """Of each peer by name: its alerts, and how they differ from what is due."""
    due = peers_alerts.of_sql(folder / "duckdb.csv")
    told = {"balefire replay": peers_alerts.of_balefire(folder / "balefire")}
    counts = {name: len(set_) for name, set_ in told.items()}
    name = next((peer.name for peer in found if peer.name.startswith("rsigma")), None)
    if name:
        # Once more, unmeasured: every breach with its time, for which it would hold back what it told.
        rules = peers_alerts.rules_for_rsigma(folder / "every", suppress=False)
        try:
            Ran([*peers_alerts.rsigma_command(program, rules, file), *peers_alerts.EVERY_BREACH], folder / "rsigma-all")
            told[name] = peers_alerts.of_rsigma(folder / "rsigma-all")
        except (Broken, KeyError, TypeError, ValueError) as error:
            print(f"{name}: which alerts it raises was not found out: {error!r}")
        with open(folder / "rsigma", "rb") as lines:
            counts[name] = sum(1 for _ in lines)
    sql = next(peer.name for peer in found if peer.name.startswith("DuckDB"))
    def against(keys):
        if keys is None:
            return "unknown"
        return "exactly" if keys == due else f"{len(due - keys):,} missing, {len(keys - due):,} too many"

    return {sql: (len(due), "is what is due")} | {name: (count, against(told.get(name))) for name, count in counts.items()}


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--binary", required=True, help="balefire, a release build")
    words.add_argument("--bound", help="balefire-bound; without it, it is built")
    words.add_argument("--events", type=int, default=1_000_000)
    words.add_argument("--users", type=int, default=100_000)
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--rate", type=int, default=5_000, help="events a second through JetStream")
    words.add_argument("--seconds", type=int, default=8, help="of that, a round; 0: not at all")
    words.add_argument("--cache", type=Path, default=Path(".tools"), help="where rsigma is installed")
    words.add_argument("--without-rsigma", action="store_true", help="it takes minutes to install")
    args = words.parse_args()
    args.bound = args.bound or benches.bound()
    program, features, why = (None, [], "as asked") if args.without_rsigma else rsigma(args.cache.resolve())
    cpu = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "?")
    print(f"{os.cpu_count()} CPUs, {cpu}, Linux {os.uname().release}; load average before: {os.getloadavg()[0]:.2f}")
    with tempfile.TemporaryDirectory(prefix="balefire-peers-") as made:
        folder = Path(made)
        file = folder / "events.ndjson"
        written = subprocess.run([args.bound, "write", str(file), str(args.events), str(args.users)], capture_output=True, text=True, check=True).stdout
        print(f"{written.strip()}; {args.rounds} rounds, each begun by another", flush=True)
        found = peers(args, file, folder, program)
        for turn in range(args.rounds):
            first = turn % len(found)
            for peer in found[first:] + found[:first]:
                attempt(peer)
        found = [peer for peer in found if not peer.broken]
        print(table(found, args.events, verdicts(found, file, folder, program)), flush=True)
        print("alerts: one for each (rule, user, slot), or event of a rule without a window. The bound is timed by its own clock, from memory; "
              "all others are whole processes.")
        if not program:
            print(f"rsigma {RSIGMA}: left out: {why}")
        if args.seconds:
            over_jetstream(args, program if "daemon-nats" in features else None, folder)


def over_jetstream(args, program, folder):
    if not shutil.which("nats-server"):
        print("over JetStream: left out, there is no nats-server on PATH")
        return
    print(f"\nover JetStream, not synced, {args.rate:,} events/s for {args.seconds} s a round, intended send → alert in its stream")
    if not program:
        print(f"rsigma {RSIGMA}'s daemon: left out, there is none with daemon-nats")
    print(peers_daemon.table(args, program, folder))


if __name__ == "__main__":
    main()
