"""
The engine behind `lore.timing`: spans, metrics, events, runs and reports.
"""
