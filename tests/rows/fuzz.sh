#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# fuzz.sh build            builds the fuzzers
# fuzz.sh replay NAME      runs fuzzer NAME once over each file of its committed corpus
# fuzz.sh find NAME        fuzzes for FUZZ_SECONDS, starting from the corpus
# fuzz.sh plant NAME       the build with the planted bug must find it within 15 minutes
# fuzz.sh cover NAME       line coverage of the parser by everything collected
set -u
command -v clang >/dev/null || { echo 'clang is missing'; exit 77; }
name=${2:-}
corpus=tests/fuzz/corpus/$name
run=$O/fuzz-run/$name
limits=(-timeout=10 -rss_limit_mb=2048 -max_len="${FUZZ_MAX_LEN:-65536}")
[ -z "$name" ] || [ -d "$corpus" ] || { echo "$corpus is missing"; exit 1; }

# The files whose lines count: named by the fuzzer, else those with its planted bug.
covered_files() {
  local named
  named=$(sed -n 's/.*covers:[[:space:]]*\(.*\)/\1/p' "tests/fuzz/fuzz_$name.c" | sed 's#\*/##' | head -n 1)
  [ -n "$named" ] && echo "$named" || grep -rlw "VP_PLANT_${name^^}" --include='*.c' vmm-agent qmp protocol arch
}

case $1 in
  build) exec make --no-print-directory -j"$(nproc)" fuzzers O="$O" ;;
  replay) exec "$O/tests/fuzz/fuzz_$name" -runs=0 "$corpus" ;;
  find)
    mkdir -p "$run/inputs"
    exec "$O/tests/fuzz/fuzz_$name" "${limits[@]}" -max_total_time="$FUZZ_SECONDS" -print_final_stats=1 \
      -artifact_prefix="$run/" "$run/inputs" "$corpus"
    ;;
  plant)
    grep -rqw "VP_PLANT_${name^^}" --include='*.c' vmm-agent qmp protocol arch ||
      { echo "no bug VP_PLANT_${name^^} is planted"; exit 1; }
    mkdir -p "$run/planted/inputs"
    "$O/fuzz-planted/tests/fuzz/fuzz_$name" "${limits[@]}" -max_total_time=900 \
      -artifact_prefix="$run/planted/" "$run/planted/inputs" "$corpus" >"$run/planted.log" 2>&1
    r=$?
    grep -aE 'SUMMARY|^#[0-9]+.*DONE' "$run/planted.log" | tail -n 2
    [ $r != 0 ] && grep -aq 'SUMMARY' "$run/planted.log" || { echo 'the planted bug was not found'; exit 1; }
    ;;
  cover)
    llvm=$(for v in '' -14 -15 -16 -19; do command -v llvm-cov$v; done | head -n 1)
    [ -n "$llvm" ] || { echo 'llvm-cov is missing'; exit 77; }
    mkdir -p "$run/inputs"
    bin=$O/fuzz-covered/tests/fuzz/fuzz_$name
    LLVM_PROFILE_FILE=$run/raw "$bin" -runs=0 "$run/inputs" "$corpus" >"$run/cover.log" 2>&1 ||
      { tail "$run/cover.log"; exit 1; }
    "${llvm/llvm-cov/llvm-profdata}" merge -o "$run/prof" "$run/raw" || exit 1
    files=$(covered_files)
    # shellcheck disable=SC2086
    "$llvm" report "$bin" -instr-profile="$run/prof" $files >"$run/cover.txt" || exit 1
    cat "$run/cover.txt"
    # Columns: name, regions, missed, cover, functions, missed, executed, lines, missed, cover, ...
    awk '$1 == "TOTAL" { printf "lines: %s of %d lines covered in", $10, $8 }' "$run/cover.txt"
    echo " $(echo $files)"
    ;;
  *) exit 2 ;;
esac
