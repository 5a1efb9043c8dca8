"""Object storage: the `Store` protocol, its implementations (S3, memory, retrying), and content-addressed objects.

Handles bytes and keys, not lines or versions. The only package that imports boto3. May import `errors` and
`canonical_json`.
"""
