#!/bin/sh
# Make an environment with the real STAC API (stac-fastapi-pgstac) and see to PostgreSQL with PostGIS.
# Its packages live apart from selion's, so that neither constrains the other.  What cannot be had is said in one sentence and is no failure:
# the tests that need it are skipped, and say so too.
# usage: prepare_services.sh PYTHON FOLDER
set -u
python=$1
folder=$2

say() { echo "test-services: $*"; }

has_postgis() {
    for extension in /usr/share/postgresql/*/extension/postgis.control "$(pg_config --sharedir 2>/dev/null)/extension/postgis.control"; do
        [ -f "$extension" ] && return 0
    done
    return 1
}

install_postgis() {
    has_postgis && return
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        say "PostgreSQL with PostGIS is missing and can only be installed by root with apt-get (apt-get install postgresql-postgis)."
        return
    fi
    export DEBIAN_FRONTEND=noninteractive
    timeout 120 apt-get update -qq >/dev/null 2>&1
    timeout 600 apt-get install -y -qq --no-install-recommends postgresql-postgis >/dev/null 2>&1 ||
        timeout 600 apt-get install -y -qq --no-install-recommends postgresql-15-postgis-3 >/dev/null 2>&1
    has_postgis || say "PostgreSQL with PostGIS is missing and apt-get could not install it."
}

install_packages() {
    stamp="$folder/.ok"
    [ -f "$stamp" ] && [ "$stamp" -nt pyproject.toml ] && [ "$stamp" -nt constraints.txt ] && return
    [ -x "$folder/bin/python" ] || "$python" -m venv "$folder" || {
        say "no virtual environment could be made in $folder."
        return
    }
    wanted="import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['services'], sep='\n')"
    "$folder/bin/python" -c "$wanted" >"$folder/requirements.txt"
    if timeout 900 "$folder/bin/python" -m pip install -q --disable-pip-version-check -c constraints.txt -r "$folder/requirements.txt"; then
        touch "$stamp"
    else
        say "the packages of the extra 'services' could not be installed."
    fi
}

install_postgis
install_packages
exit 0
