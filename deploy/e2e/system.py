"""Starts and stops what the scenarios run: `balefire up`, or the four services and a nats-server."""
import json
import os
import signal
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

READY_S = 60
END_S = 30


class Failed(Exception):
    pass


def check(condition, what):
    if not condition:
        raise Failed(what)


def wait_for(condition, what, seconds=120):
    """Waits for a condition; the interval only paces the asking."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        threading.Event().wait(0.05)
    raise Failed(f"waited {seconds} s for {what}")


class Process:
    """One program whose `ready key=value …` line is read."""

    def __init__(self, command, log, env=None, facts=None):
        """`facts`: what its ready line would say; it is not waited for then."""
        self.command, self.env = command, env
        self.log = open(log, "ab")
        self.facts = facts or {}
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True, env=env)
        for line in self.child.stdout if facts is None else ():
            if line.startswith("ready"):
                self.facts = dict(fact.split("=", 1) for fact in line.split()[1:])
                break
        else:
            if facts is not None:
                return
            raise Failed(f"{command[0]} {command[1] if len(command) > 1 else ''} did not become ready; see {log}:\n"
                         + Path(log).read_text()[-2000:])
        threading.Thread(target=lambda: [None for _ in self.child.stdout], daemon=True).start()

    def kill(self):
        self.child.send_signal(signal.SIGKILL)
        self.child.wait(END_S)

    def again(self, ready=True):
        """The same, at the same addresses; where it will not become ready, without waiting for that."""
        command = list(self.command)
        for flag, fact in (("--grpc-addr", "grpc"), ("--http-addr", "http")):
            command[command.index(flag) + 1] = self.facts[fact]
        self.log.close()
        return Process(command, self.log.name, self.env, None if ready else self.facts)

    def stop(self, seconds=END_S):
        """SIGTERM; the exit code."""
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()
                raise Failed(f"{self.child.args[0]} did not stop within {seconds} s of SIGTERM") from None
        self.log.close()
        return self.child.returncode


class Client:
    """The operator's commands against one address."""

    def __init__(self, binary, addr):
        self.binary, self.addr = binary, addr

    def run(self, *arguments, data=None, codes=(0,), addr=None):
        done = subprocess.run([self.binary, *arguments, "--addr", f"http://{addr or self.addr}"], input=data, capture_output=True)
        check(done.returncode in codes, f"balefire {' '.join(arguments)}: exit {done.returncode}\n{done.stderr.decode()[-2000:]}")
        return done

    def escalations(self, addr=None):
        return [json.loads(line) for line in self.run("escalations", "--output", "ndjson", addr=addr).stdout.splitlines()]

    def status(self, service, addr=None):
        services = json.loads(self.run("status", "--output", "json", codes=(0, 1), addr=addr).stdout)["services"]
        return next(s for s in services if s["service"] == service)

    def settled(self, addr=None):
        """The notifier has told everything it has to tell."""
        partitions = self.status("notifier", addr)["partitions"]
        return bool(partitions) and all(p["lag"] == 0 and p["state_len"] == 0 for p in partitions)


class Up(Client):
    def __init__(self, binary, data, *flags):
        self.command = [binary, "up", "--data-dir", str(data), "--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0",
                        "--log", "warn", *flags]
        self.data = Path(data)
        self.start()
        super().__init__(binary, self.process.facts["grpc"])

    def start(self):
        self.process = Process(self.command, f"{self.data}.log")
        self.addr, self.http = self.process.facts["grpc"], self.process.facts["http"]

    def again(self, ready=True):
        """Starts it at the addresses it had."""
        self.process = self.process.again(ready)

    def nats_pid(self):
        """The nats-server that it started, once it has one."""
        for task in Path(f"/proc/{self.process.child.pid}/task").iterdir():
            children = (task / "children").read_text().split()
            if children:
                return int(children[0])
        return None

    def stop(self):
        self.process.stop()

    def accepted(self):
        """Events accepted since the start."""
        return self.status("ingest")["counters"].get("balefire_ingest_accepted_total", 0)


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


class Four:
    """The four services as processes of their own against one nats-server."""

    def __init__(self, bin_dir, data, partitions, *, lateness, webhook, secret, ingest=(), every=(), notifier=None):
        self.data, self.parts, self.services = Path(data), [], []
        self.data.mkdir(parents=True)
        balefire = str(Path(bin_dir) / "balefire")
        credentials, conf, ports = self.data / "credentials", self.data / "nats.conf", self.data / "ports"
        ports.mkdir()
        made = subprocess.run([balefire, "nats-config", "--credentials", str(credentials), "--partitions", str(partitions),
                               "--store-dir", str(self.data / "store"), "--listen", "127.0.0.1:-1"], capture_output=True, check=True)
        conf.write_bytes(made.stdout + f'\nports_file_dir: "{ports}"\n'.encode())
        self.log = open(self.data / "nats.log", "ab")
        self.nats = subprocess.Popen(["nats-server", "-c", str(conf)], stdout=self.log, stderr=self.log)
        file = ports / f"nats-server_{self.nats.pid}.ports"
        wait_for(lambda: file.exists() and file.read_text().strip().endswith("}"), "the nats-server's ports file", READY_S)
        url = json.loads(file.read_text())["nats"][0]
        broker = ["--nats-url", url, "--credentials", str(credentials), "--nats-sync-confirmed"]
        subprocess.run([balefire, "provision", *broker, "--partitions", str(partitions)], check=True, capture_output=True)
        own = {"rule-engine": [], "correlator": [], "ingest": ["--allowed-lateness", lateness, *ingest],
               "notifier": ["--webhook", webhook, "--webhook-secret", secret] if notifier is None else notifier}
        self.addr = {}
        for service, flags in own.items():
            process = Process([str(Path(bin_dir) / f"balefire-{service}"), *broker, "--data-dir", str(self.data / service),
                               "--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--log", "warn", *flags, *every],
                              self.data / f"{service}.log", dict(os.environ))
            self.parts.append(process)
            self.services.append(service)
            self.addr[service] = process.facts["grpc"]

    def twin(self, service, bin_dir=None):
        """Another instance of a service, maybe of another build."""
        command = list(self.parts[self.services.index(service)].command)
        name = f"{service}-{self.services.count(service) + 1}"
        for flag, value in (("--data-dir", str(self.data / name)), ("--grpc-addr", "127.0.0.1:0"), ("--http-addr", "127.0.0.1:0")):
            command[command.index(flag) + 1] = value
        if bin_dir:
            command[0] = str(Path(bin_dir) / f"balefire-{service}")
        process = Process(command, self.data / f"{name}.log", dict(os.environ))
        self.parts.append(process)
        self.services.append(service)
        return process

    def kill_and_restart(self, service):
        place = self.services.index(service)
        self.parts[place].kill()
        self.parts[place] = self.parts[place].again()

    def stop(self):
        for part in reversed(self.parts):
            part.stop()
        self.nats.terminate()
        self.nats.wait(END_S)
        self.log.close()
