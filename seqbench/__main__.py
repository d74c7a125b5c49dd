"""``python -m seqbench``."""

from .cli import main

raise SystemExit(main())
