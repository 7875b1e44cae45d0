#!/bin/sh
# Makes an authority and what it signs, all for the key in localhost.key: a server, one that has expired, a client.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

openssl ecparam -name prime256v1 -genkey -noout -out "$work/ca.key"
touch "$work/index"
cat > "$work/ca.cnf" <<CNF
[ca]
default_ca = test
[test]
database = $work/index
new_certs_dir = $work
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
[authority]
basicConstraints = critical, CA:true
[server]
subjectAltName = DNS:localhost, IP:127.0.0.1
[client]
extendedKeyUsage = clientAuth
CNF

# sign <name> <key> <signer> <common name> <extensions> <from> <to>
sign() {
  openssl req -new -key "$2" -subj "/CN=$4" -out "$work/$1.csr"
  openssl ca -batch -notext -config "$work/ca.cnf" $3 -keyfile "$work/ca.key" -extensions "$5" \
    -startdate "$6" -enddate "$7" -in "$work/$1.csr" -out "$1.crt"
}
sign authority "$work/ca.key" -selfsign "effect-ws test authority" authority 20200101000000Z 21200101000000Z
sign signed localhost.key "-cert authority.crt" localhost server 20200101000000Z 21200101000000Z
sign expired localhost.key "-cert authority.crt" localhost server 20200101000000Z 20200201000000Z
sign client localhost.key "-cert authority.crt" client client 20200101000000Z 21200101000000Z
