#!/usr/bin/env bash
# Makes an authority and, signed by it, a certificate for each role of an application, for the interface and for the servers
# beside them, to try things out with: deploy/certificates.sh FOLDER APPLICATION. Where there is an authority already, have that
# one sign: what counts is the name of the role, the URI diptych://APPLICATION/ROLE among the alternative names.
set -euo pipefail
umask 077
[[ $# -eq 2 ]] || { echo 'usage: deploy/certificates.sh FOLDER APPLICATION' >&2; exit 2; }
folder=$1 application=$2
days=365

mkdir -p "$folder"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days "$days" -subj "/CN=$application's authority" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
    -keyout "$folder/authority.key" -out "$folder/authority.crt" 2>/dev/null

# A key and a certificate: NAME ALTERNATIVE_NAMES.
certificate() {
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" \
        -keyout "$folder/$1.key" -out "$folder/$1.csr" 2>/dev/null
    openssl x509 -req -in "$folder/$1.csr" -CA "$folder/authority.crt" -CAkey "$folder/authority.key" -CAcreateserial \
        -days "$days" -out "$folder/$1.crt" 2>/dev/null \
        -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\n' "$2")
    rm "$folder/$1.csr"
}

for role in load-balancer api-gateway command-service event-handler query-service; do
    certificate "$role" "URI:diptych://$application/$role,DNS:$role"
done
certificate public "DNS:localhost,IP:127.0.0.1"
for server in command-database query-database queue-1 queue-2 queue-3; do
    certificate "$server" "DNS:$server"
done
