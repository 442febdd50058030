"""Adapters of a cluster: MongoDB for the store, GridFS for blobs, etcd for the registry."""
