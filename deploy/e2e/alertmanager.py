"""Prometheus Alertmanager posts to Balefire's door: what it fires is an event, what it repeats is the same one, and what it
could not post goes again. Part of `make judges`; Debian's package is unpacked, not installed."""
import json
import shutil
import socket
import subprocess
import urllib.request

from fakes import Fake
from system import Up, check, wait_for

SOURCE = """[matches]
status = "firing"

[fields]
timestamp = "startsAt"
event_id = "fingerprint"
category = "labels.category"
severity = "labels.severity"
user_id = "labels.user_id"
reason = "annotations.summary"

[words]
"severity.page" = "critical"
"""


def command(folder):
    """The program. Its templates lie at a fixed place: unpacked, it sees them there in a mount of its own."""
    if shutil.which("prometheus-alertmanager"):
        return ["prometheus-alertmanager"]
    packages = folder / "packages"
    packages.mkdir()
    subprocess.run(["apt-get", "download", "prometheus-alertmanager"], cwd=packages, check=True, capture_output=True)
    for package in packages.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(packages)], check=True)
    inside = f'mount --bind "{packages}/usr/share" /usr/share && exec "{packages}/usr/bin/prometheus-alertmanager" "$@"'
    return ["unshare", "-rm", "sh", "-c", inside, "alertmanager"]


def fire(url, *alerts):
    body = json.dumps([{"labels": labels, "annotations": {"summary": "told by <b>Prometheus</b> & co."}} for labels in alerts]).encode()
    request = urllib.request.Request(f"{url}/api/v2/alerts", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        check(answer.status == 200, f"Alertmanager: {answer.status}")


def alert(user):
    return {"alertname": "PromptAttack", "category": "prompt_attack", "severity": "page", "user_id": user}


def alertmanager(world):
    """Prometheus Alertmanager: each firing alert is one event, however often it is posted; a door that was away gets it later."""
    folder = world.folder / "alertmanager"
    (folder / "objects/source").mkdir(parents=True)
    (folder / "objects/source/alertmanager.toml").write_text(SOURCE)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    told, beside = Fake(), Fake()
    up = Up(world.binary, folder / "data", "--webhook", told.url)
    child = None
    log = open(folder / "alertmanager.log", "ab")
    try:
        up.run("apply", str(folder / "objects"), "--reason", "judged")
        (folder / "alertmanager.yml").write_text(f"""
route: {{receiver: balefire, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 2s}}
receivers:
  - name: balefire
    webhook_configs:
      - {{url: 'http://{up.http}/v1/sources/alertmanager', send_resolved: false}}
      - {{url: '{beside.url}', send_resolved: false}}
""")
        child = subprocess.Popen([*command(folder), f"--config.file={folder / 'alertmanager.yml'}", f"--storage.path={folder / 'store'}",
                                  f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="], stdout=log, stderr=log)
        url = f"http://127.0.0.1:{port}"

        def ready():
            try:
                return urllib.request.urlopen(f"{url}/-/ready", timeout=5).status == 200
            except OSError:
                return False
        wait_for(ready, "Alertmanager", 30)
        fire(url, alert("ann"), alert("bob"))
        wait_for(lambda: len(up.escalations()) == 2, "two escalations", 30)
        posted = lambda user: sum(user in body.decode() for _, _, body in beside.calls)  # noqa: E731
        check(beside.wait(lambda _: posted("ann") >= 3, 30), "Alertmanager did not repeat what fires")
        check(len(up.escalations()) == 2, f"what was repeated counted again: {up.escalations()}")
        up.process.kill()
        fire(url, alert("eve"))
        check(beside.wait(lambda _: posted("eve") >= 1, 30), "Alertmanager did not post")
        up.again()
        wait_for(lambda: len(up.escalations()) == 3, "what was fired while the door was away", 60)
        wait_for(up.settled, "the deliveries")
        severities = sorted(body["data"]["severity"] for body in told.bodies())
        check(len(told.bodies()) == 3 and set(severities) <= {"critical", "high", "medium"}, f"{severities}")
        check(not up.run("deadletters", "list", "--output", "ndjson").stdout, "a dead letter")
    finally:
        if child:
            child.terminate()
            child.wait(20)
        up.stop()
        log.close()
    return f"{len(beside.calls)} posts of 3 alerts: 3 events"
