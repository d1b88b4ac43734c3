"""Where the scenarios of terraform.py live: a mirror with the provider, and workspaces."""
import json
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from system import Up, check

ROOT = Path(__file__).parent.parent.parent
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
COMMAND_S = 600
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
RULES = 500


def version_of(text):
    found = re.search(r"^version = \"(.+)\"", text, re.M)
    return found.group(1)


class Lab:
    """A mirror that holds the provider, and a CLI configuration that knows no registry."""

    def __init__(self, binary, folder, rules=RULES, write_docs=False):
        self.binary, self.folder, self.rules, self.write_docs = binary, Path(folder), rules, write_docs
        provider = Path(binary).parent / "terraform-provider-balefire"
        check(provider.exists(), f"{provider} is not built; cargo build -p balefire-terraform-provider")
        version = version_of((ROOT / "Cargo.toml").read_text())
        system = f"{platform.system().lower()}_{MACHINES[platform.machine()]}"
        place = self.folder / "mirror/registry.terraform.io/balefire/balefire" / version / system
        place.mkdir(parents=True)
        shutil.copy2(provider, place / f"terraform-provider-balefire_v{version}")
        self.config = self.folder / "terraform.rc"
        self.config.write_text('disable_checkpoint = true\nprovider_installation {\n  filesystem_mirror {\n'
                               f'    path = "{self.folder / "mirror"}"\n  }}\n}}\n')
        self.plugins = self.folder / "tmp"
        self.plugins.mkdir()

    def up(self, name, *flags):
        return Up(self.binary, self.folder / f"{name}-log", *flags)


class Workspace:
    """A configuration in a folder of its own, applied to one Balefire."""

    def __init__(self, lab, name, source, addr, variables=None, below="."):
        self.lab, self.dir = lab, lab.folder / name / below
        shutil.copytree(source, lab.folder / name)
        self.env = {key: value for key, value in os.environ.items() if not key.startswith(("TF_", "BALEFIRE_"))}
        self.env |= {"TF_CLI_CONFIG_FILE": str(lab.config), "TF_IN_AUTOMATION": "1", "BALEFIRE_ADDR": f"http://{addr}",
                     "TMPDIR": str(lab.plugins), "PATH": f"{Path(lab.binary).resolve().parent}:{os.environ['PATH']}"}
        self.variables = dict(variables or {})

    def run(self, *arguments, codes=(0,), **variables):
        env = self.env | {f"TF_VAR_{name}": str(value) for name, value in (self.variables | variables).items()}
        done = subprocess.run(["terraform", *arguments], cwd=self.dir, env=env,
                              capture_output=True, text=True, timeout=COMMAND_S, stdin=subprocess.DEVNULL)
        said = COLOUR.sub("", done.stdout + done.stderr)
        check(done.returncode in codes, f"terraform {' '.join(arguments)}: exit {done.returncode}\n{said[-4000:]}")
        return said

    def init(self):
        return self.run("init", "-input=false")

    def apply(self, *arguments, codes=(0,), **variables):
        return self.run("apply", "-auto-approve", "-input=false", *arguments, codes=codes, **variables)

    def plan(self, codes, *arguments, **variables):
        return self.run("plan", "-input=false", "-detailed-exitcode", *arguments, codes=codes, **variables)

    def nothing_to_do(self, why, **variables):
        said = self.run("plan", "-input=false", "-detailed-exitcode", codes=(0, 2), **variables)
        check("No changes." in said, f"{why}: the plan is not empty\n{said[-3000:]}")

    def destroy(self, codes=(0,), **variables):
        return self.run("destroy", "-auto-approve", "-input=false", codes=codes, **variables)

    def outputs(self):
        done = self.run("output", "-json")
        return {name: output["value"] for name, output in json.loads(done).items()}

    def state(self):
        return (self.dir / "terraform.tfstate").read_text()
