#!/bin/sh
# Keycloak, installed from its Maven package and started on this machine alone, with its database in memory.
#
#   keycloak.sh fetch FOLDER              fetches it to FOLDER, unless it is there
#   keycloak.sh install FOLDER            and builds it there
#   keycloak.sh start FOLDER PORT REALMS  and runs it, with the realms whose files are in the folder REALMS
#   keycloak.sh version                   says which version this is
set -eu

version=26.4.7
command=$1
if [ "$command" = version ]; then
    echo "$version"
    exit
fi

folder=$(cd "$2" && pwd)
realms=$(cd "${4:-.}" && pwd)
home=$folder/keycloak-$version

# What was interrupted is begun again: the file says that all of it was done.
if ! [ -e "$home/.built" ]; then
    cd "$folder"
    archive=keycloak-quarkus-dist-$version.tar.gz
    if ! [ -e "$archive" ]; then
        mvn -q -B dependency:copy "-Dartifact=org.keycloak:keycloak-quarkus-dist:$version:tar.gz" \
            -DoutputDirectory=fetched -Daether.connector.connectTimeout=10000
        mv "fetched/$archive" .
    fi
    [ "$command" = fetch ] && exit
    rm -rf "$home"
    tar -xzf "$archive"
    "$home/bin/kc.sh" build --db=dev-mem
    rm "$archive"
    : > "$home/.built"
fi
[ "$command" = start ] || exit 0

# It imports what lies here, and nothing of an earlier run.
rm -rf "$home/data/import"
mkdir -p "$home/data/import"
cp "$realms"/*.json "$home/data/import/"

# A cache of its own alone: a cluster would listen beyond this machine.
cd "$home"
exec bin/kc.sh start --optimized --import-realm --http-enabled=true --http-host=127.0.0.1 "--http-port=$3" \
    --cache=local --hostname-strict=false --log-level=warn
