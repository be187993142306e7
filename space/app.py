"""What a host of Gradio apps runs: the demo, with the weights beside this file."""

import sys
from pathlib import Path

from pixelpatch.demo import launch
from pixelpatch.errors import UserError
from pixelpatch.fetch import fetch

HERE = Path(__file__).parent
DATA = HERE / "data"

try:
    for message in fetch(DATA, [{"kind": "torchvision", "timeout": 60}]):
        print(message)
    launch(HERE / "weights", DATA)
except UserError as error:
    sys.exit(str(error))
