"""`s3://bucket/root`: S3 and every service like it, by obstore where that is installed, else by s3fs."""

from t9k_em_backends.s3.backend import S3Backend

__all__ = ["S3Backend"]
