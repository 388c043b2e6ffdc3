"""What lies on disk: records, run directories, recorded episodes, and safe ways to read and write
them.
"""
