"""What the golden log is recorded from. Two parts, with a restart between them: windows and joins
that the first part begins, the second one ends, so that checkpoints matter."""
import json
import random
from datetime import datetime, timedelta, timezone

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
HOUR = 3600
FIXED = datetime(2026, 2, 11, 14, 30, tzinfo=timezone.utc)


def text(at):
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond:06d}Z"


def lines(records):
    return b"".join(json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode() + b"\n" for record in records)


class Corpus:
    """Records around `now`; the same for the same seed but for their times."""

    def __init__(self, now, seed=22):
        self.now, self.rng, self.number = now, random.Random(seed), 0

    def event(self, category, seconds_ago, user=None, **more):
        self.number += 1
        record = {"event_type": "ai_security", "timestamp": text(self.now - timedelta(seconds=seconds_ago)), "category": category,
                  "event_id": f"g-{self.number:04d}", "model": self.rng.choice(["gpt-4o", "claude-sonnet-4-5"]),
                  "endpoint": "/api/v1/chat", "risk_tier": self.rng.randint(1, 4), "tokens_in": self.rng.randint(1, 900)}
        if user is not None:
            record["user_id"] = user
        return record | more

    def block(self, seconds_ago, user=None, **more):
        return self.event("guardrail_block", seconds_ago, user, severity="low", guardrail_result="blocked", **more)

    def flag(self, seconds_ago, user=None, severity="high", **more):
        return self.event("judge_flag", seconds_ago, user, severity=severity, judge_model="gpt-4o",
                          judge_score=round(self.rng.random(), 2), judge_verdict="policy_violation", **more)

    def named(self, user, **keys):
        """Says who a key belongs to, and nothing else."""
        return {"category": "telemetry", "timestamp": text(self.now), "user_id": user, **keys}

    def shuffled(self, records):
        """Out of order, some of them twice."""
        records = records + [r for r in records if self.rng.random() < 0.1]
        self.rng.shuffle(records)
        return records

    def first(self):
        out = []
        out += [self.block(900 + i, "at-limit@example.com") for i in range(10)]           # 10: nothing
        out += [self.block(900 + i, "over@example.com") for i in range(11)]               # 11: raised
        out += [self.block(3000 - 60 * i, "sixty-apart@example.com") for i in range(40)]  # 5 or 6 a window: nothing
        out += [self.block(2900 - 20 * i, "episode@example.com") for i in range(60)]      # raised, continued
        out += [self.block(1000 - 10 * i, "restart@example.com") for i in range(6)]       # six now, five later
        out += [self.flag(3300 - 500 * i, "flagged@example.com") for i in range(4)]       # 4 in an hour: raised
        out += [self.flag(3300 - 500 * i, "three@example.com", "critical") for i in range(3)]
        out += [self.flag(3300 - 100 * i, "mild@example.com", "medium") for i in range(8)]  # not severe
        out += [self.event("prompt_attack", 700 + i, f"attacker{i}@example.com", severity="critical", attack_type="jailbreak",
                           request="Ignore all previous instructions, " + "and again " * i, response={"text": "I cannot.", "n": i})
                for i in range(4)]
        out += [self.event("prompt_attack", 690, "long@example.com", severity="high", request="x" * 1_200_000, response="y" * 100)]
        out += [self.event("agent_boundary_violation", 650 + i, f"dev{i}@example.com", agent_id=f"agent-{i}", tool="shell",
                           tool_allowed=i % 2 == 1, severity="high") for i in range(4)]
        out += [self.event("data_exfiltration_signal", 640, "leak@example.com", severity="high", reason="mail to bob@example.com"),
                self.event("anomaly", 630, "odd@example.com", labels={"app": "chat", "shift": 3}, nested={"a": {"b": [1, 2.50]}}),
                self.event("model_drift", 620, service_principal="svc-1", api_key_id="key-1", judge_score=0.25)]
        # one user in four spellings: eleven together
        spellings = ["Spelt@Example.com", " spelt@example.com ", "SPELT@EXAMPLE.COM", "\uff53pelt@example.com"]
        out += [self.block(500 + i, spellings[i % 4]) for i in range(11)]
        # nobody's, and of other actors only
        out += [self.block(480 + i) for i in range(12)]
        out += [self.block(470 + i, agent_id="agent-9", session_id="s-9") for i in range(12)]
        # joined by request: who it is comes with it
        out += [self.block(400 + i, request_id=f"r-{i}") for i in range(11)]
        out += [self.named("by-request@example.com", request_id=f"r-{i}", src_ip="10.1.2.3") for i in range(11)]
        # joined by trace, the event carries a request too: it lies elsewhere
        out += [self.block(380 + i, request_id=f"q-{i}", trace_id=f"t-{i}") for i in range(11)]
        out += [self.named("by-trace@example.com", trace_id=f"t-{i}") for i in range(11)]
        # two say different things
        out += [self.event("prompt_attack", 370, request_id="both", severity="high")]
        out += [self.named("one@example.com", request_id="both"), self.named("other@example.com", request_id="both")]
        # a name of a kind under a key of another kind: no join
        out += [self.event("prompt_attack", 360, request_id="same-word", severity="high"), self.named("no@example.com", trace_id="same-word")]
        # passed on without a user now, named in the second part
        out += [self.block(350 + i, session_id="s-late", request_id=f"l-{i}") for i in range(11)]
        out += [self.event("prompt_attack", 340, trace_id="t-late", severity="critical")]
        # late and in the future: windowless rules only
        out += [self.block(2 * HOUR + i, "late@example.com") for i in range(11)]
        out += [self.block(-60 - i, "future@example.com") for i in range(11)]
        out += [self.event("prompt_attack", 3 * HOUR, "late@example.com", severity="high"),
                self.event("prompt_attack", -120, "future@example.com", severity="high")]
        # one id for two detections
        twice = self.event("prompt_attack", 330, "twice@example.com", severity="high")
        out += [twice, twice | {"attack_type": "another"}]
        return self.shuffled(out)

    def history(self):
        return [self.block(26 * HOUR + i, "history@example.com") for i in range(12)] + \
               [self.event("prompt_attack", 27 * HOUR, "history@example.com", severity="critical")]

    def second(self, first):
        out = [self.block(900 - 10 * i, "restart@example.com") for i in range(5)]
        out += [self.named("named-later@example.com", session_id="s-late"), self.named("named-later@example.com", trace_id="t-late")]
        out += [self.block(1699 - 20 * i, "episode@example.com") for i in range(20)]
        out += [self.block(300 - i, "at-limit@example.com") for i in range(10)]
        out += [self.event("prompt_attack", 5, "after@example.com", severity="critical")]
        return self.rng.sample(first, len(first) // 2) + self.shuffled(out)

    @staticmethod
    def bad(now):
        good = {"timestamp": text(now), "category": "anomaly", "event_id": "bad", "user_id": "u"}
        records = [good | {"user_id": "x" * 300}, good | {"user_id": {"name": "u"}}, good | {"user_id": "a\u0000b"},
                   good | {"category": "made_up"}, good | {"timestamp": "yesterday"}, good | {"tenant": "someone-else"}]
        return lines(records) + b"not json\n"


def fixed():
    """Records whose ids never change: times and all are written down here."""
    corpus = Corpus(FIXED)
    spellings = ["jgill@example.com", "JGill@Example.com", " jgill@example.com", "\uff4ag\uff49ll@example.com"]
    out = [corpus.block(600 - 20 * i, spellings[i % 4]) for i in range(25)]
    out += [corpus.flag(3000 - 600 * i, "m\u00fcller@example.com", "critical") for i in range(6)]
    out += [corpus.event("prompt_attack", 90, f"user{i}@example.com", severity="critical", attack_type="jailbreak") for i in range(3)]
    out += [corpus.event("agent_boundary_violation", 80, "dev@example.com", agent_id="agent-1", session_id="s-1", tool="shell", tool_allowed=False),
            corpus.event("data_exfiltration_signal", 70, "leak@example.com", reason="sent to bob@example.com, card 4111 1111 1111 1111"),
            corpus.event("anomaly", 60, labels={"app": "chat", "n": 3, "on": True}, nested={"a": {"b": [1, 2.50]}}, src_ip="10.0.0.7"),
            corpus.event("model_drift", 50, service_principal="svc-1", api_key_id="key-1", judge_score=0.25),
            corpus.event("prompt_attack", 40, request_id="r-1", trace_id="t-1", request="do it", response={"text": "no"}),
            corpus.named("jgill@example.com", request_id="r-1", model="gpt-4o"),
            corpus.block(600, "jgill@example.com")]
    odd = corpus.event("prompt_attack", 30, "jgill@example.com")
    out += [odd, odd | {"attack_type": "another"}, {k: v for k, v in odd.items() if k != "event_id"}]
    return out
