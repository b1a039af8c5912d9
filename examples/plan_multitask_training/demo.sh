#!/usr/bin/env bash
# namespace: dynapipe
# packages: python3-matplotlib:py=matplotlib
# Plans of dynamic pipelines for a mixture of tasks, against packing, over lengths and batch sizes, with pictures.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
"$EXAMPLE" --model gpt --max-seqlen 8192 --compare --plan "$OUT/plan.json" --trace "$OUT/trace.json"
"$EXAMPLE" --sweep --report "$OUT"
"${PYTHON:-python3}" "$here/draw.py" "$OUT"
echo "plan: $OUT/plan.json; timeline: open $OUT/trace.json in https://ui.perfetto.dev"
