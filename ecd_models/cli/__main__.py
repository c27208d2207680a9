"""`python -m ecd_models.cli`: the command `ecd` of this interpreter."""

from ecd_models.cli import main

main()
