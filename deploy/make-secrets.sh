#!/bin/sh
# Makes what holds passwords; none of it is ever committed.
#   make-secrets.sh compose     writes deploy/.secrets/*.env with new random passwords, and overwrites none
#   make-secrets.sh kubernetes  prints a Secret with the URLs of ORDERSYS_AMQP_URL and, if it is set, of
#                               ORDERSYS_DATABASE_URL, for a broker and a database that no operator has made:
#                               make-secrets.sh kubernetes | kubectl apply --namespace ordersys --filename -
set -eu
umask 077
folder=$(dirname "$0")/.secrets

password() {
    head -c 24 /dev/urandom | od -An -vtx1 | tr -d ' \n'
}

# $1: name of a Secret, $2: its URL
secret() {
    printf -- '---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\ntype: Opaque\ndata:\n  url: %s\n' \
        "$1" "$(printf %s "$2" | base64 | tr -d '\n')"
}

case ${1:-} in
compose)
    if [ -e "$folder" ]; then
        echo "make-secrets.sh: $folder exists already; remove it, together with the volumes that know its passwords" >&2
        exit 1
    fi
    mkdir "$folder"
    broker=$(password)
    printf 'RABBITMQ_DEFAULT_USER=ordersys\nRABBITMQ_DEFAULT_PASS=%s\n' "$broker" >"$folder/rabbitmq.env"
    printf 'ORDERSYS_AMQP_URL=amqp://ordersys:%s@rabbitmq:5672/%%2F\n' "$broker" >"$folder/services.env"
    database=$(password)
    printf 'POSTGRES_USER=ordersys\nPOSTGRES_DB=ordersys\nPOSTGRES_PASSWORD=%s\n' "$database" >"$folder/postgres.env"
    {
        printf 'COMPOSE_PROFILES=scale\nREPLICAS=3\nPRODUCT_PORTS=50051-50053\n'
        printf 'ORDERSYS_DATABASE_URL=postgresql://ordersys:%s@postgres:5432/ordersys\n' "$database"
    } >"$folder/scale.env"
    ;;
kubernetes)
    if [ -z "${ORDERSYS_AMQP_URL:-}" ]; then
        echo "make-secrets.sh: set ORDERSYS_AMQP_URL to the URL of the broker, amqp://user:password@host:5672/vhost" >&2
        exit 1
    fi
    secret ordersys-amqp "$ORDERSYS_AMQP_URL"
    if [ -n "${ORDERSYS_DATABASE_URL:-}" ]; then
        secret ordersys-database "$ORDERSYS_DATABASE_URL"
    fi
    ;;
*)
    echo "usage: make-secrets.sh compose | kubernetes" >&2
    exit 2
    ;;
esac
