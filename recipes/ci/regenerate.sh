#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Regenerate the masters' configuration in a clone of the repository that holds it, and ask for the
# result to be merged:
#
#   regenerate.sh FDROIDDATA BRANCH
#
# FDROIDDATA is a clone of fdroiddata. In the current folder are fdroid-bb.toml and `masters`. BRANCH
# is made anew from what is checked out, so that one request is updated rather than many opened. On
# GitLab the push itself opens the request; elsewhere, the next step of the workflow does.
# Prints `changed=true` or `changed=false` as its last line.
set -eu
fdroiddata=$1
branch=$2
summary=$(mktemp)
trap 'rm -f "$summary"' EXIT

fdroid-bb plan --fdroiddata "$fdroiddata" --out . --format markdown --limit 50000 >"$summary"
fdroid-bb generate --fdroiddata "$fdroiddata" --out . >&2
# What the configuration was made from is no reason to ask for anything.
if [ -z "$(git status --porcelain -- masters ':!masters/provenance.json')" ]; then
    echo "changed=false"
    exit 0
fi
target=$(git rev-parse --abbrev-ref HEAD)
title="Follow fdroiddata: $(head -n 1 "$summary" | tr -d '*')"
git checkout --quiet -B "$branch"
git add --all masters
git commit --quiet --message "$title" --message "$(tail -n +2 "$summary")"
git push --quiet --force \
    --push-option=merge_request.create \
    --push-option="merge_request.target=$target" \
    --push-option="merge_request.title=$title" \
    --push-option=merge_request.remove_source_branch \
    origin "HEAD:refs/heads/$branch" ||
    # A server that knows no push options.
    git push --quiet --force origin "HEAD:refs/heads/$branch"
echo "changed=true"
