"""Starts the demo: environment variables that would break Gradio are removed or refused first.

Gradio reads the environment when it is imported, so nothing here imports it before.
"""

import os
import signal
import socket
import tempfile
from argparse import ArgumentTypeError
from pathlib import Path

from pixelpatch.arguments import whole
from pixelpatch.environment import NETWORK, keep_ours
from pixelpatch.errors import UserError

NAME, PORT, FILES = "GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT", "GRADIO_TEMP_DIR"


def serve(weights: Path, data: Path, *, port: int | None = None) -> None:
    """Serve the demo until interrupted, as `demo.launch`; proxies, which it has no use for, are ignored.

    Raises UserError as `launch` does, if gradio is missing, and if a variable of Gradio has an unusable value.
    """
    keep_ours(os.environ, also=NETWORK)
    for name in (NAME, PORT, FILES):
        if not os.environ.get(name):
            os.environ.pop(name, None)
    _check_variables()
    with tempfile.TemporaryDirectory(prefix="pixelpatch-demo-") as folder:
        os.environ.setdefault(FILES, folder)  # not /tmp/gradio, which may be another user's
        try:
            from pixelpatch.demo import launch
        except ModuleNotFoundError as error:
            raise UserError(f"The demo needs {error.name}; `make demo` installs it.") from None
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does, its folder removed
        launch(weights, data, port=port)


def _check_variables() -> None:
    if PORT in os.environ:
        try:
            whole(os.environ[PORT], least=1, most=65535)
        except ArgumentTypeError:
            raise UserError(f"{PORT} is {os.environ[PORT]!r}; write a number from 1 to 65535.") from None
    if NAME in os.environ:
        try:
            socket.create_server((os.environ[NAME], 0)).close()
        except (OSError, UnicodeError) as error:
            raise UserError(
                f"{NAME} is {os.environ[NAME]!r}, but this machine cannot serve a page there ({error}); write 0.0.0.0 "
                "for all addresses, or unset it to serve this machine alone."
            ) from None
    if FILES in os.environ:
        try:
            Path(os.environ[FILES]).mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=os.environ[FILES]).close()
        except OSError as error:
            raise UserError(
                f"{FILES} is {os.environ[FILES]!r}, which cannot be written ({error.strerror or error}); name a folder "
                "of your own, or leave it out."
            ) from None
