#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Makes the samples of tests/abi from what this build writes: abi_samples.sh ARCH DIRECTORY. To be
# run once for each released version of a format; the samples of older versions are kept for ever.
#
#   bundle-V/ARCH.vpatch, bundle-V/certs/cert.pem     a signed bundle and its certificate
#   ledger-V/ARCH-STATE-ADDRESS.bin                   a record as it lay in guest memory
#   journal-V/ARCH-open.vpj, ARCH-closed.vpj          of an apply that was killed, of one that was not
set -u
. "$(dirname "$0")/vp.sh"
to=$(mkdir -p "$2" && cd "$2" && pwd)
vp_begin "$1"
vp_guest abi
vp_hotfix banner
mkdir -p "$to"/bundle-1/certs "$to"/ledger-1 "$to"/journal-1
cp "$hf/banner.vpatch" "$to/bundle-1/$arch.vpatch"
cp "$key/cert.pem" "$to/bundle-1/certs/cert.pem"

# The record lies in front of its payload, at a multiple of 64, and begins with its magic.
ledger() {
  local payload gpa bytes i
  payload=$(jq -r .payload.address <<<"$said")
  gpa=$(gpa_of abi "$payload")
  for ((i = 64; i <= 1024; i += 64)); do
    [ "$(phys_bytes abi $((gpa - i)) 8)" = "0176504c44474552" ] || continue
    rig_save abi $((gpa - i)) 1024 "$work/record"
    # The record says its own length at +12.
    head -c "$(od -An -tu4 -j 12 -N 4 "$work/record")" "$work/record" >"$to/ledger-1/$arch-$1-$(printf %x $((payload - i))).bin"
    return 0
  done
  fail 'no record in front of the payload'
}
want 0 ok apply "$dom" "$hf/banner.vpatch"
ledger applied
cp "$work"/state/journal/*.vpj "$to/journal-1/$arch-closed.vpj" || fail 'no journal'
want 0 ok revert "$dom" banner
ledger reverted
for step in 60 80 100 40; do
  "$O/tests/tools/killstep" --role both --step $step -- "$vp_bin" apply "$dom" "$hf/banner.vpatch" >/dev/null 2>&1
  cp "$work"/state/journal/*.vpj "$to/journal-1/$arch-open.vpj" || fail 'no journal'
  vp recover --json >"$work/out"
  cat "$work/out"
  grep -q '"nothing"\|\[\]' "$work/out" || break
done
ls -l "$to"/*
