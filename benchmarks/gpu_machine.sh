#!/usr/bin/env bash
# All that is run on a bare GPU machine: doctor, the tests that need a GPU, the speed benchmark's part gpu.
#
#   bash benchmarks/gpu_machine.sh WHEELS_DIR [OUT] [--minutes 9] [--python python3] [--only doctor,tests,speed]
#
# WHEELS_DIR  wheels that are missing there; no index is asked. OUT (default out/gpu): where reports and figures go.
# The machine's own Python brings torch for CUDA; the wheels go into a venv that sees it, in a temporary folder.
#
# What dipir needs at run time: torch numpy mitsuba==3.9.1 drjit==1.5.0 diffusers transformers peft safetensors trimesh
# scipy opencv-python-headless Pillow OpenEXR PyYAML jaxtyping psutil; the tests also pytest. Of these an image for
# training usually lacks mitsuba, drjit, diffusers, trimesh and OpenEXR; the rest only where this script says
# "missing". With --no-deps the needs of a wheel must be given too: peft needs accelerate; diffusers and transformers
# need huggingface-hub, filelock, regex, requests, tokenizers and tqdm; jaxtyping needs wadler-lindig.
# Optional: pyoidn (Open Image Denoise; without it OptiX denoises). A libLLVM*.so of version 16 or newer in WHEELS_DIR
# (from the package libllvm19) lets the renderer run on the CPU as well; without one committed figures stand in for
# the CPU in the tests, and the test of the renderer on LLVM beside a GPU for torch is skipped.
#
# Nothing stops at the first failure: each stage's exit code is printed at the end (124: out of time), and the worst is
# the script's own. Exit code 2 for wrong arguments.
set -uo pipefail

usage() { sed -n '2,7p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//' >&2; exit 2; }

minutes=9 python=python3 only=doctor,tests,speed places=()
while [ $# -gt 0 ]; do
    case $1 in
        --minutes|--python|--only) [ $# -ge 2 ] || usage; declare "${1#--}=$2"; shift 2 ;;
        -*) usage ;;
        *) places+=("$1"); shift ;;
    esac
done
[ ${#places[@]} -ge 1 ] && [ ${#places[@]} -le 2 ] && [ -d "${places[0]}" ] || usage
[[ $minutes =~ ^[0-9]+([.][0-9]+)?$ ]] || usage
wheels=$(cd "${places[0]}" && pwd)
mkdir -p "${places[1]:-out/gpu}" || exit 2
out=$(cd "${places[1]:-out/gpu}" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2

began=$SECONDS
limit=$(awk "BEGIN { print int($minutes * 60) }")
left() { echo $((limit - (SECONDS - began))); }
say() { printf '== %s\n' "$*"; }

names=() codes=()
# stage NAME MOST_SECONDS COMMAND...: runs it within what is left; output to the terminal and OUT/NAME.log.
stage() {
    local name=$1 most=$2 time code
    shift 2
    time=$(left)
    [ "$time" -gt "$most" ] && time=$most
    if [ "$time" -lt 5 ]; then
        say "$name: no time left"
        code=124
    else
        say "$name (at most $time s)"
        # Killed a little later if it does not heed: a hung driver call does not.
        timeout -k 10 "$time" "$@" 2>&1 | tee "$out/$name.log"
        code=${PIPESTATUS[0]}
        [ "$code" = 137 ] && code=124
    fi
    names+=("$name") codes+=("$code")
    return 0
}

wanted() { [[ ",$only," == *",$1,"* ]]; }

# ------------------------------------------------------------------------------------------------- the environment
environment=$(mktemp -d) || exit 2
trap 'rm -rf "$environment"' EXIT
interpreter=$python
install=("$python" -m pip install -q --target "$environment/site")
if "$python" -m venv --system-site-packages "$environment/venv" 2>/dev/null; then
    interpreter=$environment/venv/bin/python
    install=("$interpreter" -m pip install -q)
    # A venv made from a venv sees the first Python's packages only, not those of the venv it came from.
    own=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    site=$("$interpreter" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    [ "$own" != "$site" ] && echo "$own" >"$site/machine.pth"
else
    say "no venv can be made with $python; the wheels go into a folder on PYTHONPATH"
    export PYTHONPATH=$environment/site${PYTHONPATH:+:$PYTHONPATH}
fi
shopt -s nullglob
files=("$wheels"/*.whl)
if [ ${#files[@]} -gt 0 ]; then
    stage wheels 180 "${install[@]}" --no-index --no-deps --no-compile --disable-pip-version-check \
        --find-links "$wheels" "${files[@]}"
else
    say "no wheels in $wheels"
fi
# With its metadata results name their version; without (no setuptools there) the checkout alone does.
"${install[@]}" --no-index --no-deps --no-build-isolation --disable-pip-version-check -e . >"$out/package.log" 2>&1 ||
    say "dipir is not installed but used from the checkout (doctor will say so; see package.log)"
llvm=("$wheels"/libLLVM*.so*)
[ ${#llvm[@]} -gt 0 ] && [ -z "${DRJIT_LIBLLVM_PATH:-}" ] && export DRJIT_LIBLLVM_PATH=${llvm[0]}
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 DIPIR_DEVICE=${DIPIR_DEVICE:-cuda}

# Each by an import, as a wheel may be there and not load. What is missing, and what that leaves out.
stage imports 120 "$interpreter" - <<'PYTHON'
import importlib
import sys

NEEDED = {"torch": "everything", "numpy": "everything", "drjit": "everything that renders",
          "mitsuba": "everything that renders", "trimesh": "assets, so every insert", "scipy": "insert, tests of renders",
          "cv2": "insert", "PIL": "insert", "OpenEXR": "insert", "yaml": "insert", "jaxtyping": "everything",
          "psutil": "suites", "jinja2": "reports, so every insert", "tabulate": "tables",
          "safetensors": "the priors", "diffusers": "Stable Diffusion", "peft": "personalisation",
          "transformers": "Stable Diffusion", "pytest": "all tests"}
OPTIONAL = {"pyoidn": "Open Image Denoise; OptiX denoises"}
missing = 0
for name, use in {**NEEDED, **OPTIONAL}.items():
    try:
        module = importlib.import_module(name) if name not in ("drjit", "mitsuba") else None
        # These two are loaded by the renderer alone, in its variant; here only whether they are there.
        if module is None and importlib.util.find_spec(name) is None:
            raise ImportError("not installed")
        print(f"ok       {name} {getattr(module, '__version__', '')}")
    except Exception as problem:
        print(f"missing  {name}: {str(problem).splitlines()[0] if str(problem) else type(problem).__name__}; "
              f"without it: {use}")
        missing += name in NEEDED
import torch
print(f"python {sys.version.split()[0]}, torch {torch.__version__}, GPU "
      f"{torch.cuda.get_device_name(0) if torch.cuda.is_available() else 'none that torch can use'}")
sys.exit(1 if missing else 0)
PYTHON

# ------------------------------------------------------------------------------------------------------- the stages
wanted doctor && stage doctor 120 "$interpreter" -m dipir doctor --device "$DIPIR_DEVICE"
# Half of what is left for the tests, so that there are figures too. -vv: what was done is told even when time runs out;
# -p: a read-only checkout is no failure.
wanted tests && stage tests "$(wanted speed && echo $(($(left) / 2)) || left)" \
    "$interpreter" -m pytest -m gpu tests/gpu -p no:cacheprovider -vv -rs --durations=8 --tb=short
if wanted speed; then
    # Less than timeout gives, so that it ends by itself and writes what it has.
    stage speed "$(left)" "$interpreter" -m benchmarks.speed --parts gpu \
        --minutes "$(awk "BEGIN { m = ($(left) - 20) / 60; print (m > 0.2 ? sprintf(\"%.1f\", m) : 0.2) }")"
    for file in benchmarks/results/gpu/speed.json benchmarks/results/gpu/speed.md; do
        # Not those of an earlier machine.
        [ -f "$file" ] && [ "$file" -nt "$environment" ] && cp "$file" "$out/"
    done
fi

# ------------------------------------------------------------------------------------------------------ what came out
worst=0
say "exit codes, after $((SECONDS - began)) s"
for i in "${!names[@]}"; do
    printf '%-10s %s\n' "${names[$i]}" "${codes[$i]}"
    [ "${codes[$i]}" -gt "$worst" ] && worst=${codes[$i]}
done | tee "$out/exit_codes.txt"
for code in "${codes[@]}"; do [ "$code" -gt "$worst" ] && worst=$code; done
say "reports are in $out"
exit "$worst"
