"""Every kind of bad line in one file, between good ones."""
import json
import time

from system import check

GOOD = 7


def good(number, **more):
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"event_type": "ai_security", "timestamp": stamp, "category": "anomaly", "event_id": f"good-{number}", "user_id": "u"} | more


def record(**more):
    event = good(0, event_id="bad") | more
    return json.dumps({key: value for key, value in event.items() if value is not None}).encode()


# (bytes of the line, field that must be named or "" for the whole record)
BAD = [
    (b'{"event_type":"ai_security"', ""),
    (b"not json at all", ""),
    (b"[1,2,3]", ""),
    (b'"a string"', ""),
    (b"\xff\xfe{}", ""),
    (b"{}", "timestamp"),
    (record(timestamp=None), "timestamp"),
    (record(timestamp="yesterday"), "timestamp"),
    (record(timestamp="2026-02-30T00:00:00Z"), "timestamp"),
    (record(timestamp="2026-02-11T14:30:00"), "timestamp"),
    (record(timestamp=12345), "timestamp"),
    (record(category=None), "category"),
    (record(category="made_up"), "category"),
    (record(category=7), "category"),
    (record(severity="catastrophic"), "severity"),
    (record(event_type="web_access"), "event_type"),
    (record(judge_score=1.5), "judge_score"),
    (record(judge_score="high"), "judge_score"),
    (record(tokens_in=-1), "tokens_in"),
    (record(tokens_out=1.5), "tokens_out"),
    (record(risk_tier="one"), "risk_tier"),
    (record(tool_allowed="no"), "tool_allowed"),
    (record(user_id={"name": "u"}), "user_id"),
    (record(user_id="x" * 300), "user_id"),
    (record(request_id="a\u0000b"), "request_id"),
    (record(tenant="someone-else"), "tenant"),
    (record(labels={f"l{i}": "v" for i in range(40)}), "labels"),
    (record(labels="none"), "labels"),
    (record(note="x" * 70_000), ""),
    (b'{"a":' * 80 + b"1" + b"}" * 80, ""),
    (record()[:-1] + b',"category":"anomaly"}', "category"),
]


def run(up):
    lines, bad_at = [], {}
    for number, (line, field) in enumerate(BAD):
        if number % 5 == 0:
            lines.append(json.dumps(good(number)).encode())
        lines.append(line)
        bad_at[len(lines)] = field
    accepted = len(lines) - len(BAD)
    check(accepted == GOOD, f"{accepted} good lines in the file, expected {GOOD}")
    done = up.run("send", "-", data=b"\n".join(lines) + b"\n", codes=(1,))
    summary = json.loads(done.stdout)
    check(summary["accepted"] == GOOD and summary["rejected"] == len(BAD), f"{summary}")
    told = {}
    for row in done.stderr.decode().splitlines():
        if row.startswith("line "):
            place, field, reason = (part.strip() for part in row.removeprefix("line ").split(":", 2))
            told[int(place)] = (field, reason)
    for place, field in bad_at.items():
        check(place in told, f"line {place} ({lines[place - 1][:60]!r}) is not named; named: {sorted(told)}")
        check(not field or told[place][0] == field, f"line {place}: field {told[place][0]!r} named, expected {field!r}")
        check(told[place][1], f"line {place}: no reason")
    check(set(told) == set(bad_at), f"lines named that are good: {sorted(set(told) - set(bad_at))}")
    return f"{len(BAD)} kinds of bad line named, {GOOD} good ones accepted"
