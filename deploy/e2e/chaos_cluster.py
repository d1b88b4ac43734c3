"""Processes that chaos does things to: a nats-server and several instances of each service, each
started again at the address it had, as an init system would."""
import glob
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

STATEFUL = ("rule-engine", "correlator")
AGAIN_S = 0.2          # an init system's pause
END_S = 40
SMALL, LARGE = 1 << 16, 3 << 30


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Program:
    """One program that is wanted up or down; a thread starts it again when it ends by itself."""

    def __init__(self, name, command, log, env=None):
        self.name, self.command, self.env = name, command, env
        self.log = open(log, "ab")
        self.lock = threading.RLock()
        self.wanted, self.child, self.stopped = False, None, False
        self.ended_itself = []
        self.data = None
        threading.Thread(target=self.watch, daemon=True).start()

    def start(self):
        with self.lock:
            self.wanted = True
            if self.child is None or self.child.poll() is not None:
                self.child = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=self.log, env=self.env)

    def watch(self):
        while True:
            time.sleep(AGAIN_S)
            with self.lock:
                if self.wanted and self.child.poll() is not None:
                    self.ended_itself.append(self.child.returncode)
                    self.start()

    def kill(self):
        """kill -9; stays down until it is started. Whether there was something to kill."""
        with self.lock:
            self.wanted = False
            alive = self.child is not None and self.child.poll() is None
            if alive:
                self.child.send_signal(signal.SIGKILL)
                self.child.wait()
            self.stopped = False
            return alive

    def stand(self, still):
        with self.lock:
            if self.child.poll() is None:
                self.child.send_signal(signal.SIGSTOP if still else signal.SIGCONT)
            self.stopped = still

    def finish(self):
        """SIGTERM; the exit code, None where it had to be killed."""
        with self.lock:
            self.wanted = False
        if self.child is None or self.child.poll() is not None:
            return 0
        self.child.terminate()
        try:
            return self.child.wait(END_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return None


class Disk:
    """A file system in memory that can be made small; an ordinary folder where none can be mounted."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={LARGE}", "tmpfs", str(folder)], capture_output=True, text=True)
        self.mounted, self.reason = done.returncode == 0, done.stderr.strip()

    def size(self, size):
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.folder)], check=True, capture_output=True)

    def fill(self):
        """Nothing more fits."""
        data = os.statvfs(self.folder)
        self.size((data.f_blocks - data.f_bfree) * data.f_frsize + SMALL)

    def make_room(self):
        self.size(LARGE)

    def close(self):
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.folder)], check=True)


def faketime():
    """The library that bends a process's wall clock; None where it is not installed."""
    found = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    return found[0] if found else None


class Cluster:
    def __init__(self, bin_dir, folder, *, partitions, instances, rules, webhook, secret, lateness):
        self.bin, self.folder = Path(bin_dir), Path(folder)
        self.disk = Disk(self.folder / "disk")
        balefire = str(self.bin / "balefire")
        self.credentials = self.folder / "credentials"
        made = subprocess.run([balefire, "nats-config", "--credentials", str(self.credentials), "--partitions", str(partitions), "--store-dir",
                               str(self.disk.folder / "store"), "--listen", f"127.0.0.1:{free_port()}"], capture_output=True, check=True)
        conf = self.folder / "nats.conf"
        conf.write_bytes(made.stdout)
        listen = next(line for line in made.stdout.decode().splitlines() if line.startswith("listen:"))
        self.url = "nats://" + listen.split()[1].strip('"')
        self.nats = Program("nats-server", ["nats-server", "-c", str(conf)], self.folder / "nats.log", {**os.environ, "GOMAXPROCS": "4"})
        self.nats.start()
        self.broker = ["--nats-url", self.url, "--credentials", str(self.credentials), "--nats-sync-confirmed"]
        for _ in range(100):
            done = subprocess.run([balefire, "provision", *self.broker, "--partitions", str(partitions)], capture_output=True)
            if done.returncode == 0:
                break
        else:
            raise RuntimeError(f"the streams were not made: {done.stderr.decode()}")
        own = {"rule-engine": ["--rules", str(rules)], "correlator": [], "ingest": ["--allowed-lateness", lateness],
               "notifier": ["--webhook", webhook, "--webhook-secret", secret, "--delivery-attempts", "4"]}
        self.grpc, self.http, self.services, self.clocks = {}, {}, {}, {}
        for service, flags in own.items():
            self.services[service] = [self.instance(service, flags, number) for number in range(instances)]
        # the first one puts the rules in force that the door stamps events with
        for service in own:
            for program in self.services[service]:
                program.start()

    def instance(self, service, flags, number):
        name = f"{service}-{number}"
        # the state of the second instances shares the small disk with the log
        data = (self.disk.folder if number % 2 else self.folder) / name
        self.grpc[name], self.http[name] = (f"127.0.0.1:{free_port()}" for _ in range(2))
        env = dict(os.environ)
        if faketime() and service != "ingest" and number == 0:
            clock = self.folder / f"{name}.clock"
            clock.write_text("+0\n")
            self.clocks[name] = clock
            env |= {"LD_PRELOAD": faketime(), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        command = [str(self.bin / f"balefire-{service}"), *self.broker, "--data-dir", str(data), "--grpc-addr", self.grpc[name],
                   "--http-addr", self.http[name], "--log", "warn", *flags]
        program = Program(name, command, self.folder / f"{name}.log", env)
        program.data = data
        return program

    def programs(self):
        return [program for programs in self.services.values() for program in programs]

    def everything_up(self):
        for clock in self.clocks.values():
            clock.write_text("+0\n")
        if self.disk.mounted:
            self.disk.make_room()
        for program in [self.nats, *self.programs()]:
            program.start()
            if program.stopped:
                program.stand(False)

    def stop(self):
        """SIGTERM to the services; the names of those that did not end well."""
        ends = {}
        threads = [threading.Thread(target=lambda one=one: ends.__setitem__(one.name, one.finish())) for one in self.programs()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(f"{name}: {code}" for name, code in ends.items() if code != 0)

    def close(self):
        for program in self.programs():
            program.kill()
        self.nats.finish()
        self.disk.close()


def damage(rng, folder):
    """Breaks one file of a store, or all of it: truncated, flipped, deleted, half written."""
    files = [file for file in sorted(Path(folder).rglob("*")) if file.is_file() and file.stat().st_size] if Path(folder).exists() else []
    if not files:
        return None
    how = rng.choice(["truncated", "flipped", "deleted", "half written", "all deleted"])
    file = rng.choice(files)
    size = file.stat().st_size
    if how == "all deleted":
        shutil.rmtree(folder)
    elif how == "deleted":
        file.unlink()
    elif how == "truncated":
        os.truncate(file, rng.randrange(size))
    else:
        data = bytearray(file.read_bytes())
        if how == "flipped":
            for _ in range(rng.choice([1, 8, 64])):
                data[rng.randrange(size)] ^= 1 << rng.randrange(8)
        else:
            begin = rng.randrange(size)
            data[begin:begin + 4096] = random.Random(size).randbytes(min(4096, size - begin))
        file.write_bytes(data)
    return how
