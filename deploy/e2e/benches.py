"""Programs that are there to be measured."""
import json
import os
import subprocess
import sys
from pathlib import Path

BOUND = Path(__file__).resolve().parents[2] / "loadtest" / "bound"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", BOUND.parents[1] / "target")) / "bound"


def program(name, what=("--workspace",)):
    """Path of a bench, built as what ships is. `--workspace` asks for the features that `make build` has compiled."""
    done = subprocess.run(["cargo", "bench", "--locked", "-q", *what, "--bench", name, "--no-run", "--message-format", "json"],
                          stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"the bench '{name}' could not be built")
    messages = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    return next(m["executable"] for m in messages if m.get("target", {}).get("name") == name and m.get("executable"))


def bound():
    """Path of `balefire-bound`, compiled for this CPU."""
    done = subprocess.run(["cargo", "build", "--release", "--locked", "-q", "--manifest-path", str(BOUND / "Cargo.toml"), "--target-dir", str(TARGET)],
                          env=dict(os.environ, RUSTFLAGS="-C target-cpu=native"))
    if done.returncode != 0:
        sys.exit("the bound could not be built")
    return str(TARGET / "release" / "balefire-bound")
