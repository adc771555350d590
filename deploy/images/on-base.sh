#!/bin/bash
# on-base.sh FOLDER BASE.tar SCRIPT: runs SCRIPT in a root that lies over the base; FOLDER/upper is then what it
# changed, as a layer says it. The mounts are in a namespace of their own, and end with it.
set -euo pipefail
folder=$1 base=$2 script=$3
mkdir -p "$folder"/{lower,upper,work,root}
tar --extract --numeric-owner --file "$base" --directory "$folder/lower"
cp "$script" "$folder/script"
unshare --mount --propagation private bash -euo pipefail -s "$folder" <<'INSIDE'
root=$1/root
mount -t overlay overlay -o "lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/work" "$root"
mount -t proc proc "$root/proc"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
# Packages start no services here.
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
cp "$1/script" "$root/script"
DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 chroot "$root" /bin/sh -eu /script < /dev/null
rm -rf "$root"/{script,usr/sbin/policy-rc.d,etc/resolv.conf,var/cache/apt/*,var/log/apt,var/log/*.log,var/cache/debconf/*-old} "$root"/var/lib/apt/lists/* "$root"/tmp/*
INSIDE
# Overlay says "removed" by a device 0:0, a layer by a name.
find "$folder/upper" -type c | while read -r file; do
  [ "$(stat -c %t:%T "$file")" = 0:0 ] || continue
  rm "$file"
  touch "$(dirname "$file")/.wh.$(basename "$file")"
done
