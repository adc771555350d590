#!/bin/bash
# A machine with a way out, in namespaces of its own: this one is the machine's, and on the other end of a
# cable is a git server with a public address and a name, and two more with names of their own: a private one, and a public one of
# a network that the machine is in.
#
# usage: unshare --net --mount world.sh FOLDER COMMAND…   (as root; runs the command as a program of the machine)
set -euo pipefail
here=$(dirname "$(realpath "$0")") folder=$1
shift
mount --make-rprivate /
ip link set lo up

unshare --net sleep 600 &
far=$!
trap 'kill $far ${server:-} 2>/dev/null || true' EXIT
until [ "$(readlink /proc/$far/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.02; done
ip link add near type veth peer name far netns $far
ip address add 203.0.113.1/32 dev near
ip address add 198.51.100.1/24 dev near
ip address add 10.9.0.1/24 dev near
ip link set near up
nsenter --net=/proc/$far/ns/net sh -c 'ip link set lo up && ip address add 203.0.113.80/32 dev far && ip address add 198.51.100.80/24 dev far && ip address add 10.9.0.80/24 dev far && ip link set far up'
# It is no neighbour: a router is between.
ip route add 203.0.113.80/32 via 10.9.0.80 dev near
printf '127.0.0.1 localhost\n203.0.113.80 git.example.com\n10.9.0.80 private.example.com\n198.51.100.80 neighbour.example.com\n' > "$folder/hosts"
mount --bind "$folder/hosts" /etc/hosts

cd "$folder"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout key.pem -out cert.pem \
  -subj /CN=git.example.com -addext subjectAltName=DNS:git.example.com,DNS:private.example.com,DNS:neighbour.example.com 2>/dev/null
git init --quiet --initial-branch main work
git -C work -c user.name=Author -c user.email=author@example.com commit --quiet --allow-empty -m 'Begin'
head -c 3000000 /dev/urandom | base64 > work/large
echo 'came over https' > work/file
git -C work add .
git -C work -c user.name=Author -c user.email=author@example.com commit --quiet -m 'Add two files'
git clone --quiet --bare work repositories/project.git
nsenter --net=/proc/$far/ns/net python3 "$here/git_server.py" 0.0.0.0 repositories cert.pem key.pem &
server=$!
for _ in $(seq 200); do curl -s --cacert cert.pem -o /dev/null https://git.example.com/ && break; sleep 0.05; done
"$@"
