# Where this checkout lies, that its own code runs, and the configuration files, read strictly before Snakemake reads them:
# of a key given twice, it would take the last.
import importlib.util
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

CHECKOUT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[1]
IS_MODULE = not workflow.modifier.is_main_snakefile()  # of a larger workflow, which then has the hooks and shells

imported, own = importlib.util.find_spec("pixelpatch"), CHECKOUT / "src/pixelpatch"
if imported is None or not imported.origin:
    raise WorkflowError(f"The package pixelpatch is not installed: run `make setup` in {CHECKOUT}, and use its .venv.")
if Path(imported.origin).parent.resolve() != own.resolve():
    raise WorkflowError(
        f"The package pixelpatch would come from {Path(imported.origin).parent}, where it should come from {own}, so that "
        f"records say which code made them: run `make setup` in {CHECKOUT}, and use its .venv."
    )
if not IS_MODULE:  # for the shells of the rules
    os.environ.update(PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if "PYTHONPATH" in os.environ:
        os.environ.update(PYTHONPATH=str(own.parent))  # its packages would be found before those of .venv

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
