"""S3, and stores with its API: MinIO, SeaweedFS, Ceph, R2."""
