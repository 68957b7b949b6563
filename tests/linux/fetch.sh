#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Fetches a stock Debian kernel, its headers and a static busybox, and unpacks them; nothing is
# installed on this machine. Prints the directory. The shape is described in README.md here.
#
#   fetch.sh ARCH [SUITE]     ARCH amd64, arm64, riscv64 or ppc64el; SUITE bookworm (default), trixie or sid
#   VP_KERNELS=DIR            where to keep them (default $O/kernels)
#
# The machine's own apt is asked through a configuration of its own: own lists, own cache, an
# empty status file. Only sources signed by Debian's archive key are used.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
arch=${1:?usage: fetch.sh ARCH [SUITE]}
base=$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")
suite=${2:-bookworm}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
kernels=${VP_KERNELS:-${O:-$root/build}/kernels}
key=$arch
[ "$suite" = bookworm ] || key=$arch-$suite
host=$(dpkg --print-architecture)

say() { echo "fetch: $*" >&2; }
die() { say "$*"; exit 1; }
lack() { say "$* is missing"; exit 77; }

case $arch in amd64 | arm64 | riscv64 | ppc64el) ;; *) die "$arch: not known" ;; esac
for tool in apt-get apt-cache dpkg-deb flock; do
  command -v $tool >/dev/null || lack "$tool"
done
[ -r $keyring ] || lack "$keyring (package debian-archive-keyring)"

mkdir -p "$kernels"
kernels=$(cd "$kernels" && pwd)
dir=$kernels/$key
# Two runs at once: the second waits here, then finds the work done.
exec 9>"$kernels/.$key.lock"
flock 9
if [ -e "$dir/release" ] && [ "${VP_REFETCH:-}" = '' ] && { [ "$suite" = "$base" ] || [ -d "$dir/runtime" ]; }; then
  echo "$dir"
  exit 0
fi

work=$kernels/.$key.work
rm -rf "$work"
mkdir -p "$work"/{lists/partial,cache/archives/partial,debs,parts}
trap 'rm -rf "$work"' EXIT
: >"$work/status"

# The machine's sources for Debian itself, one line each: "URI SUITE COMPONENT...". An entry
# that names another key than Debian's, or another suite than this release's, is left out.
debian_sources() {
  cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
    sed -n 's/^[[:space:]]*deb[[:space:]]\+//p' |
    grep -v 'signed-by=[^] ]*' | sed 's/^\[[^]]*\][[:space:]]*//' || true
  cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
    sed -n 's/^[[:space:]]*deb[[:space:]]\+//p' |
    grep 'signed-by=[^] ]*debian-archive' | sed 's/^\[[^]]*\][[:space:]]*//' || true
  local f
  for f in /etc/apt/sources.list.d/*.sources; do
    [ -e "$f" ] || continue
    awk 'BEGIN { RS = ""; FS = "\n" }
      { uri = suites = comps = key = types = ""; enabled = 1
        for (i = 1; i <= NF; i++) {
          line = $i; if (line ~ /^#/) continue
          p = index(line, ":"); if (!p) continue
          k = tolower(substr(line, 1, p - 1)); v = substr(line, p + 1)
          if (k == "types") types = v; else if (k == "uris") uri = v
          else if (k == "suites") suites = v; else if (k == "components") comps = v
          else if (k == "signed-by") key = v
          else if (k == "enabled" && tolower(v) ~ /no|false/) enabled = 0 }
        if (!enabled || types !~ /(^| )deb( |$)/) next
        if (key != "" && key !~ /debian-archive/) next
        n = split(uri, u, " "); m = split(suites, s, " ")
        for (i = 1; i <= n; i++) for (j = 1; j <= m; j++) print u[i], s[j], comps }' "$f"
  done
}
debian_sources | sort -u | while read -r uri in comps; do
  case " $comps " in *' main '*) ;; *) continue ;; esac
  case $in in
    "$base" | stable) to=$suite ;;
    "$base-updates" | stable-updates) to=$suite-updates ;;
    "$base-security" | stable-security) to=$suite-security ;;
    *) continue ;;
  esac
  case $to in sid-*) continue ;; esac
  echo "deb [signed-by=$keyring] $uri $to main"
done | sort -u >"$work/sources.list"
[ -s "$work/sources.list" ] || lack "a Debian source for $base in /etc/apt"

foreign=$host
[ "$arch" = "$host" ] && foreign=
apt_opts=(
  -q
  -o "Dir::Etc::sourcelist=$work/sources.list" -o "Dir::Etc::sourceparts=$work/parts"
  -o "Dir::Etc::preferencesparts=$work/parts" -o Dir::Etc::preferences=/dev/null
  -o "Dir::State=$work" -o "Dir::State::lists=$work/lists" -o "Dir::State::status=$work/status"
  -o "Dir::Cache=$work/cache" -o "APT::Architecture=$arch" -o 'APT::Architectures=' -o "APT::Architectures::=$arch"
  -o APT::Update::Post-Invoke= -o APT::Update::Post-Invoke-Success=
  -o Acquire::Languages=none -o Acquire::Retries=3 -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false
  # A mirror that stands still will do: what is fetched is verified all the same, and never installed.
  -o Acquire::Check-Valid-Until=false
  -o APT::Sandbox::User="$(id -un)" -o Debug::NoLocking=1
)
[ -z "$foreign" ] || apt_opts+=(-o "APT::Architectures::=$foreign")
get() { apt-get "${apt_opts[@]}" "$@"; }
ask() { apt-cache "${apt_opts[@]}" "$@"; }

say "reading Debian's package lists for $arch ($suite)"
# A mirror may be between two states of a suite's updates; the release itself does not change.
get update >"$work/log" 2>&1 || {
  say "$suite's updates cannot be read, taking the release alone"
  sed -i "/ $suite main\$/!d" "$work/sources.list"
  get update >"$work/log" 2>&1 || { tail -n 5 "$work/log" >&2; die 'apt-get update failed'; }
}

# Names of what PACKAGE depends on that match PATTERN.
depends() { ask depends "$1" 2>/dev/null | sed -n 's/^ *|\{0,1\}Depends: \([^ <>]*\).*/\1/p' | sed 's/:any$//' | grep -E "$2" || true; }

# The name of the image's meta package: ppc64el's flavours are of the CPU, not of the architecture.
flavour=$arch
[ "$arch" != ppc64el ] || flavour=powerpc64le
image=$(depends "linux-image-$flavour" '^linux-image-[0-9]' | head -n 1)
[ -n "$image" ] || lack "a kernel image behind linux-image-$flavour in $suite"
release=${image#linux-image-}
headers=linux-headers-$release
want=("$image:$arch" "$headers:$arch" "busybox-static:$arch")
# The image's own parts (trixie and later split it), then what the headers stand on: the common
# headers are for every architecture, kbuild's programs run here and so are this machine's.
for p in $(depends "$image" "^linux-(binary|modules|base)-.*${release//+/\\+}"); do want+=("$p:$arch"); done
for p in $(depends "$headers:$arch" '^linux-(headers-.*-common|kbuild-)'); do
  case $p in
    linux-kbuild-*) want+=("${p%%:*}:$host") ;;
    *) want+=("$p") ;;
  esac
done

# Another release's programs want its own C library: it is kept beside them.
[ "$suite" = "$base" ] || want+=("libc6:$host" "libelf1t64:$host" "zlib1g:$host" "libzstd1:$host")

say "fetching ${want[*]}"
(cd "$work/debs" && get download "${want[@]}" >"$work/log" 2>&1) || { tail -n 5 "$work/log" >&2; die 'apt-get download failed'; }

new=$work/new
mkdir -p "$new/headers" "$new/image" "$new/busybox" "$new/runtime"
for deb in "$work"/debs/*.deb; do
  case ${deb##*/} in
    linux-headers-* | linux-kbuild-*) dpkg-deb -x "$deb" "$new/headers" ;;
    busybox-*) dpkg-deb -x "$deb" "$new/busybox" ;;
    libc6_* | libelf1t64_* | zlib1g_* | libzstd1_*) dpkg-deb -x "$deb" "$new/runtime" ;;
    *) dpkg-deb -x "$deb" "$new/image" ;;
  esac
done
# In /boot until trixie, with the modules since; an ELF file where there is no compressed form.
take() {
  local f to=$1
  shift
  for f; do
    [ ! -e "$new/image/$f" ] || { mv "$new/image/$f" "$new/$to"; return; }
  done
  die "the image holds no $to"
}
modules=usr/lib/modules/$release
take vmlinuz "boot/vmlinuz-$release" "boot/vmlinux-$release" "$modules/vmlinuz" "$modules/vmlinux"
take config "boot/config-$release" "$modules/config"
for lib in lib usr/lib; do
  [ ! -d "$new/image/$lib/modules" ] || { mkdir -p "$new/lib"; mv "$new/image/$lib/modules" "$new/lib/modules"; }
done
for bb in bin/busybox usr/bin/busybox; do
  [ ! -e "$new/busybox/$bb" ] || cp "$new/busybox/$bb" "$new/busybox.static"
done
[ -x "$new/busybox.static" ] || die 'busybox-static holds no busybox'
rm -rf "$new/image" "$new/busybox"

# The header Makefile includes /usr/src/...-common by its absolute path: make it the unpacked one.
src=$new/headers/usr/src/$headers
[ -d "$src" ] || die "$headers does not hold /usr/src/$headers"
final=$dir/headers/usr/src
grep -rlI --exclude-dir=include -e '/usr/src/' "$src" | while read -r f; do
  [ -L "$f" ] || sed -i "s#\(^\|[^A-Za-z0-9_.]\)/usr/src/#\1$final/#g" "$f"
done
rmdir "$new/runtime" 2>/dev/null || {
  loader=$(cd "$new/runtime" && find . -name 'ld-linux*.so.2' -type f | head -n 1)
  libs=$dir/runtime/$(dirname "${loader#./}")
  find "$new"/headers/usr/lib/linux-kbuild-* -type f -perm /111 | while read -r f; do
    [ "$(head -c 4 "$f" | tr -d '\177')" = ELF ] || continue
    mv "$f" "$f.elf"
    printf '#!/bin/sh\nexec %s --argv0 "$0" --library-path %s %s "$@"\n' "$libs/${loader##*/}" "$libs" "$dir${f#"$new"}.elf" >"$f"
    chmod 755 "$f"
  done
}
ln -s "headers/usr/src/$headers" "$new/build"
ls "$work/debs" >"$new/packages"
echo "$release" >"$new/release"
rm -rf "$dir"
mv "$new" "$dir"
say "$release is in $dir"
echo "$dir"
