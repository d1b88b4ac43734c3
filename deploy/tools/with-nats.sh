#!/usr/bin/env bash
# Runs a command with a nats-server that is new enough first on PATH.
set -euo pipefail
server=$("$(dirname "$0")/nats-server.sh")
PATH="$(dirname "$server"):$PATH" exec "$@"
