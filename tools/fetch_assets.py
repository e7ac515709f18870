"""Download furniture models for simulated homes.

tools/fetch_assets.py OUT [PACKAGE.deb ...] [--any-version]

The models come from the Debian packages sweethome3d-furniture and sweethome3d (CC0 and CC-BY 3.0). Without local
package files, apt-get downloads them. Writes the models, ATTRIBUTION.md and assets.json to OUT.
"""

import argparse
from pathlib import Path

from pcseg.cli import run_tool
from pcseg.synthetic.homes.assets import fetch_assets


def main() -> None:
    parser = argparse.ArgumentParser(description="Download furniture models for simulated homes.")
    parser.add_argument("out", type=Path, help="folder for the models")
    parser.add_argument("packages", type=Path, nargs="*", metavar="PACKAGE.deb", help="local package files")
    parser.add_argument("--any-version", action="store_true", help="accept packages with an unexpected SHA-256")
    args = parser.parse_args()
    kinds = fetch_assets(args.out, args.packages, any_version=args.any_version)
    print(f"{args.out}: {sum(kinds.values())} models: {', '.join(f'{n} {kind}' for kind, n in kinds.most_common())}")


if __name__ == "__main__":
    run_tool(main)
