"""
Will my flight out of New York be late? A small code base that imports lore.
"""

from __future__ import annotations

import os

# On a busy machine scikit-learn's threads otherwise spin at their barriers: minutes for a fit of seconds. OpenMP reads
# this when it is loaded, so it stands before anything that imports scikit-learn.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
