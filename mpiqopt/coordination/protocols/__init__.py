"""The coordinators. One file a coordinator; each registers in the family "coordinator"."""
