# shellcheck shell=bash
# Named checks of the scripts: each prints one line, `passed: ...`, `failed: ...` or `skipped: ...`, which .ci/run counts.
# To be sourced by a script that runs in the root of the project.

failures=0

check() { # name, command...
  local name=$1 start=$SECONDS log status; shift
  mkdir -p build/checks
  log=build/checks/$(printf %s "$name" | tr -c 'A-Za-z0-9' _).log
  # Not in a condition: there `set -e` would not end the command at its first failure.
  set +e
  (set -e; "$@") >"$log" 2>&1 </dev/null
  status=$?
  set -e
  if [[ $status -eq 0 ]]; then
    printf 'passed: %s (%d s)\n' "$name" $((SECONDS - start))
  else
    tail -n 60 "$log"
    printf 'failed: %s (%d s, all of it in %s)\n' "$name" $((SECONDS - start)) "$log"
    failures=$((failures + 1))
  fi
}

skip_check() { # name, why
  printf 'skipped: %s (%s)\n' "$1" "$2"
}

no_failures() {
  if [[ $failures -gt 0 ]]; then printf '%d failed\n' "$failures" >&2; exit 1; fi
}
