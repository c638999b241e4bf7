#!/usr/bin/env bash
# Everything that can be said of infra/, Dockerfiles and shell scripts without a cloud. make lint-infra installs the tools.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools="$PWD/.venv-infra/bin"
checkov="$PWD/.venv-checkov/bin/checkov"
PATH="$tools:$PATH"

say() { printf '\n== %s\n' "$*"; }
files() { git ls-files --cached --others --exclude-standard -- "$@"; } # new files too, before they are added

command -v kubectl > /dev/null || {
  echo "make: kubectl is missing, which builds the manifests; version 1.27 or newer: https://kubernetes.io/docs/tasks/tools/" >&2
  exit 2
}

say "shell scripts"
files | while read -r file; do
  if [[ -f $file ]] && head -c 64 "$file" | grep -aqE '^#!.*\b(ba)?sh\b'; then echo "$file"; fi
done | xargs --no-run-if-empty --verbose shellcheck

say "YAML"
yamllint --strict --config-file tests/infra/yamllint.yaml infra tests/infra

say "Dockerfiles"
files '*Dockerfile*' | xargs --no-run-if-empty --verbose hadolint

say "compose files, GitHub workflows"
files '*compose.y*ml' | xargs --no-run-if-empty --verbose check-jsonschema --builtin-schema vendor.compose-spec
files '.github/workflows/*' | xargs --no-run-if-empty --verbose check-jsonschema --builtin-schema vendor.github-workflows

say "Terraform's format"
if command -v terraform > /dev/null; then
  CHECKPOINT_DISABLE=1 terraform fmt -check -diff -recursive infra/terraform
else
  echo "terraform is not installed: its format is not checked here; syntax and arguments are, below"
fi

say "invariants, schemas, arguments of the provider"
"$tools/pytest" -q -p no:cacheprovider --rootdir tests/infra tests/infra

say "policies of Terraform, of the manifests as built, of Dockerfiles"
built=$(mktemp -d)
trap 'rm -r "$built"' EXIT
for folder in mlflow/overlays/{gke,plain} kubeflow/runs kubeflow/overlays/plain/addresses kueue trainer; do
  kubectl kustomize "infra/kubernetes/$folder" > "$built/${folder//\//-}.yaml"
done
# CKV_DOCKER_2: a task is no server, and Kubernetes does not look at HEALTHCHECK. CKV_DOCKER_7: the base image is an
# argument with a digest, which checkov does not follow. All other exceptions stand where they are made.
"$checkov" --quiet --compact --skip-download --framework terraform kubernetes dockerfile \
  --skip-check CKV_DOCKER_2,CKV_DOCKER_7 --directory infra/terraform --directory images --directory "$built"
