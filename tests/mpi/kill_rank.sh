#!/usr/bin/env bash
# kill_rank.sh MPIRUN RUN_PIPELINE: four ranks train; when a few iterations are done, rank 2 is killed from outside. The run
# must end within seconds, in words that name rank 2.
set -uo pipefail
mpirun=$1 program=$2
words=$(mktemp)
trap 'rm -f "$words"' EXIT
stdbuf -oL "$mpirun" -n 4 "$program" --mpi --stages 4 --iterations 1000000 --samples 16 --max-seqlen 64 --hidden 16 --ffn 32 \
  >"$words" 2>&1 </dev/null &
job=$!
victim=
for (( i = 0; i < 300 && ${#victim} == 0; ++i )); do
  sleep 0.1
  (( i > 20 )) || continue  # training is under way
  for pid in $(pgrep -P "$job"); do
    if tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | grep -qx OMPI_COMM_WORLD_RANK=2; then victim=$pid; fi
  done
done
[[ -n $victim ]] || { kill "$job"; cat "$words"; echo "there is no rank 2"; exit 1; }
begin=$(date +%s)
kill -KILL "$victim"
for (( i = 0; i < 150; ++i )); do
  kill -0 "$job" 2>/dev/null || break
  sleep 0.1
done
if kill -0 "$job" 2>/dev/null; then kill "$job"; echo "it still ran after 15 s"; exit 1; fi
wait "$job"; status=$?
grep -v '^ \|^iteration' "$words"
echo "-- status $status after $(( $(date +%s) - begin )) s"
[[ $status != 0 ]] || { echo "it did not fail"; exit 1; }
grep -q 'rank 2.*exited on signal 9' "$words" || { echo "nobody named rank 2"; exit 1; }
grep -qE 'rank [013]: ended from outside while it waited for (rank [0-3]|all ranks): ' "$words" ||
  { echo "nobody said what was waited for"; exit 1; }
