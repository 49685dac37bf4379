"""
How functions are served: types from hints, the HTTP core, limits, batching, OpenAPI, and the servers that run it.
"""
