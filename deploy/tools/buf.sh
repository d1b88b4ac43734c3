#!/usr/bin/env bash
# Runs buf (from PyPI, pinned) with the given arguments.
set -euo pipefail
here=$(dirname "$0")
exec "$("$here/venv.sh" buf "$here/buf.txt")/buf" "$@"
