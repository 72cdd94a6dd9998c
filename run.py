"""The one entry: python run.py [group=option ...] [key=value ...]; `python run.py --help` tells what there is.

Composes the config with Hydra from conf/ beside this file, checks every word of it (launcher/), and hands over to
tasks/<verb>.py. Nothing heavy (torch, lightning) is imported before the config is valid.
"""

import sys
from pathlib import Path

from launcher.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], root=Path(__file__).parent.absolute()))
