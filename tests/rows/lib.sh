#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# libvpatch as somebody else meets it: installed, its names, its headers alone in C11 and C++17, and a
# program outside the tree that finds it by pkg-config, shared and static.
set -u
command -v g++ >/dev/null || { echo 'g++ is missing'; exit 77; }
d=$(mktemp -d) || exit 1
trap 'rm -rf "$d"' EXIT
fail() { echo "$*"; exit 1; }
make --no-print-directory -j2 O="$O" PREFIX="$d/p" install-lib >"$d/log" 2>&1 || { tail "$d/log"; fail 'make install-lib failed'; }
lib=$d/p/lib

# Names: nothing but vp_, nothing that the map does not have, and a version on every one.
names() { sed -n 's/.* [A-Z] \([A-Za-z_0-9.@]*\)$/\1/p'; }
map=$(sed -n 's/^\t\(vp_[a-z_]*\);$/\1/p' vmm-agent/lib/libvpatch.map | sort)
static=$(nm -g --defined-only "$lib/libvpatch.a" | names | sort)
[ "$static" = "$map" ] || fail "libvpatch.a defines: $static"
shared=$(nm -D --defined-only "$lib/libvpatch.so.0" | names | grep -v '^VPATCH_' | sort)
[ "$shared" = "$(sed 's/$/@@VPATCH_0.1/' <<<"$map")" ] || fail "libvpatch.so.0 exports: $shared"
grep -qv '^vp_' <<<"$static" && fail 'a name that does not begin with vp_'
readelf -d "$lib/libvpatch.so.0" | grep -q 'soname: \[libvpatch.so.0\]' || fail 'soname'
needed=$(readelf -d "$lib/libvpatch.so.0" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' | grep -vE '^(libc\.so|libpthread|libasan|libubsan|ld-linux)')
[ -z "$needed" ] || fail "libvpatch needs $needed"
[ -z "$(readelf -d "$lib/libvpatch.so.0" | grep TEXTREL)" ] || fail 'text relocations'

# Headers, each alone.
for h in inproc vpatch; do
  echo "#include <vpatch/$h.h>" >"$d/h.c"
  cp "$d/h.c" "$d/h.cc"
  gcc -std=c11 -pedantic -Wall -Wextra -Werror -I"$d/p/include" -c -o "$d/h.o" "$d/h.c" || fail "$h.h is no C11"
  g++ -std=c++17 -pedantic -Wall -Wextra -Werror -I"$d/p/include" -c -o "$d/h.o" "$d/h.cc" || fail "$h.h is no C++17"
done

cat >"$d/user.c" <<'C'
#include <stdio.h>
#include <string.h>
#include <vpatch/inproc.h>
#include <vpatch/vpatch.h>

/* Names that vpatch has inside as well must be free for the VMM. */
int diag_set(void);
int vp_read(void);
int diag_set(void) { return 1; }
int vp_read(void) { return 2; }

int main(void)
{
	struct vp_inproc_vm vm;
	struct vp_inproc *vp = NULL;
	char words[128] = "";
	int r;

	memset(&vm, 0, sizeof(vm));
	vm.size = sizeof(vm);
	r = vp_inproc_open(&vm, &vp, words, sizeof(words));
	printf("%s: %s: %s\n", vp_version(), vp_reason(r), words);
	vp_inproc_close(vp);
	return !(r < 0 && words[0] && vp_error_class(r) == 2 && diag_set() + vp_read() == 3);
}
C
cp "$d/user.c" "$d/user.cc"
export PKG_CONFIG_PATH=$lib/pkgconfig
version=$(pkg-config --modversion libvpatch) || fail 'pkg-config does not find it'
# shellcheck disable=SC2046
{
  gcc -std=c11 -Wall -Werror -o "$d/shared" "$d/user.c" $(pkg-config --cflags --libs libvpatch) || fail 'shared'
  g++ -std=c++17 -Wall -Werror -o "$d/cxx" "$d/user.cc" $(pkg-config --cflags --libs libvpatch) || fail 'C++'
  gcc -std=c11 -Wall -Werror -static -o "$d/static" "$d/user.c" $(pkg-config --static --cflags --libs libvpatch) || fail 'static'
}
for p in shared cxx static; do
  out=$(LD_LIBRARY_PATH=$lib "$d/$p") || fail "$p: $out"
  grep -q "^$version: usage: " <<<"$out" || fail "$p says: $out"
done
readelf -d "$d/shared" | grep -q 'NEEDED.*libvpatch.so.0' || fail 'the shared one is not'
make --no-print-directory O="$O" PREFIX="$d/p" uninstall >/dev/null || fail 'uninstall'
left=$(find "$lib" "$d/p/include" ! -type d)
[ -z "$left" ] || fail "left behind: $left"
echo "$(wc -l <<<"$map") functions; shared, static and C++ programs run"
