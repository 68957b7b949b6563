#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A hotfix uses the kernel's variables, per-CPU ones too: found in kallsyms where it lists data,
# else (Debian's arm64 kernel) in the kernel's table of exports. What they say is true.
set -u
. "$(dirname "$0")/vp.sh"
vp_begin "$1"
vp_guest data
vp_hotfix uses_data
plain=$(rig_cmd data 'cat /proc/version')
want 0 ok apply "$dom" "$hf/uses_data.vpatch"

offsets=
for cpu in 0 1; do
  for _ in 1 2 3; do
    said=$(rig_cmd data "cut -d. -f1 /proc/uptime; taskset $((1 << cpu)) cat /proc/version")
    mapfile -t line <<<"$said"
    [[ ${line[1]} =~ ^cpus\ 2\ here\ $cpu\ seconds\ ([0-9]+)\ init\ swapper/0$ ]] || fail "on CPU $cpu: $said"
    late=$((BASH_REMATCH[1] - line[0]))
    ((late >= -5 && late <= 5)) || fail "jiffies and /proc/uptime are $late s apart: $said"
    [[ ${line[2]} =~ ^offsets\ ([0-9a-f]{16})\ ([0-9a-f]{16})\ node\ 0$ ]] || fail "on CPU $cpu: $said"
    [ "${BASH_REMATCH[1]}" != "${BASH_REMATCH[2]}" ] || fail "both CPUs have one per-CPU area: $said"
    [ "${offsets:=${line[2]}}" = "${line[2]}" ] || fail "the areas have moved: $said"
  done
done
echo "$said"
want 0 ok revert "$dom" uses_data
[ "$(rig_cmd data 'cat /proc/version')" = "$plain" ] || fail '/proc/version did not come back'
untouched data 'the end'
