# ruff: noqa: INP001, T201 - a script of a container
"""Makes the bucket that the server keeps everything in, when it is not there yet: python make-bucket.py NAME ENDPOINT."""

from __future__ import annotations

import os
import sys

from botocore.exceptions import ClientError
from botocore.session import Session

name, endpoint = sys.argv[1:]
client = Session().create_client("s3", region_name=os.environ.get("AWS_REGION", "us-east-1"), endpoint_url=endpoint)
try:
    client.create_bucket(Bucket=name)
except ClientError as error:
    if error.response["Error"]["Code"] not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
        raise
print(f"the bucket {name} is there")
