#!/usr/bin/env bash
# Make sure that there is a QGIS for tests/qgis/test_qgis.py; where there is none and none can be had, say so: those tests skip with the reason.
# Debian's packages are about 180 and take a minute or more, so this is 'make test-qgis' and no part of 'make test'.
set -u
/usr/bin/python3 -c 'import qgis.core' 2>/dev/null && exit 0
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -qq -y --no-install-recommends qgis qgis-providers python3-qgis; } >/dev/null 2>&1 && exit 0
fi
echo "No QGIS here, and none could be installed: the tests in the real QGIS will skip." >&2
exit 0
