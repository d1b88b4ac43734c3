"""Software of others judges what receivers get: aiosmtpd takes the mail, rsyslog the syslog (over TCP),
ocsf-json-schema every finding, standardwebhooks every signature; the vendors' own Python clients the
fakes, which then judge what Balefire sends (clients.py, vendors.py); Prometheus Alertmanager what it posts.

`make judges`, or: judges.py --binary target/release/balefire [--only NAME …]
rsyslog comes from Debian's packages, unpacked and not installed; without it and without apt-get its
judge fails."""
import email
import email.policy
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import run
from alertmanager import alertmanager
from clients import clients, strict
from fakes import Fake
from system import Up, check, wait_for
from told import event, receivers_file
from vendors import Lake

USER = 'eve"]\\|= <13>1 - forged - - - - x RCPT TO:<x@y.example>'
NASTY = USER + "\n<13>1 - forged - - - - x\r\n.\r\nRCPT TO:<x@y.example>"


def mail(world):
    """aiosmtpd: one message, readable, for each recipient it took; who was refused for a moment is tried again alone."""
    from aiosmtpd.controller import Controller

    class Handler:
        def __init__(self):
            self.letters, self.tries = [], {}

        async def handle_RCPT(self, server, session, envelope, address, options):
            self.tries[address] = self.tries.get(address, 0) + 1
            if address.startswith("busy") and self.tries[address] == 1:
                return "451 come back"
            if address.startswith("nobody"):
                return "550 no such user"
            envelope.rcpt_tos.append(address)
            return "250 OK"

        async def handle_DATA(self, server, session, envelope):
            self.letters.append((list(envelope.rcpt_tos), bytes(envelope.content)))
            return "250 OK"

    handler = Handler()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(handler, hostname="127.0.0.1", port=port)
    controller.start()
    table = """
[[receiver]]
name = "{name}"
url = "smtp://127.0.0.1:{port}"
allow_loopback = true
[receiver.target.email]
from = "balefire@soc.example"
to = "{to}"
"""
    file = receivers_file(world.folder / "mail", table.format(name="mail", port=port, to="a@soc.example, busy@soc.example")
                          + table.format(name="wrong", port=port, to="b@soc.example, nobody@soc.example"))
    up = Up(world.binary, world.folder / "mail/data", "--receivers", file)
    try:
        up.run("send", "-", "--wait", data=event(1, user=USER, policy_violated=NASTY, reason=NASTY) + b"\n")
        wait_for(up.settled, "the deliveries")
        to = sorted(sum((recipients for recipients, _ in handler.letters), []))
        check(to == ["a@soc.example", "b@soc.example", "busy@soc.example"], f"told: {to}")
        read = [email.message_from_bytes(content, policy=email.policy.default) for _, content in handler.letters]
        escalation = up.escalations()[0]["escalation_id"]
        check({one["Message-ID"] for one in read} == {f"<{escalation}@soc.example>"}, "another Message-ID")
        text = read[0].get_content()
        check("What to do first:" in text and "RCPT TO:<x@y.example>" in text and not read[0].defects, f"{read[0].defects}\n{text}")
        check(set(read[0].keys()) == {"From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"}, read[0].keys())
        refused = [json.loads(line) for line in up.run("deadletters", "list", "--output", "ndjson").stdout.splitlines()]
        check([one["receiver"] for one in refused] == ["wrong"], f"{refused}")
        shown = json.loads(up.run("deadletters", "show", refused[0]["id"]).stdout)
        check("nobody@soc.example: 550" in shown["last_error"] and "told: b@soc.example" in shown["last_error"], shown["last_error"])
    finally:
        up.stop()
        controller.stop()
    return "each recipient once; who does not exist is in a dead letter"


def rsyslogd(folder):
    """The program and its module folder."""
    found = shutil.which("rsyslogd") or shutil.which("rsyslogd", path="/usr/sbin")
    if found:
        modules = next(Path("/usr/lib").glob("*/rsyslog"), Path("/usr/lib/rsyslog"))
        return [found, "-M", str(modules)], {}
    packages = folder / "packages"
    packages.mkdir()
    subprocess.run(["apt-get", "download", "rsyslog", "libestr0", "libfastjson4"], cwd=packages, check=True, capture_output=True)
    for package in packages.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(packages)], check=True)
    library = next((packages / "usr/lib").glob("*/rsyslog")).parent
    return [str(packages / "usr/sbin/rsyslogd"), "-M", str(library / "rsyslog")], {"LD_LIBRARY_PATH": str(library)}


def syslog(world):
    """rsyslog: one message for each escalation, whatever line breaks its text has, and the fields as they were said."""
    folder = world.folder / "syslog"
    folder.mkdir(parents=True, exist_ok=True)
    command, env = rsyslogd(folder)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    out = folder / "messages"
    (folder / "rsyslog.conf").write_text(f"""
global(workDirectory="{folder}" maxMessageSize="64k")
module(load="imtcp")
input(type="imtcp" address="127.0.0.1" port="{port}" supportOctetCountedFraming="on")
template(name="line" type="string" string="%pri% %hostname% %app-name% %msgid% %structured-data% %msg:::json%\\n")
action(type="omfile" file="{out}" template="line")
""")
    log = open(folder / "rsyslogd.log", "ab")
    child = subprocess.Popen([*command, "-n", "-f", str(folder / "rsyslog.conf"), "-i", str(folder / "pid")], env={**os.environ, **env}, stdout=log, stderr=log)
    up = None
    try:
        def listens():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0
        wait_for(listens, "rsyslog to listen", 20)
        file = receivers_file(folder, f'[[receiver]]\nname = "syslog"\nurl = "tcp://127.0.0.1:{port}"\nallow_loopback = true\n[receiver.target.syslog]\n')
        up = Up(world.binary, folder / "data", "--receivers", file)
        up.run("send", "-", "--wait", data=b"\n".join(event(number, user=f"{number}{USER}", policy_violated=NASTY) for number in range(20)) + b"\n")
        wait_for(up.settled, "the deliveries")
        ids = {line["escalation_id"] for line in up.escalations()}
        wait_for(lambda: out.exists() and len(out.read_text().splitlines()) >= len(ids), "rsyslog to write")
        lines = out.read_text().splitlines()
        check(len(lines) == len(ids), f"{len(lines)} messages of {len(ids)}: one was forged")
        check(all(line.split()[1:4] == ["balefire", "balefire", "ESCALATION"] for line in lines), lines[0])
        check({line.split('escalation_id="')[1][:32] for line in lines} == ids, "other ids")
    finally:
        if up:
            up.stop()
        child.terminate()
        child.wait(20)
        log.close()
    return f"{len(lines)} messages"


def findings(world):
    """ocsf-json-schema: every finding of an episode's life is a Detection Finding of 1.8.0."""
    folder, lake = world.folder / "findings", Lake()
    os.environ["FAKE_LAKE"] = Lake.token
    out = folder / "findings.ndjson"
    file = receivers_file(folder, f"""
[[receiver]]
name = "file"
url = "file://{out}"
[receiver.target.ocsf]

[[receiver]]
name = "lake"
url = "{lake.url}"
allow_loopback = true
secret_env = "FAKE_LAKE"
[receiver.target.ocsf]
""")
    up = Up(world.binary, folder / "data", "--receivers", file)
    try:
        lines = [event(number, category, user=USER, policy_violated=NASTY, model="m", judge_score=0.9, src_ip="192.0.2.1", tool="t", tool_allowed=False, agent_id="a", severity="high")
                 for number, category in enumerate(["prompt_attack", "agent_boundary_violation"] + ["judge_flag"] * 5 + ["guardrail_block"] * 12)]
        up.run("send", "-", "--wait", data=b"\n".join(lines) + b"\n")
        wait_for(up.settled, "the deliveries")
        read = [json.loads(line) for line in out.read_text().splitlines()] + lake.bodies()
        check(len(read) == 8, f"{len(read)} findings")
        for one in read:
            check(not lake.faults(one), f"{lake.faults(one)[:5]}")
        check(not lake.refused and len(lake.findings) == 4, f"{lake.refused[:2]}")
        check(lake.faults(dict(read[0], severity_id="high")), "the judge takes anything")
    finally:
        up.stop()
    return f"{len(read)} findings"


def webhooks(world):
    """standardwebhooks: the signature holds under each of two keys while they are rotated, and not over other bytes."""
    import base64
    from standardwebhooks.webhooks import Webhook, WebhookVerificationError
    secrets = ["whsec_" + base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2)]
    os.environ["FAKE_KEYS"] = " ".join(secrets)
    fake = Fake()
    file = receivers_file(world.folder / "webhooks", f'[[receiver]]\nname = "hook"\nurl = "{fake.url}"\nallow_loopback = true\nsecret_env = "FAKE_KEYS"\n')
    up = Up(world.binary, world.folder / "webhooks/data", "--receivers", file)
    try:
        up.run("send", "-", "--wait", data=event(1, user=USER, policy_violated=NASTY, reason=NASTY) + b"\n")
        wait_for(up.settled, "the delivery")
        (_, headers, body), = fake.calls
        headers = {name.lower(): value for name, value in headers.items()}
        for secret in secrets:
            Webhook(secret).verify(body, headers)
            try:
                Webhook(secret).verify(body + b" ", headers)
            except WebhookVerificationError:
                continue
            check(False, "other bytes were taken")
    finally:
        up.stop()
    return "both keys"


SCENARIOS = [(mail, findings, clients), (syslog, webhooks, alertmanager, strict)]

if __name__ == "__main__":
    sys.exit(run.main(SCENARIOS, __doc__, 1000))
