"""What peers told of one file, as sets that can be compared: (rule, user, slot), or (rule, event) of a rule
without a window. As a program it is the SQL peer: peers_alerts.py FILE OUT.csv"""
import csv
import json
import sys
import time
from datetime import datetime
from importlib.metadata import version as version_of
from pathlib import Path

PACK = Path(__file__).resolve().parents[1] / "rules" / "baseline"
# Rules with a window, by name: rearm, milliseconds.
REARM_MS = {"guardrail_block_burst": 300_000, "judge_flag_burst": 3_600_000}
SUPPRESS = {"guardrail_block_burst": "5m", "judge_flag_burst": "1h"}
KEYS_MAX = "10000000"
EVERY_BREACH = ["--correlation-event-mode", "refs", "--max-correlation-events", "1", "--include-event"]

QUERY = """
COPY (
  WITH event AS MATERIALIZED (
    SELECT event_id, user_id, category, severity, tool_allowed, epoch_ms("timestamp") AS t
    FROM read_json('{file}', format = 'newline_delimited', columns = {{event_id: 'VARCHAR', user_id: 'VARCHAR', category: 'VARCHAR',
      severity: 'VARCHAR', tool_allowed: 'BOOLEAN', "timestamp": 'TIMESTAMP'}})
    WHERE category IN ('guardrail_block', 'judge_flag', 'prompt_attack', 'agent_boundary_violation')),
  block AS (
    SELECT user_id, t, count(*) OVER (PARTITION BY user_id ORDER BY t RANGE BETWEEN 300000 PRECEDING AND CURRENT ROW) AS n
    FROM event WHERE category = 'guardrail_block'),
  flag AS (
    SELECT user_id, t, count(*) OVER (PARTITION BY user_id ORDER BY t RANGE BETWEEN 3600000 PRECEDING AND CURRENT ROW) AS n
    FROM event WHERE category = 'judge_flag' AND severity IN ('high', 'critical'))
  SELECT DISTINCT 'guardrail_block_burst' AS rule, user_id AS key, t // 300000 AS slot FROM block WHERE n > 10
  UNION ALL SELECT DISTINCT 'judge_flag_burst', user_id, t // 3600000 FROM flag WHERE n > 3
  UNION ALL SELECT 'prompt_attack', event_id, 0 FROM event WHERE category = 'prompt_attack'
  UNION ALL SELECT 'agent_tool_outside_allowlist', event_id, 0 FROM event WHERE category = 'agent_boundary_violation' AND NOT tool_allowed
) TO '{out}' (FORMAT csv)"""


def version():
    return version_of("duckdb")


def of_sql(out):
    with open(out, newline="") as rows:
        return {(row["rule"], row["key"], int(row["slot"])) for row in csv.DictReader(rows)}


def of_balefire(out):
    told = set()
    for line in map(json.loads, Path(out).read_text().splitlines()):
        rule = line["rule"]
        if rule in REARM_MS:
            start = datetime.fromisoformat(line["slot_start"][:19] + "+00:00").timestamp() * 1000
            told.add((rule, line["key"]["user_id"], int(start) // REARM_MS[rule]))
        else:
            told.add((rule, line["event_ids"][0], 0))
    return told


def pack():
    """The rules of the baseline pack, by file."""
    import yaml

    return {file.name: list(yaml.safe_load_all(file.read_text())) for file in sorted(PACK.glob("*.yml"))}


def rules_for_rsigma(folder, suppress):
    """The same pack. `suppress`: it tells a breach once in as long as we do."""
    import yaml

    folder.mkdir()
    found = pack()
    ids = {rule["name"]: rule["id"] for rules in found.values() for rule in rules}
    for file, rules in found.items():
        for rule in rules:
            if "correlation" in rule:
                # By id: what is counted only is told, too, where it is referred to by its name.
                rule["correlation"]["rules"] = [ids[name] for name in rule["correlation"]["rules"]]
            if suppress and rule["name"] in SUPPRESS:
                rule["custom_attributes"] = {"rsigma.suppress": SUPPRESS[rule["name"]]}
        (folder / file).write_text(yaml.safe_dump_all(rules, sort_keys=False))
    return folder


def rsigma_command(program, rules, file):
    return [program, "engine", "eval", "--rules", rules, "--event", f"@{file}", "--no-detections", "--input-format", "json",
            "--max-state-entries", KEYS_MAX, "--output-format", "ndjson", "--no-stats"]


def of_rsigma(out):
    names = {rule["id"]: rule["name"] for rules in pack().values() for rule in rules}
    told = set()
    with open(out) as lines:
        for line in map(json.loads, lines):
            rule = names[line["rule_id"]]
            if rule in REARM_MS:
                told.add((rule, user_of(line["group_key"]), seconds_of(line["event_refs"][-1]["timestamp"]) * 1000 // REARM_MS[rule]))
            else:
                told.add((rule, line["event"]["event_id"], 0))
    return told


def user_of(group_key):
    return group_key["user_id"] if isinstance(group_key, dict) else dict(group_key)["user_id"]


def seconds_of(said):
    return said if isinstance(said, int) else int(datetime.fromisoformat(said.replace("Z", "+00:00")).timestamp())


def main():
    import duckdb

    file, out = sys.argv[1:]
    db = duckdb.connect(":memory:", config={"threads": 2})
    begun = time.perf_counter()
    db.execute(QUERY.format(file=file.replace("'", "''"), out=out.replace("'", "''")))
    print(f"query_seconds={time.perf_counter() - begun:.3f}")


if __name__ == "__main__":
    main()
