"""What goes wrong in the night: programs killed, state lost, disks full, hostile bytes, receivers
that fail, people who mistype. Each scenario breaks something under a real system and demands
the exact escalation set, and that people are told in words.

`make e2e`, or: faults.py --binary target/release/balefire [--only NAME …] [--count 12000]"""
import sys

import run
from hostile import malformed, overload, receivers
from misuse import nobody_there, wrong_uses
from outages import disk_full, log_regression, lost_state, nats_killed, services_killed, terminated, without_store

# those at once mostly wait for deadlines
SCENARIOS = [nats_killed, services_killed, without_store, lost_state, log_regression, terminated, (disk_full, receivers, wrong_uses), overload, malformed, nobody_there]

if __name__ == "__main__":
    sys.exit(run.main(SCENARIOS, __doc__, 12_000))
