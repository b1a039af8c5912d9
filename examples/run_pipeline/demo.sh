#!/usr/bin/env bash
# namespace: dynapipe
# A plan executed on four ranks, its gradients held against one process; on MPI where it is installed.
set -euo pipefail
"$EXAMPLE" --stages 4 | tee "$OUT/run_pipeline.txt"
mkdir -p "$OUT/run_pipeline"
difference=$(sed -n 's/.*largest relative difference to one process: //p' "$OUT/run_pipeline.txt")
cat > "$OUT/run_pipeline/summary.json" <<JSON
{"title": "A plan executed on four ranks",
 "paper": "DynaPipe (EuroSys 2024)",
 "headline": "The executor runs the planned instructions; gradients do not depend on how a mini-batch is cut.",
 "rows": [{"name": "largest relative difference of a gradient to one process", "value": $difference}],
 "commands": ["build/release/examples/run_pipeline/run_pipeline --stages 4"]}
JSON
