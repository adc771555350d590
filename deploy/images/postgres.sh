# Run in the base: PostgreSQL, for any user. No cluster is made here; the entrypoint makes one on the volume.
apt-get update -qq
groupadd --gid 999 postgres
useradd --uid 999 --gid 999 --home-dir /var/lib/postgresql --shell /bin/bash postgres
mkdir -p /etc/postgresql-common
echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf
apt-get install -y -qq --no-install-recommends libnss-wrapper postgresql
# Whoever runs it may make a socket and, without a volume, data.
install -d -m 1777 /var/run/postgresql
install -d -m 0777 -o 999 -g 999 /var/lib/postgresql /var/lib/postgresql/data
ln -s /usr/lib/postgresql/*/bin /usr/local/lib/postgresql-bin
