"""Sockets as flat Arrow tables with the JSON's names: what ``export`` writes to Parquet is what ``query`` asks.

``traces`` has a row a socket, ``calls`` a row a call, ``recordings`` a row a recording.
"""
