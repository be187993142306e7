# Finds this checkout, checks that its own code is imported, and reads the configuration files strictly. (Of a key that is
# given twice, Snakemake would silently take the last.)
import importlib.util
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

CHECKOUT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[1]
IS_MODULE = (
    not workflow.modifier.is_main_snakefile()
)  # imported by a larger workflow, which then controls the hooks and shells

imported, own = importlib.util.find_spec("pixelpatch"), CHECKOUT / "src/pixelpatch"
if imported is None or not imported.origin:
    raise WorkflowError(f"The package pixelpatch is not installed: run `make setup` in {CHECKOUT}, and use its .venv.")
if Path(imported.origin).parent.resolve() != own.resolve():
    raise WorkflowError(
        f"Python imports pixelpatch from {Path(imported.origin).parent}, not from {own}, so records would name the wrong "
        f"code: run `make setup` in {CHECKOUT}, and use its .venv."
    )
if not IS_MODULE:  # for the shells of the rules
    os.environ.update(PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if "PYTHONPATH" in os.environ:
        os.environ.update(PYTHONPATH=str(own.parent))  # its packages would shadow those of .venv

from pixelpatch.errors import UserError
from pixelpatch.yaml_files import read_configuration

# A larger workflow's config.yaml is its own.
CONFIGFILE = Path("config.yaml")
if IS_MODULE or not CONFIGFILE.exists():
    CONFIGFILE = CHECKOUT / CONFIGFILE
try:
    for file in [CONFIGFILE, *([] if IS_MODULE else workflow.overwrite_configfiles)]:
        if file.exists():
            content = read_configuration(file)
            if isinstance(content, dict) and "__use_yte__" in content:
                raise UserError(f"{file} has the key __use_yte__: Snakemake would run code in it; leave it out.")
except UserError as error:
    raise WorkflowError(str(error)) from None
