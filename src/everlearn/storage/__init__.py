"""Object storage: the `Store` protocol, its implementations (S3, memory), and content-addressed objects on top.

Knows bytes and keys, nothing of lines or versions. The only package that imports boto3. May import `errors` and
`canonical_json`.
"""
