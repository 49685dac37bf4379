"""
The first lore's own example:  python -m lore.serve my_model --host 0.0.0.0

    curl -X POST -d '{"feature_1": "true"}' http://0.0.0.0:3000/my_model
    {"class":"positive"}
"""

from __future__ import annotations

import lore


@lore.endpoint
def my_model(feature_1: bool) -> dict[str, str]:
    """Predict the class from one feature."""
    return {"class": "positive" if feature_1 else "negative"}
