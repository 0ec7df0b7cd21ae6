"""`python -m zoe_jax` is `zoe-jax`."""

import sys

from zoe_jax.cli import main

sys.exit(main())
