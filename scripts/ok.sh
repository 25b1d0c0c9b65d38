#!/bin/sh
# The inner loop: types, lint, tidy and unit tests; no root, under 20 s. A line for each part as it ends, then the output of those that
# failed, then the verdict. The tests share two processes, which saves a start of Node for each file.
. "$(dirname "$0")/node.sh"
# In memory where that can be: the tests make and remove thousands of small files.
work=$(mktemp -d -p /dev/shm 2>/dev/null || mktemp -d)
mkdir "$work/tmp"
trap 'rm -rf "$work"' EXIT
# A shell's background jobs ignore Ctrl-C.
trap 'trap - TERM; kill -TERM 0; exit 130' INT TERM
began=$(date +%s)

part() { # name, command…
  name=$1
  shift
  if "$@" >"$work/$name" 2>&1; then mark=✔; else
    mark=✖
    touch "$work/$name.failed"
  fi
  counts=$(sed -n 's/^ℹ pass \(.*\)/: \1 passed/p; s/^ℹ skipped \([1-9].*\)/, \1 skipped/p' "$work/$name" | tr -d '\n')
  echo "$mark $name ($(($(date +%s) - began)) s)$counts"
}

tests() { # number of the part
  find scripts agent runtime cni cri-proto bench -name '*.test.ts' ! -name '*.root.test.ts' ! -name '*.slow.test.ts' | sort |
    TMPDIR=$work/tmp xargs node --test --test-isolation=none --test-shard="$1/2" --test-timeout=60000 --test-force-exit \
      --test-reporter=./scripts/brief-reporter.ts
}

part types tsc --incremental --tsBuildInfoFile node_modules/.cache/types.tsbuildinfo &
part lint biome check --error-on-warnings . &
part tests-1 tests 1 &
part tests-2 tests 2 &
wait

failed=
for name in types lint tests-1 tests-2; do
  [ -e "$work/$name.failed" ] || continue
  failed="$failed${failed:+, }$name"
  printf '\n✖ %s\n' "$name"
  cat "$work/$name"
done
took="$(($(date +%s) - began)) s"
[ -n "$failed" ] || { echo "ok: types, lint and unit tests pass ($took)"; exit 0; }
printf '\nnot ok: %s failed, told above (%s)\n' "$failed" "$took"
exit 1
