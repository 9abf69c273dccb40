#!/usr/bin/env bash
# A first session: look at one rule, set it beside others, and turn the answer into an exit code.
# DEPTH and WIDTH may be smaller for a quick look; results go to the folder named by OUT.
set -euo pipefail
DEPTH=${DEPTH:-48} WIDTH=${WIDTH:-768} OUT=${OUT:-.}

# One rule, layer by layer, with the figure and the data beside the table.
initscope inspect --n-layer "$DEPTH" --n-embd "$WIDTH" --plot "$OUT/nanogpt.png" --json "$OUT/nanogpt.json"

# The same rule without its residual scaling, and a textbook rule, on the same random numbers.
initscope compare nanogpt nanogpt-flat xavier --n-layer "$DEPTH" --n-embd "$WIDTH" --plot "$OUT/rules.svg"

# A saved profile, shown again without measuring (and without torch).
initscope show "$OUT/nanogpt.json" --all-layers

# In a pipeline the exit code decides: 0 within bounds, 1 out of bounds.
if initscope check --rule nanogpt-flat --n-layer "$DEPTH" --n-embd 64; then
    echo "within bounds"
else
    echo "out of bounds"
fi
