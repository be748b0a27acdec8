"""Turn vectors into bytes as they go on the wire. One file a compressor; each registers in the family "compressor"."""
