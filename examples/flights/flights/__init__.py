"""
Will my flight out of New York be late? A small code base that imports lore.
"""
