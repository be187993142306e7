"""What a host of Gradio apps runs: the demo, with the weights beside this file."""

import os
import sys
from pathlib import Path

from pixelpatch.environment import keep_ours
from pixelpatch.errors import UserError
from pixelpatch.fetch import fetch
from pixelpatch.serving import serve

HERE = Path(__file__).parent
DATA = HERE / "data"

keep_ours(os.environ)
try:
    for message in fetch(DATA, [{"kind": "torchvision", "timeout": 60}]):
        print(message)
    serve(HERE / "weights", DATA)
except UserError as error:
    sys.exit(str(error))
