"""The load test finds what it is there to find: a real system is run with a fault put between it and
the load test, and with the same faults inside the product (--sabotaged: one that was built with the
feature `sabotage`), and the report must fail and name that fault and no other. Once without a fault,
it must pass.

`make loadtest-faults`, or: loadtest.py --binary target/release/balefire [--sabotaged BALEFIRE]"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

DROP_EVERY = 10_000


def report(args, folder, words, code, fault=None):
    """Runs the load test; its report, if the exit code is the one that is due. The fault lies between
    the two or, where there is a product that has it, inside."""
    out = folder / "-".join([*words, str(fault), str(args.inside)]).replace("/", "_")
    product = args.sabotaged if args.inside else args.binary
    environment = {**os.environ, "BALEFIRE_SABOTAGE": fault} if args.inside else None
    between = ["--fault", fault] if fault and not args.inside else []
    command = [args.binary.with_name("balefire-loadtest"), "run", *words, *between, "--binary", product,
               "--books-only", "--pairs", "0", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    if done.returncode != code:
        sys.exit(f"{' '.join(words)}: exit code {done.returncode} instead of {code}\n{done.stdout}{done.stderr}")
    [path] = out.glob("*.json")
    return json.loads(path.read_text())


def failing(report):
    """Names and details of what does not hold."""
    assert report["ended"] == "" and all(check["passed"] for check in report["calibration"]), report
    [run] = report["runs"]
    return {check["name"]: check["detail"] for check in run["checks"] if not check["passed"]}, run


def nothing(args, folder):
    failed, run = failing(report(args, folder, ["alarms@200", "--seconds", "3"], 0))
    assert not failed and not run["missing"] and not run["again"], failed
    return "passes"


def drop(args, folder):
    """One event in 10,000 is acknowledged and never seen again."""
    failed, run = failing(report(args, folder, ["alarms@500", "--seconds", "21"], 1, "drop"))
    assert failed == {"nothing expected is missing": "1 missing"}, failed
    [line] = run["missing"]
    number = int(re.search(r"completed by \S+-(\d+)$", line)[1])
    # The fault counts at the door, where streams side by side arrive; the plan counts from 0.
    assert abs(number - DROP_EVERY) < 1_000, line
    return line


def double(args, folder):
    """One escalation is delivered twice."""
    failed, run = failing(report(args, folder, ["alarms@200", "--seconds", "3"], 1, "double"))
    assert failed == {"nothing is delivered twice": "1 delivered again"}, failed
    [line] = run["again"]
    assert line.endswith("2 times"), line
    return line


def stall(args, folder):
    """Nothing passes for 200 ms of each second."""
    targets = folder / "standstills.toml"
    targets.write_text("standstill_share_max = 0.05\n")
    words = ["alarms@300", "--seconds", "10", "--slo", str(targets)]
    failed, run = failing(report(args, folder, words, 1, "stall"))
    assert list(failed) == ["nothing stands still for more than 5 % of the time"], failed
    lines = (re.match(r"acknowledgements: (\d+\.\d+) s: nothing for (\d+) ms", line) for line in run["standstills"])
    starts = [float(line[1]) for line in lines if line and 150 <= int(line[2]) <= 350]
    # A busy machine stands still beside that; what comes again each second is the fault.
    again = max(sum(abs((one - other + 0.5) % 1 - 0.5) < 0.1 for one in starts) for other in starts)
    assert again >= 8, run["standstills"]
    return f"{failed.popitem()[1]}; {again} of them a whole number of seconds apart"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--sabotaged", type=pathlib.Path, help="a balefire built with `--features sabotage`")
    parser.add_argument("--only", nargs="*", help="of: nothing, drop, double, stall")
    args = parser.parse_args()
    args.binary = args.binary.resolve()
    args.sabotaged = args.sabotaged and args.sabotaged.resolve()
    with tempfile.TemporaryDirectory(prefix="balefire-loadtest-faults-") as folder:
        for args.inside in (False, True) if args.sabotaged else (False,):
            where = "inside" if args.inside else "between"
            for fault in (nothing, drop, double, stall):
                if (args.inside and fault is nothing) or (args.only and fault.__name__ not in args.only):
                    continue
                print(f"{where}, {fault.__name__}: {fault(args, pathlib.Path(folder))}", flush=True)


if __name__ == "__main__":
    main()
