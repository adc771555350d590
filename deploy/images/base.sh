#!/bin/sh
# base.sh ROOT: the Debian that the images begin with, from FSA_DEBIAN_MIRROR or the mirror that this machine's apt
# has.
set -eu
mirror=${FSA_DEBIAN_MIRROR:-}
[ -n "$mirror" ] || mirror=$(cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2> /dev/null |
  sed -n 's/^URIs: *\([^ ]*\).*/\1/p; s/^deb  *\(\[[^]]*\]  *\)\{0,1\}\([^ ]*\).*/\2/p' | grep -m 1 '/debian/*$' || true)
if [ -z "$mirror" ]; then
  echo "no mirror of Debian is in /etc/apt/sources.list.d or /etc/apt/sources.list; name one by FSA_DEBIAN_MIRROR" >&2
  exit 1
fi
debootstrap --variant=minbase --include=ca-certificates,curl,iproute2,procps bookworm "$1" "$mirror"
# The machine's own; a container gets others.
rm -f "$1/etc/resolv.conf" "$1/etc/hostname"
printf 'path-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\npath-exclude=/usr/share/locale/*\n' > "$1/etc/dpkg/dpkg.cfg.d/small"
rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/archives/*.deb "$1"/usr/share/doc/* "$1"/usr/share/man/* "$1"/usr/share/locale/* "$1"/var/log/*
