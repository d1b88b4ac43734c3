"""What objects that Terraform made do: who is told, who is not and why; and a server that asks for patience."""
import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from system import check, get, wait_for
from terraform_lab import ROOT, Workspace

sys.path.insert(0, str(ROOT / "deploy/demo"))
from receiver import Receiver  # noqa: E402

HERE = Path(__file__).parent
TIER = "P1 (answer within 15 minutes)"
FEW_RULES, FEW_A_SECOND, BURST_S = 60, 5, 5


def event(number, **fields):
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return json.dumps({"event_type": "ai_security", "event_id": f"e{number}", "timestamp": now, "user_id": "ada@example.com", "severity": "high"} | fields)


class Telling:
    """Sends events and reads what was decided of their escalations."""

    def __init__(self, up):
        self.up, self.number = up, 0

    def lines(self, *command):
        return [json.loads(line) for line in self.up.run(*command, "--output", "ndjson").stdout.splitlines()]

    def in_force(self, holds, what):
        """Waits until the notifier would act so on a prompt attack."""
        wait_for(lambda: holds(self.lines("routes", "test", "--rule", "prompt_attack", "--category", "prompt_attack")[0]), what, 30)

    def raised(self, **fields):
        """Decisions about the escalation of one event, once nothing of it is open."""
        self.number += 1
        self.up.run("send", "-", "--wait", data=event(self.number, **fields).encode() + b"\n")
        found = [line for line in self.up.escalations() if line["event_ids"] == [f"e{self.number}"]]
        check(len(found) == 1, f"escalations of e{self.number}: {found}")
        decided = lambda: [d for d in self.lines("deliveries", found[0]["escalation_id"]) if d["state"] not in ("pending", "retrying")]  # noqa: E731
        return wait_for(decided, f"what became of {found[0]['rule']}")


def counted(up):
    """Eleven blocks, named by a key in a customer's own JSON and by the user: the alias makes them one user's."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    own = json.dumps([{"id": str(number), "ts": now, "kind": "deny", "key": "key-7f3a"} for number in range(6)]).encode()
    call = urllib.request.Request(f"http://{up.http}/v1/sources/acme-chat", own, {"content-type": "application/json"})
    taken = []

    def accepted():
        try:
            taken.append(json.loads(urllib.request.urlopen(call, timeout=10).read()))
        except urllib.error.HTTPError:
            return False          # ingest has not read the object yet
        return True

    wait_for(accepted, "the way in of the source", 30)
    check(taken[0]["accepted"] == 6, f"the customer's own JSON: {taken}")
    lines = [event(f"alias-{number}", category="guardrail_block", severity="low") for number in range(5)]
    up.run("send", "-", "--wait", data="\n".join(lines).encode() + b"\n")
    burst = [line for line in up.escalations() if line["rule"] == "guardrail_block_burst"]
    check([line["key"] for line in burst] == [{"user_id": "ada@example.com"}], f"six by the key and five by name: {burst}")


def effects(lab):
    """A receiver, a route, a silence and words for severities, made by Terraform, decide who is told and what is recorded."""
    hook = Receiver(show=lambda _: None)
    up = lab.up("effects")
    try:
        telling = Telling(up)
        work = Workspace(lab, "effects", HERE / "terraform/effects", up.addr, {"hook": hook.url, "tier": TIER})
        work.init()
        work.apply()
        work.nothing_to_do("after apply")
        telling.in_force(lambda now: [one["receiver"] for one in now["receivers"] if one["told"]] == ["soc"], "the route")

        told = telling.raised(category="prompt_attack")
        check([(one["receiver"], one["state"], one["route"], one["tier"]) for one in told] == [("soc", "delivered", "attacks", TIER)], f"told: {told}")
        check(hook.wait(1, 10) and len(hook.deliveries) == 1, f"the receiver got {len(hook.deliveries)}")
        nobody = telling.raised(category="agent_boundary_violation", tool="shell", tool_allowed=False, agent_id="a1")
        check([(one["state"], one["withheld"]) for one in nobody] == [("withheld", "no_route")], f"without a route: {nobody}")

        counted(up)
        check("1 added" in work.apply(silenced="true"), "the silence was not added")
        telling.in_force(lambda now: all(one["withheld_by"] == "quiet" for one in now["receivers"]) and now["receivers"], "the silence")
        silenced = telling.raised(category="prompt_attack")
        facts = [(one["receiver"], one["state"], one["withheld"], one["withheld_by"]) for one in silenced]
        check(facts == [("soc", "withheld", "silenced", "quiet")], f"under the silence: {silenced}")
        check(len(hook.deliveries) == 1, "somebody was told under a silence")
        kept = telling.lines("deliveries", "--withheld", "silenced")
        check([one["escalation_id"] for one in kept] == [silenced[0]["escalation_id"]], f"the record of who was not told: {kept}")
        why = next(json.loads(line) for line in up.run("changes", "--kind", "silence", "--output", "ndjson").stdout.splitlines())
        check(why["reason"] == "the effects", f"the audit of the silence: {why}")

        work.apply()
        telling.in_force(lambda now: any(one["told"] for one in now["receivers"]), "no silence")
        again = telling.raised(category="prompt_attack")
        check(again[0]["state"] == "delivered" and hook.wait(2, 10), f"after the silence: {again}")
        work.destroy()
    finally:
        up.stop()
        hook.server.shutdown()
        hook.server.server_close()
    return "route, receiver, severity_map, identity_alias, source, silence"


def limited(lab):
    """More changes than a caller may make: the provider waits as it is told, and all of them are made."""
    up = lab.up("limited", "--changes-per-second", str(FEW_A_SECOND))
    try:
        work = Workspace(lab, "limited", HERE / "terraform/many-rules", up.addr, {"rules": FEW_RULES})
        work.init()
        start = time.monotonic()
        said = work.apply("-parallelism=10")
        took = time.monotonic() - start
        check(f"{FEW_RULES} added" in said, f"not all were added\n{said[-2000:]}")
        check(took >= FEW_RULES / FEW_A_SECOND - BURST_S, f"{FEW_RULES} changes in {took:.1f} s: nobody was limited")
        refused = [line for line in get(f"http://{up.http}/metrics").splitlines() if line.startswith("balefire_control_refused_total{")]
        check(refused and "changes-per-second" in refused[0], f"nobody was refused: {refused}")
        work.nothing_to_do("after apply")
        work.destroy()
    finally:
        up.stop()
    return f"{FEW_RULES} rules at {FEW_A_SECOND} a second: {took:.1f} s, {int(float(refused[0].split()[-1]))} refusals obeyed"
