# terraform test: a plan without an account.
mock_provider "aws" {
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
}

variables {
  bucket    = "adapters"
  consumers = ["web-1", "web-2"]
  trusted = {
    trainer   = ["arn:aws:iam::111122223333:role/gpu"]
    publisher = ["arn:aws:iam::111122223333:role/night"]
    reader    = ["arn:aws:iam::111122223333:role/web"]
  }
}

run "every_content_is_kept_and_encrypted" {
  command = plan

  assert {
    condition     = aws_s3_bucket_versioning.line.versioning_configuration[0].status == "Enabled"
    error_message = "versioning"
  }
  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.line.rule).apply_server_side_encryption_by_default).sse_algorithm == "AES256"
    error_message = "encryption"
  }
  assert {
    condition     = length(aws_s3_bucket_object_lock_configuration.line) == 0 && !aws_s3_bucket.line.object_lock_enabled
    error_message = "object lock must not be enabled by default"
  }
}

run "object_lock_is_a_choice" {
  command = plan

  variables {
    object_lock_days = 7
  }

  assert {
    condition     = aws_s3_bucket.line.object_lock_enabled && length(aws_s3_bucket_object_lock_configuration.line) == 1
    error_message = "object lock"
  }
}

run "each_consumer_has_a_role_that_writes_its_own_acknowledgement" {
  command = plan

  assert {
    condition     = strcontains(aws_iam_role_policy.reader["web-1"].policy, "arn:aws:s3:::adapters/integration/consumers/web-1.json")
    error_message = "reader"
  }
  assert {
    condition     = jsondecode(aws_iam_role.writer["trainer"].assume_role_policy).Statement[0].Principal.AWS == ["arn:aws:iam::111122223333:role/gpu"]
    error_message = "trust"
  }
  assert {
    condition     = length(jsondecode(aws_s3_bucket_policy.line.policy).Statement) >= 6
    error_message = "bucket policy"
  }
}

run "a_name_with_a_slash_is_refused" {
  command = plan

  variables {
    line = "a/b"
  }

  expect_failures = [var.line]
}
