output "bucket" {
  description = "store.bucket of params.yaml."
  value       = aws_s3_bucket.line.id
}

output "trainer" {
  description = "Role of machines that ingest, train and measure."
  value       = aws_iam_role.writer["trainer"].arn
}

output "publisher" {
  description = "Role of nights, and of people who publish, promote, roll back, collect and repair."
  value       = aws_iam_role.writer["publisher"].arn
}

output "readers" {
  description = "Role of each consumer."
  value       = { for name, role in aws_iam_role.reader : name => role.arn }
}
