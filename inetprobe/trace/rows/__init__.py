"""Sockets as flat Arrow tables with the JSON's names: ``export`` writes them to Parquet, ``query`` reads them.

``traces`` has a row per socket, ``calls`` a row per call, ``recordings`` a row per recording.
"""
