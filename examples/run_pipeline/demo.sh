#!/usr/bin/env bash
# namespace: dynapipe
# Plans executed on four ranks of this process, their gradients held against one that computes all stages.
set -euo pipefail
mkdir -p "$OUT/run_pipeline"
rows=
for model in decoder encdec; do
  "$EXAMPLE" --stages 4 --model "$model" --samples 24 | tee "$OUT/run_pipeline/$model.txt"
  difference=$(sed -n 's/.*largest relative difference to one process: //p' "$OUT/run_pipeline/$model.txt")
  rows+=${rows:+, }"{\"name\": \"$model: largest relative difference of a gradient to one process\", \"value\": $difference}"
done
cat > "$OUT/run_pipeline/summary.json" <<JSON
{"title": "Plans executed on four ranks",
 "paper": "DynaPipe (EuroSys 2024)",
 "headline": "The executor runs the planned instructions; gradients do not depend on how a mini-batch is cut.",
 "rows": [$rows],
 "commands": ["build/release/examples/run_pipeline/run_pipeline --stages 4 --model decoder --samples 24",
              "build/release/examples/run_pipeline/run_pipeline --stages 4 --model encdec --samples 24"]}
JSON
