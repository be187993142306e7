# The configuration files, read strictly before Snakemake reads them: of a key given twice, it would take the last.
from pathlib import Path

from snakemake.exceptions import WorkflowError

from pixelpatch.errors import UserError
from pixelpatch.yaml_files import read_configuration

try:
    for file in [Path("config.yaml"), *workflow.overwrite_configfiles]:
        if file.exists():
            content = read_configuration(file)
            if isinstance(content, dict) and "__use_yte__" in content:
                raise UserError(f"{file} has the key __use_yte__: Snakemake would run code in it; leave it out.")
except UserError as error:
    raise WorkflowError(str(error)) from None
