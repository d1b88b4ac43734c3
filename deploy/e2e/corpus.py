"""A file of events with duplicates and disorder, and what must come of it by brute force over the
records. Shares no code with Balefire."""
import json
import random
from bisect import bisect_left, bisect_right
from datetime import datetime, timedelta, timezone

SECOND = 1_000_000_000
WINDOWED = {"guardrail_block_burst": (10, 300 * SECOND), "judge_flag_burst": (3, 3600 * SECOND)}
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def nanos(text):
    whole, _, fraction = text.rstrip("Z").partition(".")
    seconds = int((datetime.fromisoformat(whole).replace(tzinfo=timezone.utc) - EPOCH).total_seconds())
    return seconds * SECOND + int((fraction or "0").ljust(9, "0")[:9])


def text(t_ns):
    at = EPOCH + timedelta(seconds=t_ns // SECOND)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{t_ns % SECOND:09d}Z"


class Corpus:
    """`count` events of two hours before `end`, up to 30 s out of order, 3 % sent twice."""

    def __init__(self, count, users, end_ns, seed=11, disorder_s=30):
        rng = random.Random(seed)
        weights = [1 / (rank + 5) for rank in range(users)]
        names = rng.choices([f"user{i}@example.com" for i in range(users)], weights, k=count)
        self.events = []
        for number, user in enumerate(names):
            t = end_ns - 7200 * SECOND + int(number * 7200 * SECOND / count)
            # a second in ten is shared, so that equal times happen
            t = t // SECOND * SECOND if rng.random() < 0.1 else t
            self.events.append(self.event(rng, number, user, t))
        order = sorted(range(count), key=lambda i: nanos(self.events[i]["timestamp"]) + rng.uniform(0, disorder_s) * SECOND)
        self.lines = []
        for i in order:
            line = json.dumps(self.events[i], separators=(",", ":")).encode()
            self.lines.append(line)
            if rng.random() < 0.03:
                self.lines.insert(max(0, len(self.lines) - rng.randint(1, 400)), line)

    @staticmethod
    def event(rng, number, user, t):
        draw = rng.random()
        event = {"event_type": "ai_security", "timestamp": text(t), "event_id": f"e{number:07d}", "user_id": user,
                 "request_id": f"r{number:07d}", "model": "claude-sonnet-4-5", "endpoint": "/api/v1/chat", "risk_tier": 2,
                 "tokens_in": rng.randint(1, 900), "tokens_out": rng.randint(0, 2000)}
        if draw < 0.40:
            event |= {"category": "guardrail_block", "severity": "low", "guardrail_result": "blocked"}
        elif draw < 0.60:
            event |= {"category": "judge_flag", "severity": rng.choice(["low", "medium", "high", "critical"]),
                      "judge_model": "gpt-4o", "judge_score": round(rng.random(), 2), "judge_verdict": "policy_violation"}
        elif draw < 0.603:
            event |= {"category": "prompt_attack", "severity": "high", "attack_type": "jailbreak"}
        elif draw < 0.606:
            event |= {"category": "agent_boundary_violation", "severity": "high", "tool": "shell",
                      "tool_allowed": rng.random() < 0.5, "agent_id": "agent-1"}
        elif draw < 0.65:
            event |= {"category": "anomaly", "severity": "medium"}
        else:
            event |= {"category": "telemetry"}
        return event

    def expected(self):
        """(rule, user or event id, slot start in ns)."""
        want, series = set(), {}
        for event in self.events:
            t, category = nanos(event["timestamp"]), event["category"]
            if category == "prompt_attack":
                want.add(("prompt_attack", event["event_id"], t))
            if category == "agent_boundary_violation" and event["tool_allowed"] is False:
                want.add(("agent_tool_outside_allowlist", event["event_id"], t))
            if category == "guardrail_block":
                series.setdefault(("guardrail_block_burst", event["user_id"]), []).append(t)
            if category == "judge_flag" and event["severity"] in ("high", "critical"):
                series.setdefault(("judge_flag_burst", event["user_id"]), []).append(t)
        for (rule, user), times in series.items():
            more_than, window = WINDOWED[rule]
            times.sort()
            for t in times:
                if bisect_right(times, t) - bisect_left(times, t - window) > more_than:
                    want.add((rule, user, t // window * window))
        return want


def identity(line):
    """What the brute force calls an escalation of `balefire escalations --output ndjson`."""
    named = line["key"].get("user_id") if line["rule"] in WINDOWED else line["event_ids"][0]
    return line["rule"], named, nanos(line["slot_start"])
