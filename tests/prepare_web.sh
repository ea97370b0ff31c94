#!/usr/bin/env bash
# Make sure that there is a Chromium for the tests of the pages; where there is none and none can be had, say so: those tests skip with the reason.
set -u
for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && exit 0
done
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    { apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium; } >/dev/null 2>&1 && exit 0
fi
echo "No Chromium here, and none could be installed: the tests of the pages will skip." >&2
exit 0
