"""Random rules over random logs: `balefire replay` against a window query of SQL.

The query shares nothing with the engine: DuckDB reads the records as they were written and asks
RANGE BETWEEN W PRECEDING AND CURRENT ROW of the matching ones. What must be equal is the set of
(rule, key, slot), and one escalation id for each.

`make e2e`, or: sql_oracle.py --binary target/release/balefire [--cases 1000] [--seed 1]"""
import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path

import duckdb
from system import Failed, check

BATCH = 50  # cases of one process: each has events and a rule of its own
BASE = datetime(2026, 3, 1, tzinfo=timezone.utc)
BASE_MS = int(BASE.timestamp()) * 1000
GROUPS = [["user_id"], ["user_id", "model"], ["labels.app", "user_id"], ["user_id", "tool", "model"]]
KINDS = ["event_count", "value_count", "value_sum"]
VALUES = {"value_count": ["agent_id", "tool", "model", "labels.app", "tokens_in", "amount"], "value_sum": ["tokens_in", "amount"]}


def case(rng, number):
    """A rule of one case, and its records in the order of the file."""
    window = rng.randint(1, 12)
    rearm = rng.choice([window, rng.randint(1, 16)])
    kind = rng.choice(KINDS)
    group = rng.choice(GROUPS)
    field = rng.choice([name for name in VALUES[kind] if name not in group]) if kind in VALUES else None
    n = rng.randint(0, 40) if kind == "value_sum" else rng.randint(0, 3)
    rule = {"case": number, "kind": kind, "group": group, "field": field, "n": n, "window": window, "rearm": rearm, "gte": rng.random() < 0.3}
    records = []
    for index in range(rng.randint(1, 40)):
        at = BASE + timedelta(milliseconds=rng.choice([1000, 500, 1]) * rng.randint(0, 60))
        record = {"event_id": f"{number}-{index}", "category": rng.choice(["anomaly", "anomaly", "anomaly", "judge_flag"]), "timestamp": at.isoformat(timespec="milliseconds"), "labels": {"case": f"c{number}"}}
        maybe = lambda name, choices: record.update({name: rng.choice(choices)}) if rng.random() < 0.85 else None  # noqa: E731
        maybe("user_id", ["ann", "ben", "Ann@Example.com", "ann@example.com"])
        maybe("agent_id", ["a1", "a2", "a3", "A1"])
        maybe("model", ["m1", "m2", "M1"])
        maybe("tool", ["t1", "t2", "t3"])
        maybe("tokens_in", [0, 1, 2, 3, 7, 20])
        maybe("amount", [0, 1, 5, 9, "5", "x", -3, 2.5, True, [1], None])
        if rng.random() < 0.85:
            record["labels"]["app"] = rng.choice(["shop", "bank"])
        records.append(record)
    records += rng.choices(records, k=rng.randint(0, 5))
    rng.shuffle(records)
    return rule, records


def document(rule):
    number = rule["case"]
    asked = {"gte": rule["n"] + 1} if rule["gte"] else {"gt": rule["n"]}
    if rule["field"]:
        asked["field"] = rule["field"]
    ident = lambda name: str(uuid.uuid5(uuid.NAMESPACE_URL, f"{name}{number}"))  # noqa: E731
    selection = {"category": "anomaly", "labels.case": f"c{number}"}
    base = {"title": "b", "id": ident("b"), "name": f"b{number}", "detection": {"s": selection, "condition": "s"}}
    correlation = {"type": rule["kind"], "rules": [f"b{number}"], "group-by": rule["group"], "timespan": f"{rule['window']}s", "condition": asked}
    counted = {"title": "r", "id": ident("r"), "name": f"r{number}", "level": "high", "correlation": correlation, "balefire": {"rearm": f"{rule['rearm']}s"}}
    return f"{json.dumps(base)}\n---\n{json.dumps(counted)}\n"


def shown(value):
    """A value as people read it; none where no one value is said."""
    if value is None or isinstance(value, (list, dict)):
        return None
    text = value.strip() if isinstance(value, str) else json.dumps(value)
    return (text.lower() if "@" in text else text) or None


def read(record, name):
    return record["labels"].get(name[7:]) if name.startswith("labels.") else record.get(name)


def number(value):
    text = shown(value) or ""
    return int(text) if text.isascii() and text.isdigit() else None


def expected(db, rule, records):
    """(key as read, slot) of each breached slot, by SQL."""
    rows = []
    for record in records:
        key = [shown(read(record, name)) for name in rule["group"]]
        at = int(datetime.fromisoformat(record["timestamp"]).timestamp() * 1000 + 0.5)
        value = {"event_count": lambda: "1", "value_count": lambda: shown(read(record, rule["field"])), "value_sum": lambda: number(read(record, rule["field"]))}[rule["kind"]]()
        rows.append((record["event_id"], record["category"], at, json.dumps(key) if None not in key else None, None if value is None else str(value)))
    db.execute("CREATE OR REPLACE TEMP TABLE record (id TEXT, category TEXT, t BIGINT, key TEXT, value TEXT)")
    db.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?)", rows)
    measure = {"event_count": "count(*)", "value_count": "count(DISTINCT value)", "value_sum": "sum(CAST(value AS HUGEINT))"}[rule["kind"]]
    found = db.execute(
        f"""
        WITH event AS (SELECT DISTINCT * FROM record WHERE category = 'anomaly' AND key IS NOT NULL AND value IS NOT NULL),
        measured AS (SELECT key, t, {measure} OVER (PARTITION BY key ORDER BY t RANGE BETWEEN {rule["window"] * 1000} PRECEDING AND CURRENT ROW) AS m FROM event)
        SELECT DISTINCT key, t // {rule["rearm"] * 1000} FROM measured WHERE m > {rule["n"]}"""
    ).fetchall()
    return {(f"r{rule['case']}", key, slot) for key, slot in found}


def replayed(binary, rules, records, folder):
    """(rule, key as read, slot) of each escalation that replay tells, and its id."""
    (folder / "rules").mkdir(parents=True)
    (folder / "rules/all.yml").write_text("---\n".join(document(rule) for rule in rules))
    (folder / "events.ndjson").write_text("".join(json.dumps(record) + "\n" for record in records))
    done = subprocess.run([binary, "replay", folder / "events.ndjson", "--rules", folder / "rules", "--output", "ndjson"], capture_output=True, text=True)
    check(done.returncode == 0, f"replay: exit {done.returncode}\n{done.stderr[-2000:]}")
    by_name = {f"r{rule['case']}": rule for rule in rules}
    told = []
    for line in map(json.loads, done.stdout.splitlines()):
        if line["kind"] not in ("RAISED", "CONTINUED"):
            continue
        rule = by_name[line["rule"]]
        key = json.dumps([shown(line["key"][name]) for name in rule["group"]])
        start = int(datetime.fromisoformat(line["slot_start"].replace("Z", "+00:00")).timestamp() * 1000 + 0.5)
        told.append(((line["rule"], key, start // (rule["rearm"] * 1000)), line["escalation_id"]))
    return told


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--binary", required=True)
    words.add_argument("--cases", type=int, default=1000)
    words.add_argument("--seed", type=int, default=1)
    args = words.parse_args()
    rng, db, began = random.Random(args.seed), duckdb.connect(":memory:", config={"threads": 1}), time.monotonic()
    differences, slots, kinds = [], 0, Counter()
    with tempfile.TemporaryDirectory() as folder:
        for first in range(0, args.cases, BATCH):
            cases = [case(rng, number) for number in range(first, min(first + BATCH, args.cases))]
            log = [record for _, records in cases for record in records]
            rng.shuffle(log)
            told = replayed(args.binary, [rule for rule, _ in cases], log, Path(folder) / str(first))
            found = {place for place, _ in told}
            check(len(found) == len({id for _, id in told}) == len(told), "an escalation id stands for two slots, or a slot has two")
            for rule, records in cases:
                wanted = expected(db, rule, records)
                mine = {place for place in found if place[0] == f"r{rule['case']}"}
                kinds[rule["kind"]] += bool(wanted)
                slots += len(wanted)
                if wanted != mine:
                    differences.append((rule, sorted(wanted - mine), sorted(mine - wanted)))
    for rule, missing, wrong in differences[:5]:
        print(f"{rule}\n  missing {missing}\n  wrong   {wrong}")
    print(f"sql oracle: seed={args.seed} cases={args.cases} slots={slots} with_a_breach={dict(sorted(kinds.items()))} differences={len(differences)} seconds={time.monotonic() - began:.1f}")
    check(not differences, f"{len(differences)} of {args.cases} cases differ from SQL; again with --seed {args.seed}")
    few = [kind for kind in KINDS if kinds[kind] * 20 < args.cases]
    check(not few, f"the cases hardly breach by {few}: they prove little")


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(f"sql oracle: {failed}")
