"""Measure a rule of your own beside nanoGPT's: ``python examples/own_rule.py --n-layer 48``."""

from __future__ import annotations

import argparse

from initscope import Draw, GPTConfig, Options, Site, compare, get_rule, judge, rule


@rule(
    "own",
    source="this example",
    formulas={"blocks": "1/sqrt(fan_in)", "residual": "1/sqrt(2*n_layer*fan_in)"},
)
def own(site: Site) -> Draw:
    """N(0, 1/sqrt(fan_in)), the residual weights by 1/sqrt(2·n_layer) too; the rest as nanoGPT."""
    if site.role in {"q", "k", "v", "mlp_gate", "mlp_up"}:
        return Draw.normal(site.fan_in**-0.5)
    if site.role in {"attn_out", "mlp_down"}:
        return Draw.normal((2 * site.n_layer * site.fan_in) ** -0.5)
    return get_rule("nanogpt").draw(site)  # embeddings, norms and biases


def main() -> None:
    """Compare the rules and print what is concluded of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-layer", type=int, default=48)
    parser.add_argument("--n-embd", type=int, default=256)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    config = GPTConfig(n_layer=args.n_layer, n_embd=args.n_embd)
    for profile in compare(config, ["nanogpt", "own"], Options(seeds=args.seeds)):
        final = profile.stream().iloc[-1].mean()
        print(f"{judge(profile).headline}; final residual variance {final:.3g}")


if __name__ == "__main__":
    main()
