#!/usr/bin/env bash
# namespace: nfgnn
# Node-oriented filters trained on a generated graph whose neighbours disagree; nothing to download.
set -euo pipefail
"$EXAMPLE" --dataset csbm --splits 3 --epochs 300 --threads 1 --report "$OUT"
