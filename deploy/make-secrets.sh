#!/bin/sh
# Makes all that is secret, in deploy/.secrets, which is never committed: certificates and keys of the services, the
# keys of the authority and of the issuer of tokens, passwords. What is there stays as it is; a certificate with less
# than ten of its thirty days left is made anew, and services take it without a restart: run this once a week.
#   make-secrets.sh compose     for deploy/compose.yaml; also writes deploy/.env, which Compose reads
#   make-secrets.sh kubernetes  prints Secrets and a ConfigMap as well, for kubectl apply --server-side -n ordersys -f -
# It runs a Python of the image, which it builds if there is none; or that of ORDERSYS_PYTHON, with ordersys installed.
set -eu
umask 077
here=$(cd "$(dirname "$0")" && pwd)
folder=$here/.secrets
image=ordersys:0.1.0

case ${1:-} in
compose | kubernetes) ;;
*)
    echo "usage: make-secrets.sh compose | kubernetes" >&2
    exit 2
    ;;
esac

run_python() {
    if [ -n "${ORDERSYS_PYTHON:-}" ]; then
        if ! "$ORDERSYS_PYTHON" -c 'import ordersys.identity.authority, ordersys.topology.definitions' 2>/dev/null; then
            echo "make-secrets.sh: ORDERSYS_PYTHON is $ORDERSYS_PYTHON, which is no Python with ordersys installed;" \
                "name one that has it (pip install .), or leave it out to use that of the image" >&2
            return 1
        fi
        "$ORDERSYS_PYTHON" "$@"
        return
    fi
    docker image inspect "$image" >/dev/null 2>&1 ||
        docker build --file "$here/Dockerfile" --tag "$image" "$here/.." >&2
    docker run --rm --interactive --network none --user "$(id -u):$(id -g)" --volume "$folder:$folder" \
        --entrypoint python "$image" "$@"
}

# A service takes no key of another user, or that others may read: containers run as whoever has made the files.
# Those that root makes are for the user of the image.
user=$(id -u):$(id -g)
mkdir -p "$folder"
if [ "$(id -u)" = 0 ]; then
    chown -R "$user" "$folder"
    user=10001:10001
fi
run_python - "$1" "$folder" <"$here/make_secrets.py"
if [ "$(id -u)" = 0 ]; then
    chown -R "$user" "$folder"
fi
if [ "$1" = compose ]; then
    printf 'ORDERSYS_USER=%s\n' "$user" >"$here/.env"
fi
