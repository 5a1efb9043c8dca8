# One bucket: versioned, not public, protected from unconditional writes.

data "aws_partition" "here" {}

resource "aws_s3_bucket" "line" {
  bucket              = var.bucket
  object_lock_enabled = var.object_lock_days > 0
  tags                = var.tags

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_versioning" "line" {
  bucket = aws_s3_bucket.line.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_object_lock_configuration" "line" {
  count  = var.object_lock_days > 0 ? 1 : 0
  bucket = aws_s3_bucket.line.id

  rule {
    default_retention {
      mode = "GOVERNANCE"
      days = var.object_lock_days
    }
  }

  depends_on = [aws_s3_bucket_versioning.line]
}

resource "aws_s3_bucket_server_side_encryption_configuration" "line" {
  bucket = aws_s3_bucket.line.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_public_access_block" "line" {
  bucket                  = aws_s3_bucket.line.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "line" {
  bucket = aws_s3_bucket.line.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_policy" "line" {
  bucket = aws_s3_bucket.line.id
  policy = templatefile("${path.module}/policies/bucket.json", local.names)

  depends_on = [aws_s3_bucket_public_access_block.line]
}

resource "aws_s3_bucket_lifecycle_configuration" "line" {
  bucket = aws_s3_bucket.line.id

  rule {
    id     = "give up uploads that were never completed"
    status = "Enabled"
    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  # A lifecycle rule cannot choose HEAD alone in every line: with "*" only older versions of store probes expire.
  dynamic "rule" {
    for_each = var.line == "*" ? [] : [1]

    content {
      id     = "forget old contents of HEAD"
      status = "Enabled"

      filter {
        prefix = "${var.line}/HEAD"
      }

      noncurrent_version_expiration {
        noncurrent_days           = var.head_days
        newer_noncurrent_versions = 100
      }
    }
  }

  # Objects that gc deleted, and overwritten work files.
  dynamic "rule" {
    for_each = var.line == "*" ? [] : ["objects", "work", "publishers", "consumers", "gc"]

    content {
      id     = "forget what was removed from ${rule.value}"
      status = "Enabled"

      filter {
        prefix = "${var.line}/${rule.value}/"
      }

      noncurrent_version_expiration {
        noncurrent_days = var.undelete_days
      }

      expiration {
        expired_object_delete_marker = true
      }
    }
  }

  rule {
    id     = "sweep up canaries"
    status = "Enabled"

    filter {
      prefix = ".canary/"
    }

    expiration {
      days = 1
    }

    noncurrent_version_expiration {
      noncurrent_days = 1
    }
  }

  depends_on = [aws_s3_bucket_versioning.line]
}
