#!/usr/bin/env bash
# namespace: fusefps
# A simulated scan of 120,000 points, sampled by every method, with pictures.
set -euo pipefail
"$EXAMPLE" --stats --accelerator-model --compare-random --report "$OUT"
