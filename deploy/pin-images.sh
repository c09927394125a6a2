#!/bin/sh
# Puts the digest behind the tag of every image in compose.yaml and deploy/Containerfile (`name:tag@sha256:…`), as the registries
# have it now, so that the same bytes are run for as long as nobody runs this again. Needs docker with buildx, and the network.
set -eu
cd "$(dirname "$0")/.."
docker buildx version >/dev/null 2>&1 || { echo "docker buildx is needed: it asks a registry for a digest" >&2; exit 1; }
{ sed -nE 's/^ *image: ([^ ]+:[^ ]+).*/\1/p' compose.yaml; sed -nE 's/^FROM ([^ ]+:[^ ]+).*/\1/p' deploy/Containerfile; } | sort -u |
    while read -r image; do
        tag=${image%@*}
        digest=$(docker buildx imagetools inspect "$tag" --format '{{.Manifest.Digest}}')
        case $digest in sha256:????????????????????????????????????????????????????????????????) ;; *) echo "no digest for $tag: $digest" >&2; exit 1 ;; esac
        for file in compose.yaml deploy/Containerfile; do
            sed "s|$image|$tag@$digest|" "$file" >"$file.new" && cat "$file.new" >"$file"
            rm "$file.new"
        done
        echo "$tag@$digest"
    done
