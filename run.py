"""The one entry: python run.py [group=option ...] [key=value ...]; `python run.py --help` tells what there is.

Composes the config with Hydra from conf/ beside this file, checks every word of it (launcher/), and hands over to
tasks/<verb>.py. Nothing heavy (torch, lightning) is imported before the config is valid.
"""

import cores
import stopping

if __name__ == "__main__":
    import gc

    gc.disable()  # until the task begins (launcher/jobs/job.py): of what is imported nothing is garbage
    stopping.listen()  # before anything that takes time
    stopping.keep_going_without_a_screen()
    cores.share()

    import sys
    from pathlib import Path

    from launcher.cli import main

    sys.exit(main(sys.argv[1:], root=Path(__file__).parent.absolute()))
