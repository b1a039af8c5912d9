#!/usr/bin/env bash
# namespace: fusefps
# The set abstraction of PointNet++ on a generated object, with a gradient check.
set -euo pipefail
"$EXAMPLE" --report "$OUT/group_point_cloud"
