#!/usr/bin/env bash
# namespace: bikt
# A graph network and its derived model teach one another on a generated graph with few labels; nothing to download.
set -euo pipefail
"$EXAMPLE" --dataset csbm --train 0.05 --seeds 5 --threads 1 --report "$OUT"
